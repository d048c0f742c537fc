//! House rules that no linter knows, as a test over the repository's files. It reads files and writes nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap_or_default()
}

/// All files below `folder` with one of the `endings`, but for build output.
pub fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A function longer than this many lines needs a reason.
pub const FUNCTION_LINES_MAX: usize = 70;
/// So does a file longer than this, without its unit tests.
pub const FILE_LINES_MAX: usize = 400;
/// A line that begins with this, in the first thirty of a file, gives the reason.
pub const REASON: &str = "// Long because ";

/// Lines of a file before its unit tests.
pub fn code_lines(text: &str) -> usize {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count()
}

/// Names and lengths of functions longer than [`FUNCTION_LINES_MAX`], as rustfmt lays them out.
pub fn long_functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match &open {
            None if is_function(line.trim_start()) && !line.trim_end().ends_with(['}', ';']) => {
                open = Some((line.trim().to_owned(), indent, number));
            }
            Some((name, of, start)) if indent == *of && line.trim() == "}" => {
                if number - start > FUNCTION_LINES_MAX {
                    found.push((name.clone(), number - start));
                }
                open = None;
            }
            _ => {}
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let mut rest = line;
    while let Some((word, after)) = rest.split_once(' ') {
        if word == "fn" {
            return true;
        }
        if !words.contains(&word) {
            return false;
        }
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_functions_are_found() {
        let long = format!(
            "impl X {{\n    pub fn long(&self) {{\n{}    }}\n    fn short() {{\n    }}\n}}\n",
            "        a();\n".repeat(80)
        );
        let found = long_functions(&long);
        assert_eq!(found.len(), 1);
        assert!(found[0].0.contains("long"));
    }
}
