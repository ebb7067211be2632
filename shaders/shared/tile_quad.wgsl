// The register tile for drivers whose subgroups are four invocations wide (software Vulkan on ARM, and on other
// processors without AVX), where memory is in textures: a team of four owns 8 rows by 4 vec4 columns (tile_team.wgsl).

const TEAM: u32 = 4u;

// A member has two of the eight rows, four numbers of which are at `address` and four rows below.
fn add_products(address: u32, stride: u32, y: Right, t: ptr<function, Rows>) {
    let x = load_activation(address);
    let below = load_activation(address + 4u * stride);
    add_row(subgroupBroadcast(x, 0u), y, 0u, t);
    add_row(subgroupBroadcast(x, 1u), y, 1u, t);
    add_row(subgroupBroadcast(x, 2u), y, 2u, t);
    add_row(subgroupBroadcast(x, 3u), y, 3u, t);
    add_row(subgroupBroadcast(below, 0u), y, 4u, t);
    add_row(subgroupBroadcast(below, 1u), y, 5u, t);
    add_row(subgroupBroadcast(below, 2u), y, 6u, t);
    add_row(subgroupBroadcast(below, 3u), y, 7u, t);
}

// A member has half of two of the four rows, `row` and the second one below it.
fn add_outer_products(address: u32, stride: u32, row: u32, rows: u32, y: Right, t: ptr<function, Rows>) {
    let x = load_within(address, row < rows);
    let below = load_within(address + 2u * stride, row + 2u < rows);
    add_outer(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), y.y0, t);
    add_outer(subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u), y.y1, t);
    add_outer(subgroupBroadcast(below, 0u), subgroupBroadcast(below, 1u), y.y2, t);
    add_outer(subgroupBroadcast(below, 2u), subgroupBroadcast(below, 3u), y.y3, t);
}
