// How the tiles of a matrix product are dealt out. The register tile itself is in tile_portable.wgsl, tile_subgroup.wgsl
// or tile_small.wgsl, whichever the device is served best by.

// Invocations side by side in a row of tiles that stay together: those that hand on to each other what they load, or that
// take bands of rows through layers in place.
override TEAM: u32 = 1u;

// An invocation's part of a tile: where it begins in the output (its row, its vec4 column), the invocation's number in the
// team, in the `split` that shares the inner dimension, and among those of its part.
struct Place {
    row: u32,
    column: u32,
    member: u32,
    part: u32,
    slot: u32,
}

// Invocations that share a tile of this operation's product, each along another part of the inner dimension.
fn split_of(operation: Operation) -> u32 {
    return select(1u, operation.split, SPLITS);
}

fn tile_columns(columns: u32) -> u32 {
    let wide = TILE_COLUMNS * TEAM;
    return (columns + wide - 1u) / wide;
}

// Rounds in which a workgroup works off an output of `rows` by `columns` (vec4s).
fn tile_rounds(split: u32, rows: u32, columns: u32) -> u32 {
    let invocations = (rows + TILE_ROWS - 1u) / TILE_ROWS * tile_columns(columns) * TEAM * split;
    return (invocations + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
}

// Neighbours lie side by side in a row of tiles, so that they load neighbouring vec4s; or `adjacent` parts of a tile do. A
// round's tiles lie in a block `block` tiles wide, which loads the least; 0: in rows. What is past the last tile is past the
// last row or column.
fn tile_place(split: u32, adjacent: u32, block: u32, round: u32, lane: u32, columns: u32) -> Place {
    let slots = WORKGROUP_SIZE / split;
    let beside = min(adjacent, split);
    let slot = lane / beside % slots;
    let index = round * slots + slot;
    let across = tile_columns(columns);
    let team = index / TEAM;
    let member = index % TEAM;
    let part = lane / (slots * beside) * beside + lane % beside;
    if block != 0u {
        let blocks = (across + block - 1u) / block;
        let row = round / blocks * (slots / block) + slot / block;
        return Place(row * TILE_ROWS, (round % blocks * block + slot % block) * TILE_COLUMNS, member, part, slot);
    }
    return Place(team / across * TILE_ROWS, (team % across * TEAM + member) * TILE_COLUMNS, member, part, slot);
}

// The rows of a finished tile that an invocation has: every `finished_step`-th from `finished_from`.
fn finished_from(at: Place) -> u32 {
    return select(0u, at.part, SPLITS);
}

fn finished_step(split: u32) -> u32 {
    return select(1u, min(split, TILE_ROWS), SPLITS);
}

// t + x y for a row x of the left matrix, four of its numbers, and four rows y of the right one.
fn four_products(x: vec4f, y0: vec4f, y1: vec4f, y2: vec4f, y3: vec4f, t: vec4f) -> vec4f {
    return fma(vec4f(x.x), y0, fma(vec4f(x.y), y1, fma(vec4f(x.z), y2, fma(vec4f(x.w), y3, t))));
}
