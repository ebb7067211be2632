//! What a text of WGSL declares, by its words: naga forgets aliases, and blames whoever uses a name of WGSL's that another text
//! has declared anew.

use naga::Span;
use naga::keywords::wgsl::BUILTIN_IDENTIFIERS;

/// The names that a text declares for the whole module.
pub(super) fn declared(source: &str) -> Vec<(&str, Span)> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut tokens = tokens(source);
    while let Some((_, token)) = tokens.next() {
        match token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            "fn" | "struct" | "alias" | "const" | "override" | "var" if depth == 0 => {
                let mut name = tokens.next();
                if name.is_some_and(|(_, token)| token == "<") {
                    // the address space
                    name = tokens.by_ref().skip_while(|(_, token)| *token != ">").nth(1);
                }
                names.extend(name.map(|(start, name)| (name, span(start, name))));
            }
            _ => {}
        }
    }
    names
}

/// The first directive in a text, by its first word.
pub(super) fn directive(source: &str) -> Option<(&str, Span)> {
    let mut before = "";
    // the attribute `@diagnostic` is none
    let found = tokens(source).find(|(_, token)| {
        let is_directive = before != "@" && matches!(*token, "enable" | "requires" | "diagnostic");
        before = token;
        is_directive
    });
    found.map(|(start, word)| (word, span(start, word)))
}

/// The first token that is `wanted`.
pub(super) fn first(source: &str, wanted: impl Fn(&str) -> bool) -> Option<Span> {
    tokens(source).find(|(_, token)| wanted(token)).map(|(start, token)| span(start, token))
}

/// How deep brackets of any kind may lie in each other: as deep as WGSL has it of the braces of statements.
const MOST_BRACKETS: usize = 127;

/// Operators that may lie in each other, brackets among them. naga takes half a kilobyte of stack for each (several where it is not
/// optimised); threads have 2 MiB, or one, as the first has on Windows.
const MOST_OPERATORS: usize = 1000;

/// Where a text first nests deeper than can be read, and how: parsers call themselves for what lies in something else, until
/// their stack overflows.
pub(super) fn too_deep(source: &str) -> Option<(String, Span)> {
    // what the next token may lie in: brackets, operators (the `a` of `a + b + c` lies in two sums), and types that are open, unless
    // they are comparisons. With each bracket the operators up to it, and the types that it lies in
    let (mut open, mut operators, mut types, mut before) = (Vec::new(), 0, 0_usize, "");
    for (start, token) in tokens(source) {
        // a block ends its statement, but for an `if`, whose `else` lies in it
        let is_next = token == ";" || (before == "}" && token != "else");
        if is_next {
            types = 0;
        }
        if is_next || (token == "," && types == 0) {
            operators = open.last().map_or(0, |(operators, _)| *operators);
        }
        match token {
            "(" | "[" | "{" => {
                operators += 1;
                open.push((operators, std::mem::take(&mut types)));
            }
            ")" | "]" | "}" => (operators, types) = open.pop().unwrap_or_default(),
            "," | ";" => {}
            word if word != "else" && word.starts_with(is_word) => {}
            mark => {
                operators += 1;
                types = if mark == "<" { types + 1 } else { types.saturating_sub(usize::from(mark == ">")) };
            }
        }
        before = token;
        let message = if open.len() > MOST_BRACKETS {
            format!("this is the bracket within {MOST_BRACKETS} others; there may be {MOST_BRACKETS} at most, one in the other")
        } else if operators > MOST_OPERATORS {
            format!(
                "this lies in {operators} operators and brackets; there may be {MOST_OPERATORS} at most: name parts of it with `let`, or \
                 make functions of them"
            )
        } else {
            continue;
        };
        return Some((message, span(start, token)));
    }
    None
}

/// Whether WGSL declares it before any text does. naga's list has all but the short names of vectors and matrices.
pub(super) fn is_predeclared(name: &str) -> bool {
    let is_short = |kind: &str, scalars: &[char]| {
        name.starts_with(kind) && name.strip_suffix(scalars).is_some_and(|generator| BUILTIN_IDENTIFIERS.contains(&generator))
    };
    BUILTIN_IDENTIFIERS.contains(&name) || is_short("vec", &['i', 'u', 'f', 'h']) || is_short("mat", &['f', 'h'])
}

