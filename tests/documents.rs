//! What the documents name is there: files, functions, constants, settings and flags.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// The words of the sources: what a name must be among.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

/// What stands between backticks, with whatever follows it up to the next ones. Fenced blocks are left out.
fn quoted(document: &str) -> Vec<(String, String)> {
    let mut fenced = false;
    let prose: Vec<&str> = document
        .lines()
        .filter(|line| {
            let fence = line.starts_with("```");
            fenced ^= fence;
            !fence && !fenced
        })
        .collect();
    let prose = prose.join("\n");
    let pieces: Vec<&str> = prose.split('`').collect();
    pieces[1..].chunks(2).map(|pair| (pair[0].to_owned(), pair.get(1).copied().unwrap_or("").to_owned())).collect()
}

fn is_path(name: &str) -> bool {
    ["src/", "shaders/", "tests/", "docs/", "examples/", "scripts/", "benches/"].iter().any(|top| name.starts_with(top))
}

/// A name of the code, rather than a word of the field: `snake_case` or `UPPER_CASE`.
fn is_name(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain && name.contains('_') && !name.starts_with('_') && !name.starts_with("tf_") && !name.starts_with("gym_")
}

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/embedding.md",
    "docs/from-the-seed-to-the-shader.md",
    "docs/what-makes-it-fast.md",
    "benches/README.md",
];

/// The library's modules that only tests have, by their declarations in `text`.
fn modules_of_tests(text: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = |line: &str| Some(line.rsplit_once("mod ")?.1.strip_suffix(';')?.to_owned());
    lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| declared(pair[1])).collect()
}

#[test]
fn every_file_that_a_document_names_is_there() {
    for document in DOCUMENTS {
        for (name, _) in quoted(&read(document)) {
            if is_path(&name) && !name.contains(|c: char| "*{ ".contains(c)) {
                assert!(root().join(&name).exists(), "{document} names {name}, which is not there");
            }
        }
    }
}

#[test]
fn every_function_and_setting_that_a_document_names_is_in_the_sources() {
    let mut sources = Vec::new();
    for top in ["src", "shaders", "tests", "examples", "benches"] {
        files(&root().join(top), &mut sources);
    }
    let text: String = sources.iter().filter_map(|path| fs::read_to_string(path).ok()).collect::<Vec<_>>().join("\n");
    let text = text + &read("Cargo.toml");
    let words = words(&text);
    let mut names = 0;
    for document in DOCUMENTS {
        for (name, _) in quoted(&read(document)) {
            if is_name(&name) {
                names += 1;
                assert!(words.contains(name.as_str()), "{document} names {name}, which no source knows");
            }
        }
    }
    assert!(names > 50, "only {names} names were found in the documents");
}

#[test]
fn each_equation_is_where_the_page_says() {
    const PAGE: &str = "docs/from-the-seed-to-the-shader.md";
    let mut placed = 0;
    for line in read(PAGE).lines().filter(|line| line.starts_with('|')) {
        // names wait for the file that follows them in parentheses
        let mut waiting: Vec<String> = Vec::new();
        for (name, _) in quoted(line) {
            if name.ends_with(".wgsl") || name.ends_with(".rs") {
                let text = read(&name);
                let words = words(&text);
                if let Some(last) = waiting.last() {
                    placed += 1;
                    assert!(words.contains(last.as_str()), "{PAGE}: {last} is not in {name}");
                }
                waiting.clear();
            } else {
                waiting.push(name);
            }
        }
    }
    assert!(placed > 15, "only {placed} equations were found with a file");
}

#[test]
fn every_flag_that_a_document_names_is_known_to_the_program() {
    let mut sources = Vec::new();
    files(&root().join("src/bin"), &mut sources);
    let program: String = sources.iter().filter_map(|path| fs::read_to_string(path).ok()).collect::<Vec<_>>().join("\n");
    for document in ["README.md", "docs/from-the-seed-to-the-shader.md", "benches/README.md"] {
        for (name, _) in quoted(&read(document)) {
            let Some(flag) = name.strip_prefix("--").map(|flag| flag.split([' ', '=']).next().unwrap_or(flag)) else { continue };
            if flag == "bench" || flag == "help" {
                continue;
            }
            let field = flag.replace('-', "_");
            let known = words(&program).contains(field.as_str()) || program.contains(&format!("\"{flag}\""));
            assert!(known, "{document} names --{flag}, which the program does not have");
        }
    }
}

/// What `text` names behind `crate::`, alone or in braces; tests and comments apart.
fn names_of_the_crate(text: &str) -> BTreeSet<&str> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split("crate::").skip(1))
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(several) => several.split('}').next().unwrap_or_default().split(',').map(str::trim).collect(),
            None => vec![rest],
        })
        .filter_map(|name| name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
        .collect()
}

#[test]
fn no_file_knows_one_of_a_layer_above_it() {
    let library = read("src/lib.rs");
    let exported =
        library.lines().filter_map(|line| line.strip_prefix("pub use ")).filter_map(|line| line.trim_end_matches(';').split_once("::"));
    let module_of: BTreeMap<&str, &str> =
        exported.flat_map(|(module, names)| names.trim_matches(['{', '}']).split(',').map(move |name| (name.trim(), module))).collect();
    let architecture = read("ARCHITECTURE.md");
    let table = architecture.split("| layer | files | knows |").nth(1).expect("the table of layers");
    let mut layers: BTreeMap<String, usize> = BTreeMap::new();
    for (layer, row) in table.lines().skip(2).take_while(|line| line.starts_with('|')).enumerate() {
        let files = row.split('|').nth(2).unwrap_or_default();
        for (name, _) in quoted(files).into_iter().filter(|(name, _)| !name.starts_with("shaders/")) {
            let module = name.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches('/').to_owned();
            layers.insert(module, layer);
        }
    }
    let mut sources = Vec::new();
    files(&root().join("src"), &mut sources);
    let of_tests: BTreeSet<String> = sources.iter().flat_map(|path| modules_of_tests(&read(path))).collect();
    let mut known = 0;
    for path in &sources {
        let inside = path.strip_prefix(root().join("src")).expect("it is in src").with_extension("");
        let parts: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if parts[0] == "bin" || ["lib", "guide"].contains(&&*parts[0]) || parts.iter().any(|part| of_tests.contains(part)) {
            continue;
        }
        let own = layers.get(&parts[0]).unwrap_or_else(|| panic!("{} is in no layer of ARCHITECTURE.md", path.display()));
        let text = read(path);
        for name in names_of_the_crate(&text) {
            let module = module_of.get(name).copied().unwrap_or(name);
            let Some(other) = layers.get(module) else { continue };
            known += 1;
            assert!(other <= own, "{} knows {module}, which is of a layer above it (ARCHITECTURE.md)", path.display());
        }
    }
    assert!(known > 150, "only {known} names were found");
}
