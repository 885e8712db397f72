//! Knowledge flows one way: which part of src may know which.
//!
//! The folders are the architecture, so the check reads them: every `crate::` path in src, its comments aside, must name
//! a part that the table allows. A new part needs a row, and with it a thought about where it belongs.

use std::fs;
use std::path::{Path, PathBuf};

/// Each part of src, and all it may know. What is not listed it has never heard of: `shard` no sockets and no CRLF,
/// `protocol` no cache, `session` no kernel.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("hash", &[]),
    ("time", &[]),
    ("memory", &[]),
    ("command", &["hash", "time", "memory"]),
    ("protocol", &["command", "hash", "time", "memory"]),
    ("shard", &["command", "hash", "time", "memory"]),
    // Of the cache it knows two words: the reservation that it fills, and the counters that it prints.
    (
        "session",
        &["protocol", "shard", "command", "hash", "time", "memory"],
    ),
    (
        "mesh",
        &[
            "session", "protocol", "shard", "command", "hash", "time", "memory",
        ],
    ),
    (
        "runtime",
        &[
            "mesh", "session", "protocol", "shard", "command", "hash", "time", "memory",
        ],
    ),
    ("cluster", &["hash"]),
    // Of the cluster it knows how a server is written.
    (
        "config",
        &["cluster", "protocol", "command", "hash", "time", "memory"],
    ),
    (
        "client",
        &["cluster", "protocol", "command", "hash", "time", "memory"],
    ),
    (
        "server",
        &[
            "config", "cluster", "runtime", "mesh", "session", "protocol", "shard", "command", "hash",
            "time", "memory",
        ],
    ),
];

/// The crate's roots, which put it together and may know everything.
const ROOTS: [&str; 2] = ["main", "lib"];

#[test]
fn knowledge_flows_one_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut parts = Vec::new();
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).expect("a file under src");
        let modules = module_path(inside);
        let part = modules.first().expect("a part").clone();
        if ROOTS.contains(&part.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == part) else {
            wrong.push(format!(
                "src/{} is of no part in the table of tests/it/layers.rs",
                inside.display()
            ));
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source file");
        for known in parts_named(&text, modules.len()) {
            if known != part && !allowed.contains(&known.as_str()) {
                wrong.push(format!("src/{}: {part} must not know {known}", inside.display()));
            }
        }
        parts.push(part);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        parts.iter().any(|part| part == "shard"),
        "no sources found under {}",
        source.display()
    );
}

#[test]
fn the_table_has_no_circle() {
    // Every part stands below all those that may know it.
    let place = |name: &str| MAY_KNOW.iter().position(|(part, _)| *part == name);
    for (part, known) in MAY_KNOW {
        for other in *known {
            assert!(
                place(other) < place(part),
                "{part} and {other} could know each other"
            );
        }
    }
}

#[test]
fn every_way_to_name_a_part_is_seen() {
    for (text, depth, want) in [
        ("use crate::shard::Shard;", 1, &["shard"][..]),
        (
            "use crate::{hash, session::{Session, shard}, time::Now};",
            1,
            &["hash", "session", "time"],
        ),
        (
            "use crate::{\n    mesh::Mesh,\n    time,\n};",
            1,
            &["mesh", "time"],
        ),
        ("    let x: crate::server::Server = y;", 1, &["server"]),
        ("pub(crate) struct X; // crate::server", 1, &[]),
        ("/// See [`crate::server`].\n//! crate::server\nfn f() {}", 1, &[]),
        ("use super::runtime::Loop;", 1, &["runtime"]),
        ("use super::super::runtime::Loop;", 2, &["runtime"]),
        ("use super::runtime::Loop;", 2, &[]),
    ] {
        assert_eq!(want, parts_named(text, depth), "{text}");
    }
}

/// `shard/slab.rs` is `shard::slab`, `shard/mod.rs` is `shard`.
fn module_path(inside: &Path) -> Vec<String> {
    let mut modules: Vec<String> = inside
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if modules.last().is_some_and(|last| last == "mod") {
        modules.pop();
    }
    modules
}

/// The parts of the crate that a source text names, in order of appearance. `depth`: how many modules deep it stands.
fn parts_named(text: &str, depth: usize) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut named = after(&code, "crate::");
    // `super` once for every module above leads to the crate's root, too.
    let climb = "super::".repeat(depth);
    named.extend(
        after(&code, &climb)
            .into_iter()
            .filter(|name| MAY_KNOW.iter().any(|(part, _)| part == name)),
    );
    named
}

/// The names behind each occurrence of `prefix`, a group in braces included.
fn after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (start, _) in code.match_indices(prefix) {
        let follows_word =
            code[..start].ends_with(|letter: char| letter.is_alphanumeric() || "_:$".contains(letter));
        if follows_word {
            continue;
        }
        let rest = &code[start + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.extend(word(rest));
            continue;
        };
        let mut nesting = 0;
        for item in group.split_inclusive([',', '{', '}']) {
            if nesting == 0 {
                names.extend(word(item.trim_start()));
            }
            nesting += item.matches('{').count() as i32 - item.matches('}').count() as i32;
            if nesting < 0 {
                break;
            }
        }
    }
    names
}

/// The word at the head of a text.
fn word(text: &str) -> Option<String> {
    let end = text
        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(text.len());
    Some(text[..end].to_owned()).filter(|word| word.chars().next().is_some_and(char::is_lowercase))
}

/// All Rust sources under a folder.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return files;
    };
    for entry in entries {
        let path = entry.expect("a folder's entry").path();
        let skipped = ["target", "node_modules"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !skipped {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
