//! A user's environment: each mistake is reported at its author's own line and column, in words that say what is wrong;
//! one that fails while it runs stops its agent only.

mod nesting;

use ddpg_wgpu::{Config, Environment, Error, Exploration, Gpu, HaltReason, HyperParameters, Trainer};

/// State of 2, observation of 3, one action. The tests count lines in it.
const SOUND: &str = "\
// line 1
fn environment_reset(random: ptr<function, Random>) -> State {
    return State(0.0, random_uniform(random));
}
// line 5
fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    let velocity = state[1] + action[0];
    return Step(State(state[0], velocity), -state[0], false);
}
// line 10
fn environment_observe(state: State) -> Observation {
    return Observation(state[0], state[1], 1.0);
}
";

fn environment(source: &str) -> Environment {
    Environment::new("spring", source.to_owned(), 2, 3, vec![-1.0], vec![1.0], 10).expect("the sizes are sound")
}

/// The message that `source` is refused with.
#[track_caller]
fn refused(source: &str) -> String {
    match environment(source).check() {
        Err(Error::Shader(message)) => message,
        other => panic!("{other:?} for\n{source}"),
    }
}

/// With `from` replaced by `to`, the sound environment is refused at this line and column, with `says`, quoting the line.
#[track_caller]
fn refused_at(from: &str, to: &str, line: usize, column: usize, says: &str) {
    assert!(SOUND.contains(from), "{from:?} is not in the source");
    let source = SOUND.replacen(from, to, 1);
    let message = refused(&source);
    let expected = format!("environment spring, line {line}, column {column}: {says}");
    assert!(message.starts_with(&expected), "expected {expected:?}, found\n{message}");
    let quoted = source.lines().nth(line - 1).expect("the line exists").trim_end();
    let caret = " ".repeat(column - 1) + "^";
    assert!(message.contains(&format!("\n    {quoted}\n    {caret}")), "{quoted:?} is not quoted with its caret in\n{message}");
    assert!(!message.contains("rollout.wgsl"), "{message}");
    assert!(!message.contains("naga") && !message.contains("Handle"), "{message}");
}

