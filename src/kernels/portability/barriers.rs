//! Barriers that software drivers work without, which run the invocations of a workgroup in step: what the operations of a level
//! wrote is read by those of the next one, and workgroup memory that sums were read from is written again.

use super::pipelines::{environments, of_specialised_programs};
use crate::kernels::Tile;
use crate::shader;
use crate::vectors::Medium;
use naga::{Barrier, Block, Module, Statement};

/// What a function does, in the order of its text; branches are taken one after the other.
#[derive(Debug, Clone, PartialEq)]
enum Event {
    LoopBegins,
    LoopEnds,
    Calls(String),
    Waits(Barrier),
}

fn collect(module: &Module, block: &Block, events: &mut Vec<Event>) {
    for statement in block {
        match statement {
            Statement::Block(block) => collect(module, block, events),
            Statement::If { accept, reject, .. } => [accept, reject].into_iter().for_each(|block| collect(module, block, events)),
            Statement::Switch { cases, .. } => cases.iter().for_each(|case| collect(module, &case.body, events)),
            Statement::Loop { body, continuing, .. } => {
                events.push(Event::LoopBegins);
                [body, continuing].into_iter().for_each(|block| collect(module, block, events));
                events.push(Event::LoopEnds);
            }
            Statement::ControlBarrier(memory) => events.push(Event::Waits(*memory)),
            Statement::Call { function, .. } => {
                let function = &module.functions[*function];
                let name = function.name.clone().unwrap_or_default();
                if name == "memory_barrier" {
                    collect(module, &function.body, events);
                } else {
                    events.push(Event::Calls(name));
                }
            }
            _ => {}
        }
    }
}

/// The events of a function or an entry point.
fn events(module: &Module, name: &str) -> Vec<Event> {
    let functions = module.functions.iter().map(|(_, function)| function).filter(|function| function.name.as_deref() == Some(name));
    let points = module.entry_points.iter().filter(|point| point.name == name).map(|point| &point.function);
    let function = functions.chain(points).next().unwrap_or_else(|| panic!("there is no {name}"));
    let mut events = Vec::new();
    collect(module, &function.body, &mut events);
    events
}

/// What is waited for behind event `at`, within the loops that it is in.
fn behind(events: &[Event], at: usize) -> Barrier {
    let mut depth = events[..at].iter().fold(0, |depth, event| match event {
        Event::LoopBegins => depth + 1,
        Event::LoopEnds => depth - 1,
        _ => depth,
    });
    let mut memory = Barrier::empty();
    for event in &events[at..] {
        match event {
            Event::LoopBegins => depth += 1,
            Event::LoopEnds => depth -= 1,
            Event::Waits(more) if depth > 0 => memory |= *more,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    memory
}

/// What is waited for between two events in any case: not in a loop that ends before the second, which may not run at all.
fn between(events: &[Event], first: usize, second: usize) -> Barrier {
    let mut loops = vec![Barrier::empty()];
    for event in &events[first..second] {
        match event {
            Event::LoopBegins => loops.push(Barrier::empty()),
            Event::LoopEnds => {
                loops.pop();
                // the loop that the first event is in ends too
                if loops.is_empty() {
                    loops.push(Barrier::empty());
                }
            }
            Event::Waits(more) => loops.last_mut().into_iter().for_each(|memory| *memory |= *more),
            Event::Calls(_) => {}
        }
    }
    loops.into_iter().fold(Barrier::empty(), |all, memory| all | memory)
}

/// All that an agent's memory and sums are in.
fn memory(tile: Tile) -> Barrier {
    let textures = if tile.medium() == Medium::Texture { Barrier::TEXTURE } else { Barrier::empty() };
    Barrier::WORK_GROUP | Barrier::STORAGE | textures
}

/// Events that call a function of this name, or a copy of it of one kind.
fn calls(events: &[Event], function: &str) -> Vec<usize> {
    let is = |event: &Event| matches!(event, Event::Calls(name) if name.trim_start_matches(function).starts_with('_') || name == function);
    (0..events.len()).filter(|&at| is(&events[at])).collect()
}

fn module(tile: Tile) -> Module {
    let environment = environments().next().expect("there is one");
    let source = shader::assemble(&environment, tile).unwrap_or_else(|error| panic!("{error}")).source;
    naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)))
}

