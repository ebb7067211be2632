// The resident plan: an agent whose networks, moments and activations live in the private memory of the eight invocations
// of one subgroup for as many iterations as a dispatch has. It is for drivers whose subgroups are eight wide and whose
// storage loads are dear (software Vulkan: thirty cycles a float, but two where the memory is private), and for networks
// small enough.
//
// Two layouts share `own`, all in vec4s a lane:
//
//   by column   [rows, columns]  lane l owns the units 4 l columns ... 4 (l + 1) columns of every row: hidden activations,
//                                their gradients, the weights that lead to them, and the moments of those
//   by row      [groups, vec4s]  lane l owns row 8 group + l: observations, actions, values and their gradients
//
// A hidden unit is thus k = 4 (lane columns + column) + component, in the order of the unpadded layer. Units past the
// layer's width have zero weights in and out, so that nothing of them is ever seen. An output layer is kept transposed,
// [outputs, columns], its bias by every lane.
//
// What the lanes have to say to each other goes through subgroup operations. `parameters` and `moments` are read when a
// dispatch begins and written when it ends, the same buffers in the same layout that the other plans use.

const LANES: u32 = 8u;

struct ResidentLayer {
    // vec4s a lane of the hidden layer below; 0 in a first layer
    below: u32,
    // vec4s a lane of this layer; of an output layer, its outputs
    columns: u32,
    // vec4s of the observation and of the action that enter here; 0 where they do not
    observation: u32,
    action: u32,
    // in `own`: rows of units below, of the observation, of the action; then the bias
    weights: u32,
    bias: u32,
    // in the agent's slice of `parameters`
    source: u32,
    source_bias: u32,
    // vec4s a row there, and vec4s of units below (or of the observation)
    source_columns: u32,
    source_below: u32,
    // vec4s before this layer's activations in those of a pass
    hidden: u32,
    reserved: u32,
}

struct ResidentTable {
    actor_layers: u32,
    critic_layers: u32,
    // eights of rows: of the minibatch, and of the environments
    batch_groups: u32,
    environment_groups: u32,
    // vec4s of a row
    observation_vectors: u32,
    action_vectors: u32,
    // from an online parameter in `own` to the target's, and to the moments
    target_parameters: u32,
    first_moment: u32,
    second_moment: u32,
    // addresses in `own`: by row
    observation: u32,
    next_observation: u32,
    action: u32,
    target_action: u32,
    policy_action: u32,
    action_gradient: u32,
    // reward, terminated, target value, value
    rewards: u32,
    // gradients of the outputs
    d_value: u32,
    d_action: u32,
    // by column: activations of the actor and of the critic, gradients of whichever is learning, transposed weights
    actor_pass: u32,
    critic_pass: u32,
    gradients: u32,
    transposed: u32,
    // half range and centre of the actions, in the agent's slice of `parameters`
    bounds: u32,
    // the layer that the action enters
    action_layer: u32,
    // in the agent's slice of `activations`: where the stages of an update are recorded, and vec4s a row of each
    record_target_action: u32,
    record_policy_action: u32,
    record_rewards: u32,
    record_target_value: u32,
    record_value: u32,
    record_policy_value: u32,
    record_action_gradient: u32,
    record_action_stride: u32,
    record_policy_action_stride: u32,
    reserved0: u32,
    reserved1: u32,
    reserved2: u32,
    layers: array<ResidentLayer, RESIDENT_LAYERS>,
}

@group(1) @binding(1) var<uniform> resident: ResidentTable;

var<private> own: array<vec4f, RESIDENT_VECTORS>;

// A vec4 that a lane owns, and where it is kept between dispatches.
struct Kept {
    // in `own`
    at: u32,
    // in the agent's slices of `parameters` and `moments`
    source: u32,
}