#[test]
fn a_sound_environment_passes() {
    environment(SOUND).check().unwrap_or_else(|error| panic!("{error}"));
    for name in Environment::names() {
        let environment = Environment::by_name(&name).expect("it is listed");
        environment.check().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn syntax_errors() {
    refused_at("-state[0], false);", "-state[0], false)", 9, 1, "expected `;`, found \"}\"");
    refused_at("    return Step", "    retrun Step", 8, 12, "expected assignment or increment/decrement, found \"Step\"");
    refused_at("random_uniform(", "random_unifrom(", 3, 23, "no definition in scope for identifier: `random_unifrom`");
    // what stays open at the end is not blamed on the text that the crate puts behind it
    refused_at("1.0);\n}\n", "1.0);\n", 12, 49, "expected statement, found the end of the source");
    refused_at("1.0);\n}\n", "1.0);\n}\n/* open", 14, 1, "unterminated block comment");
}

#[test]
fn wrong_sizes() {
    refused_at("State(0.0, ", "State(0.0, 1.0, ", 3, 12, "State takes 2 components, but 3 were given");
    refused_at("State(state[0], velocity)", "State(velocity)", 8, 17, "State takes 2 components, but 1 were given");
    refused_at("Observation(state[0], ", "Observation(", 12, 12, "Observation takes 3 components, but 2 were given");
    let message = refused(&SOUND.replace("State(0.0, ", "State("));
    assert!(
        message.ends_with("as declared, State holds 2 (state_size), Observation 3 (observation_size), Action 1 (action_low, action_high)")
    );
}

#[test]
fn out_of_bounds() {
    refused_at("-state[0]", "-state[2]", 8, 45, "index 2 is out of bounds: the last of 2 is 1");
    refused_at("action[0]", "action[1]", 7, 31, "index 1 is out of bounds: the last of 1 is 0");
    refused_at("action[0]", "action[-1]", 7, 31, "a negative index is out of bounds");
    let write = "var seen: Observation; seen[3] = 1.0; return seen;";
    refused_at("return Observation(state[0], state[1], 1.0);", write, 12, 28, "index 3 is out of bounds: the last of 3 is 2");
    // a computed index is clamped by the shader
    environment(&SOUND.replace("-state[0]", "-state[u32(velocity)]")).check().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn missing_functions() {
    let without = |from: &str, to: &str| {
        let (from, to) = (SOUND.find(from).expect("a mark"), SOUND.find(to).unwrap_or(SOUND.len()));
        refused(&[&SOUND[..from], &SOUND[to..]].concat())
    };
    assert_eq!(
        without("// line 1", "// line 5"),
        "environment spring lacks fn environment_reset(random: ptr<function, Random>) -> State; \
         it defines environment_step, environment_observe"
    );
    assert_eq!(
        without("// line 5", "// line 10"),
        "environment spring lacks fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step; \
         it defines environment_reset, environment_observe"
    );
    assert_eq!(
        without("// line 10", "the end"),
        "environment spring lacks fn environment_observe(state: State) -> Observation; it defines environment_reset, environment_step"
    );
    assert!(refused("").ends_with("it defines no function"));
}

#[test]
fn wrong_signatures() {
    refused_at(
        "state: State, action: Action, ",
        "action: Action, state: State, ",
        6,
        1,
        "environment_step has the wrong signature: expected \
         `fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step`, found \
         `fn environment_step(action: Action, state: State, random: ptr<function, Random>) -> Step`",
    );
    refused_at("observe(state: State)", "observe(state: State, more: f32)", 11, 1, "environment_observe has the wrong signature");
    let scalar =
        SOUND.replace("random: ptr<function, Random>) -> State", "random: Random) -> State").replace("random_uniform(random)", "0.0");
    let expected = "environment spring, line 2, column 1: environment_reset has the wrong signature: expected \
         `fn environment_reset(random: ptr<function, Random>) -> State`, found `fn environment_reset(random: Random) -> State`";
    assert!(refused(&scalar).starts_with(expected));
}

#[test]
fn wrong_types() {
    refused_at("-state[0], false", "-state[0], 0.0", 8, 55, "automatic conversions cannot convert `{AbstractFloat}` to `bool`");
    refused_at("+ action[0]", "+ action", 7, 20, "the types on both sides of this Add do not fit together");
    refused_at("return Observation(state[0], state[1], 1.0);", "", 11, 1, "environment_observe must end with a `return` of its result");
    refused_at("return Observation(state[0], state[1], 1.0);", "return state;", 12, 5, "environment_observe returns another type");
    refused_at("-state[0], false", "1.0 / 0.0, false", 8, 44, "Divide operation overflowed");
}

#[test]
fn names_and_memory_of_the_crate() {
    let with = |line: &str| format!("{line}\n{SOUND}");
    let clash = |line: &str, column: usize, says: &str| {
        let message = refused(&with(line));
        assert!(message.starts_with(&format!("environment spring, line 1, column {column}: {says}")), "{message}");
        assert!(message.contains(&format!("\n    {line}\n    {}^", " ".repeat(column - 1))), "{message}");
    };
    clash("fn philox() {}", 4, "`philox` is a name of this crate's own WGSL (shared/philox.wgsl): choose another");
    clash("fn load_state() {}", 4, "`load_state` is a name of this crate's own WGSL (rollout.wgsl): choose another");
    clash("struct Step { a: f32 }", 8, "`Step` is a name of this crate's own WGSL (declarations of the environment): choose another");
    for (line, column, word) in [("enable f16;", 1, "enable"), ("/* a */ requires pointer_composite_access;", 9, "requires")] {
        clash(line, column, &format!("`{word}` would hold for the crate's own code as well: leave this directive out"));
    }
    // of files and of copies that not every plan has
    clash("fn load_band() {}", 4, "`load_band` is a name of this crate's own WGSL (bands.wgsl): choose another");
    for (line, column, name) in [
        ("fn execute_step_environments() {}", 4, "execute_step_environments"),
        ("fn begin_bands_load_band() {}", 4, "begin_bands_load_band"),
        ("fn begin_band_load_band() {}", 4, "begin_band_load_band"),
        ("fn finish_band_load_band() {}", 4, "finish_band_load_band"),
        ("const specialised = 1;", 7, "specialised"),
        ("alias OPERATION_17 = f32;", 7, "OPERATION_17"),
    ] {
        clash(line, column, &format!("`{name}` is a name of this crate's own WGSL (pipelines of one dispatch): choose another"));
    }
    environment(&with("const OPERATION_ = 1; const OPERATION_COST = 1;")).check().unwrap_or_else(|error| panic!("{error}"));
    for (line, column, name) in [
        ("fn all(a: vec4<bool>) -> bool { return true; }", 4, "all"),
        ("/* fn sum() */ fn max(a: f32, b: f32) -> f32 { return a; }", 19, "max"),
        ("const log = 1.0;", 7, "log"),
        ("override cos = 1.0;", 10, "cos"),
        ("var<private> dot: f32;", 14, "dot"),
        ("struct vec3f { x: f32 }", 8, "vec3f"),
        ("alias f32 = i32;", 7, "f32"),
        ("alias vec2f = vec2<i32>;", 7, "vec2f"),
    ] {
        clash(line, column, &format!("`{name}` is a name of WGSL itself: choose another"));
    }
    // within a function it hides nothing from others
    environment(&SOUND.replace("velocity", "max")).check().unwrap_or_else(|error| panic!("{error}"));
    clash("const gamma: f32 = 1; const gamma: f32 = 2;", 29, "redefinition of `gamma`");
    clash("var<workgroup> mine: f32;", 1, "mine is memory that an environment cannot have");
    clash("@group(0) @binding(9) var<storage> mine: f32;", 23, "mine is memory that an environment cannot have");
    clash("override mine: f32;", 1, "mine has no value, and nobody sets it: make it a `const`");
    assert!(refused(&with("@compute @workgroup_size(1) fn mine() {}")).contains("entry point mine"));
    refused_at("    let velocity", "    replay[0] = 1.0; let velocity", 7, 5, "replay is memory of this crate");
    refused_at("    let velocity", "    halt(0u, 1u, 1u); let velocity", 6, 1, "agent_states is reached by a call from here");
    refused_at("    let velocity", "    workgroupBarrier(); let velocity", 7, 5, "a barrier has no meaning here");
    refused_at("    let velocity", "    if false { discard; } let velocity", 7, 16, "`discard` has no meaning here");
    refused_at("= state[1]", "= dpdx(state[1])", 7, 20, "a derivative between pixels has no meaning here");
    let wide = "numbers of 64 bits are not in every WebGPU: use `f32`, `i32` or `u32`";
    clash("fn mine(a: f64) {}", 12, wide);
    clash("alias mine = vec2<i64>;", 19, wide);
    clash("/* f64 */ const mine = 1.0lf;", 26, wide);
    let sampled = "textures and samplers are memory that an environment cannot have: keep numbers in a `const` array";
    clash("fn mine(a: texture_2d<f32>) {}", 12, sampled);
    clash("struct Mine { a: sampler }", 18, sampled);
    clash("var<private> mine: sampler_comparison;", 20, sampled);
    let message = refused(&SOUND.replace("let velocity", "var big: array<f32, 4000000000>; let velocity"));
    assert!(message.starts_with("environment spring: a type takes more bytes than the 2147483647 that there can be"), "{message}");
}

#[test]
fn what_an_invocation_cannot_hold() {
    let local = |length: u32| format!("    var big: array<f32, {length}>; let velocity");
    let says = |bytes: u64| format!("with big, variables take {bytes} bytes here; a function's own and the private ones may take 65536");
    refused_at("    let velocity", &local(100_000_000), 7, 5, &says(400_000_000));
    refused_at("    let velocity", &local(16_385), 7, 5, &says(65_540));
    let most = SOUND.replacen("    let velocity", &local(16_384), 1);
    environment(&most).check().unwrap_or_else(|error| panic!("{error}"));
    // private ones count in each function
    let message = refused(&format!("{most}\nvar<private> more: f32;"));
    assert!(message.starts_with(&format!("environment spring, line 7, column 5: {}", says(65_540))), "{message}");
    let source = SOUND.replacen("// line 1", "var<private> big: array<vec4f, 100000>;", 1);
    assert!(refused(&source).starts_with(&format!("environment spring, line 1, column 1: {}", says(1_600_000))));
    let value = "array<f32, 20000>()[u32(state[1])]";
    refused_at("= state[1]", &format!("= {value}"), 7, 20, "this value takes 80000 bytes; a function's values may take 65536 each");
}

#[test]
fn sizes_and_bounds() {
    let new = |states, observations, low: &[f32], high: &[f32], limit| {
        let made = Environment::new("spring", SOUND, states, observations, low.to_vec(), high.to_vec(), limit);
        made.expect_err("it cannot be").to_string()
    };
    assert_eq!(new(0, 3, &[-1.0], &[1.0], 10), "environment spring: state_size is 0; it must lie in 1 to 4096");
    assert_eq!(new(2, 9999, &[-1.0], &[1.0], 10), "environment spring: observation_size is 9999; it must lie in 1 to 4096");
    assert_eq!(new(2, 3, &[-1.0], &[1.0], 0), "environment spring: time_limit is 0; it must lie in 1 to 16777216");
    assert!(new(2, 3, &[], &[], 10).contains("0 lowest and 0 highest actions"));
    assert!(new(2, 3, &[-1.0], &[1.0, 2.0], 10).contains("1 lowest and 2 highest actions"));
    assert!(new(2, 3, &[1.0], &[1.0], 10).contains("action 0 ranges from 1 to 1;"));
    assert!(new(2, 3, &[-1.0, 2.0], &[1.0, -2.0], 10).contains("action 1 ranges from 2 to -2;"));
    assert!(new(2, 3, &[f32::NAN], &[1.0], 10).contains("action 0 ranges from NaN to 1;"));
    assert!(new(2, 3, &[-1.0], &[f32::INFINITY], 10).contains("action 0 ranges from -1 to inf;"));
    assert_eq!(new(2, 3, &[-1.0; 257], &[1.0; 257], 10), "environment spring: it takes 257 actions; there must be 1 to 256");
    Environment::new("spring", SOUND, 2, 3, vec![-1.0; 256], vec![1.0; 256], 10).expect("the most there can be");
    assert!(new(2, 3, &[f32::MIN], &[f32::MAX], 10).contains("their difference must be finite"));
}

#[test]
fn scales_of_observations() {
    let scaled = |scales: &[f32]| {
        let mut environment = environment(SOUND);
        environment.observation_scale = scales.to_vec();
        environment.check().map_err(|error| error.to_string())
    };
    assert_eq!(scaled(&[]), Ok(()));
    assert_eq!(scaled(&[1.0, 2e-38, f32::MAX]), Ok(()));
    let message = "environment spring: observation_scale holds 2 numbers for 3 observations; it must hold one for each, or none";
    assert_eq!(scaled(&[1.0, 1.0]), Err(message.into()));
    for (scale, printed) in [(0.0, "0.0"), (-1.0, "-1.0"), (f32::NAN, "NaN"), (f32::INFINITY, "inf"), (1e-39, "1e-39")] {
        let message = format!("environment spring: observation_scale[1] is {printed}; it must be finite and above 1.1754944e-38");
        assert_eq!(scaled(&[1.0, scale, 1.0]), Err(message));
    }
}

/// Counts its steps, and from the 40th on returns NaN or infinity where the action stands at its bound.
const FRAGILE: &str = "
fn environment_reset(random: ptr<function, Random>) -> State {
    return State(random_uniform(random), 0.0);
}
fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    var reward = -abs(action[0] - state[0]);
    if state[1] >= 40.0 && abs(action[0]) == 1.0 {
        reward = SPOILED;
    }
    return Step(State(state[0], state[1] + 1.0), reward, false);
}
fn environment_observe(state: State) -> Observation {
    return Observation(state[0], 1.0, 0.5);
}
";

/// Agent 1 explores so wildly that its actions reach their bounds; agents 0 and 2 never do.
fn fragile(gpu: &Gpu, spoiled: &str) -> Trainer {
    let source = FRAGILE.replace("SPOILED", spoiled);
    let environment = Environment::new("fragile", source, 2, 3, vec![-1.0], vec![1.0], 1000).expect("the sizes are sound");
    let mut config = Config::default();
    config.agents = 3;
    config.environments = 4;
    config.batch_size = 16;
    config.learning_starts = 16;
    config.random_steps = 0;
    config.actor_hidden = vec![8];
    config.critic_hidden = vec![8];
    config.output_initialization = 3e-3;
    config.exploration = Exploration::None;
    let mut hyper_parameters = HyperParameters::of_population(&config);
    hyper_parameters[1].exploration = Exploration::Gaussian { sigma: 10.0 };
    Trainer::with_hyper_parameters(&gpu.device, &gpu.queue, &environment, &config, hyper_parameters)
        .unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(feature = "checkpoint")]
#[test]
fn an_environment_that_fails_stops_its_agent_only() {
    use ddpg_wgpu::checkpoint::{Contents, Snapshot};
    let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
    let numbers = |snapshot: &Snapshot| -> Vec<f32> {
        let tensor = |name| snapshot.tensor(name).expect("it is listed").1.to_vec();
        snapshot.tensor_names().flat_map(tensor).collect()
    };
    // NaN and infinity that no constant folding sees
    for spoiled in ["bitcast<f32>(0x7fc00000u + u32(state[1]))", "bitcast<f32>(0x7f800000u + 0u * u32(state[1]))"] {
        let mut trainer = fragile(&gpu, spoiled);
        // steps 1 to 40 are sound for every agent
        trainer.advance_blocking(40).expect("the device works");
        let before = trainer.snapshot_blocking(Contents::Parameters).expect("a snapshot");
        assert!(trainer.measure_blocking().expect("measurements").iter().all(|measured| measured.halted.is_none()));
        trainer.advance_blocking(30).expect("the device works");
        let after = trainer.snapshot_blocking(Contents::Parameters).expect("a snapshot");
        let measured = trainer.measure_blocking().expect("measurements");
        gpu.check().unwrap_or_else(|error| panic!("{error}"));

        let halted = measured[1].halted.expect("agent 1 stops");
        assert_eq!(halted.reason, HaltReason::Environment);
        assert_eq!(halted.update, measured[1].updates);
        assert!(halted.to_string().contains("the environment returned NaN or infinity"));
        assert_eq!(measured[1].replay_length, 160, "no spoiled transition reaches the ring");
        assert_eq!(numbers(&before[1]), numbers(&after[1]), "its parameters are as they were");
        assert!(numbers(&after[1]).iter().all(|number| number.is_finite()));
        for agent in [0, 2] {
            assert_eq!((measured[agent].halted, measured[agent].replay_length), (None, 280));
            assert!(measured[agent].updates > measured[1].updates);
            assert_ne!(numbers(&before[agent]), numbers(&after[agent]), "agent {agent} goes on");
            assert!(numbers(&after[agent]).iter().all(|number| number.is_finite()));
        }
    }
}

/// Episodes of ten steps. The one whose first draw is SPOILED begins with an observation that is no number, and goes on with such
/// as are.
#[cfg(feature = "checkpoint")]
const BAD_START: &str = "
fn environment_reset(random: ptr<function, Random>) -> State {
    let draw = random_uniform(random);
    let bits = bitcast<u32>(draw);
    return State(draw, select(0.0, bitcast<f32>(0x7fc00000u + (bits & 1u)), bits == SPOILED));
}
fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step {
    return Step(State(state[0], 0.0), -abs(action[0] - state[0]), false);
}
fn environment_observe(state: State) -> Observation {
    return Observation(state[0], state[1], 0.5);
}
";

#[cfg(feature = "checkpoint")]
#[test]
fn an_episode_that_begins_without_numbers_stops_its_agent_only() {
    use ddpg_wgpu::checkpoint::Contents;
    const LANES: u32 = 4;
    let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
    let mut config = Config::default();
    (config.agents, config.environments) = (3, LANES);
    (config.batch_size, config.learning_starts, config.random_steps) = (16, 16, 0);
    (config.actor_hidden, config.critic_hidden) = (vec![8], vec![8]);
    let seed = HyperParameters::of_population(&config)[1].seed;
    // the step at which the episode of agent 1 begins, in its third environment
    for began in [0, 10, 20] {
        // purpose 0: uniform with 24 bits
        let draw = ddpg_wgpu::philox([began, 2, 0, 0], [seed as u32, (seed >> 32) as u32])[0] >> 8;
        let spoiled = (draw as f32 / (1 << 24) as f32).to_bits();
        let source = BAD_START.replace("SPOILED", &format!("{spoiled}u"));
        let environment = Environment::new("bad-start", source, 2, 3, vec![-1.0], vec![1.0], 10).expect("the sizes are sound");
        let mut trainer = Trainer::new(&gpu.device, &gpu.queue, &environment, &config).unwrap_or_else(|error| panic!("{error}"));
        // up to the step that ends with that beginning, which is not taken
        trainer.advance_blocking(began.saturating_sub(1).into()).expect("the device works");
        let before = trainer.measure_blocking().expect("measurements");
        assert_eq!(before[1].halted.is_some(), began == 0, "at step {began}");
        trainer.advance_blocking(30 - u64::from(began.saturating_sub(1))).expect("the device works");
        let measured = trainer.measure_blocking().expect("measurements");
        let halted = measured[1].halted.expect("agent 1 stops");
        assert_eq!((halted.reason, halted.update), (HaltReason::Environment, before[1].updates), "at step {began}");
        assert_eq!(
            (measured[1].updates, measured[1].replay_length),
            (before[1].updates, LANES * began.saturating_sub(1)),
            "at step {began}"
        );
        for agent in [0, 2] {
            assert_eq!((measured[agent].halted, measured[agent].replay_length), (None, 30 * LANES), "agent {agent}");
            assert_eq!(measured[agent].updates, 27, "agent {agent}: from the fourth step on");
        }
        for snapshot in trainer.snapshot_blocking(Contents::TrainingAndReplay).expect("snapshots") {
            // its environments stand where they are; what was learned, and what there is to learn from, are numbers
            let at_fault = |name: &str| snapshot.agent == 1 && name.starts_with("environments.");
            for name in snapshot.tensor_names().filter(|name| !at_fault(name)) {
                let (_, numbers) = snapshot.tensor(name).expect("it is listed");
                assert!(numbers.iter().all(|number| number.is_finite()), "agent {}, {name}", snapshot.agent);
            }
        }
        gpu.check().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A population refuses what `check` refuses, with the same words.
#[test]
fn a_population_says_the_same() {
    let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
    let environment = environment(&SOUND.replace("State(0.0, ", "State("));
    let built = Trainer::new(&gpu.device, &gpu.queue, &environment, &Config::default()).map(|_| ());
    assert_eq!(built.unwrap_err().to_string(), environment.check().unwrap_err().to_string());
    // what is called to hold four floats and returns two
    let mut larger = Environment::new("spring", SOUND, 4, 3, vec![-1.0], vec![1.0], 10).expect("the sizes are sound");
    assert!(larger.check().unwrap_err().to_string().contains("State takes 4 components, but 2 were given"));
    // the fields are public: what is changed afterwards is checked as well
    larger.state_size = 2;
    larger.action_low = vec![f32::NAN];
    assert!(larger.check().unwrap_err().to_string().contains("action 0 ranges from NaN to 1"));
}
