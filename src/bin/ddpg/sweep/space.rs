//! What a sweep varies: grids and random ranges of the settings that agents of one population may differ in.

use crate::failure::Usage;
use crate::numbers::whole;
use crate::resolve::Run;
use crate::settings::{self, Settings};
use anyhow::{Context, Result};
use clap::Args;
use toml::{Table, Value};

/// What values a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Number,
    Whole,
    Switch,
    Name,
}

/// The settings of which every agent has its own.
const PARAMETERS: [(&str, Kind); 20] = [
    ("actor_learning_rate", Kind::Number),
    ("critic_learning_rate", Kind::Number),
    ("compatible_learning_rate", Kind::Number),
    ("actor_weight_decay", Kind::Number),
    ("critic_weight_decay", Kind::Number),
    ("adam_beta1", Kind::Number),
    ("adam_beta2", Kind::Number),
    ("adam_epsilon", Kind::Number),
    ("gamma", Kind::Number),
    ("tau", Kind::Number),
    ("hard_update_every", Kind::Whole),
    ("exploration", Kind::Name),
    ("noise_sigma", Kind::Number),
    ("noise_theta", Kind::Number),
    ("noise_dt", Kind::Number),
    ("noise_start", Kind::Number),
    ("noise_initial", Kind::Number),
    ("noise_final", Kind::Number),
    ("noise_span", Kind::Number),
    ("relative_noise", Kind::Switch),
];

/// The values of one parameter, in the order they were given.
#[derive(Debug, Clone, PartialEq)]
struct Grid {
    name: &'static str,
    values: Vec<Value>,
}

/// Where one parameter is drawn from.
#[derive(Debug, Clone, PartialEq)]
struct Range {
    name: &'static str,
    kind: Kind,
    low: f64,
    high: f64,
    /// Uniform in the logarithm.
    logarithmic: bool,
}

/// All that varies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Space {
    grids: Vec<Grid>,
    ranges: Vec<Range>,
    samples: u32,
}

/// One choice of every parameter that varies, by name.
pub type Point = Vec<(&'static str, Value)>;

fn refuse<T>(message: String) -> Result<T> {
    Err(Usage(message).into())
}

/// `NAME=REST`, the name one of the parameters (with `_` or `-`).
fn named(option: &str, text: &str) -> Result<(&'static str, Kind, String)> {
    let Some((name, rest)) = text.split_once('=') else {
        return refuse(format!("{option} {text}: write NAME=…, such as tau=1e-3"));
    };
    let wanted = name.trim().replace('-', "_");
    let known = setting_named(&wanted);
    let is_wanted = |name: &str| known.as_deref().unwrap_or(&wanted) == name;
    if let Some((name, kind)) = PARAMETERS.iter().find(|(name, _)| is_wanted(name)) {
        return Ok((name, *kind, rest.trim().to_owned()));
    }
    let names: Vec<_> = PARAMETERS.iter().map(|(name, _)| *name).collect();
    match known.as_deref() {
        Some("seed") => {
            refuse(format!("{option} {text}: every point has the same seeds, --seed and those after it; set --seeds to how many"))
        }
        Some(unused) if super::UNUSED.contains(&unused) => refuse(format!("{option} {text}: a sweep has no use for {unused}")),
        Some(shared) => refuse(format!(
            "{option} {text}: {shared} is shared by all agents of a population; run one sweep a value, with --{}",
            shared.replace('_', "-")
        )),
        None => refuse(format!("{option} {text}: there is no setting {wanted:?}; choose from {}", names.join(", "))),
    }
}

/// The setting that has this name or alias, with `_` for `-`.
fn setting_named(wanted: &str) -> Option<String> {
    let flag = wanted.replace('_', "-");
    let command = Settings::augment_args(clap::Command::new(""));
    let is_wanted = |argument: &&clap::Arg| {
        argument.get_id() == wanted || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&flag.as_str()))
    };
    command.get_arguments().find(is_wanted).map(|argument| argument.get_id().to_string())
}

fn number(option: &str, text: &str, what: &str) -> Result<f64> {
    match what.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => refuse(format!("{option} {text}: {what:?} is not a finite number")),
    }
}

