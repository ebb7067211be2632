//! How work is dealt out to workgroups.

use super::{Kinds, Tile};
use crate::vectors::Medium;

/// How finely the tile `small` deals work out. The defaults are the fastest on the GPU they were measured on
/// (`benches/RESULTS.md`); what is best depends on how many invocations a GPU runs at a time and on what a dispatch costs it.
/// [`Tuned`](crate::Tuned) finds that out.
///
/// ```
/// use ddpg_wgpu::{Dealing, Options};
/// let mut dealing = Dealing::default();
/// dealing.invocations = 8192;
/// let mut options = Options::default();
/// options.dealing = Some(dealing);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Dealing {
    /// Invocations that keep the device busy, over all agents: the sums of a product are split, among 16 at most, until there
    /// are as many. 0: none is.
    pub invocations: u32,
    /// Workgroups' work, of an agent, that a level of an update may hold to be done by one workgroup in one dispatch with its
    /// neighbours of that kind. 0: a dispatch a level.
    pub chained: u32,
    /// Most agents whose minibatches are taken in bands of rows through all layers of a pass: more keep the device busy layer by
    /// layer. 0: no bands. Networks with batch norm have none.
    pub banded_agents: u32,
}

impl Default for Dealing {
    fn default() -> Self {
        Self { invocations: 32_768, chained: 4, banded_agents: 32 }
    }
}

/// How work is dealt out to workgroups: all that a program needs to know of the kernels while it is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub tile: Tile,
    pub workgroup_size: u32,
    /// Invocations that keep an agent's share of the device busy: tiles are split until there are as many.
    pub invocations: u32,
    /// Workgroups of a stage that one workgroup works off in less time than another dispatch takes to start.
    pub chained: u32,
    /// Whether the device has few enough agents for bands of rows.
    takes_bands: bool,
    /// Whether a software driver has so few agents that a dispatch costs more than a tanh that all operations beside it run.
    pub joins_tanh: bool,
    /// Workgroup memory for bands of rows, vec4s; 0: rows are not taken in bands.
    pub band_memory: u32,
}

/// A product's share of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deal {
    /// Workgroups.
    pub units: u32,
    /// Columns (vec4s) that a workgroup owns, where it owns whole columns; else tiles side by side in its block, 0: all.
    pub strip: u32,
    /// Invocations that share a tile, each along another part of the inner dimension.
    pub split: u32,
}

impl Grid {
    /// In vec4s: half of what WebGPU's default limits leave.
    const LEAST_BAND_MEMORY: u32 = 256;

    /// More, in vec4s, would leave a processor of a GPU too few workgroups at a time.
    const MOST_BAND_MEMORY: u32 = 2048;

    /// Of 64-64 one agent gains a seventh, 32 lose a twelfth (`benches/RESULTS.md`).
    const FEW_AGENTS: u32 = 2;

    /// As [`Grid::dealt`], as finely as is best where it was measured.
    pub fn of(tile: Tile, agents: u32) -> Self {
        Self::dealt(tile, agents, Dealing::default())
    }

    /// A tile in workgroups of the size that suits it where a dispatch is one level of a program, for `agents`.
    pub fn dealt(tile: Tile, agents: u32, dealing: Dealing) -> Self {
        Self {
            tile,
            workgroup_size: tile.workgroup_size(),
            invocations: dealing.invocations / agents.max(1),
            chained: dealing.chained,
            takes_bands: tile.mixes_kinds() && agents <= dealing.banded_agents,
            joins_tanh: agents <= Self::FEW_AGENTS,
            band_memory: 0,
        }
    }

    /// The same with bands, where `bytes` of workgroup memory hold them besides what sums meet in (`sh_reduce`), and where
    /// there are few agents: many keep a GPU busy layer by layer, and then more of it (`benches/RESULTS.md`).
    pub fn with_bands(self, bytes: u32) -> Self {
        const REDUCE: u32 = 16 * 512;
        let left = bytes.saturating_sub(REDUCE) / 16;
        let band_memory = if self.takes_bands && left >= Self::LEAST_BAND_MEMORY { left.min(Self::MOST_BAND_MEMORY) } else { 0 };
        Self { band_memory, ..self }
    }

    /// The same where one workgroup does all that an agent has to do. Where there are many of them, they hide each other's
    /// waiting, and splitting only costs.
    pub fn in_one_workgroup(self, workgroup_size: u32) -> Self {
        Self { workgroup_size, invocations: self.invocations.min(workgroup_size), ..self }
    }

