// CartPoleSwingUp-v0: push a cart so that the pole hinged on it, hanging at first, swings up and stays up.
//
// State: position x (m), velocity (m/s), angle (rad, 0 upright, not wrapped), angular velocity (rad/s). Action: force
// (N), clipped to +-10. Observation: x, velocity, cos angle, sin angle, angular velocity. Reward, of the state after the
// step: (1 + cos angle) / 2 * (1 - (x / 2.4)^2 / 2), from 0 to 1. It never terminates.
//
// Barto, Sutton & Anderson 1983, appendix, without friction; M = 1.1 kg the mass of cart and pole, m = 0.1 kg the
// pole's, l = 0.5 m half its length, g = 9.8 m/s^2, w = angular velocity:
//   angular acceleration = (g sin - cos (F + m l w^2 sin) / M) / (l (4/3 - m cos^2 / M))
//   acceleration         = (F + m l (w^2 sin - angular acceleration cos)) / M
// Semi-implicit Euler, dt = 0.02 s: both velocities first, then the positions with them. The track ends at +-2.4 m,
// where the cart stops dead and the pole swings on.

const POLE_TIME_STEP: f32 = 0.02;
const POLE_GRAVITY: f32 = 9.8;
const POLE_TOTAL_MASS: f32 = 1.1;
const POLE_MASS: f32 = 0.1;
const POLE_HALF_LENGTH: f32 = 0.5;
const POLE_TRACK_END: f32 = 2.4;

fn environment_reset(random: ptr<function, Random>) -> State {
    var state: State;
    for (var i = 0u; i < STATE_SIZE; i++) {
        state[i] = 0.2 * random_uniform(random) - 0.1;
    }
    state[2] += 3.141592653589793;
    return state;
}

fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    let force = action[0];
    let direction = sine_cosine(state[2]);
    let thrown = POLE_MASS * POLE_HALF_LENGTH * state[3] * state[3] * direction.x;
    let pull = (force + thrown) / POLE_TOTAL_MASS;
    let inertia = POLE_HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * direction.y * direction.y / POLE_TOTAL_MASS);
    let angular_acceleration = (POLE_GRAVITY * direction.x - direction.y * pull) / inertia;
    let acceleration = pull - POLE_MASS * POLE_HALF_LENGTH * angular_acceleration * direction.y / POLE_TOTAL_MASS;

    var velocity = state[1] + acceleration * POLE_TIME_STEP;
    let angular_velocity = state[3] + angular_acceleration * POLE_TIME_STEP;
    let free = state[0] + velocity * POLE_TIME_STEP;
    let position = clamp(free, -POLE_TRACK_END, POLE_TRACK_END);
    if position != free {
        velocity = 0.0;
    }
    let angle = state[2] + angular_velocity * POLE_TIME_STEP;
    let off_centre = position / POLE_TRACK_END;
    let reward = 0.5 * (1.0 + sine_cosine(angle).y) * (1.0 - 0.5 * off_centre * off_centre);
    return Step(State(position, velocity, angle, angular_velocity), reward, false);
}

fn environment_observe(state: State) -> Observation {
    let direction = sine_cosine(state[2]);
    return Observation(state[0], state[1], direction.y, direction.x, state[3]);
}
