// How the tiles of a matrix product are dealt out. The register tile itself is in tile_portable.wgsl or
// tile_subgroup.wgsl, whichever the device is served best by.

// Where an invocation's part of a tile begins in the output: its row, its vec4 column, and its number in its team.
struct Place {
    row: u32,
    column: u32,
    member: u32,
}

// Invocations that an output of `rows` by `columns` (vec4s) takes, whole teams.
fn tile_invocations(rows: u32, columns: u32) -> u32 {
    let wide = TILE_COLUMNS * TEAM;
    return (rows + TILE_ROWS - 1u) / TILE_ROWS * ((columns + wide - 1u) / wide) * TEAM;
}

fn tile_place(index: u32, rows: u32) -> Place {
    let row_tiles = (rows + TILE_ROWS - 1u) / TILE_ROWS;
    let team = index / TEAM;
    let member = index % TEAM;
    return Place(team % row_tiles * TILE_ROWS, (team / row_tiles * TEAM + member) * TILE_COLUMNS, member);
}