    /// The overrides of a pipeline of `kinds`; a module declares those of its tile only.
    pub fn overrides(&self, kinds: Kinds) -> Vec<(&'static str, f64)> {
        let band_memory = self.tile.mixes_kinds().then_some(("BAND_MEMORY", self.band_memory.max(1)));
        let all = [("KINDS", kinds.bits()), ("WORKGROUP_SIZE", self.workgroup_size), ("TEAM", self.tile.team())];
        all.into_iter().chain(band_memory).map(|(name, value)| (name, f64::from(value))).collect()
    }

    /// What parameters, moments and activations are in.
    pub fn medium(&self) -> Medium {
        self.tile.medium()
    }

    /// An output of `rows` by `columns` (vec4s), each a sum of `inner` steps, dealt out tile by tile.
    pub fn deal(&self, rows: u32, columns: u32, inner: u32) -> Deal {
        let (tile_rows, tile_columns, team) = self.tile.shape();
        let invocations = rows.div_ceil(tile_rows) * columns.div_ceil(tile_columns * team) * team;
        let split = self.split(invocations, inner, self.workgroup_size);
        if !self.tile.mixes_kinds() {
            return Deal { units: (invocations * split).div_ceil(self.workgroup_size), strip: 0, split };
        }
        // a block about as high as wide loads the least rows and columns
        let (tiles, down, across) = (self.workgroup_size / split, rows.div_ceil(tile_rows), columns);
        let square = 1 << tiles.ilog2().div_ceil(2);
        let high = (tiles / square).min(down.next_power_of_two());
        let wide = (tiles / high).min(across.next_power_of_two());
        Deal { units: down.div_ceil(tiles / wide) * across.div_ceil(wide), strip: wide, split }
    }

    /// The same where a workgroup owns whole columns: as many as keep it busy.
    pub fn deal_columns(&self, rows: u32, columns: u32, inner: u32) -> Deal {
        let (tile_rows, tile_columns, team) = self.tile.shape();
        let row_tiles = rows.div_ceil(tile_rows);
        let invocations = row_tiles * columns.div_ceil(tile_columns * team) * team;
        let split = self.split(invocations, inner, self.workgroup_size / row_tiles);
        let teams = self.workgroup_size / team / split / row_tiles;
        let strip = (teams.max(1) * tile_columns * team).min(columns);
        Deal { units: columns.div_ceil(strip), strip, split }
    }

    /// Whether the rows of a minibatch are taken in bands. A single row leaves nothing to tell its matrices apart by.
    pub fn bands(&self, rows: u32) -> bool {
        self.band_memory > 0 && rows > 1
    }

    /// Bands of `rows` that teams can take through operations in place, a row of tiles each; 0: a workgroup is not a team.
    pub fn bands_in_place(&self, rows: u32) -> u32 {
        let (tile_rows, _, team) = self.tile.shape();
        if team > 1 && self.workgroup_size == team { rows.div_ceil(tile_rows) } else { 0 }
    }

    /// Rows a band, the best first: as many as leave the device enough bands, and fewer where they need too much memory.
    pub fn band_rows(&self, rows: u32) -> Vec<u32> {
        let (tile_rows, _, _) = self.tile.shape();
        let enough = |band: u32| rows.div_ceil(band) * self.workgroup_size >= self.invocations;
        [4, 2, 1].map(|tiles| tiles * tile_rows).into_iter().filter(|&band| band == tile_rows || enough(band)).collect()
    }

    /// A product of `rows` by `columns` (vec4s) by `inner` (vec4s) dealt out to the `invocations` of a workgroup that a level
    /// of a chain leaves it: each has four rows of a column, and `split` of them share one. Also the rounds that takes.
    /// Where the right matrix is `transposed`, neighbours share a column, so that they load neighbouring vec4s. A round has
    /// four columns at least, since a vec4 is finished in one.
    pub fn deal_band(&self, rows: u32, columns: u32, inner: u32, transposed: bool, invocations: u32) -> (u32, u32) {
        let slots = (rows * columns).max(1);
        let least = if transposed { 4 } else { 1 };
        let most = (invocations / slots).clamp(least, self.tile.most_parts()).min(inner).min(invocations / 4);
        let split = 1 << most.max(1).ilog2();
        (split, (slots * split).div_ceil(invocations))
    }

    /// The largest power of two that leaves nobody idle for want of tiles or of steps.
    fn split(&self, invocations: u32, inner: u32, most: u32) -> u32 {
        let most = most.min(inner).min(self.tile.most_parts()).min(self.invocations / invocations.max(1));
        1 << most.max(1).ilog2()
    }
}
