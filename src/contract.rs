//! Checks an environment's WGSL against the contract, without a device, so that what is wrong is said of its author's own
//! lines and never of the code that calls them.

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::kernels::Tile;
use crate::shader::{self, Assembled};
use naga::valid::ModuleInfo;
use naga::{AddressSpace, Expression, Function, Handle, Module, Scalar, ScalarKind, Span, Statement, Type, TypeInner};

mod outline;

/// The functions of the contract, as its messages print them.
const SIGNATURES: [(&str, &str); 3] = [
    ("environment_reset", "fn environment_reset(random: ptr<function, Random>) -> State"),
    ("environment_step", "fn environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step"),
    ("environment_observe", "fn environment_observe(state: State) -> Observation"),
];

/// Bytes of variables, and of any one value: an invocation holds them in registers or on its stack, four arrays of 4096 floats say.
/// Drivers take minutes over larger ones, or hang.
const MOST_BYTES: u64 = 64 << 10;

/// Declarations of an environment's own, each of which may need the next: naga follows them on its stack.
const MOST_DECLARATIONS: usize = 1000;

/// Functions of the same signatures, to compare types with.
const MODELS: (&str, &str) = (
    "contract",
    "fn contract_environment_reset(random: ptr<function, Random>) -> State { return State(); }
fn contract_environment_step(state: State, action: Action, random: ptr<function, Random>) -> Step { return Step(); }
fn contract_environment_observe(state: State) -> Observation { return Observation(); }",
);

impl Environment {
    /// Checks the sizes, the bounds and the WGSL, without a device: that it parses and validates, that the three functions
    /// are there with their signatures, that its arrays have the declared sizes and no constant index exceeds them, and
    /// that it keeps to the names and the memory that are its own. Building a [`Population`](crate::Population) checks the
    /// same.
    ///
    /// ```
    /// use ddpg_wgpu::Environment;
    /// let source = "
    /// fn environment_reset(random: ptr<function, Random>) -> State { return State(random_unifrom(random), 0.0); }
    /// ";
    /// let misspelt = Environment::new("spring", source, 2, 1, vec![-1.0], vec![1.0], 100)?;
    /// let message = misspelt.check().unwrap_err().to_string();
    /// assert!(message.starts_with("environment spring, line 2, column 77: no definition in scope for identifier"));
    /// # Ok::<(), ddpg_wgpu::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for sizes and bounds; [`Error::Shader`] for the WGSL, with line and column in
    /// [`Environment::source`] and the line itself.
    pub fn check(&self) -> Result<()> {
        self.validate()?;
        check(self)?;
        shader::assemble(self, Tile::Portable).map(|_| ())
    }
}

/// All of the contract, but for the module that calls the environment.
pub(crate) fn check(environment: &Environment) -> Result<()> {
    let assembled = shader::assemble_uncalled(environment, MODELS);
    if let Some((message, span)) = outline::too_deep(&environment.source) {
        return Err(assembled.error(&message, &[(span, String::new())]));
    }
    names(environment, &assembled)?;
    let module = assembled.parse().map_err(|error| with_sizes(environment, error))?;
    let contract = Contract { name: &environment.name, assembled: &assembled, module: &module };
    contract.nothing_of_its_own_but_functions()?;
    contract.types(&environment.source)?;
    contract.signatures()?;
    let capabilities = naga::valid::Capabilities::empty();
    let info = assembled.validate(&module, capabilities).map_err(|error| with_sizes(environment, error))?;
    contract.memory(&info)?;
    contract.space(&info)
}

/// No directive, and no name of WGSL itself is declared anew: all texts are one module, and the crate's would mean the
/// environment's. No name of the crate's either, whichever of its files and copies the plan will take.
fn names(environment: &Environment, assembled: &Assembled) -> Result<()> {
    if let Some((word, span)) = outline::directive(&environment.source) {
        let message = format!("`{word}` would hold for the crate's own code as well: leave this directive out");
        return Err(assembled.error(&message, &[(span, String::new())]));
    }
    let in_file = |(file, text)| outline::declared(text).into_iter().map(move |(name, _)| (name, file));
    let own: Vec<(&str, &str)> = shader::every_file().flat_map(in_file).collect();
    for (number, (name, span)) in (1..).zip(outline::declared(&environment.source)) {
        let message = if number > MOST_DECLARATIONS {
            format!("`{name}` is declaration number {number}; an environment may make {MOST_DECLARATIONS}")
        } else if outline::is_predeclared(name) {
            format!("`{name}` is a name of WGSL itself: choose another")
        } else if let Some((_, file)) = own.iter().find(|(own, _)| *own == name) {
            shader::name_taken(name, file)
        } else if shader::is_generated(name) {
            shader::name_taken(name, "pipelines of one dispatch")
        } else {
            continue;
        };
        return Err(assembled.error(&message, &[(span, String::new())]));
    }
    Ok(())
}

