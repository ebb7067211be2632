//! The register tiles: which there are, what each needs of a device, and which serves a device best.

use crate::error::{Error, Result};
use crate::vectors::Medium;

/// What the driver of Mesa's lavapipe calls itself.
const MESA_SOFTWARE_DRIVER: &str = "llvmpipe";

/// How the matrix products are tiled.
///
/// ```
/// use ddpg_wgpu::Tile;
/// assert_eq!(Tile::ALL.map(Tile::name), ["portable", "subgroup", "texture", "small"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Tile {
    /// 8 rows by 2 vec4 columns an invocation, on any device: `shaders/shared/tile_portable.wgsl`.
    Portable,
    /// 8 rows by 8 vec4 columns a team of eight invocations that broadcast to each other what they load, from textures
    /// instead of buffers, where subgroups are eight wide: `shaders/shared/tile_subgroup.wgsl`. For software drivers.
    Subgroup,
    /// The portable tile from textures, in teams of four that take bands of rows through layers in place, where subgroups are
    /// not eight wide: `shaders/shared/tile_portable.wgsl`. For software drivers on ARM, and on other processors without AVX.
    Texture,
    /// 4 rows by 1 vec4 column an invocation, or several that split the inner dimension, on any device:
    /// `shaders/shared/tile_small.wgsl`. For GPUs.
    Small,
}

impl Tile {
    /// Every tile.
    pub const ALL: [Tile; 4] = [Tile::Portable, Tile::Subgroup, Tile::Texture, Tile::Small];

    /// Its name, as `ddpg train --tile` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Tile::Portable => "portable",
            Tile::Subgroup => "subgroup",
            Tile::Texture => "texture",
            Tile::Small => "small",
        }
    }

    /// The features that tiles use where a device has them.
    pub(crate) const ANY_FEATURES: wgpu::Features = Tile::Subgroup.features().union(Tile::Texture.features());

    /// The features that this tile needs.
    pub(crate) const fn features(self) -> wgpu::Features {
        const TEXTURES: wgpu::Features = wgpu::Features::TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES;
        match self {
            Tile::Portable | Tile::Small => wgpu::Features::empty(),
            Tile::Subgroup => wgpu::Features::SUBGROUP.union(TEXTURES),
            Tile::Texture => TEXTURES,
        }
    }

    /// The tile that serves `device` best: GPUs need many invocations to hide that each of them waits; software drivers have
    /// few and wait for nobody. Mesa's loads texels fast, and broadcasts fast where subgroups are eight wide.
    pub fn best(device: &wgpu::Device) -> Self {
        let info = device.adapter_info();
        match info.device_type {
            wgpu::DeviceType::Cpu if info.driver == MESA_SOFTWARE_DRIVER => {
                [Self::Subgroup, Self::Texture].into_iter().find(|tile| tile.runs_on(device)).unwrap_or(Self::Portable)
            }
            wgpu::DeviceType::Cpu => Self::Portable,
            _ => Self::Small,
        }
    }

    /// Whether `device` offers what this tile needs.
    pub fn runs_on(self, device: &wgpu::Device) -> bool {
        self.check(device).is_ok()
    }

    /// Refuses a device that does not offer what this tile needs.
    ///
    /// # Errors
    /// [`Error::Limit`] saying which of its needs.
    pub(crate) fn check(self, device: &wgpu::Device) -> Result<()> {
        const TEXTURES: u32 = 4;
        let (info, features) = (device.adapter_info(), device.features());
        let textures = device.limits().max_storage_textures_per_shader_stage;
        let subgroups = (info.subgroup_min_size, info.subgroup_max_size);
        let (needed, offered) = if !features.contains(self.features()) {
            (format!("the features {:?}", self.features()), format!("{:?}", features & self.features()))
        } else if self.medium() == Medium::Texture && textures < TEXTURES {
            (format!("{TEXTURES} storage textures a stage"), textures.to_string())
        } else if self == Tile::Subgroup && subgroups != (self.team(), self.team()) {
            (format!("subgroups of {} invocations", self.team()), format!("{} to {}", subgroups.0, subgroups.1))
        } else {
            return Ok(());
        };
        Err(Error::Limit { what: format!("the tile {self:?}"), needed, offered, remedy: "use Tile::Portable".into() })
    }

    /// Rows and vec4 columns of an invocation, as in the tile's WGSL, and team.
    pub(super) fn shape(self) -> (u32, u32, u32) {
        match self {
            Tile::Portable => (8, 2, 1),
            Tile::Subgroup => (8, 1, 8),
            Tile::Texture => (8, 2, 4),
            Tile::Small => (4, 1, 1),
        }
    }

    /// Invocations that stay together: `TEAM` of the tile's WGSL.
    pub(crate) fn team(self) -> u32 {
        self.shape().2
    }

    /// What parameters, moments and activations are in.
    pub(crate) fn medium(self) -> Medium {
        match self {
            Tile::Portable | Tile::Small => Medium::Buffer,
            Tile::Subgroup | Tile::Texture => Medium::Texture,
        }
    }

    /// Whether a dispatch takes every kind of operation of a level, rather than one of them: a GPU spends microseconds on
    /// starting a dispatch and little on a branch, a software driver seconds on compiling what is large.
    pub(crate) fn mixes_kinds(self) -> bool {
        self == Tile::Small
    }

    /// Invocations that may share a tile's inner dimension.
    pub(super) fn most_parts(self) -> u32 {
        match self {
            Tile::Portable | Tile::Subgroup | Tile::Texture => 1,
            Tile::Small => 16,
        }
    }

    /// Invocations a workgroup.
    pub(crate) fn workgroup_size(self) -> u32 {
        match self {
            Tile::Portable => 32,
            Tile::Subgroup | Tile::Texture => self.team(),
            Tile::Small => 256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::harness::{all_limits, default_limits};

    #[test]
    fn a_device_without_optional_features_is_told_what_a_tile_needs() {
        let device = &default_limits().device;
        for tile in Tile::ALL {
            match tile.check(device) {
                Ok(()) => assert_eq!(tile.medium(), Medium::Buffer, "{tile:?}"),
                Err(Error::Limit { what, needed, offered, remedy }) => {
                    assert_eq!(tile.medium(), Medium::Texture, "{tile:?}");
                    assert!(what.contains(&format!("{tile:?}")) && remedy.contains("Tile::Portable"), "{what}: {remedy}");
                    assert!(
                        needed.contains("TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES") && !offered.contains("TEXTURE"),
                        "{needed}: {offered}"
                    );
                    assert_eq!(needed.contains("SUBGROUP"), tile == Tile::Subgroup, "{needed}");
                }
                Err(error) => panic!("{tile:?}: {error}"),
            }
        }
        assert!(matches!(Tile::best(device), Tile::Portable | Tile::Small));
    }

    #[test]
    fn the_best_tile_runs_there_and_fits_the_driver() {
        let device = &all_limits().device;
        let (info, best) = (device.adapter_info(), Tile::best(device));
        assert!(best.runs_on(device), "{best:?}");
        let expected = match (info.device_type, info.driver.as_str(), info.subgroup_min_size) {
            (wgpu::DeviceType::Cpu, MESA_SOFTWARE_DRIVER, 8) => Tile::Subgroup,
            (wgpu::DeviceType::Cpu, MESA_SOFTWARE_DRIVER, _) => Tile::Texture,
            (wgpu::DeviceType::Cpu, ..) => Tile::Portable,
            _ => Tile::Small,
        };
        assert_eq!(best, expected, "{info:?}");
    }
}