fn span(start: usize, token: &str) -> Span {
    Span::new(start as u32, (start + token.len()) as u32)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Words and single marks, with where they start; without comments.
fn tokens(source: &str) -> impl Iterator<Item = (usize, &str)> {
    // where a line of WGSL ends
    const ENDS: [char; 7] = ['\n', '\u{b}', '\u{c}', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut rest = source;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            let start = source.len() - rest.len();
            let (length, is_token) = if rest.starts_with("//") {
                (rest.find(ENDS).unwrap_or(rest.len()), false)
            } else if rest.starts_with("/*") {
                (comment(rest), false)
            } else if is_word(first) {
                (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), true)
            } else {
                (first.len_utf8(), !first.is_whitespace())
            };
            let (token, behind) = rest.split_at(length);
            rest = behind;
            if is_token {
                return Some((start, token));
            }
        }
    })
}

/// Bytes of the block comment that `text` begins with, and of those within it.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(pair) = text.as_bytes().get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_module_are_told_from_others() {
        let source = "// fn no()\n/* fn no() /* */ alias no = f32; */ fn äge(no: f32) -> f32 { const no = 1; var no: f32; return no; }
            alias a=f32; struct b { no: f32 } const c: array<f32, 2> = array(1, 2); var<private> d: f32; @id(1) override e = 1.0;
            const_assert 1 < 2; /* open fn no() {}";
        let names = declared(source);
        assert_eq!(names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["äge", "a", "b", "c", "d", "e"]);
        for (name, span) in names {
            assert_eq!(&source[span.to_range().expect("a place")], name);
        }
        assert_eq!(declared("var<private"), []);
    }

    #[test]
    fn what_nests_is_told_from_what_follows() {
        let place = |source: &str| too_deep(source).and_then(|(_, span)| span.to_range()).map(|range| range.start);
        // the first that is too deep, in as many repetitions
        for (what, count, first) in [
            ("(", 200, 127),
            ("a[", 200, 127 * 2 + 1),
            ("{", 200, 127),
            ("({[", 50, 127),
            ("-", 1001, 1000),
            (" + a", 1001, 4001),
            ("a[0]", 1001, 4001),
            ("{} else ", 501, 4000),
            ("array<", 1001, 6005),
            ("a<b, ", 1001, 5001),
            ("/* ( - */ - ", 1001, 12_010),
        ] {
            let text = what.repeat(count);
            assert_eq!(place(&text), Some(first), "{what}");
            assert_eq!(place(&text[..first]), None, "{what}");
        }
        for (before, what, after) in [
            ("const a = array(", "-a * (b - 1.0), ", ")"),
            ("", "a = b + c - d;", ""),
            ("{", "if -a < b { c(); } else { d(); }", "}"),
            ("", "fn a(b: c, d: e) -> f32 { return array<f32, 3>(1 < 2, 3 > 4)[5]; } ", ""),
            ("array(", "vec2<f32>(a, b), ", ")"),
            ("/*", "(", "*/"),
        ] {
            assert_eq!(place(&[before, &what.repeat(5000), after].concat()), None, "{what}");
        }
    }

    #[test]
    fn directives_are_told_from_attributes() {
        let word = |source| directive(source).map(|(word, _)| word);
        assert_eq!(word("// enable f16;\n/* requires x; */ enable f16;"), Some("enable"));
        assert_eq!(word("diagnostic(off, derivative_uniformity);"), Some("diagnostic"));
        assert_eq!(word("@diagnostic(off, derivative_uniformity) fn enabled() {}"), None);
    }

    #[test]
    fn names_of_wgsl() {
        for name in
            ["all", "clamp", "dot4U8Packed", "f32", "f16", "array", "vec2", "vec2f", "vec3u", "vec4h", "mat4x2", "mat2x3f", "mat4x4h"]
        {
            assert!(is_predeclared(name), "{name}");
        }
        for name in ["vec5f", "vec2b", "mat2x3i", "mat5x2f", "everything", "environment_step", "expf", ""] {
            assert!(!is_predeclared(name), "{name}");
        }
    }
}
