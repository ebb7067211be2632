//! FXC, the compiler for DX12 that Windows brings along, unrolls a loop that writes to a vector at a place that changes, with
//! all loops around it, and gives up where they do not end soon. naga translates such a loop without complaint.

use super::{every_program, what_is_no_program};
use crate::shader;
use naga::valid::FunctionInfo;
use naga::{Expression, Function, Handle, Module, Statement, TypeInner};

fn writes_at_a_changing_place(module: &Module, info: &FunctionInfo, function: &Function) -> bool {
    let is_of_vector = |pointer: Handle<Expression>| match *info[pointer].ty.inner_with(&module.types) {
        TypeInner::Pointer { base, .. } => matches!(module.types[base].inner, TypeInner::Vector { .. }),
        TypeInner::ValuePointer { size, .. } => size.is_some(),
        _ => false,
    };
    let writes = |statement: &Statement| match *statement {
        // a place that is known when it is compiled is an AccessIndex
        Statement::Store { pointer, .. } => matches!(function.expressions[pointer], Expression::Access { base, .. } if is_of_vector(base)),
        _ => false,
    };
    shader::find(&function.body, &writes).is_some()
}

/// The first function that does, by its name.
fn culprit(module: &Module, info: &naga::valid::ModuleInfo) -> Option<String> {
    let functions = module.functions.iter().map(|(handle, function)| (&info[handle], function, &function.name));
    let points = module.entry_points.iter().enumerate();
    let points = points.map(|(index, point)| (info.get_entry_point(index), &point.function, &point.function.name));
    let (.., name) = functions.chain(points).find(|(info, function, _)| writes_at_a_changing_place(module, info, function))?;
    Some(name.clone().unwrap_or_default())
}

#[test]
fn nothing_writes_to_a_vector_at_a_place_that_changes() {
    for pipeline in every_program().chain(what_is_no_program()) {
        let (module, info) = pipeline.resolved();
        let culprit = culprit(&module, &info);
        assert!(culprit.is_none(), "{}: {culprit:?}; use first_of_four or select", pipeline.what);
    }
}

#[test]
fn such_a_write_is_found() {
    let found = |body: &str| {
        let source = format!("fn f(i: u32) -> vec4f {{ var v = vec4f(); var a = array<vec4f, 2>(); {body} return v + a[i]; }}");
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
        let info = validator.validate(&module).expect("it is valid");
        culprit(&module, &info).is_some()
    };
    for body in ["v[i] = 1.0;", "for (var k = 0u; k < i; k++) { v[k] = 1.0; }", "a[1][i] = 1.0;", "a[i][i] = 1.0;"] {
        assert!(found(body), "{body}");
    }
    for body in ["v[1] = 1.0;", "v.z = 1.0;", "a[i] = v;", "a[i].x = 1.0;", "v.x = v[i];"] {
        assert!(!found(body), "{body}");
    }
}
