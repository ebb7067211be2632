// The register tile for drivers whose subgroups are eight invocations wide (software Vulkan on processors with AVX),
// where memory is in textures: a team of eight owns 8 rows by 8 vec4 columns (tile_team.wgsl).

const TEAM: u32 = 8u;

// A member has one of the eight rows, four numbers of which are at `address`.
fn add_products(address: u32, stride: u32, y: Right, t: ptr<function, Rows>) {
    let x = load_activation(address);
    add_row(subgroupBroadcast(x, 0u), y, 0u, t);
    add_row(subgroupBroadcast(x, 1u), y, 1u, t);
    add_row(subgroupBroadcast(x, 2u), y, 2u, t);
    add_row(subgroupBroadcast(x, 3u), y, 3u, t);
    add_row(subgroupBroadcast(x, 4u), y, 4u, t);
    add_row(subgroupBroadcast(x, 5u), y, 5u, t);
    add_row(subgroupBroadcast(x, 6u), y, 6u, t);
    add_row(subgroupBroadcast(x, 7u), y, 7u, t);
}

// A member has half of one of the four rows, `row`.
fn add_outer_products(address: u32, stride: u32, row: u32, rows: u32, y: Right, t: ptr<function, Rows>) {
    let x = load_within(address, row < rows);
    add_outer(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), y.y0, t);
    add_outer(subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u), y.y1, t);
    add_outer(subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), y.y2, t);
    add_outer(subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u), y.y3, t);
}
