// Navigator-v0: a point finds its way to a goal between four round obstacles, feeling the distances around it.
//
// State: position x, y (m), velocity x, y (m/s), goal x, y (m), then the centres x, y of the four obstacles (m). Action:
// acceleration x, y (m/s^2), clipped to +-1. Observation: 24 distances (m, at most 1) along rays 15 degrees apart, the
// first towards +x; velocity x, y; goal less position x, y. It terminates within 0.15 m of the goal. Reward: the metres
// that the step came closer to the goal, less 0.05, and 10 where it terminates.
//
// Point mass with linear drag in the square of +-1 m: v' = v + (a - v) dt, x' = x + v' dt, dt = 0.1 s, so that no speed
// exceeds 1 m/s along an axis. A wall or an obstacle (radius 0.2 m) is rigid, inelastic and smooth: the point is put back
// on its surface and loses the velocity into it. The distances covered are a potential (Ng, Harada & Russell 1999).

const ARENA_HALF: f32 = 1.0;
const ARENA_RAYS: u32 = 24u;
const ARENA_RANGE: f32 = 1.0;
const ARENA_OBSTACLES: u32 = 4u;
const ARENA_OBSTACLE_RADIUS: f32 = 0.2;
const ARENA_GOAL_RADIUS: f32 = 0.15;
const ARENA_TIME_STEP: f32 = 0.1;

fn arena_obstacle(state: State, i: u32) -> vec2f {
    return vec2f(state[6u + 2u * i], state[7u + 2u * i]);
}

// A place 0.1 m clear of every obstacle and wall. The middle is one, whatever was drawn: it serves where eight are not.
fn arena_free_place(state: State, random: ptr<function, Random>) -> vec2f {
    for (var attempt = 0u; attempt < 8u; attempt++) {
        let x = random_uniform(random);
        let y = random_uniform(random);
        let place = (2.0 * vec2f(x, y) - 1.0) * (ARENA_HALF - 0.1);
        var clear = true;
        for (var i = 0u; i < ARENA_OBSTACLES; i++) {
            clear = clear && distance(place, arena_obstacle(state, i)) > ARENA_OBSTACLE_RADIUS + 0.1;
        }
        if clear {
            return place;
        }
    }
    return vec2f(0.0);
}

// An obstacle in each quadrant, 0.3 to 0.7 m from either axis; start and goal anywhere free, at rest.
fn environment_reset(random: ptr<function, Random>) -> State {
    var state: State;
    for (var i = 0u; i < ARENA_OBSTACLES; i++) {
        let side = vec2f(select(-1.0, 1.0, (i & 1u) == 1u), select(-1.0, 1.0, (i & 2u) == 2u));
        state[6u + 2u * i] = side.x * (0.3 + 0.4 * random_uniform(random));
        state[7u + 2u * i] = side.y * (0.3 + 0.4 * random_uniform(random));
    }
    let start = arena_free_place(state, random);
    let goal = arena_free_place(state, random);
    state[0] = start.x;
    state[1] = start.y;
    state[4] = goal.x;
    state[5] = goal.y;
    return state;
}

fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    let before = vec2f(state[0], state[1]);
    let goal = vec2f(state[4], state[5]);
    var velocity = vec2f(state[2], state[3]);
    velocity += (vec2f(action[0], action[1]) - velocity) * ARENA_TIME_STEP;
    var position = before + velocity * ARENA_TIME_STEP;
    for (var i = 0u; i < ARENA_OBSTACLES; i++) {
        let away = position - arena_obstacle(state, i);
        let depth = ARENA_OBSTACLE_RADIUS - length(away);
        if depth > 0.0 {
            // the speed limit keeps the point from ever reaching a centre, where there is no normal
            let normal = away / (ARENA_OBSTACLE_RADIUS - depth);
            position += depth * normal;
            velocity -= min(dot(velocity, normal), 0.0) * normal;
        }
    }
    let inside = clamp(position, vec2f(-ARENA_HALF), vec2f(ARENA_HALF));
    velocity = select(velocity, vec2f(0.0), inside != position);

    let left = distance(inside, goal);
    let terminated = left < ARENA_GOAL_RADIUS;
    var next = state;
    next[0] = inside.x;
    next[1] = inside.y;
    next[2] = velocity.x;
    next[3] = velocity.y;
    return Step(next, distance(before, goal) - left - 0.05 + select(0.0, 10.0, terminated), terminated);
}

// Metres from `position` along the unit vector `along` to the first wall or obstacle.
fn arena_range(state: State, position: vec2f, along: vec2f) -> f32 {
    let gap = select(ARENA_HALF - position, -ARENA_HALF - position, along < vec2f(0.0));
    let slanted = abs(along) > vec2f(1e-6);
    let walls = select(vec2f(ARENA_RANGE), gap / select(vec2f(1.0), along, slanted), slanted);
    var nearest = min(ARENA_RANGE, min(walls.x, walls.y));
    for (var i = 0u; i < ARENA_OBSTACLES; i++) {
        let to_centre = arena_obstacle(state, i) - position;
        let ahead = dot(to_centre, along);
        let across = to_centre - ahead * along;
        let half_chord_squared = ARENA_OBSTACLE_RADIUS * ARENA_OBSTACLE_RADIUS - dot(across, across);
        if ahead > 0.0 && half_chord_squared > 0.0 {
            nearest = min(nearest, max(ahead - sqrt(half_chord_squared), 0.0));
        }
    }
    return nearest;
}

fn environment_observe(state: State) -> Observation {
    var observation: Observation;
    let position = vec2f(state[0], state[1]);
    for (var ray = 0u; ray < ARENA_RAYS; ray++) {
        let direction = sine_cosine(6.283185307179586 / f32(ARENA_RAYS) * f32(ray));
        observation[ray] = arena_range(state, position, vec2f(direction.y, direction.x));
    }
    observation[ARENA_RAYS] = state[2];
    observation[ARENA_RAYS + 1u] = state[3];
    observation[ARENA_RAYS + 2u] = state[4] - state[0];
    observation[ARENA_RAYS + 3u] = state[5] - state[1];
    return observation;
}
