//! Joins the WGSL files into one module and checks it, so that a mistake is reported where its author wrote it.

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::kernels::{Kernel, Kinds, Tile};
use crate::specialised;
use crate::vectors::Medium;

/// The crate's own WGSL, in no particular order: declarations may come in any.
const FILES: [(&str, &str); 15] = [
    ("shared/bindings.wgsl", include_str!("../shaders/shared/bindings.wgsl")),
    ("shared/math.wgsl", include_str!("../shaders/shared/math.wgsl")),
    ("shared/philox.wgsl", include_str!("../shaders/shared/philox.wgsl")),
    ("shared/tile.wgsl", include_str!("../shaders/shared/tile.wgsl")),
    ("adam.wgsl", include_str!("../shaders/adam.wgsl")),
    ("batch_norm.wgsl", include_str!("../shaders/batch_norm.wgsl")),
    ("compatible.wgsl", include_str!("../shaders/compatible.wgsl")),
    ("dense_backward_input.wgsl", include_str!("../shaders/dense_backward_input.wgsl")),
    ("dense_backward_parameters.wgsl", include_str!("../shaders/dense_backward_parameters.wgsl")),
    ("dense_forward.wgsl", include_str!("../shaders/dense_forward.wgsl")),
    ("exploration.wgsl", include_str!("../shaders/exploration.wgsl")),
    ("loss.wgsl", include_str!("../shaders/loss.wgsl")),
    ("replay.wgsl", include_str!("../shaders/replay.wgsl")),
    ("rollout.wgsl", include_str!("../shaders/rollout.wgsl")),
    ("soft_update.wgsl", include_str!("../shaders/soft_update.wgsl")),
];

const PROGRAM: [(&str, &str); 2] =
    [("program.wgsl", include_str!("../shaders/program.wgsl")), ("fused.wgsl", include_str!("../shaders/fused.wgsl"))];

/// What parameters, moments and activations are in.
fn memory_file(medium: Medium) -> (&'static str, &'static str) {
    match medium {
        Medium::Buffer => ("shared/memory_buffer.wgsl", include_str!("../shaders/shared/memory_buffer.wgsl")),
        Medium::Texture => ("shared/memory_texture.wgsl", include_str!("../shaders/shared/memory_texture.wgsl")),
    }
}

/// The register tile, and what only it is used with.
fn tile_files(tile: Tile) -> &'static [(&'static str, &'static str)] {
    match tile {
        Tile::Portable | Tile::Texture => &[("shared/tile_portable.wgsl", include_str!("../shaders/shared/tile_portable.wgsl"))],
        Tile::Subgroup => &[("shared/tile_subgroup.wgsl", include_str!("../shaders/shared/tile_subgroup.wgsl"))],
        Tile::Small => &[
            ("shared/tile_small.wgsl", include_str!("../shaders/shared/tile_small.wgsl")),
            ("bands.wgsl", include_str!("../shaders/bands.wgsl")),
        ],
    }
}

/// What steps environments alone.
const SIMULATE: (&str, &str) = ("simulate.wgsl", include_str!("../shaders/simulate.wgsl"));

/// All that may be joined with an environment, by one plan or another.
pub(crate) fn every_file() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_tiles = Tile::ALL.into_iter().flat_map(|tile| [memory_file(tile.medium())].into_iter().chain(tile_files(tile).iter().copied()));
    FILES.into_iter().chain(PROGRAM).chain([SIMULATE]).chain(of_tiles)
}

/// Whether `name` is one of those that [`specialised`] writes into modules.
pub(crate) fn is_generated(name: &str) -> bool {
    let is_copy = |signature: &str| Kernel::ALL.iter().any(|&kernel| name_of_copy(name_in(signature), kernel) == name);
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    name == specialised::ENTRY_POINT || name.strip_prefix("OPERATION_").is_some_and(is_number) || SIGNATURES.into_iter().any(is_copy)
}

/// What is said of a name that the crate has in `part`.
pub(crate) fn name_taken(name: &str, part: &str) -> String {
    format!("`{name}` is a name of this crate's own WGSL ({part}): choose another")
}

