// What every kernel sees: the operation table, the population's memory, and how both are laid out.
//
// A *program* is a list of operations recorded once. A dispatch names a run of them; workgroup (x, y, z) executes
// unit x of operation `dispatch.first + y` for agent z. Every offset in an operation counts vec4s from the start of the
// agent's own slice, every stride counts vec4s, and every matrix is row-major with rows padded with zeros to whole
// vec4s, so that no inner loop has an edge. Padding stays zero because a zero input has a zero gradient.

// What a uniform buffer holds within WebGPU's default limits.
const MOST_OPERATIONS: u32 = 512u;

struct Operation {
    @align(16) kind: u32,
    // 0 actor, 1 critic, 2 compatible parameters: whose learning rate and weight decay
    network: u32,
    // workgroups of work an agent; in a chain, rounds of the level
    units: u32,
    // columns a unit owns (vec4s), where a unit owns whole columns, else tiles side by side in its block (0: all); in a chain,
    // invocations of each operation of the level
    strip: u32,
    // invocations that share a tile of the product, each along another part of the inner dimension; a power of two
    split: u32,
    flags: u32,
    // rows of the left matrix; a minibatch operation uses the rows that were sampled
    rows: u32,
    // length of the reduction, vec4s (rows of the minibatch for a weight gradient)
    inner: u32,
    // columns of the output, vec4s
    columns: u32,
    input: u32,
    input_stride: u32,
    // in a chain, of what has no weights: where the band's rewards lie in workgroup memory
    weights: u32,
    // of a sample of bands: columns of an action
    weights_stride: u32,
    bias: u32,
    output: u32,
    output_stride: u32,
    // what the forward pass left where this gradient flows through: rectified activations, or actions
    forward: u32,
    forward_stride: u32,
    // batch norm: what is normalised (of a layer, x W without its bias), kept for the backward pass
    normalised: u32,
    normalised_stride: u32,
    // batch norm: scale, shift, running mean, running variance, one vector after the other in `parameters`
    norm: u32,
    // batch norm: mean and inverse standard deviation of this pass, one vector after the other in `activations`
    statistics: u32,
    // a second place to write to, by kind
    extra: u32,
    extra_stride: u32,
    // 1: the next operation needs what this one and those beside it write (a band's chain has `level` instead)
    ends_level: u32,
    // operations of the chain that begins here, which one workgroup works off; 0: none
    chain: u32,
    // index of the second of them
    rest: u32,
    // rows that a workgroup takes through the chain; 0: all that an agent has
    band: u32,
    // where the band's rows of input, forward and output lie in workgroup memory, at the strides above
    local_input: u32,
    local_forward: u32,
    local_output: u32,
    // operations of the chain's level that begins here
    level: u32,
}

// A place that an operation does not have: of what is optional, or, in workgroup memory, of what no other of its band reads.
const NOWHERE: u32 = 0xffffffffu;

// Sizes that are the same for every agent. Strides are vec4s an agent, except where named otherwise.
struct Sizes {
    agents: u32,
    environments: u32,
    parameters_stride: u32,
    // from an online parameter to the same parameter of its target network
    target_offset: u32,
    moments_stride: u32,
    // from a parameter's first moment to its second moment, and to its recorded gradient
    second_moment_offset: u32,
    gradient_offset: u32,
    activations_stride: u32,
    // floats an agent, and floats a transition
    replay_stride: u32,
    transition_stride: u32,
    replay_capacity: u32,
    // floats an environment
    environment_stride: u32,
    batch_size: u32,
    observation_size: u32,
    action_size: u32,
    time_limit: u32,
    random_steps: u32,
    normalisation_epsilon: f32,
    normalisation_decay: f32,
}

// What a population does differently, a bit each. A constant of its pipelines: on software drivers, which execute both sides
// of a branch, even a store that is not made takes time.
override OPTIONS: u32 = 0u;

const RECORD_GRADIENTS: u32 = 1u;
const STORE_UNCLIPPED_ACTIONS: u32 = 2u;
const TRUNCATION_IS_TERMINAL: u32 = 4u;
const RESET_NOISE: u32 = 8u;
// theta <- theta - lr g instead of Adam
const GRADIENT_DESCENT: u32 = 16u;
// no target network follows: the target half of the parameters is unused, or holds COPDAC-Q's w
const NO_TARGETS: u32 = 32u;
// networks learn with actions in half ranges from their centre
const RELATIVE_ACTIONS: u32 = 64u;

// One entry an agent; written by the host, never by a shader.
struct HyperParameters {
    seed_low: u32,
    seed_high: u32,
    gamma: f32,
    tau: f32,
    actor_learning_rate: f32,
    critic_learning_rate: f32,
    actor_weight_decay: f32,
    critic_weight_decay: f32,
    adam_beta1: f32,
    adam_beta2: f32,
    // 1 - beta, rounded once from float64: beta2 near 1 would lose four digits in float32
    adam_one_minus_beta1: f32,
    adam_one_minus_beta2: f32,
    adam_epsilon: f32,
    // 0: blend every update; C: copy every C updates
    hard_update_every: u32,
    // 0 none, 1 Gaussian, 2 Ornstein-Uhlenbeck, 3 decaying offset, 4 decaying Gaussian
    noise_kind: u32,
    // standard deviation; of the decaying kinds, the size in the first episode
    noise_sigma: f32,
    ou_theta: f32,
    ou_dt: f32,
    // 1: sigma is a fraction of half the action range; 0: sigma is in units of the action
    noise_is_relative: u32,
    // step size of COPDAC-Q's w
    compatible_learning_rate: f32,
    // where an Ornstein-Uhlenbeck process starts
    ou_start: f32,
    // 0 constant, 1 linear, 2 exponential: what the noise is multiplied by as training goes on
    noise_schedule: u32,
    // the factor at the end (linear), or the least factor (exponential)
    noise_final: f32,
    // environment steps to the end (linear), or until the factor has halved (exponential)
    noise_span: f32,
}