/// Adds the declared sizes to a message that counts components or indices.
fn with_sizes(environment: &Environment, error: Error) -> Error {
    match error {
        Error::Shader(message) if message.contains("components") || message.contains("bounds") => Error::Shader(format!(
            "{message}\n  as declared, State holds {} (state_size), Observation {} (observation_size), Action {} (action_low, action_high)",
            environment.state_size,
            environment.observation_size,
            environment.action_size()
        )),
        other => other,
    }
}

struct Contract<'a> {
    name: &'a str,
    assembled: &'a Assembled,
    module: &'a Module,
}

impl Contract<'_> {
    fn error(&self, message: &str, span: Span) -> Error {
        self.assembled.error(message, &[(span, String::new())])
    }

    /// The environment's own functions.
    fn functions(&self) -> impl Iterator<Item = (Handle<Function>, &Function)> {
        self.module.functions.iter().filter(|(handle, _)| self.assembled.is_environments(self.module.functions.get_span(*handle)))
    }

    /// No entry points, bindings or workgroup memory, and no constants that a pipeline would have to be given.
    fn nothing_of_its_own_but_functions(&self) -> Result<()> {
        if let Some(entry) = self.module.entry_points.first() {
            return Err(Error::Shader(format!(
                "environment {} has the entry point {}; an environment is functions only, which the crate's own entry points call",
                self.name, entry.name
            )));
        }
        for (handle, variable) in self.module.global_variables.iter() {
            let span = self.module.global_variables.get_span(handle);
            if self.assembled.is_environments(span) && variable.space != AddressSpace::Private {
                let name = variable.name.as_deref().unwrap_or("this variable");
                return Err(self.error(
                    &format!(
                        "{name} is memory that an environment cannot have: keep what lasts in State, and the rest in `var` or `const`"
                    ),
                    span,
                ));
            }
        }
        for (handle, value) in self.module.overrides.iter() {
            let span = self.module.overrides.get_span(handle);
            if self.assembled.is_environments(span) && value.init.is_none() {
                let name = value.name.as_deref().unwrap_or("this override");
                return Err(self.error(&format!("{name} has no value, and nobody sets it: make it a `const`"), span));
            }
        }
        Ok(())
    }

    /// No types that WebGPU does not have without asking, nor of what is bound.
    fn types(&self, source: &str) -> Result<()> {
        let is_wide = |scalar: Scalar| scalar.width == 8 && matches!(scalar.kind, ScalarKind::Float | ScalarKind::Sint | ScalarKind::Uint);
        for (_, ty) in self.module.types.iter() {
            // naga knows no places of them
            let (message, span) = match ty.inner {
                TypeInner::Sampler { .. } | TypeInner::Image { .. } => (
                    "textures and samplers are memory that an environment cannot have: keep numbers in a `const` array",
                    outline::first(source, |token| token.starts_with("sampler") || token.starts_with("texture_")),
                ),
                ref inner if inner.scalar().is_some_and(is_wide) => (
                    "numbers of 64 bits are not in every WebGPU: use `f32`, `i32` or `u32`",
                    outline::first(source, |token| {
                        let is_number = token.starts_with(|c: char| c.is_ascii_digit());
                        ["f64", "i64", "u64"].contains(&token) || (is_number && ["lf", "li", "lu"].iter().any(|end| token.ends_with(end)))
                    }),
                ),
                _ => continue,
            };
            return Err(self.error(message, span.unwrap_or_default()));
        }
        Ok(())
    }

    fn signatures(&self) -> Result<()> {
        let named = |wanted: &str| {
            let found = self.module.functions.iter().find(|(_, function)| function.name.as_deref() == Some(wanted));
            found.map(|(handle, function)| (function, self.module.functions.get_span(handle)))
        };
        let lacking: Vec<_> = SIGNATURES.iter().filter(|(name, _)| named(name).is_none()).map(|(_, signature)| *signature).collect();
        if !lacking.is_empty() {
            let defined: Vec<_> = self.functions().filter_map(|(_, function)| function.name.as_deref()).collect();
            let defined = if defined.is_empty() { "no function".to_owned() } else { defined.join(", ") };
            return Err(Error::Shader(format!("environment {} lacks {}; it defines {defined}", self.name, lacking.join(" and "))));
        }
        for (name, signature) in SIGNATURES {
            let (Some((own, span)), Some((model, _))) = (named(name), named(&format!("contract_{name}"))) else { continue };
            let types = |function: &Function| {
                let arguments = function.arguments.iter().map(|argument| argument.ty);
                arguments.chain(function.result.as_ref().map(|result| result.ty)).collect::<Vec<_>>()
            };
            let (given, wanted) = (types(own), types(model));
            let same_count = own.arguments.len() == model.arguments.len() && given.len() == wanted.len();
            if !same_count || given.iter().zip(&wanted).any(|(&a, &b)| self.module.types[a].inner != self.module.types[b].inner) {
                let written = span.to_range().and_then(|range| self.assembled.source.get(range)).unwrap_or_default();
                let written = written.split('{').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
                return Err(self.error(&format!("{name} has the wrong signature: expected `{signature}`, found `{written}`"), span));
            }
        }
        Ok(())
    }

    /// The crate's buffers are not touched, nobody waits for others, as environments end at different times, and nothing is drawn.
    fn memory(&self, info: &ModuleInfo) -> Result<()> {
        for (handle, function) in self.functions() {
            for (variable, global) in self.module.global_variables.iter() {
                if info[handle][variable].is_empty() || self.assembled.is_environments(self.module.global_variables.get_span(variable)) {
                    continue;
                }
                let direct = function.expressions.iter().find(|(_, expression)| **expression == Expression::GlobalVariable(variable));
                let (how, span) = match direct {
                    Some((expression, _)) => ("is", function.expressions.get_span(expression)),
                    None => ("is reached by a call from here and is", self.module.functions.get_span(handle)),
                };
                let name = global.name.as_deref().unwrap_or("this");
                let message = format!("{name} {how} memory of this crate: an environment reads its arguments and returns its results");
                return Err(self.error(&message, span));
            }
            let waits = |statement: &Statement| {
                matches!(statement, Statement::ControlBarrier(_) | Statement::MemoryBarrier(_) | Statement::WorkGroupUniformLoad { .. })
            };
            if let Some(span) = shader::find(&function.body, &waits) {
                return Err(self.error("a barrier has no meaning here: each environment is stepped on its own", span));
            }
            if let Some(span) = shader::find(&function.body, &|statement| matches!(statement, Statement::Kill)) {
                return Err(self.error("`discard` has no meaning here: an environment draws nothing; return a result instead", span));
            }
            let mut derivatives = function.expressions.iter().filter(|(_, expression)| matches!(expression, Expression::Derivative { .. }));
            if let Some((derivative, _)) = derivatives.next() {
                let message = "a derivative between pixels has no meaning here: an environment draws nothing";
                return Err(self.error(message, function.expressions.get_span(derivative)));
            }
        }
        Ok(())
    }

    /// What a function holds fits into an invocation.
    fn space(&self, info: &ModuleInfo) -> Result<()> {
        let size = |inner: &TypeInner| inner.try_size(self.module.to_ctx()).map_or(u64::MAX, u64::from);
        let add = |held: u64, name: &Option<String>, ty: Handle<Type>, span: Span| {
            let held = held.saturating_add(size(&self.module.types[ty].inner));
            if held <= MOST_BYTES {
                return Ok(held);
            }
            let name = name.as_deref().unwrap_or("this");
            let message =
                format!("with {name}, variables take {held} bytes here; a function's own and the private ones may take {MOST_BYTES}");
            Err(self.error(&message, span))
        };
        let globals = &self.module.global_variables;
        let private = globals.iter().map(|(handle, variable)| (variable, globals.get_span(handle)));
        let private = private
            .filter(|(_, span)| self.assembled.is_environments(*span))
            .try_fold(0, |held, (variable, span)| add(held, &variable.name, variable.ty, span))?;
        for (handle, function) in self.functions() {
            let locals = &function.local_variables;
            locals.iter().try_fold(private, |held, (local, variable)| add(held, &variable.name, variable.ty, locals.get_span(local)))?;
            for (expression, _) in function.expressions.iter() {
                let bytes = size(info[handle][expression].ty.inner_with(&self.module.types));
                if bytes > MOST_BYTES {
                    let message = format!("this value takes {bytes} bytes; a function's values may take {MOST_BYTES} each");
                    return Err(self.error(&message, function.expressions.get_span(expression)));
                }
            }
        }
        Ok(())
    }
}