/// One module, and where each of its lines came from.
pub(crate) struct Assembled {
    pub source: String,
    parts: Vec<(String, usize)>,
    /// Bytes of the environment's part, which comes first.
    environment: usize,
}

/// The module that trains and evaluates agents in `environment`, parsed and validated.
///
/// # Errors
/// [`Error::Shader`] naming file and line, in the environment's own source where the mistake is there.
pub(crate) fn assemble(environment: &Environment, tile: Tile) -> Result<Assembled> {
    let tile_files = [memory_file(tile.medium())].into_iter().chain(tile_files(tile).iter().copied());
    let assembled = Assembled::new(environment, FILES.into_iter().chain(tile_files).chain(PROGRAM));
    assembled.validate(&assembled.parse()?, capabilities(tile))?;
    Ok(assembled)
}

/// The functions that have a statement a kind, or the kinds that share its code.
const SIGNATURES: [&str; 4] = ["\nfn execute(", "\nfn begin_bands(", "\nfn begin_band(", "\nfn finish_band("];

/// An assembled module whose `execute`, `begin_bands`, `begin_band` and `finish_band` have only the statements of `kinds`. Drivers inline whatever is
/// called before they see what never runs, so that a pipeline would take them as long as all the kernels together.
pub(crate) fn of_kinds(source: &str, kinds: Kinds) -> String {
    SIGNATURES.into_iter().fold(source.to_owned(), |source, signature| function_of_kinds(&source, signature, kinds))
}

/// The name of a function's copy that has the statement of one kind only.
pub(crate) fn name_of_copy(function: &str, kernel: Kernel) -> String {
    format!("{function}_{}", kernel.name().to_lowercase())
}

fn name_in(signature: &str) -> &str {
    signature.trim_start_matches("\nfn ").trim_end_matches('(')
}

/// Those copies of `execute`, `begin_bands`, `begin_band` and `finish_band`.
pub(crate) fn copies_of_kind(source: &str, kernel: Kernel) -> String {
    let copy = |signature: &str| {
        let name = name_in(signature);
        let filtered = function_of_kinds(source, signature, Kinds::of(kernel));
        let text = filtered.rfind(signature).map(|start| &filtered[start..]).unwrap_or_default();
        let text = text.split_once("\n}").map(|(text, _)| format!("{text}\n}}\n")).unwrap_or_default();
        text.replacen(name, &name_of_copy(name, kernel), 1)
    };
    SIGNATURES.map(copy).concat()
}

fn function_of_kinds(source: &str, signature: &str, kinds: Kinds) -> String {
    // the environment's text comes first and may say anything
    let Some(start) = source.rfind(signature) else { return source.to_owned() };
    let end = source[start..].find("\n}").map_or(source.len(), |length| start + length);
    let mut kept = true;
    let body = source[start..end].split_inclusive('\n').filter(|line| {
        if line.starts_with("    if ") {
            let mut words = line.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            kept = words.any(|word| kinds.iter().any(|kernel| kernel.name() == word));
        }
        kept
    });
    let body: String = body.collect();
    format!("{}{body}{}", &source[..start], &source[end..])
}

/// The environment and what it may use, without the code that calls it; not yet parsed. `more` is joined to it.
pub(crate) fn assemble_uncalled(environment: &Environment, more: (&'static str, &'static str)) -> Assembled {
    let offered = FILES.into_iter().filter(|(name, _)| OFFERED.contains(name));
    Assembled::new(environment, offered.chain([memory_file(Medium::Buffer), more]))
}

/// The module that steps environments alone, parsed and validated.
///
/// # Errors
/// [`Error::Shader`] naming file and line, in the environment's own source where the mistake is there.
pub(crate) fn assemble_simulation(environment: &Environment) -> Result<String> {
    let assembled = assemble_uncalled(environment, SIMULATE);
    assembled.validate(&assembled.parse()?, capabilities(Tile::Portable))?;
    Ok(assembled.source)
}

/// The files whose names an environment may use.
const OFFERED: [&str; 3] = ["shared/bindings.wgsl", "shared/math.wgsl", "shared/philox.wgsl"];