fn grid(text: &str) -> Result<Grid> {
    let (name, kind, rest) = named("--grid", text)?;
    let mut values = Vec::new();
    for word in rest.split(',').map(str::trim) {
        let value = match (kind, word) {
            (_, "") => return refuse(format!("--grid {text}: a value is missing; write NAME=VALUE,VALUE")),
            (Kind::Number, _) => Value::Float(number("--grid", text, word)?),
            (Kind::Whole, _) => match whole::<u32>(word) {
                Ok(number) => Value::Integer(number.into()),
                Err(why) => return refuse(format!("--grid {text}: {word:?}: {why}")),
            },
            (Kind::Switch, "true" | "false") => Value::Boolean(word == "true"),
            (Kind::Switch, _) => return refuse(format!("--grid {text}: {word:?} is neither true nor false")),
            (Kind::Name, _) => Value::String(word.to_owned()),
        };
        if values.contains(&value) {
            return refuse(format!("--grid {text}: {word} is given twice"));
        }
        values.push(value);
    }
    Ok(Grid { name, values })
}

fn range(text: &str) -> Result<Range> {
    let (name, kind, rest) = named("--random", text)?;
    if matches!(kind, Kind::Switch | Kind::Name) {
        return refuse(format!("--random {text}: {name} is not a number; list its values with --grid"));
    }
    let (bounds, linear) = match rest.split_once(':') {
        None => (rest.as_str(), false),
        Some((bounds, "linear")) => (bounds, true),
        Some((_, other)) => return refuse(format!("--random {text}: {other:?} is unknown; only :linear can follow a range")),
    };
    let Some((low, high)) = bounds.split_once("..") else {
        return refuse(format!("--random {text}: write NAME=LOW..HIGH, such as tau=1e-3..1e-1"));
    };
    let (low, high) = (number("--random", text, low)?, number("--random", text, high)?);
    if low >= high {
        return refuse(format!("--random {text}: the range is empty, {low} is not below {high}"));
    }
    if kind == Kind::Whole && low < 0.0 {
        return refuse(format!("--random {text}: {name} is a whole number, never below 0"));
    }
    Ok(Range { name, kind, low, high, logarithmic: low > 0.0 && !linear })
}

impl Range {
    /// The value a share of 0 to 1 along the range.
    fn at(&self, share: f64) -> Value {
        let number = if self.logarithmic {
            (self.low.ln() + share * (self.high.ln() - self.low.ln())).exp()
        } else {
            self.low + share * (self.high - self.low)
        };
        let number = number.clamp(self.low, self.high);
        match self.kind {
            Kind::Whole => Value::Integer(number.round() as i64),
            // as many digits as the device knows
            _ => Value::Float((number as f32).into()),
        }
    }
}

impl Space {
    /// From the options as they were given.
    pub fn parse(grids: &[String], ranges: &[String], samples: Option<u32>) -> Result<Self> {
        let grids: Vec<Grid> = grids.iter().map(|text| grid(text)).collect::<Result<_>>()?;
        let ranges: Vec<Range> = ranges.iter().map(|text| range(text)).collect::<Result<_>>()?;
        if grids.is_empty() && ranges.is_empty() {
            return refuse("nothing varies: add --grid NAME=VALUE,… or --random NAME=LOW..HIGH".into());
        }
        let samples = match (samples, ranges.is_empty()) {
            (None, true) => 1,
            (Some(samples), false) => samples,
            (None, false) => return refuse("--random needs --samples, the number of points to draw".into()),
            (Some(_), true) => return refuse("--samples is the number of points that --random draws; there is no --random".into()),
        };
        let names: Vec<_> = grids.iter().map(|grid| grid.name).chain(ranges.iter().map(|range| range.name)).collect();
        if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return refuse(format!("{} is varied twice: name it once", twice.1));
        }
        Ok(Self { grids, ranges, samples })
    }

    /// How many points there are; more than can be counted are as many as can.
    pub fn len(&self) -> u64 {
        let grid = self.grids.iter().fold(1u64, |product, grid| product.saturating_mul(grid.values.len() as u64));
        grid.saturating_mul(self.samples.into())
    }

    /// The parameters that vary.
    pub fn names(&self) -> Vec<&'static str> {
        self.grids.iter().map(|grid| grid.name).chain(self.ranges.iter().map(|range| range.name)).collect()
    }

    /// Every point: the last grid varies fastest, and each of its combinations meets the same draws, which `seed` decides.
    pub fn points(&self, seed: u64) -> Vec<Point> {
        // a stream that no agent draws from
        const PURPOSE: u32 = 0x200;
        let key = [seed as u32, (seed >> 32) as u32];
        let drawn = |sample: u32| -> Point {
            let draw = |(index, range): (u32, &Range)| {
                let share = f64::from(ddpg_wgpu::philox([sample, index, PURPOSE, 0], key)[0]) / 2f64.powi(32);
                (range.name, range.at(share))
            };
            (0..).zip(&self.ranges).map(draw).collect()
        };
        let mut points: Vec<Point> = vec![vec![]];
        for grid in &self.grids {
            let with = |point: &Point, value: &Value| [point.as_slice(), &[(grid.name, value.clone())]].concat();
            points = points.iter().flat_map(|point| grid.values.iter().map(move |value| with(point, value))).collect();
        }
        points.iter().flat_map(|point| (0..self.samples).map(move |sample| [point.clone(), drawn(sample)].concat())).collect()
    }
}