// Moves the four regions of one vec4 between `own` and storage.
fn move_kept(agent: u32, kept: Kept, storing: bool) {
    let online = agent * sizes.parameters_stride + kept.source;
    let first = agent * sizes.moments_stride + kept.source;
    if storing {
        parameters[online] = own[kept.at];
        parameters[online + sizes.target_offset] = own[kept.at + resident.target_parameters];
        moments[first] = own[kept.at + resident.first_moment];
        moments[first + sizes.second_moment_offset] = own[kept.at + resident.second_moment];
    } else {
        own[kept.at] = parameters[online];
        own[kept.at + resident.target_parameters] = parameters[online + sizes.target_offset];
        own[kept.at + resident.first_moment] = moments[first];
        own[kept.at + resident.second_moment] = moments[first + sizes.second_moment_offset];
    }
}

// Where row `row` of a hidden layer's weights is in storage: units below, then the observation, then the action. Rows
// past the width of the layer below are nowhere: the number of rows there are.
fn source_row(layer: ResidentLayer, row: u32) -> u32 {
    let units = 4u * LANES * layer.below;
    if row < units {
        return select(4u * (layer.source_below + layer.action), row, row < 4u * layer.source_below);
    }
    return row - units + select(4u * layer.source_below, 0u, layer.observation > 0u);
}

fn move_hidden(agent: u32, lane: u32, layer: ResidentLayer, storing: bool) {
    let rows = 4u * (LANES * layer.below + layer.observation + layer.action);
    let source_rows = 4u * (layer.source_below + layer.action);
    for (var row = 0u; row < rows; row++) {
        let from_row = source_row(layer, row);
        for (var c = 0u; c < layer.columns; c++) {
            let from_column = lane * layer.columns + c;
            if from_row < source_rows && from_column < layer.source_columns {
                let source = layer.source + from_row * layer.source_columns + from_column;
                move_kept(agent, Kept(layer.weights + row * layer.columns + c, source), storing);
            }
        }
    }
    for (var c = 0u; c < layer.columns; c++) {
        let from_column = lane * layer.columns + c;
        if from_column < layer.source_columns {
            move_kept(agent, Kept(layer.bias + c, layer.source_bias + from_column), storing);
        }
    }
}

// An output layer: [outputs, columns] in `own`, [units, outputs] in storage.
fn move_output(agent: u32, lane: u32, layer: ResidentLayer, storing: bool) {
    let online = agent * sizes.parameters_stride;
    let first = agent * sizes.moments_stride;
    for (var o = 0u; o < layer.columns; o++) {
        for (var c = 0u; c < layer.below; c++) {
            let at = layer.weights + o * layer.below + c;
            let unit = 4u * (lane * layer.below + c);
            if unit >= 4u * layer.source_below {
                continue;
            }
            for (var i = 0u; i < 4u; i++) {
                let source = layer.source + (unit + i) * layer.source_columns + o / 4u;
                let component = o % 4u;
                if storing {
                    parameters[online + source][component] = own[at][i];
                    parameters[online + source + sizes.target_offset][component] = own[at + resident.target_parameters][i];
                    moments[first + source][component] = own[at + resident.first_moment][i];
                    moments[first + source + sizes.second_moment_offset][component] = own[at + resident.second_moment][i];
                } else {
                    own[at][i] = parameters[online + source][component];
                    own[at + resident.target_parameters][i] = parameters[online + source + sizes.target_offset][component];
                    own[at + resident.first_moment][i] = moments[first + source][component];
                    own[at + resident.second_moment][i] = moments[first + source + sizes.second_moment_offset][component];
                }
            }
        }
    }
    for (var o = 0u; o < layer.source_columns; o++) {
        if !storing || lane == 0u {
            move_kept(agent, Kept(layer.bias + o, layer.source_bias + o), storing);
        }
    }
}

fn move_agent(agent: u32, lane: u32, storing: bool) {
    let layers = resident.actor_layers + resident.critic_layers;
    for (var index = 0u; index < layers; index++) {
        let layer = resident.layers[index];
        if index + 1u == resident.actor_layers || index + 1u == layers {
            move_output(agent, lane, layer, storing);
        } else {
            move_hidden(agent, lane, layer, storing);
        }
    }
}