/// The module that moves rows between an agent's memory and other buffers, parsed and validated.
///
/// # Errors
/// [`Error::Shader`] naming file and line.
pub(crate) fn assemble_transfer(medium: Medium) -> Result<String> {
    const NEEDED: [&str; 6] =
        ["shared/bindings.wgsl", "shared/math.wgsl", "shared/philox.wgsl", "exploration.wgsl", "replay.wgsl", "transfer.wgsl"];
    let transfer = ("transfer.wgsl", include_str!("../shaders/transfer.wgsl"));
    let files = FILES.into_iter().chain([transfer]).filter(|(file, _)| NEEDED.contains(file)).chain([memory_file(medium)]);
    let assembled = Assembled::of_files(files);
    assembled.validate(&assembled.parse()?, capabilities(Tile::Portable))?;
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
    let assembled = Assembled::of_files([(name, source)].into_iter());
    assembled.validate(&assembled.parse()?, capabilities(Tile::Portable)).map(|_| ())
}

pub(crate) fn capabilities(tile: Tile) -> naga::valid::Capabilities {
    match tile {
        Tile::Portable | Tile::Texture | Tile::Small => naga::valid::Capabilities::empty(),
        Tile::Subgroup => naga::valid::Capabilities::SUBGROUP,
    }
}

impl Assembled {
    // the user's part first: a name that both define is then reported where it is defined again, with both places
    fn new(environment: &Environment, files: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let mut assembled = Self { source: String::new(), parts: Vec::new(), environment: 0 };
        assembled.push(&format!("environment {}", environment.name), &environment.source);
        assembled.environment = assembled.source.len();
        assembled.push("declarations of the environment", &environment.declarations());
        for (file, text) in files {
            assembled.push(file, text);
        }
        assembled
    }

