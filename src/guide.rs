//! Guides for those who build on this crate.

#[doc = include_str!("../docs/embedding.md")]
pub mod embedding {}
