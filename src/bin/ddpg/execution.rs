//! On what and how iterations are executed, where the choice is not left to the library.

use clap::Args;
use ddpg_wgpu::{Error, Gpu, Options, Plan, Tile};

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
    pub fn flags(&self) -> Vec<&str> {
        let given = [("--adapter", &self.adapter), ("--plan", &self.plan), ("--tile", &self.tile)];
        given.into_iter().filter_map(|(flag, value)| Some([flag, value.as_deref()?])).flatten().collect()
    }

    /// What was asked for.
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        options.plan = Plan::ALL.into_iter().find(|plan| Some(plan.name()) == self.plan.as_deref());
        options.tile = Tile::ALL.into_iter().find(|tile| Some(tile.name()) == self.tile.as_deref());
        options
    }
}

/// Accepts one of a few names and lists them in the help.
fn named(names: &[&'static str]) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(names.to_vec())
}
