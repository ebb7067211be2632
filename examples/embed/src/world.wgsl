// 64 pendulums of the application's own, and how they and the reward curve are drawn.

struct Body {
    angle: f32,
    velocity: f32,
    // what the policy reads: cosine, sine, velocity
    cosine: f32,
    sine: f32,
    speed: f32,
    // what it writes
    torque: f32,
    age: f32,
    seed: f32,
}

struct View {
    // points of the curve that are there
    points: u32,
    // pixels, for lines of even thickness
    width: f32,
    height: f32,
    reserved: f32,
}

@group(0) @binding(0) var<storage, read_write> bodies: array<Body>;

@group(1) @binding(0) var<storage, read> drawn: array<Body>;
@group(1) @binding(1) var<storage, read> curve: array<f32>;
@group(1) @binding(2) var<uniform> view: View;

const PI: f32 = 3.14159265;

// Uniform in [0, 1): the PCG permutation of the seed's bits (O'Neill 2014).
fn hash(seed: f32) -> f32 {
    let state = bitcast<u32>(seed) * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return f32(((word >> 22u) ^ word) >> 8u) * 5.9604645e-8;
}

@compute @workgroup_size(64)
fn step_bodies(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= arrayLength(&bodies) {
        return;
    }
    var body = bodies[id.x];
    if body.age >= 200.0 {
        body.seed += 0.731;
        body.angle = PI * (2.0 * hash(body.seed) - 1.0);
        body.velocity = 2.0 * hash(body.seed + 0.5) - 1.0;
        body.age = 0.0;
    } else {
        body.velocity = clamp(body.velocity + (15.0 * sin(body.angle) + 3.0 * clamp(body.torque, -2.0, 2.0)) * 0.05, -8.0, 8.0);
        body.angle += body.velocity * 0.05;
        body.age += 1.0;
    }
    body.cosine = cos(body.angle);
    body.sine = sin(body.angle);
    body.speed = body.velocity;
    bodies[id.x] = body;
}

struct Vertex {
    @builtin(position) position: vec4f,
    @location(0) colour: vec3f,
}

// A corner (0 to 5) of the line from `from` to `to`, in pixels.
fn line(corner: u32, from_pixel: vec2f, to_pixel: vec2f, thickness: f32, colour: vec3f) -> Vertex {
    let along = normalize(to_pixel - from_pixel + vec2f(1e-6, 0.0));
    let across = 0.5 * thickness * vec2f(-along.y, along.x);
    let end = corner == 1u || corner == 2u || corner == 4u;
    let side = select(-1.0, 1.0, corner == 2u || corner == 4u || corner == 5u);
    let pixel = select(from_pixel, to_pixel, end) + side * across;
    let clip = vec2f(2.0 * pixel.x / view.width - 1.0, 1.0 - 2.0 * pixel.y / view.height);
    return Vertex(vec4f(clip, 0.0, 1.0), colour);
}

// The left square, eight by eight; each rod from its hinge, coloured by its torque.
@vertex
fn draw_bodies(@builtin(vertex_index) corner: u32, @builtin(instance_index) instance: u32) -> Vertex {
    let body = drawn[instance];
    let cell = view.height / 8.0;
    let hinge = (vec2f(vec2u(instance % 8u, instance / 8u)) + 0.5) * cell;
    let tip = hinge + 0.42 * cell * vec2f(body.sine, -body.cosine);
    let push = clamp(0.5 * body.torque, -1.0, 1.0);
    let colour = mix(vec3f(0.85), select(vec3f(0.2, 0.6, 1.0), vec3f(1.0, 0.45, 0.2), push > 0.0), abs(push));
    return line(corner, hinge, tip, 5.0, colour);
}

// From return -1700 at the bottom to 0 at the top, the oldest episode to the left.
fn curve_pixel(index: u32) -> vec2f {
    let left = view.height + 20.0;
    let x = left + (view.width - left - 20.0) * f32(index) / f32(max(view.points, 2u) - 1u);
    let y = clamp(-curve[index] / 1700.0, 0.0, 1.0);
    return vec2f(x, 20.0 + (view.height - 40.0) * y);
}

@vertex
fn draw_curve(@builtin(vertex_index) corner: u32, @builtin(instance_index) instance: u32) -> Vertex {
    return line(corner, curve_pixel(instance), curve_pixel(instance + 1u), 2.0, vec3f(0.4, 1.0, 0.5));
}

// Top, bottom and left of the plot, and -138, where Pendulum is as good as solved.
@vertex
fn draw_axes(@builtin(vertex_index) corner: u32, @builtin(instance_index) instance: u32) -> Vertex {
    let left = view.height + 20.0;
    let right = view.width - 20.0;
    let bottom = view.height - 20.0;
    let solved = 20.0 + (view.height - 40.0) * 138.0 / 1700.0;
    switch instance {
        case 0u: { return line(corner, vec2f(left, 20.0), vec2f(left, bottom), 1.0, vec3f(0.5)); }
        case 1u: { return line(corner, vec2f(left, bottom), vec2f(right, bottom), 1.0, vec3f(0.5)); }
        default: { return line(corner, vec2f(left, solved), vec2f(right, solved), 1.0, vec3f(0.6, 0.3, 0.3)); }
    }
}

@fragment
fn paint(vertex: Vertex) -> @location(0) vec4f {
    return vec4f(vertex.colour, 1.0);
}
