// What the products from textures have in common (product_subgroup.wgsl, product_texture.wgsl): left [size, size],
// transposed, times right [size, size]; an invocation owns 16 rows by 2 vec4 columns.

@group(0) @binding(0) var left: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var right: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var product: texture_storage_2d<rgba32float, write>;

override SIZE: u32;

// Four rows by two columns.
alias Rows = array<vec4f, 8>;

// Two columns of right.
struct Pair {
    u: vec4f, v: vec4f,
}

fn load_pair(row: u32, column: u32) -> Pair {
    return Pair(textureLoad(right, vec2u(column, row)), textureLoad(right, vec2u(column + 1u, row)));
}

fn add_outer(p: vec4f, y: Pair, t: ptr<function, Rows>) {
    (*t)[0] = fma(vec4f(p.x), y.u, (*t)[0]);
    (*t)[1] = fma(vec4f(p.x), y.v, (*t)[1]);
    (*t)[2] = fma(vec4f(p.y), y.u, (*t)[2]);
    (*t)[3] = fma(vec4f(p.y), y.v, (*t)[3]);
    (*t)[4] = fma(vec4f(p.z), y.u, (*t)[4]);
    (*t)[5] = fma(vec4f(p.z), y.v, (*t)[5]);
    (*t)[6] = fma(vec4f(p.w), y.u, (*t)[6]);
    (*t)[7] = fma(vec4f(p.w), y.v, (*t)[7]);
}

fn store(row: u32, column: u32, t: ptr<function, Rows>) {
    for (var i = 0u; i < 8u; i++) {
        textureStore(product, vec2u(column + i % 2u, row + i / 2u), (*t)[i]);
    }
}
