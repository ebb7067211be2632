//! What must hold of a snapshot, whoever wrote it.

use super::{BIAS_CORRECTION, Contents, OBSERVATIONS, REPLAY, SLOTS, Snapshot};
use crate::ddpg::Networks;
use crate::error::Result;
use crate::measure::halted;
use crate::memory::AgentState;
use bytemuck::Zeroable;

/// The reasons to stop that the shaders number, from 1.
const REASONS: u32 = 4;

impl Snapshot {
    /// All that can be told without its environment: what is refused here, no population has written.
    pub(super) fn verify(&self) -> Result<()> {
        self.config.validate().map_err(|error| self.error(error))?;
        self.hyper_parameters.validate().map_err(|error| self.error(error))?;
        self.check(&Networks::new(&self.config, &self.stand_in()?))?;
        self.verify_counters()?;
        if self.contents() >= Contents::Training {
            return self.verify_training();
        }
        // without it all of a training would be left out of what is restored
        match self.tensor_names().find(|name| ["moments.", "environments.", "replay."].iter().any(|part| name.starts_with(part))) {
            Some(name) => Err(self.error(format!("it is incomplete: tensor {name} is there, but {BIAS_CORRECTION} is missing"))),
            None => Ok(()),
        }
    }

    fn verify_counters(&self) -> Result<()> {
        let counters = self.counters;
        if self.updates != counters.updates {
            return Err(self.error(format!("its metadata says {} updates, but its counters {}", self.updates, counters.updates)));
        }
        let environments = self.config.environments;
        let steps = u64::from(counters.steps) * u64::from(environments);
        if self.environment_steps != steps {
            return Err(self.error(format!(
                "its metadata says {} environment steps, but {} of each of {environments} environments are {steps}",
                self.environment_steps, counters.steps
            )));
        }
        if counters.halted > REASONS {
            return Err(self.error(format!("its counters say that it stopped for reason {}; the last is {REASONS}", counters.halted)));
        }
        let counted = halted(&AgentState { halted: counters.halted, halted_at: counters.halted_at, ..AgentState::zeroed() });
        if self.halted != counted {
            let told = |halted: Option<crate::Halted>| halted.map_or("it learns".to_owned(), |halted| format!("it {halted}"));
            return Err(self.error(format!("its metadata says that {}, but its counters that {}", told(self.halted), told(counted))));
        }
        Ok(())
    }

    fn verify_training(&self) -> Result<()> {
        self.verify_numbers(BIAS_CORRECTION, "lie in 0 to 1", |_, number| (0.0..=1.0).contains(&number))?;
        for name in self.tensors.keys().filter(|name| name.starts_with("moments.second.")) {
            self.verify_numbers(name, "not be negative", |_, number| number >= 0.0)?;
        }
        let (rows, actions) = (self.config.environments as usize, self.action_low.len());
        self.check_shape(OBSERVATIONS, &[rows, self.observation_size as usize])?;
        // a state may hold any bits, and noise and returns may have grown beyond what is finite: the lengths cannot
        let floats = self.tensor(SLOTS).and_then(|(shape, _)| shape.get(1).copied()).unwrap_or_default().max(1 + actions + 4);
        self.check_shape(SLOTS, &[rows, floats])?;
        let is_length = |index: usize| [floats - 3, floats - 1].contains(&(index % floats));
        let holds = |index, number: f32| !is_length(index) || (number >= 0.0 && number.is_finite());
        self.verify_numbers(SLOTS, "be finite and not negative, being the length of an episode", holds)?;
        if self.contents() == Contents::TrainingAndReplay {
            // an agent that was set going again may have acted on what stopped it, and its action may be anything then
            let acted = self.observation_size as usize + actions;
            let floats = acted + 2 + self.observation_size as usize;
            self.check_shape(REPLAY, &[self.counters.replay_length as usize, floats])?;
            self.verify_numbers(REPLAY, "be finite", |index, number| index % floats < acted || number.is_finite())?;
        }
        Ok(())
    }

