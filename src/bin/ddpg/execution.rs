//! On what and how iterations are executed, where the choice is not left to the library.

use crate::numbers::whole;
use clap::Args;
use ddpg_wgpu::{Dealing, Error, Gpu, Options, Plan, Tile};

/// Flags that `train`, `sweep` and `bench` share.
#[derive(Debug, Clone, Args)]
pub struct Execution {
    /// Adapter to run on: its index in `ddpg devices`, or part of its name [default: the most powerful]
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
    /// How iterations are executed: a dispatch a layer, the same in pipelines of their own, or a workgroup an agent [default:
    /// what serves the adapter and the networks best]
    #[arg(long, value_name = "PLAN", value_parser = named(&Plan::ALL.map(Plan::name)))]
    plan: Option<String>,
    /// How the matrix products are tiled [default: what serves the adapter and the plan best]
    #[arg(long, value_name = "TILE", value_parser = named(&Tile::ALL.map(Tile::name)))]
    tile: Option<String>,
    /// Tile small: invocations that keep the adapter busy, for which sums are split; 0: none is [default: 32768]
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    invocations: Option<u32>,
    /// Tile small: workgroups' work of a level that one workgroup does, together with its neighbours; 0: none [default: 4]
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    chained: Option<u32>,
    /// Tile small: most agents whose minibatches are taken in bands of rows through all layers; 0: none [default: 32]
    #[arg(long, value_name = "N", value_parser = whole::<u32>)]
    banded_agents: Option<u32>,
}

impl Execution {
    /// The adapter that was asked for, opened.
    ///
    /// # Errors
    /// [`Error`] where there is none.
    pub fn open(&self) -> Result<Gpu, Error> {
        Gpu::open_blocking(self.adapter.as_deref())
    }

    /// The flags that say the same to another process of this program.
    pub fn flags(&self) -> Vec<String> {
        let named =
            [("--adapter", &self.adapter), ("--plan", &self.plan), ("--tile", &self.tile)].map(|(flag, value)| (flag, value.clone()));
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let dealing = [
            ("--invocations", number(self.invocations)),
            ("--chained", number(self.chained)),
            ("--banded-agents", number(self.banded_agents)),
        ];
        named.into_iter().chain(dealing).filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten().collect()
    }

    /// What was asked for.
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        options.plan = Plan::ALL.into_iter().find(|plan| Some(plan.name()) == self.plan.as_deref());
        options.tile = Tile::ALL.into_iter().find(|tile| Some(tile.name()) == self.tile.as_deref());
        if self.invocations.or(self.chained).or(self.banded_agents).is_some() {
            let mut dealing = Dealing::default();
            dealing.invocations = self.invocations.unwrap_or(dealing.invocations);
            dealing.chained = self.chained.unwrap_or(dealing.chained);
            dealing.banded_agents = self.banded_agents.unwrap_or(dealing.banded_agents);
            options.dealing = Some(dealing);
        }
        options
    }
}

/// Accepts one of a few names and lists them in the help.
fn named(names: &[&'static str]) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(names.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        execution: Execution,
    }

    #[test]
    fn help_names_the_defaults_and_another_process_is_told_the_same() {
        let dealing = Dealing::default();
        let help = Command::command().render_help().to_string();
        for default in [dealing.invocations, dealing.chained, dealing.banded_agents] {
            assert!(help.contains(&format!("[default: {default}]")), "{default}: {help}");
        }
        assert_eq!(Command::parse_from(["ddpg"]).execution.options().dealing, None);
        let given = ["ddpg", "--plan", "layered", "--tile", "small", "--invocations", "0", "--banded-agents", "7"];
        let execution = Command::parse_from(given).execution;
        assert_eq!(execution.flags(), given[1..]);
        let mut expected = dealing;
        (expected.invocations, expected.banded_agents) = (0, 7);
        assert_eq!(execution.options().dealing, Some(expected));
    }
}
