// Pendulum: swing a rod up and hold it there. The dynamics of Gymnasium's Pendulum-v1 and Gym's Pendulum-v0.
//
// State: angle (rad, 0 upright, not wrapped), angular velocity (rad/s). Action: torque (N m), clipped to +-2.
// Observation: cos angle, sin angle, angular velocity. Reward: -(angle^2 + 0.1 velocity^2 + 0.001 torque^2) of the
// state before the step, the angle wrapped to [-pi, pi); at worst -16.2736. It never terminates.
//
// velocity' = velocity + (3 g / (2 l) sin angle + 3 / (m l^2) torque) dt, g = 10 m/s^2, m = 1 kg, l = 1 m, dt = 0.05 s.
// v1 limits velocity' to +-8 rad/s before the angle moves with it, v0 after.

const MAXIMUM_TORQUE: f32 = 2.0;
const MAXIMUM_SPEED: f32 = 8.0;
const TIME_STEP: f32 = 0.05;
const GRAVITY_TERM: f32 = 15.0;
const TORQUE_TERM: f32 = 3.0;

fn environment_reset(random: ptr<function, Random>) -> State {
    let angle = 3.141592653589793 * (2.0 * random_uniform(random) - 1.0);
    let angular_velocity = 2.0 * random_uniform(random) - 1.0;
    return State(angle, angular_velocity);
}

fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    let torque = clamp(action[0], -MAXIMUM_TORQUE, MAXIMUM_TORQUE);
    let angle = wrap_angle(state[0]);
    let cost = angle * angle + 0.1 * state[1] * state[1] + 0.001 * torque * torque;
    let velocity = state[1] + (GRAVITY_TERM * sine_cosine(state[0]).x + TORQUE_TERM * torque) * TIME_STEP;
    let limited = clamp(velocity, -MAXIMUM_SPEED, MAXIMUM_SPEED);
    let moving = select(velocity, limited, LIMIT_BEFORE_MOVING);
    return Step(State(state[0] + moving * TIME_STEP, limited), -cost, false);
}

fn environment_observe(state: State) -> Observation {
    let direction = sine_cosine(state[0]);
    return Observation(direction.y, direction.x, state[1]);
}
