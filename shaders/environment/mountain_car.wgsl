// MountainCarContinuous-v0 of Gymnasium: an engine too weak for the hill must swing the car up in the valley. After
// Moore 1990, "Efficient memory-based learning for robot control", with a continuous force.
//
// State and observation: position (-1.2 to 0.6, the valley's floor at -pi/6), velocity (+-0.07 a step). Action: force,
// clipped to +-1. It terminates where position >= 0.45 with velocity >= 0. Reward: 100 where it terminates, less
// 0.1 force^2. A step is the unit of time, and the unit of length is arbitrary.
//
// velocity' = clamp(velocity + 0.0015 force - 0.0025 cos(3 position)), position' = clamp(position + velocity'); at the
// left end the car stops.

const CAR_POWER: f32 = 0.0015;
const CAR_GRAVITY: f32 = 0.0025;
const CAR_MAXIMUM_SPEED: f32 = 0.07;
const CAR_LEFT_END: f32 = -1.2;
const CAR_RIGHT_END: f32 = 0.6;
const CAR_GOAL: f32 = 0.45;

fn environment_reset(random: ptr<function, Random>) -> State {
    return State(0.2 * random_uniform(random) - 0.6, 0.0);
}

fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    let force = action[0];
    let pulled = state[1] + CAR_POWER * force - CAR_GRAVITY * sine_cosine(3.0 * state[0]).y;
    var velocity = clamp(pulled, -CAR_MAXIMUM_SPEED, CAR_MAXIMUM_SPEED);
    let position = clamp(state[0] + velocity, CAR_LEFT_END, CAR_RIGHT_END);
    if position == CAR_LEFT_END && velocity < 0.0 {
        velocity = 0.0;
    }
    let terminated = position >= CAR_GOAL && velocity >= 0.0;
    return Step(State(position, velocity), select(0.0, 100.0, terminated) - 0.1 * force * force, terminated);
}

fn environment_observe(state: State) -> Observation {
    return state;
}