const EPISODE_LOG: u32 = 64u;

// One entry an agent; advanced by the shaders, read by the host now and then.
struct AgentState {
    // steps taken by each of the agent's environments
    steps: u32,
    updates: u32,
    replay_head: u32,
    replay_length: u32,
    // episodes that had ended when the host last cleared the sums: those it was told of
    reported: u32,
    // 1 - beta1^t, 1 - beta2^t
    bias_correction1: f32,
    bias_correction2: f32,
    // this update's share of the online parameters in the target parameters
    blend: f32,
    // 0 while all is well, else why and at which update the agent stopped learning
    halted: u32,
    halted_at: u32,
    episodes: u32,
    // updates taken when the last episode ended
    episode_began: u32,
    // sums since the host last cleared them
    measured_updates: u32,
    critic_loss: f32,
    actor_loss: f32,
    value: f32,
    value_maximum: f32,
    absolute_td_error: f32,
    saturated: f32,
    // sum over the updates since the last episode ended of the largest value in the minibatch
    episode_maximum_value: f32,
    // of the last episodes, by episode number modulo EPISODE_LOG: return, length, mean of the maximum values
    log: array<vec4f, EPISODE_LOG>,
    // and the steps each environment, and the updates the agent had taken when they ended
    log_steps: array<u32, EPISODE_LOG>,
    log_updates: array<u32, EPISODE_LOG>,
}

// What one dispatch does. The layered plan reads `first` only, the fused one runs whole iterations.
struct Dispatch {
    // the first operation
    first: u32,
    // operations of the rollout
    operations: u32,
    // and of an update
    learn_first: u32,
    learn_operations: u32,
    iterations: u32,
    // 1: a step of every environment before the updates of each iteration
    simulates: u32,
    // updates an iteration
    updates: u32,
    reserved: u32,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<uniform> operations: array<Operation, MOST_OPERATIONS>;
// 2 to 5: hyper-parameters, parameters, moments, activations, in memory_buffer.wgsl or memory_texture.wgsl
@group(0) @binding(6) var<storage, read_write> replay: array<f32>;
@group(0) @binding(7) var<storage, read_write> environments: array<f32>;
@group(0) @binding(8) var<storage, read_write> agent_states: array<AgentState>;
@group(1) @binding(0) var<uniform> dispatch: Dispatch;

override WORKGROUP_SIZE: u32 = 64u;
// Scratch for fixed-order reductions, two entries an invocation; 256 is WebGPU's largest workgroup.
var<workgroup> sh_reduce: array<vec4f, 512>;

const ACTOR: u32 = 0u;
const CRITIC: u32 = 1u;
// COPDAC-Q's w, in the target actor's place
const COMPATIBLE: u32 = 2u;

// Operation flags.
// the rows are those of the minibatch: as many as the ring holds, `rows` at most
const MINIBATCH_ROWS: u32 = 1u;
// update the running statistics (and copy them to the target network)
const UPDATE_RUNNING: u32 = 2u;
// this layer's bias or shift is cancelled by a batch norm that follows: its gradient is zero
const CANCELLED_BIAS: u32 = 4u;
// gradient of the scale and shift wanted: take an Adam step with it
const TRAIN_NORM: u32 = 8u;
// before the update begins: the counters are one behind, and `extra` tells whether a row of the minibatch was not finite
const WITH_VERDICT: u32 = 512u;
// the level that begins here has products, whose sums meet in sh_reduce
const MEETS: u32 = 1024u;
// evaluation: no noise, no replay
const EVALUATION: u32 = 16u;
// normalise with the running statistics
const RUNNING_STATISTICS: u32 = 32u;
// the minibatch is the last step of every environment, or the step before it
const LATEST_STEP: u32 = 64u;
const PREVIOUS_STEP: u32 = 128u;
// the critic's gradient is -delta grad Q (Silver et al. 2014), not that of the squared error
const DELTA_RULE: u32 = 256u;

fn operation_rows(operation: Operation, agent: u32) -> u32 {
    if (operation.flags & MINIBATCH_ROWS) != 0u {
        return min(agent_states[agent].replay_length, operation.rows);
    }
    return operation.rows;
}

// The key of the agent's random numbers.
fn agent_key(agent: u32) -> vec2u {
    let h = hyper_parameters_of(agent);
    return vec2u(h.seed_low, h.seed_high);
}

// NaN and infinity have all exponent bits set. (x != x may be folded away under fast-math rules.)
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn all_finite(x: vec4f) -> bool {
    return all((bitcast<vec4u>(x) & vec4u(0x7f800000u)) != vec4u(0x7f800000u));
}

// Reasons in AgentState.halted.
const HALTED_LOSS: u32 = 1u;
const HALTED_CRITIC_GRADIENT: u32 = 2u;
const HALTED_ACTOR_GRADIENT: u32 = 3u;
const HALTED_ENVIRONMENT: u32 = 4u;

// Whether there is something to learn from, and nothing has stopped the agent.
fn learns(agent: u32) -> bool {
    return agent_states[agent].halted == 0u && agent_states[agent].replay_length != 0u;
}

fn halt(agent: u32, reason: u32, update: u32) {
    if agent_states[agent].halted == 0u {
        agent_states[agent].halted = reason;
        agent_states[agent].halted_at = update;
    }
}
