//! Joins the WGSL files into one module and checks it, so that a mistake is reported where its author wrote it.

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::kernels::Tile;

/// The crate's own WGSL, in no particular order: declarations may come in any.
const FILES: [(&str, &str); 14] = [
    ("shared/bindings.wgsl", include_str!("../shaders/shared/bindings.wgsl")),
    ("shared/math.wgsl", include_str!("../shaders/shared/math.wgsl")),
    ("shared/philox.wgsl", include_str!("../shaders/shared/philox.wgsl")),
    ("shared/tile.wgsl", include_str!("../shaders/shared/tile.wgsl")),
    ("adam.wgsl", include_str!("../shaders/adam.wgsl")),
    ("batch_norm.wgsl", include_str!("../shaders/batch_norm.wgsl")),
    ("dense_backward_input.wgsl", include_str!("../shaders/dense_backward_input.wgsl")),
    ("dense_backward_parameters.wgsl", include_str!("../shaders/dense_backward_parameters.wgsl")),
    ("dense_forward.wgsl", include_str!("../shaders/dense_forward.wgsl")),
    ("exploration.wgsl", include_str!("../shaders/exploration.wgsl")),
    ("loss.wgsl", include_str!("../shaders/loss.wgsl")),
    ("replay.wgsl", include_str!("../shaders/replay.wgsl")),
    ("rollout.wgsl", include_str!("../shaders/rollout.wgsl")),
    ("soft_update.wgsl", include_str!("../shaders/soft_update.wgsl")),
];

const PROGRAM: (&str, &str) = ("program.wgsl", include_str!("../shaders/program.wgsl"));

fn tile_file(tile: Tile) -> (&'static str, &'static str) {
    match tile {
        Tile::Portable => ("shared/tile_portable.wgsl", include_str!("../shaders/shared/tile_portable.wgsl")),
        Tile::Subgroup => ("shared/tile_subgroup.wgsl", include_str!("../shaders/shared/tile_subgroup.wgsl")),
    }
}

/// One module, and where each of its lines came from.
pub(crate) struct Assembled {
    pub source: String,
    parts: Vec<(String, usize)>,
}

/// The module that trains and evaluates agents in `environment`, parsed and validated.
///
/// # Errors
/// [`Error::Shader`] naming file and line, in the environment's own source where the mistake is there.
pub(crate) fn assemble(environment: &Environment, tile: Tile) -> Result<Assembled> {
    let name = format!("environment {}", environment.name);
    let declarations = environment.declarations();
    let mut assembled = Assembled { source: String::new(), parts: Vec::new() };
    // the user's part first: a name that both define is then reported where it is defined again, with both places
    assembled.push(&name, &environment.source);
    assembled.push("declarations of the environment", &declarations);
    for (file, text) in FILES.into_iter().chain([tile_file(tile), PROGRAM]) {
        assembled.push(file, text);
    }
    assembled.check(tile)?;
    Ok(assembled)
}

/// The module that moves rows between an agent's memory and other buffers, parsed and validated.
///
/// # Errors
/// [`Error::Shader`] naming file and line.
pub(crate) fn assemble_transfer() -> Result<String> {
    const NEEDED: [&str; 6] =
        ["shared/bindings.wgsl", "shared/math.wgsl", "shared/philox.wgsl", "exploration.wgsl", "replay.wgsl", "transfer.wgsl"];
    let transfer = ("transfer.wgsl", include_str!("../shaders/transfer.wgsl"));
    let mut assembled = Assembled { source: String::new(), parts: Vec::new() };
    for (file, text) in FILES.into_iter().chain([transfer]).filter(|(file, _)| NEEDED.contains(file)) {
        assembled.push(file, text);
    }
    assembled.check(Tile::Portable)?;
    Ok(assembled.source)
}

/// Source of `hyperbolic_tangent`, for shaders that leave this crate.
pub(crate) fn hyperbolic_tangent() -> &'static str {
    let math = include_str!("../shaders/shared/math.wgsl");
    let from = math.find("fn hyperbolic_tangent").map_or("", |start| &math[start..]);
    from.find("\n}\n").map_or(from, |end| &from[..end + 3])
}

/// Parses and validates WGSL that leaves this crate.
///
/// # Errors
/// [`Error::Shader`] naming the line.
pub(crate) fn check_exported(name: &str, source: &str) -> Result<()> {
    let mut assembled = Assembled { source: String::new(), parts: Vec::new() };
    assembled.push(name, source);
    assembled.check(Tile::Portable)
}

fn capabilities(tile: Tile) -> naga::valid::Capabilities {
    match tile {
        Tile::Portable => naga::valid::Capabilities::empty(),
        Tile::Subgroup => naga::valid::Capabilities::SUBGROUP,
    }
}

impl Assembled {
    fn push(&mut self, name: &str, text: &str) {
        self.parts.push((name.into(), self.source.lines().count()));
        self.source.push_str(text);
        if !text.ends_with('\n') {
            self.source.push('\n');
        }
    }

    /// The part and the line within it of line `line` (from 1) of the module.
    fn origin(&self, line: usize) -> (&str, usize) {
        let part = self.parts.iter().rev().find(|(_, first)| *first < line);
        part.map_or(("module", line), |(name, first)| (name, line - first))
    }

    fn check(&self, tile: Tile) -> Result<()> {
        let module = naga::front::wgsl::parse_str(&self.source).map_err(|error| {
            let places = error.labels().map(|(span, label)| self.place(span, label)).collect();
            self.error(error.message(), places)
        })?;
        let flags = naga::valid::ValidationFlags::all();
        let mut validator = naga::valid::Validator::new(flags, capabilities(tile));
        match validator.validate(&module) {
            Ok(_) => Ok(()),
            Err(error) => {
                let places = error.spans().map(|(span, label)| self.place(*span, label)).collect();
                let mut message = error.as_inner().to_string();
                let mut cause = std::error::Error::source(error.as_inner());
                while let Some(inner) = cause {
                    message = format!("{message}: {inner}");
                    cause = inner.source();
                }
                Err(self.error(&message, places))
            }
        }
    }

    fn place(&self, span: naga::Span, label: &str) -> String {
        if !span.is_defined() {
            return label.to_owned();
        }
        let location = span.location(&self.source);
        let (part, line) = self.origin(location.line_number as usize);
        let text = self.source.lines().nth(location.line_number as usize - 1).unwrap_or_default();
        format!("{part}, line {line}, column {}: {label}\n    {}", location.line_position, text.trim_end())
    }

    fn error(&self, message: &str, places: Vec<String>) -> Error {
        Error::Shader(std::iter::once(message.to_owned()).chain(places).collect::<Vec<_>>().join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_assembles() {
        for name in Environment::names() {
            let environment = Environment::by_name(&name).expect("it is listed");
            for tile in [Tile::Portable, Tile::Subgroup] {
                if let Err(error) = assemble(&environment, tile) {
                    panic!("{error}");
                }
            }
        }
    }
}
