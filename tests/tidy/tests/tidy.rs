//! One test for each house rule.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

use eyot_test_tidy::{code_lines, files, long_functions, root, FILE_LINES_MAX, REASON};

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[track_caller]
fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}\n  {}", broken.join("\n  "));
}

#[test]
fn the_top_level_is_fixed() {
    let allowed =
        ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE", "runtime", "firmware", "functions", "boards", "tests"];
    let broken: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target" && !allowed.contains(&name.as_str()))
        .collect();
    none(&broken, "nothing else belongs at the top level");
}

#[test]
fn files_and_functions_stay_small() {
    let mut broken = Vec::new();
    for path in files(&root(), &[".rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        if text.lines().take(30).any(|line| line.trim_start().starts_with(REASON)) {
            continue;
        }
        let lines = code_lines(&text);
        if lines > FILE_LINES_MAX {
            broken.push(format!("{}: {lines} lines", shown(&path)));
        }
        broken.extend(
            long_functions(&text).iter().map(|(name, lines)| format!("{}: {name} {lines} lines", shown(&path))),
        );
    }
    none(&broken, "find the idea that wants its own name, or say at the top of the file: // Long because ...");
}

#[test]
fn every_crate_says_what_it_is() {
    let broken: Vec<String> = files(&root(), &["lib.rs", "main.rs"])
        .iter()
        .filter(|path| !fs::read_to_string(path).unwrap().trim_start().starts_with("//!"))
        .map(|path| shown(path))
        .collect();
    none(&broken, "lib.rs and main.rs open with what the crate is");
}

#[test]
fn the_core_knows_no_clock_socket_task_or_file() {
    let forbidden =
        ["std::net", "std::thread", "std::fs", "Instant", "SystemTime", "tokio", "HashMap", "HashSet", " rand::"];
    let mut broken = Vec::new();
    for path in files(&root().join("runtime/core"), &[".rs", "Cargo.toml"]) {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            broken.extend(
                forbidden
                    .iter()
                    .filter(|w| code.contains(**w))
                    .map(|w| format!("{}:{}: {w}", shown(&path), number + 1)),
            );
        }
    }
    none(&broken, "time, randomness, sockets, tasks and files are inputs and effects of the core");
}

#[test]
fn dependencies_point_one_way() {
    // Each crate with the crates of ours that it may use.
    let allowed: &[(&str, &[&str])] = &[
        ("wire", &[]),
        ("spool", &["wire"]),
        ("engine", &["wire"]),
        ("trust", &["wire"]),
        ("core", &["wire", "engine", "spool", "trust"]),
        ("gateway", &["wire", "engine", "spool", "trust", "core", "node"]),
        ("card", &[]),
        ("image", &["card"]),
        ("init", &["card"]),
        ("../firmware/node", &["wire", "engine"]),
    ];
    let mut broken = Vec::new();
    for (name, may) in allowed {
        let text = fs::read_to_string(root().join("runtime").join(name).join("Cargo.toml")).unwrap();
        let dependencies = text.split("[dev-dependencies]").next().unwrap_or("");
        for line in dependencies.lines().filter(|line| line.starts_with("eyot-")) {
            let of = line.trim_start_matches("eyot-").split([' ', '.', '=']).next().unwrap_or("");
            if !may.contains(&of) {
                broken.push(format!("runtime/{name} uses {of}"));
            }
        }
    }
    none(&broken, "wire <- {engine, spool, trust, node} <- core <- gateway; card <- {image, init}");
}

#[test]
fn every_dependency_is_justified() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = text.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let mut broken = Vec::new();
    let mut justified = false;
    for line in section.lines() {
        if line.starts_with('#') {
            justified = true;
        } else if line.trim().is_empty() {
            justified = false;
        } else if let Some((name, _)) = line.split_once(" = ") {
            if !justified && !name.starts_with("eyot-") {
                broken.push(name.to_owned());
            }
            justified = false;
        }
    }
    none(&broken, "a comment line above each dependency says why it is there");
}

#[test]
fn nothing_is_left_undone() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("unimplemented", "!"),
        concat!("todo", "!"),
    ];
    let mut broken = Vec::new();
    for path in files(&root(), &[".rs", ".md", ".toml", ".sh"]) {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    none(&broken, "finish it, or write down elsewhere why it waits");
}
