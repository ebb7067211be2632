//! How a run was executed, beside its settings: another plan or tile sums in another order, so that a run which goes on must
//! have the same to go where it would have gone.

use crate::output::note;
use ddpg_wgpu::{Dealing, Gpu, Options, Plan, Population, Tile};
use serde::{Deserialize, Serialize};
use std::path::Path;

pub const FILE: &str = "execution.json";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    adapter: String,
    plan: Plan,
    tile: Tile,
    dealing: Dealing,
}

impl Recorded {
    /// How `population`, made with `options`, is executed.
    pub fn of(gpu: &Gpu, population: &Population, options: Options) -> Self {
        let (plan, tile, dealing) = (population.plan(), population.tile(), options.dealing.unwrap_or_default());
        Self { adapter: gpu.info.name.clone(), plan, tile, dealing }
    }

    /// What the run in `directory` says, where it does: those of earlier versions do not.
    pub fn read(directory: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(directory.join(FILE)).ok()?).ok()
    }

    pub fn json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }

    /// The options to go on with: as they were, unless others are `wanted`, and on the same adapter.
    pub fn go_on(&self, wanted: Options, gpu: &Gpu) -> Options {
        if wanted.plan.is_some() || wanted.tile.is_some() {
            return wanted;
        }
        let Self { adapter, plan, tile, dealing } = self;
        if *adapter != gpu.info.name || !tile.runs_on(&gpu.device) {
            note(format_args!(
                "note: the run was trained on {adapter} with the {plan} plan and the {} tile; what serves this adapter best is used \
                 instead, and rounds otherwise",
                tile.name()
            ));
            return wanted;
        }
        let mut options = wanted;
        (options.plan, options.tile) = (Some(*plan), Some(*tile));
        options.dealing = options.dealing.or(Some(*dealing));
        options
    }
}