/// The run that a point stands for.
///
/// # Errors
/// What is impossible about it, with the point.
pub fn run_at(point: &Point, file: &Settings, flags: &Settings) -> Result<Run> {
    let mut table = Table::try_from(flags).context("the settings cannot be written as TOML")?;
    table.extend(point.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let settings: Settings = table.try_into().map_err(|error: toml::de::Error| Usage(format!("{}: {}", told(point), error.message())))?;
    Ok(Run::resolve(file.clone(), settings).map_err(|error| Usage(format!("{}: {error}", told(point))))?)
}

/// "tau=0.01 gamma=0.99"
pub fn told(point: &Point) -> String {
    point.iter().map(|(name, value)| format!("{name}={}", short(value))).collect::<Vec<_>>().join(" ")
}

/// A value as an option would take it, small ones with their exponent.
pub fn short(value: &Value) -> String {
    match value {
        Value::Float(number) if number.abs() < 1e-3 && *number != 0.0 => format!("{:e}", *number as f32),
        other => settings::short(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddpg_wgpu::{Exploration, HyperParameters, TargetUpdate};

    fn parse(grids: &[&str], ranges: &[&str], samples: Option<u32>) -> Result<Space> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Space::parse(&owned(grids), &owned(ranges), samples)
    }

    fn space(grids: &[&str], ranges: &[&str], samples: Option<u32>) -> Space {
        parse(grids, ranges, samples).unwrap_or_else(|error| panic!("{error}"))
    }

    fn numbers(points: &[Point], name: &str) -> Vec<f64> {
        let number = |point: &Point| point.iter().find(|(n, _)| *n == name).and_then(|(_, value)| value.as_float());
        points.iter().map(|point| number(point).expect("a number")).collect()
    }

    #[test]
    fn grids_are_multiplied() {
        let space = space(&["tau=1e-3, 1e-2", "actor-lr=1,2,3", "hard_update_every=0,5"], &[], None);
        let points = space.points(1);
        assert_eq!((points.len(), space.len()), (12, 12));
        assert_eq!(space.names(), ["tau", "actor_learning_rate", "hard_update_every"]);
        assert_eq!(numbers(&points, "tau"), [[1e-3; 6], [1e-2; 6]].concat());
        assert_eq!(numbers(&points, "actor_learning_rate")[..6], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(told(&points[1]), "tau=0.001 actor_learning_rate=1 hard_update_every=5");
    }

    #[test]
    fn ranges_are_drawn_in_the_logarithm_where_they_can_be() {
        let space = space(&["gamma=0.9,0.99"], &["tau=1e-4..1", "noise_sigma=0.1..0.5:linear", "noise_start=-1..3"], Some(4000));
        let points = space.points(7);
        assert_eq!(points.len(), 8000);
        // the same draws for every point of the grid, others for another seed
        assert_eq!(numbers(&points[..4000], "tau"), numbers(&points[4000..], "tau"));
        assert_ne!(numbers(&points, "tau"), numbers(&space.points(8), "tau"));
        let quantiles = |name: &str| {
            let mut drawn = numbers(&points[..4000], name);
            drawn.sort_by(f64::total_cmp);
            [0, 1000, 2000, 3000, 3999].map(|at| drawn[at])
        };
        let near = |drawn: [f64; 5], expected: [f64; 5], slack: f64| {
            assert!(drawn.iter().zip(expected).all(|(drawn, expected)| (drawn - expected).abs() <= slack), "{drawn:?}, not {expected:?}");
        };
        // quartiles of a uniform draw of 4000 are off by 0.7 % of the range, standard deviation
        near(quantiles("tau").map(f64::log10), [-4.0, -3.0, -2.0, -1.0, 0.0], 4.0 * 0.03);
        near(quantiles("noise_sigma"), [0.1, 0.2, 0.3, 0.4, 0.5], 0.4 * 0.03);
        near(quantiles("noise_start"), [-1.0, 0.0, 1.0, 2.0, 3.0], 4.0 * 0.03);
        // and no parameter follows another
        let (tau, sigma) = (numbers(&points, "tau"), numbers(&points, "noise_sigma"));
        let both = tau.iter().zip(&sigma).filter(|(tau, sigma)| **tau < 1e-2 && **sigma < 0.3).count();
        assert!((1800..2200).contains(&both), "{both} of 8000 in a quarter");
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Words = &'static [&'static str];
        let refusals: [(Words, Words, Option<u32>, Words); 16] = [
            (&[], &[], None, &["--grid", "--random"]),
            (&["tua=1"], &[], None, &["\"tua\"", "actor_learning_rate", "relative_noise"]),
            (&["batch_size=32,64"], &[], None, &["batch_size is shared by all agents", "--batch-size"]),
            (&["tau"], &[], None, &["NAME="]),
            (&["tau="], &[], None, &["value is missing"]),
            (&["tau=1,,2"], &[], None, &["value is missing"]),
            (&["tau=fast"], &[], None, &["\"fast\"", "finite number"]),
            (&["tau=1,1.0"], &[], None, &["twice"]),
            (&["hard_update_every=1.5"], &[], None, &["whole number"]),
            (&["relative_noise=yes"], &[], None, &["neither true nor false"]),
            (&["tau=1"], &["tau=1e-3..1e-2"], Some(3), &["tau is varied twice"]),
            (&[], &["tau=1e-2..1e-3"], Some(3), &["empty", "0.01", "0.001"]),
            (&[], &["tau=0.1"], Some(3), &["LOW..HIGH"]),
            (&[], &["tau=0.1..0.2:log2"], Some(3), &["\"log2\"", ":linear"]),
            (&[], &["tau=0.1..0.2"], None, &["--samples"]),
            (&[], &["exploration=none..gaussian"], Some(3), &["exploration is not a number", "--grid"]),
        ];
        for (grids, ranges, samples, says) in refusals {
            let message = parse(grids, ranges, samples).expect_err(says[0]).to_string();
            for part in says {
                assert!(message.contains(part), "no {part:?} in: {message}");
            }
        }
    }

    #[test]
    fn a_point_is_a_run_with_its_values() {
        let mut flags = Settings { gamma: Some(0.5), ..Default::default() };
        flags.actor_hidden = Some(vec![8]);
        let point = |text: &[&str]| space(text, &[], None).points(1).remove(0);
        let run = run_at(&point(&["tau=0.25", "exploration=gaussian", "noise_sigma=0.7"]), &Settings::default(), &flags).expect("a run");
        let hyper = HyperParameters::of_agent(&run.config, 0);
        assert_eq!((hyper.tau, hyper.gamma, hyper.exploration), (0.25, 0.5, Exploration::Gaussian { sigma: 0.7 }));
        assert_eq!(run.config.actor_hidden, [8]);
        let hard = run_at(&point(&["hard_update_every=5"]), &Settings::default(), &flags).expect("a run");
        assert_eq!(hard.config.target_update, TargetUpdate::Hard(5));
        for (text, says) in [("gamma=1.5", "gamma"), ("exploration=loud", "exploration=loud"), ("noise_theta=1", "noise_theta")] {
            let message = run_at(&point(&[text]), &Settings::default(), &flags).expect_err(says).to_string();
            assert!(message.starts_with(text.split('=').next().unwrap_or_default()) && message.contains(says), "{message}");
        }
    }

    #[test]
    fn every_parameter_is_an_agents_own() {
        // what may differ from agent to agent does, and nothing else does
        let base = run_at(&vec![], &Settings::default(), &Settings::default()).expect("a run");
        let mut flags = Settings::default();
        for (name, kind) in PARAMETERS {
            flags.exploration = match name {
                "noise_theta" | "noise_dt" | "noise_start" => Some(crate::settings::NoiseKind::OrnsteinUhlenbeck),
                "noise_initial" => Some(crate::settings::NoiseKind::DecayingGaussian),
                _ => None,
            };
            flags.noise_schedule = name.starts_with("noise_final").then_some(crate::settings::ScheduleKind::Linear);
            if name == "noise_span" {
                flags.noise_schedule = Some(crate::settings::ScheduleKind::Linear);
            }
            let value = match kind {
                Kind::Number => Value::Float(0.375),
                Kind::Whole => Value::Integer(7),
                Kind::Switch => Value::Boolean(false),
                Kind::Name => Value::String("none".into()),
            };
            let run = run_at(&vec![(name, value)], &Settings::default(), &flags).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_ne!(HyperParameters::of_agent(&run.config, 0), HyperParameters::of_agent(&base.config, 0), "{name}");
        }
    }
}