    /// `right`: what every number for which `holds` fails must do instead, which is given its index too.
    pub(super) fn verify_numbers(&self, name: &str, right: &str, holds: impl Fn(usize, f32) -> bool) -> Result<()> {
        let numbers = self.tensors.get(name).map(|values| values.numbers.as_slice()).unwrap_or_default();
        match numbers.iter().enumerate().find(|&(index, &number)| !holds(index, number)) {
            Some((index, number)) => Err(self.error(format!("tensor {name} holds {number} at index {index}; it must {right}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Counters, Values, moment_tensors, parameter_tensors};
    use super::*;
    use crate::{Config, Environment, HaltReason, Halted, HyperParameters};

    /// An agent that has learned nothing.
    pub fn whole() -> Snapshot {
        let environment = Environment::pendulum_v1();
        let mut config = Config::default();
        (config.actor_hidden, config.critic_hidden, config.environments) = (vec![3], vec![3], 2);
        let networks = Networks::new(&config, &environment);
        let zeros = |shape: Vec<usize>| Values { numbers: vec![0.0; shape.iter().product()], shape };
        let mut tensors: std::collections::BTreeMap<_, _> =
            parameter_tensors(&networks).iter().chain(&moment_tensors(&networks, 0)).map(|t| (t.name.clone(), zeros(t.shape()))).collect();
        for (name, shape) in [(BIAS_CORRECTION, vec![2]), (SLOTS, vec![2, 7]), (OBSERVATIONS, vec![2, 3]), (REPLAY, vec![4, 9])] {
            tensors.insert(name.to_owned(), zeros(shape));
        }
        Snapshot {
            agent: 0,
            environment: environment.name.clone().into_owned(),
            observation_size: environment.observation_size,
            action_low: environment.action_low.clone(),
            action_high: environment.action_high.clone(),
            hyper_parameters: HyperParameters::of_agent(&config, 0),
            config,
            environment_steps: 14,
            updates: 3,
            halted: None,
            counters: Counters { steps: 7, updates: 3, replay_length: 4, ..Counters::default() },
            tensors,
            path: None,
        }
    }

    fn set(snapshot: &mut Snapshot, name: &str, index: usize, number: f32) {
        snapshot.tensors.get_mut(name).expect("a tensor").numbers[index] = number;
    }

    type Change = fn(&mut Snapshot);

    #[test]
    fn what_no_population_has_written_is_refused() {
        let wrong: [(&str, Change); 16] = [
            ("gamma is 7", |s| s.hyper_parameters.gamma = 7.0),
            ("actor_learning_rate is inf", |s| s.hyper_parameters.actor_learning_rate = f32::INFINITY),
            ("moments.bias_correction holds 1.5 at index 1", |s| set(s, BIAS_CORRECTION, 1, 1.5)),
            ("moments.bias_correction holds NaN at index 0", |s| set(s, BIAS_CORRECTION, 0, f32::NAN)),
            ("moments.second.actor.layer1.bias holds -1 at index 2", |s| set(s, "moments.second.actor.layer1.bias", 2, -1.0)),
            ("environments.slots holds NaN at index 4", |s| set(s, SLOTS, 4, f32::NAN)),
            ("environments.slots holds inf at index 13", |s| set(s, SLOTS, 13, f32::INFINITY)),
            ("replay.transitions holds NaN at index 13", |s| set(s, REPLAY, 13, f32::NAN)),
            ("replay.transitions holds inf at index 35", |s| set(s, REPLAY, 35, f32::INFINITY)),
            ("says 4 updates, but its counters 3", |s| s.updates = 4),
            ("says 15 environment steps, but 7 of each of 2 environments are 14", |s| s.environment_steps = 15),
            ("reason 5; the last is 4", |s| s.counters.halted = 5),
            ("says that it learns, but its counters that it stopped at update 9", |s| {
                (s.counters.halted, s.counters.halted_at) = (1, 9);
            }),
            ("says that it stopped at update 4: the critic", |s| s.halted = Some(Halted { update: 4, reason: HaltReason::Loss })),
            ("incomplete: tensor environments.observations is there, but moments.bias_correction is missing", |s| {
                s.tensors.remove(BIAS_CORRECTION);
            }),
            ("replay.transitions has shape [4, 9], but [5, 9]", |s| s.counters.replay_length = 5),
        ];
        for (says, change) in wrong {
            let mut snapshot = whole();
            change(&mut snapshot);
            let refused = snapshot.verify().expect_err(says).to_string();
            assert!(refused.contains(says), "{refused}, not {says}");
        }
    }

    #[test]
    fn what_a_population_may_have_written_is_taken() {
        let right: [Change; 5] = [
            |_| {},
            // a state's bits, noise that has grown, a return beyond all numbers
            |s| [0, 1, 2, 3, 5].into_iter().for_each(|index| set(s, SLOTS, index, f32::NAN)),
            |s| set(s, OBSERVATIONS, 0, f32::NAN),
            |s| set(s, REPLAY, 3, f32::INFINITY),
            |s| {
                (s.counters.halted, s.counters.halted_at) = (4, 3);
                s.halted = Some(Halted { update: 3, reason: HaltReason::Environment });
            },
        ];
        for (number, change) in right.into_iter().enumerate() {
            let mut snapshot = whole();
            change(&mut snapshot);
            snapshot.verify().unwrap_or_else(|error| panic!("{number}: {error}"));
        }
    }

    #[test]
    fn what_could_not_be_read_is_not_written() {
        let good = whole();
        assert!(Snapshot::from_bytes(&good.to_bytes().expect("bytes")).expect("a snapshot") == good);
        let directory = tempfile::tempdir().expect("a directory");
        let wrong: [(&str, Change); 3] = [
            ("gamma is NaN", |s| s.hyper_parameters.gamma = f32::NAN),
            ("tau is inf", |s| s.config.tau = f32::INFINITY),
            ("action 0 ranges from -2 to NaN", |s| s.action_high[0] = f32::NAN),
        ];
        for (says, change) in wrong {
            let mut snapshot = whole();
            change(&mut snapshot);
            let path = directory.path().join("agent.safetensors");
            let refusals = [snapshot.to_bytes().map(drop), snapshot.save(&path), Snapshot::save_all(&[snapshot], directory.path())];
            for refused in refusals.map(|result| result.expect_err(says).to_string()) {
                assert!(refused.contains(says), "{refused}, not {says}");
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0, "something was written");
    }

    #[test]
    fn policies_are_not_made_of_settings_that_cannot_work() {
        let wrong: [(&str, Change); 2] =
            [("actor_hidden is empty", |s| s.config.actor_hidden.clear()), ("action_layer is 9", |s| s.config.action_layer = 9)];
        for (says, change) in wrong {
            let mut snapshot = whole();
            change(&mut snapshot);
            let refused = snapshot.online_parameters().expect_err(says).to_string();
            assert!(refused.contains(says), "{refused}, not {says}");
        }
    }
}