    /// A module without an environment.
    fn of_files<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut assembled = Self { source: String::new(), parts: Vec::new(), environment: 0 };
        for (file, text) in files {
            assembled.push(file, text);
        }
        assembled
    }

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

    /// Whether `span` lies in the environment's own source; where it ends counts, for what is missing there.
    pub fn is_environments(&self, span: naga::Span) -> bool {
        span.to_range().is_some_and(|range| range.start <= self.environment)
    }

    /// The module, its types and names resolved.
    pub fn parse(&self) -> Result<naga::Module> {
        let error = match naga::front::wgsl::parse_str(&self.source) {
            Ok(module) => return Ok(module),
            Err(error) => error,
        };
        if !error.labels().any(|(span, _)| self.is_environments(span)) {
            // what the environment left open, a brace perhaps, is noticed in the text behind it: look without that text
            let alone = naga::front::wgsl::parse_str(&self.source[..self.environment]).err();
            if let Some(alone) = alone.filter(|alone| alone.message() != error.message() && !alone.message().starts_with("no definition")) {
                return Err(self.parse_error(&alone));
            }
        }
        Err(self.parse_error(&error))
    }

    fn parse_error(&self, error: &naga::front::wgsl::ParseError) -> Error {
        let labels: Vec<_> = error.labels().map(|(span, label)| (span, label.to_owned())).collect();
        let taken = labels.iter().find(|(span, _)| !self.is_environments(*span));
        match (error.message().strip_prefix("redefinition of "), taken) {
            (Some(name), Some((span, _))) => {
                let (part, _) = self.origin(span.location(&self.source).line_number as usize);
                let message = name_taken(name.trim_matches('`'), part);
                let own: Vec<_> = labels.iter().filter(|(span, _)| self.is_environments(*span)).cloned().collect();
                self.error(&message, &own)
            }
            // naga knows no place for it
            _ if error.message() == "type is too large" => {
                let most = naga::valid::MAX_TYPE_SIZE;
                self.error(&format!("a type takes more bytes than the {most} that there can be: look for an array's length"), &labels)
            }
            // nor for what its parser would not follow
            _ if error.message() == "internal WGSL front end error" => {
                self.error("types or expressions lie in each other too deep: name parts of them with `alias` or `let`", &labels)
            }
            _ => self.error(&error.message().replace("found \"\"", "found the end of the source"), &labels),
        }
    }

    /// What naga's validator says of a module that parsed.
    pub fn validate(&self, module: &naga::Module, capabilities: naga::valid::Capabilities) -> Result<naga::valid::ModuleInfo> {
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
        validator.validate(module).map_err(|error| {
            // from the innermost place out; the others, whole functions, say nothing that it does not
            let mut spans: Vec<_> = error.spans().map(|(span, _)| *span).filter(naga::Span::is_defined).collect();
            spans.sort_by_key(|span| span.to_range().map_or(0, |range| range.len()));
            let returned = misplaced_return(module, error.as_inner());
            let labels: Vec<_> = returned.into_iter().chain(spans).take(1).map(|span| (span, String::new())).collect();
            self.error(&explanation(module, error.as_inner()), &labels)
        })
    }

    fn place(&self, span: naga::Span) -> String {
        let location = span.location(&self.source);
        let (mut number, mut column) = (location.line_number as usize, location.line_position as usize);
        if self.is_environments(span) {
            // what is missing at the end is missing behind the last line that says anything
            let lines = self.source[..self.environment].lines().enumerate();
            let last =
                lines.filter(|(_, line)| !line.trim().is_empty()).last().map_or((1, 1), |(i, line)| (i + 1, line.trim_end().len() + 1));
            (number, column) = (number, column).min(last);
        }
        let (part, line) = self.origin(number);
        let text = self.source.lines().nth(number - 1).unwrap_or_default();
        let indent: String = text
            .chars()
            .take(text.get(..column - 1).map_or(0, |before| before.chars().count()))
            .map(|c| if c == '\t' { c } else { ' ' })
            .collect();
        format!("{part}, line {line}, column {column}|{}\n    {indent}^", text.trim_end())
    }

    /// An error with a message and the places it is about, the first of them where it is.
    pub fn error(&self, message: &str, labels: &[(naga::Span, String)]) -> Error {
        let mut labels: Vec<_> = labels.iter().filter(|(span, _)| span.is_defined()).collect();
        // the environment's own lines before the crate's
        labels.sort_by_key(|(span, _)| !self.is_environments(*span));
        let mut text = String::new();
        for (i, (span, label)) in labels.iter().enumerate() {
            let place = self.place(*span);
            let (place, quoted) = place.split_once('|').unwrap_or((&place, ""));
            let what = if i == 0 { message } else { label };
            text += &format!("{}{place}: {what}\n    {quoted}", if i == 0 { "" } else { "\n  " });
        }
        Error::Shader(match self.parts.first() {
            // the crate's own texts are sound: what has no place is the environment's too
            Some((environment, _)) if text.is_empty() && self.environment > 0 => format!("{environment}: {message}"),
            _ if text.is_empty() => message.to_owned(),
            _ => text,
        })
    }
}

/// The `return` of another type than its function's: naga names the value, which may stand anywhere before.
fn misplaced_return(module: &naga::Module, error: &naga::valid::ValidationError) -> Option<naga::Span> {
    use naga::valid::{FunctionError, ValidationError};
    match error {
        ValidationError::Function { handle, source: FunctionError::InvalidReturnType { expression: Some(value), .. }, .. } => {
            let returns = |statement: &naga::Statement| matches!(statement, naga::Statement::Return { value: Some(v) } if v == value);
            find(&module.functions[*handle].body, &returns)
        }
        _ => None,
    }
}

/// Where the first statement stands that is one of those, within `block` and the blocks in it.
pub(crate) fn find(block: &naga::Block, wanted: &dyn Fn(&naga::Statement) -> bool) -> Option<naga::Span> {
    use naga::Statement;
    block.span_iter().find_map(|(statement, span)| match statement {
        statement if wanted(statement) => Some(*span),
        Statement::Block(block) => find(block, wanted),
        Statement::If { accept, reject, .. } => find(accept, wanted).or_else(|| find(reject, wanted)),
        Statement::Loop { body, continuing, .. } => find(body, wanted).or_else(|| find(continuing, wanted)),
        Statement::Switch { cases, .. } => cases.iter().find_map(|case| find(&case.body, wanted)),
        _ => None,
    })
}

