// A picture of Pendulum: the rod, its joint, and the torque as an arrow around the joint. State: angle (0 upright, counted
// counter-clockwise), angular velocity. Action: torque, at most 2 N m either way, which sweeps the arrow.

const ROD_LENGTH: f32 = 0.7;
const ROD_RADIUS: f32 = 0.085;
const ARROW_RADIUS: f32 = 0.3;
const ARROW_WIDTH: f32 = 0.016;
const FULL_SWEEP: f32 = 2.4;

fn around(angle: f32, radius: f32) -> vec2f {
    return radius * vec2f(-sin(angle), cos(angle));
}

// Signed distance to the arrow: an arc from the top, as long as the torque is strong, and its head.
fn arrow(p: vec2f, torque: f32) -> f32 {
    let sweep = clamp(torque / 2.0, -1.0, 1.0) * FULL_SWEEP;
    let turned = select(-1.0, 1.0, sweep >= 0.0);
    // mirrored, so that it always turns counter-clockwise
    let q = p * vec2f(turned, 1.0);
    let end = abs(sweep);
    let angle = clamp(atan2(-q.x, q.y), 0.0, end);
    let arc = length(q - around(angle, ARROW_RADIUS)) - ARROW_WIDTH;
    let size = 0.05 + 0.07 * min(end, 1.0);
    let tip = around(end, ARROW_RADIUS) + around(end + 1.5707964, size);
    let head = triangle(q, tip, around(end, ARROW_RADIUS - 0.6 * size), around(end, ARROW_RADIUS + 0.6 * size));
    return min(arc, head);
}

fn draw(moment: u32, p: vec2f) -> vec3f {
    let angle = moments[moment];
    let torque = moments[moment + canvas.state_size];
    var colour = vec3f(1.0);
    colour = paint(colour, vec3f(0.8, 0.302, 0.302), capsule(p, vec2f(), around(angle, ROD_LENGTH), ROD_RADIUS));
    colour = paint(colour, vec3f(0.1), disc(p, vec2f(), 0.03));
    if abs(torque) > 0.02 {
        colour = paint(colour, vec3f(0.15, 0.35, 0.75), arrow(p, torque));
    }
    return colour;
}