#[test]
fn levels_and_rounds_of_bands_end_with_barriers() {
    for tile in Tile::ALL {
        let module = module(tile);
        let needed = memory(tile);
        for name in ["layered_or_chained", "layered_in_bands", "run"] {
            let events = events(&module, name);
            let executes = calls(&events, "execute");
            assert_eq!(executes.len(), 1, "{name}");
            assert!(behind(&events, executes[0]).contains(needed), "{tile:?}: no barrier ends the levels of {name}: {events:?}");
        }
        // what comes next may write where sums were read
        for name in ["normalise_columns", "normalise_columns_backward", "reduce_workgroup"] {
            let last = events(&module, name).last().cloned();
            assert_eq!(last, Some(Event::Waits(Barrier::WORK_GROUP)), "{tile:?}: the end of {name}");
        }
    }
    let events = events(&module(Tile::Small), "layered_or_banded");
    band_meets("layered_or_banded", &events);
}

#[test]
fn what_other_invocations_wrote_is_waited_for() {
    for tile in Tile::ALL {
        let module = module(tile);
        // a strip's products are in memory before its columns are normalised
        let layers = [
            ("dense_forward_normalised", "product", "normalise_columns"),
            ("dense_backward_input_normalised", "backward_tile", "normalise_columns_backward"),
        ];
        for (name, writes, reads) in layers {
            let events = events(&module, name);
            let (last, first) = (calls(&events, writes).pop(), calls(&events, reads).first().copied());
            let (Some(last), Some(first)) = (last, first) else { panic!("{tile:?}, {name}: {events:?}") };
            let between = between(&events, last, first);
            let needed = memory(tile);
            assert!(between.contains(needed), "{tile:?}, {name}: {between:?} between the products and their normalisation, not {needed:?}");
        }
        // the chunks' sums meet, are added in groups, and the groups' meet
        let sums = [Event::Waits(Barrier::WORK_GROUP), Event::LoopBegins, Event::LoopEnds];
        let own: Vec<Event> = events(&module, "add_chunks").into_iter().filter(|event| !matches!(event, Event::Calls(_))).collect();
        assert_eq!(own, [&sums[..], &sums].concat(), "{tile:?}");
    }
}

/// What a round has begun meets before it is finished, and is finished before the next round begins.
fn band_meets(what: &str, events: &[Event]) {
    let [begun, finished] = ["begin_band", "finish_band"].map(|function| calls(events, function));
    assert!(!begun.is_empty() && begun.len() == finished.len(), "{what}: {events:?}");
    for at in finished {
        assert!(behind(events, at).contains(Barrier::WORK_GROUP), "{what}: no barrier behind a round: {events:?}");
    }
}

#[test]
fn rounds_of_specialised_bands_do_too() {
    let environment = environments().next().expect("there is one");
    let mut bands = 0;
    for pipeline in of_specialised_programs(&environment) {
        let events = events(&pipeline.resolved().0, pipeline.entry);
        let finished = calls(&events, "finish_band");
        if !finished.is_empty() {
            band_meets(&pipeline.what, &events);
            bands += 1;
        }
    }
    assert!(bands > 1, "{bands}");
}

#[test]
fn what_does_not_wait_is_found() {
    let events_of = |body: &str| {
        let source = format!("fn execute() {{}} fn memory_barrier() {{ storageBarrier(); workgroupBarrier(); }} fn f() {{ {body} }}");
        let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
        events(&module, "f")
    };
    let waits = |body: &str| {
        let events = events_of(body);
        let at = calls(&events, "execute")[0];
        behind(&events, at)
    };
    let all = Barrier::STORAGE | Barrier::WORK_GROUP;
    for body in [
        "for (var i = 0; i < 3; i++) { execute(); memory_barrier(); }",
        "loop { loop { execute(); break; } if true { memory_barrier(); } break; }",
    ] {
        assert_eq!(waits(body), all, "{body}");
    }
    for body in [
        "for (var i = 0; i < 3; i++) { execute(); } memory_barrier();",
        "loop { memory_barrier(); execute(); break; }",
        "execute(); memory_barrier();",
        "loop { loop { memory_barrier(); break; } execute(); break; } loop { memory_barrier(); break; }",
    ] {
        assert_eq!(waits(body), Barrier::empty(), "{body}");
    }
    assert_eq!(waits("loop { execute(); workgroupBarrier(); break; }"), Barrier::WORK_GROUP);
}