/// A validator's message in words of the source instead of naga's numbers.
fn explanation(module: &naga::Module, error: &naga::valid::ValidationError) -> String {
    use naga::valid::{ComposeError, ExpressionError, FunctionError, ValidationError};
    if let ValidationError::Function { handle, source: FunctionError::Expression { handle: expression, source }, .. } = error {
        let function = &module.functions[*handle];
        match source {
            ExpressionError::Compose(ComposeError::ComponentCount { given, expected }) => {
                let name = match &function.expressions[*expression] {
                    naga::Expression::Compose { ty, .. } => module.types[*ty].name.as_deref().unwrap_or("this"),
                    _ => "this",
                };
                return format!("{name} takes {expected} components, but {given} were given");
            }
            ExpressionError::IndexOutOfBounds(base, index) => {
                let length = length_of(module, function, *base).map(|length| format!(": the last of {length} is {}", length - 1));
                return format!("index {index} is out of bounds{}", length.unwrap_or_default());
            }
            ExpressionError::InvalidBinaryOperandTypes { op, .. } => {
                return format!("the types on both sides of this {op:?} do not fit together");
            }
            ExpressionError::NegativeIndex(_) => return "a negative index is out of bounds".into(),
            _ => {}
        }
    }
    if let ValidationError::Function { name, source: FunctionError::InvalidReturnType { expression, .. }, .. } = error {
        return match expression {
            Some(_) => format!("{name} returns another type than it declares"),
            None => format!("{name} must end with a `return` of its result"),
        };
    }
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        // "Function [3] 'f' is invalid", "Expression [7] is invalid": the place that is quoted says so better
        let outer = message.ends_with("is invalid");
        message = if outer { inner.to_string() } else { format!("{message}: {inner}") };
        cause = inner.source();
    }
    message
}

/// Elements of the array that an expression of `function` names.
fn length_of(module: &naga::Module, function: &naga::Function, expression: naga::Handle<naga::Expression>) -> Option<u32> {
    let ty = match function.expressions[expression] {
        naga::Expression::FunctionArgument(index) => function.arguments[index as usize].ty,
        naga::Expression::LocalVariable(variable) => function.local_variables[variable].ty,
        _ => return None,
    };
    match module.types[ty].inner {
        naga::TypeInner::Array { size: naga::ArraySize::Constant(length), .. } => Some(length.get()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_assembles() {
        for name in Environment::names() {
            let environment = Environment::by_name(&name).expect("it is listed");
            for tile in Tile::ALL {
                if let Err(error) = assemble(&environment, tile) {
                    panic!("{error}");
                }
            }
        }
    }

    /// Every kind is executed by one statement of a function, which every set without it leaves out.
    #[test]
    fn a_module_of_one_kind_executes_that_kind_alone() {
        let source = assemble(&Environment::pendulum_v1(), Tile::Small).unwrap_or_else(|error| panic!("{error}")).source;
        let statements = |source: &str, signature: &str| {
            let start = source.rfind(signature).expect("it is there");
            let body = source[start..].split_once("\n}").expect("it ends").0;
            body.lines().filter(|line| line.starts_with("    if ")).map(str::to_owned).collect::<Vec<_>>()
        };
        let every: Kinds = Kernel::ALL.iter().copied().collect();
        assert_eq!(of_kinds(&source, every), source);
        let mut executed: [std::collections::HashSet<String>; SIGNATURES.len()] = Default::default();
        for &kernel in Kernel::ALL {
            let alone = of_kinds(&source, Kinds::of(kernel));
            let kept = SIGNATURES.map(|signature| statements(&alone, signature));
            assert!(kept.iter().any(|kept| !kept.is_empty()), "{}: nothing executes it", kernel.name());
            for (executed, kept) in executed.iter_mut().zip(kept) {
                assert!(kept.len() <= 1 && kept.iter().all(|kept| kept.contains(kernel.name())), "{}: {kept:?}", kernel.name());
                executed.extend(kept);
            }
        }
        for (executed, signature) in executed.iter().zip(SIGNATURES) {
            assert_eq!(executed.len(), statements(&source, signature).len(), "a statement of no kind in {signature}");
        }
    }
}
