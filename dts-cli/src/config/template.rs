//! What `dts init` writes.

/// A task file with every key explained. Lines that begin with `#= ` hold a key with its default or an example.
pub(crate) const TEMPLATE: &str = include_str!("template.toml");
