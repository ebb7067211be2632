// Reacher-v0: an arm of two links in a horizontal plane brings its fingertip to a goal and holds it there.
//
// State: shoulder and elbow angle (rad, not wrapped; the elbow's relative to the upper arm), their velocities (rad/s),
// goal x, y (m). Action: torque at shoulder and elbow (N m), clipped to +-1. Observation: cos and sin of the shoulder,
// cos and sin of the elbow, both velocities, goal x, y, fingertip less goal x, y. Reward: -(distance of the fingertip from
// the goal, in m, after the step) - 0.01 |torque|^2. It never terminates.
//
// Murray, Li & Sastry 1994, "A Mathematical Introduction to Robotic Manipulation", section 4.2.3 (planar two-link arm),
// with viscous damping in the joints: M(q) q'' + C(q, q') + d q' = torque, where with c = cos elbow, s = sin elbow
//   M = [A + 2 B c, D + B c; D + B c, D]        C = [-B s (2 shoulder' elbow' + elbow'^2); B s shoulder'^2]
// Both links are uniform rods of l = 0.5 m and 1 kg (inertia m l^2 / 12 about their middles), so that A = 5/12,
// B = 1/8 and D = 1/12 kg m^2. d = 0.2 N m s/rad. A step is 0.05 s: four of semi-implicit Euler.

const ARM_LINK: f32 = 0.5;
const ARM_A: f32 = 0.4166666666666667;
const ARM_B: f32 = 0.125;
const ARM_D: f32 = 0.08333333333333333;
const ARM_DAMPING: f32 = 0.2;
const ARM_SUBSTEPS: u32 = 4u;
const ARM_TIME_STEP: f32 = 0.0125;

// Any posture at rest; the goal uniform over the ring from 0.2 to 0.95 m around the shoulder.
fn environment_reset(random: ptr<function, Random>) -> State {
    let shoulder = 6.283185307179586 * (random_uniform(random) - 0.5);
    let elbow = 6.283185307179586 * (random_uniform(random) - 0.5);
    let radius = sqrt(mix(0.04, 0.9025, random_uniform(random)));
    let bearing = sine_cosine(6.283185307179586 * (random_uniform(random) - 0.5));
    return State(shoulder, elbow, 0.0, 0.0, radius * bearing.y, radius * bearing.x);
}

fn arm_fingertip(shoulder: f32, elbow: f32) -> vec2f {
    let upper = sine_cosine(shoulder);
    let lower = sine_cosine(shoulder + elbow);
    return ARM_LINK * (vec2f(upper.y, upper.x) + vec2f(lower.y, lower.x));
}

fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    let torque = vec2f(action[0], action[1]);
    var angle = vec2f(state[0], state[1]);
    var velocity = vec2f(state[2], state[3]);
    for (var i = 0u; i < ARM_SUBSTEPS; i++) {
        let bend = sine_cosine(angle.y);
        let m11 = ARM_A + 2.0 * ARM_B * bend.y;
        let m12 = ARM_D + ARM_B * bend.y;
        let coriolis = ARM_B * bend.x * vec2f(-(2.0 * velocity.x + velocity.y) * velocity.y, velocity.x * velocity.x);
        let net = torque - coriolis - ARM_DAMPING * velocity;
        let determinant = m11 * ARM_D - m12 * m12;
        let acceleration = vec2f(ARM_D * net.x - m12 * net.y, m11 * net.y - m12 * net.x) / determinant;
        velocity += ARM_TIME_STEP * acceleration;
        angle += ARM_TIME_STEP * velocity;
    }
    let miss = length(arm_fingertip(angle.x, angle.y) - vec2f(state[4], state[5]));
    let next = State(angle.x, angle.y, velocity.x, velocity.y, state[4], state[5]);
    return Step(next, -miss - 0.01 * dot(torque, torque), false);
}

fn environment_observe(state: State) -> Observation {
    let shoulder = sine_cosine(state[0]);
    let elbow = sine_cosine(state[1]);
    let goal = vec2f(state[4], state[5]);
    let miss = arm_fingertip(state[0], state[1]) - goal;
    return Observation(shoulder.y, shoulder.x, elbow.y, elbow.x, state[2], state[3], goal.x, goal.y, miss.x, miss.y);
}
