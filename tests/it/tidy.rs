//! What documents promise, and what the style asks, as far as a program can see it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::layers::rust_files;

/// A file that is longer holds more than one thing.
const LINES_MAX: usize = 900;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust source of the repository.
fn sources() -> Vec<PathBuf> {
    ["src", "benches", "tests", "tools"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .collect()
}

#[test]
fn no_file_is_longer_than_a_thing() {
    let files = sources();
    assert!(files.len() > 10, "no sources found");
    for file in files {
        let lines = fs::read_to_string(&file).expect("a source").lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
    }
}

/// The last column of docs/PROTOCOL.md names the tests that prove a row: `file::test`, `test`, or a file of the tree. A
/// row of something that is not supported has a dash there.
#[test]
fn every_row_of_the_protocol_table_names_a_test() {
    let Ok(text) = fs::read_to_string(root().join("docs/PROTOCOL.md")) else {
        return;
    };
    let sources: Vec<(String, String)> = sources()
        .into_iter()
        .map(|file| {
            (
                file.to_string_lossy().into_owned(),
                fs::read_to_string(&file).expect("a source"),
            )
        })
        .collect();
    let mut wrong = Vec::new();
    let mut header = true;
    for line in text.lines() {
        if !line.starts_with('|') {
            header = true;
            continue;
        }
        if header {
            header = !line.contains("---");
            continue;
        }
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").collect();
        let last = cells.last().map_or("", |cell| cell.trim());
        let names: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !matches!(last, "-" | "\u{2013}" | "\u{2014}") {
            wrong.push(format!("no test: {line}"));
        }
        wrong.extend(
            names
                .iter()
                .filter(|name| !exists(name, &sources))
                .map(|name| format!("no such test: {name}")),
        );
    }
    assert!(wrong.is_empty(), "docs/PROTOCOL.md\n{}", wrong.join("\n"));
}

/// What the parsers know has a row: every opcode, every flag, every word that begins a line.
#[test]
fn all_that_is_spoken_has_a_row() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a file of the tree");
    let (table, binary) = (read("docs/PROTOCOL.md"), read("src/protocol/binary.rs"));
    let (meta, classic) = (read("src/protocol/meta.rs"), read("src/protocol/classic.rs"));
    let opcodes: Vec<&str> = binary
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("pub(super) const ")?
                .split_once(": u8 = 0x")
        })
        .filter(|(name, _)| !name.starts_with("MAGIC"))
        .map(|(_, number)| number.trim_end_matches(';'))
        .collect();
    let letters = meta.split("let letters = b\"").nth(1).expect("the letters");
    let letters: Vec<char> = letters.chars().take_while(|letter| *letter != '"').collect();
    // Words in match arms: `b"word" =>`, `b"word" | ...`.
    let words: Vec<&str> = classic
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("b\"") && line.contains("=>"))
        .flat_map(|line| line.split("=>").next().unwrap_or_default().split('|'))
        .map(|pattern| pattern.trim().trim_start_matches("b\"").trim_end_matches('"'))
        .collect();
    assert!(
        opcodes.len() > 30 && letters.len() > 20 && words.len() > 20,
        "{opcodes:?} {letters:?} {words:?}"
    );
    let first_cells: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split(" | ").next().unwrap_or_default())
        .map(|cell| {
            cell.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
                .collect()
        })
        .collect();
    let is_there = |name: &str| first_cells.iter().any(|cell| cell.contains(&name));
    let named: Vec<String> = letters.iter().map(char::to_string).collect();
    let named = named.iter().map(String::as_str).chain(opcodes).chain(words);
    let missing: Vec<&str> = named.filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "no row in docs/PROTOCOL.md: {missing:?}");
}

/// True for a path of the tree, and for `some::place::test` where a source whose path has `some` and `place` has `fn
/// test`. (A module `tests` may stand inside the file that it tests.)
fn exists(name: &str, sources: &[(String, String)]) -> bool {
    if root().join(name).is_file() {
        return true;
    }
    let mut places: Vec<&str> = name.split("::").filter(|place| *place != "tests").collect();
    let function = format!("fn {}(", places.pop().unwrap_or_default());
    sources
        .iter()
        .any(|(path, text)| places.iter().all(|place| path.contains(place)) && text.contains(&function))
}

#[test]
fn a_test_that_is_not_there_is_not_found() {
    let sources = [("tests/it/classic.rs".to_owned(), "fn noreply() {}".to_owned())];
    for (name, want) in [
        ("classic::noreply", true),
        ("tests/it/classic.rs::noreply", true),
        ("noreply", true),
        ("classic::tests::noreply", true),
        ("Cargo.toml", true),
        ("tools::noreply", false),
        ("classic::nothing", false),
        ("tests/it/nothing.rs", false),
    ] {
        assert_eq!(want, exists(name, &sources), "{name}");
    }
}

/// What the README tells people to type is there: scripts by their path, packages by their name.
#[test]
fn the_commands_of_the_readme_exist() {
    let Ok(text) = fs::read_to_string(root().join("README.md")) else {
        return;
    };
    assert!(
        text.contains("tools/test"),
        "the README does not say how to pass all tests"
    );
    let blocks = text.split("```").skip(1).step_by(2);
    for line in blocks.flat_map(|block| block.lines().skip(1)) {
        let words: Vec<&str> = line.trim_start_matches("$ ").split_whitespace().collect();
        let Some(command) = words.iter().find(|word| !word.contains('=')) else {
            continue;
        };
        if command.starts_with("tools/") || command.starts_with("./") {
            assert!(root().join(command).is_file(), "the README says {command}");
        }
        if let Some(package) = words
            .iter()
            .skip_while(|word| **word != "-p")
            .nth(1)
            .filter(|_| *command == "cargo")
        {
            let tool = root().join("tools").join(package).join("Cargo.toml");
            assert!(
                *package == "ringcached" || tool.is_file(),
                "the README says cargo -p {package}"
            );
        }
    }
}
