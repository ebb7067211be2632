// Frames of an episode, every pixel of every frame in one dispatch. An environment's file beside this one defines
//
//   fn draw(moment: u32, p: vec2f) -> vec3f
//
// the colour at `p` (y up, the shorter side from -1 to 1) of the moment whose state and action stand from `moment` on in
// `moments`. It paints with `paint`, which takes a signed distance in the same units and smooths the edge over one pixel.
//
//   moments  [frames, state_size + action_size]   states and actions of an episode
//   pixels   [frames, height, width]              RGBA, a byte each, red lowest
//
// One invocation a pixel: x and y within a frame, z counts frames. No barriers.

struct Canvas {
    width: u32,
    height: u32,
    frames: u32,
    state_size: u32,
    action_size: u32,
    reserved0: u32,
    reserved1: u32,
    reserved2: u32,
}

@group(0) @binding(0) var<uniform> canvas: Canvas;
@group(0) @binding(1) var<storage, read> moments: array<f32>;
@group(0) @binding(2) var<storage, read_write> pixels: array<u32>;

fn pixels_a_unit() -> f32 {
    return 0.5 * f32(min(canvas.width, canvas.height));
}

// `colour` over `below` where `distance` is negative. Eight shades an edge, so that a frame has few colours and a GIF holds
// them all.
fn paint(below: vec3f, colour: vec3f, distance: f32) -> vec3f {
    let coverage = clamp(0.5 - distance * pixels_a_unit(), 0.0, 1.0);
    return mix(below, colour, round(coverage * 8.0) / 8.0);
}

// Signed distance to a disc.
fn disc(p: vec2f, centre: vec2f, radius: f32) -> f32 {
    return length(p - centre) - radius;
}

// Signed distance to a rod with round ends.
fn capsule(p: vec2f, a: vec2f, b: vec2f, radius: f32) -> f32 {
    let along = b - a;
    let share = clamp(dot(p - a, along) / dot(along, along), 0.0, 1.0);
    return length(p - a - share * along) - radius;
}

// Signed distance, close to the edges, to a triangle given counter-clockwise.
fn triangle(p: vec2f, a: vec2f, b: vec2f, c: vec2f) -> f32 {
    let outward = vec3f(half_plane(p, a, b), half_plane(p, b, c), half_plane(p, c, a));
    return max(outward.x, max(outward.y, outward.z));
}

// Signed distance to what lies left of the line from `a` to `b`.
fn half_plane(p: vec2f, a: vec2f, b: vec2f) -> f32 {
    let along = normalize(b - a);
    return dot(p - a, vec2f(along.y, -along.x));
}

@compute @workgroup_size(8, 8)
fn frame(@builtin(global_invocation_id) at: vec3u) {
    if at.x >= canvas.width || at.y >= canvas.height || at.z >= canvas.frames {
        return;
    }
    let size = vec2f(f32(canvas.width), f32(canvas.height));
    let p = (vec2f(at.xy) + 0.5 - 0.5 * size) / pixels_a_unit() * vec2f(1.0, -1.0);
    let colour = draw(at.z * (canvas.state_size + canvas.action_size), p);
    let bytes = vec3u(round(clamp(colour, vec3f(), vec3f(1.0)) * 255.0));
    pixels[(at.z * canvas.height + at.y) * canvas.width + at.x] = bytes.r | (bytes.g << 8u) | (bytes.b << 16u) | 0xff000000u;
}
