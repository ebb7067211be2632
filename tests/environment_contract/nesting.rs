//! What lies in something else, deeper than a stack holds: refused before anything follows it there.

use super::{SOUND, environment, refused};
use ddpg_wgpu::{Gpu, Simulation};

/// The most of each kind of nesting is taken on half the stack that threads have, one more is refused where it stands.
#[test]
fn what_lies_in_something_else() {
    let around = |before: &str, middle: &str, after: &str, n: usize| [&before.repeat(n), middle, &after.repeat(n)].concat();
    let value = |text: &str| SOUND.replacen("action[0]", text, 1);
    let block = |text: &str| SOUND.replacen("    let velocity", &format!("    var i = 0; {text} let velocity"), 1);
    // each declaration before the one that it needs
    let chain = |first: &str, next: &dyn Fn(usize) -> String, n: usize| {
        SOUND.replacen("// line 1", &format!("{}{first}", (1..n).rev().map(next).collect::<String>()), 1)
    };
    let brackets = "this is the bracket within 127 others; there may be 127 at most, one in the other";
    let operators = "this lies in 1001 operators and brackets; there may be 1000 at most: name parts of it with `let`";
    let declarations = "`environment_observe` is declaration number 1001; an environment may make 1000";
    type Nesting<'a> = (usize, &'a dyn Fn(usize) -> String, usize, &'a str);
    let nestings: [Nesting; 15] = [
        (126, &|n| value(&around("(", "1", ")", n)), 7, brackets),
        (126, &|n| value(&around("abs(", "1", ")", n)), 7, brackets),
        (63, &|n| value(&around("state[u32(", "1", ")]", n)), 7, brackets),
        (993, &|n| value(&around("- ", "1", "", n)), 7, operators),
        (496, &|n| value(&around("*&", "me", "", n)).replacen("let", "var me = 1.0; let", 1), 7, operators),
        (993, &|n| value(&around("", "1", " * 1", n)), 7, operators),
        (991, &|n| value(&format!("vec2f(1){}.x", ".xy".repeat(n))), 7, operators),
        (497, &|n| block(&format!("if true{} {{}}", " && true".repeat(n))), 7, operators),
        (126, &|n| block(&around("{", "", "}", n)), 7, brackets),
        (126, &|n| block(&around("if i > 0 { i += 2;", "", "}", n)), 7, brackets),
        (125, &|n| block(&around("loop { if i > 9 { break; } i += 3;", "", "break; }", n)), 7, brackets),
        (63, &|n| block(&around("switch i { case 5: { i = 4; } default {", "", "}}", n)), 7, brackets),
        (331, &|n| block(&around("if i > 0 { i += 2; } else ", "{}", "", n)), 7, operators),
        (997, &|n| chain("const me0 = 1;", &|i| format!("const me{i} = me{}; ", i - 1), n), 11, declarations),
        (997, &|n| chain("fn me0() {}", &|i| format!("fn me{i}() {{ me{}(); }} ", i - 1), n), 11, declarations),
    ];
    let gpu = Gpu::open_blocking(None).unwrap_or_else(|error| panic!("{error}"));
    for (number, (most, source, line, says)) in nestings.into_iter().enumerate() {
        let deepest = environment(&source(most));
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .stack_size(1 << 20)
                .spawn_scoped(scope, || Simulation::new(&gpu.device, &gpu.queue, &deepest, 1, 1).map(drop));
            let compiled = thread.expect("a thread").join().expect("no panic");
            compiled.unwrap_or_else(|error| panic!("nesting {number}: {error}"));
        });
        let message = refused(&source(most + 1));
        let says_so = message.starts_with(&format!("environment spring, line {line}, column ")) && message.contains(says);
        assert!(says_so, "nesting {number}: {message}");
        // far beyond, too
        refused(&source(20_000));
    }
}

/// Where naga counts for itself it knows no place.
#[test]
fn types_in_types() {
    let nested = |n: usize| format!("{SOUND}var<private> me: {}f32{};", "array<".repeat(n), ", 1>".repeat(n));
    environment(&nested(150)).check().unwrap_or_else(|error| panic!("{error}"));
    for source in [nested(250), format!("{SOUND}var<private> me: {};", "array<f32, - - - - - - - - - ".repeat(2000))] {
        let message = refused(&source);
        assert!(message.contains("too deep") || message.contains("this lies in 1001 operators"), "{message}");
    }
}
