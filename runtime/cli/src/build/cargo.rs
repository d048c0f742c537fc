//! Runs cargo for a function, so that the same sources give the same bytes wherever they stand.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::build::toolchain::{Toolchain, TARGET};
use crate::error::Error;

/// Flags of the user's own builds, which would change the function or break it. What a function needs stands in its
/// `.cargo/config.toml`.
const NOT_PASSED_ON: [&str; 3] = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"];
const CDYLIB: &str = "cdylib";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Option<Resolve>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    /// `None` for those that are folders on this machine.
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    root: Option<String>,
    #[serde(default)]
    nodes: Vec<Node>,
}

/// A crate, and those it is built from.
#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// One line of what cargo writes to standard output.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Builds the crate in `dir` and answers where its module is.
///
/// # Errors
/// There is no toolchain, `dir` is not the crate of a function, or it does not compile.
pub fn build(dir: &Path) -> Result<PathBuf, Error> {
    if !dir.join("Cargo.toml").is_file() {
        return Err(Error::bad_input(
            dir.display(),
            "has no Cargo.toml",
            "give the folder of a Rust function, or a module built otherwise with --wasm FILE",
        ));
    }
    let toolchain = Toolchain::find(dir)?;
    let metadata = metadata(&toolchain, dir)?;
    let package = function_package(&metadata, dir)?;
    compile(&toolchain, dir, &metadata, package)
}

/// Folders on this machine that the crate in `dir` is built from, besides its own: of crates it depends on by their path. None
/// as long as cargo cannot tell.
pub fn path_dependencies(dir: &Path) -> Option<BTreeSet<PathBuf>> {
    let output = metadata_command(&Toolchain::find(dir).ok()?, dir).stderr(Stdio::null()).output().ok()?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).ok()?;
    let resolve = metadata.resolve.as_ref()?;
    let (mut found, mut open) = (BTreeSet::new(), vec![resolve.root.as_ref()?]);
    while let Some(id) = open.pop() {
        let node = resolve.nodes.iter().find(|node| node.id == *id);
        if found.insert(id) {
            open.extend(node.iter().flat_map(|node| &node.dependencies));
        }
    }
    let is_here = |package: &&Package| package.source.is_none() && found.contains(&package.id);
    let others = metadata.packages.iter().filter(is_here).filter(|package| Some(&package.id) != resolve.root.as_ref());
    Some(others.filter_map(|package| package.manifest_path.parent().map(Path::to_owned)).collect())
}

fn cargo(toolchain: &Toolchain, dir: &Path) -> Command {
    let mut command = toolchain.command("cargo", dir);
    for key in NOT_PASSED_ON {
        command.env_remove(key);
    }
    command
}

fn metadata_command(toolchain: &Toolchain, dir: &Path) -> Command {
    let mut command = cargo(toolchain, dir);
    command.args(["metadata", "--format-version=1", "--filter-platform", TARGET]);
    command
}

fn metadata(toolchain: &Toolchain, dir: &Path) -> Result<Metadata, Error> {
    let output = metadata_command(toolchain, dir).stderr(Stdio::inherit()).output().map_err(|e| cannot_run(&e))?;
    if !output.status.success() {
        return Err(Error::failed(dir.display(), "cargo cannot read the crate", "correct what it says above"));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| Error::failed("cargo metadata", e, "use a toolchain of Rust 1.88 or later"))
}

fn cannot_run(error: &std::io::Error) -> Error {
    Error::failed("cargo", format_args!("cannot be run: {error}"), "install Rust from https://rustup.rs")
}

fn function_package<'a>(metadata: &'a Metadata, dir: &Path) -> Result<&'a Package, Error> {
    let root = metadata.resolve.as_ref().and_then(|resolve| resolve.root.as_ref());
    let Some(package) = metadata.packages.iter().find(|package| Some(&package.id) == root) else {
        return Err(Error::bad_input(
            dir.display(),
            "is a workspace of several crates",
            "give the folder of one function",
        ));
    };
    if !package.targets.iter().any(|target| target.crate_types.iter().any(|kind| kind == CDYLIB)) {
        return Err(Error::bad_input(
            package.manifest_path.display(),
            "the crate is not of a type that links to a module",
            "add to it: [lib] crate-type = [\"cdylib\", \"lib\"]",
        ));
    }
    Ok(package)
}

fn compile(toolchain: &Toolchain, dir: &Path, metadata: &Metadata, package: &Package) -> Result<PathBuf, Error> {
    let mut mapped = machine_paths(metadata);
    mapped.extend(toolchain.library_source(dir));
    let flags = serde_json::Value::from(remap_flags(mapped));
    let mut child = cargo(toolchain, dir)
        .args(["build", "--release", "--lib", "--target", TARGET, "--message-format=json-render-diagnostics"])
        // A JSON list of strings is a TOML list too. Cargo appends it to that of the crate's own configuration.
        .arg("--config")
        .arg(format!("target.{TARGET}.rustflags={flags}"))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| cannot_run(&e))?;
    let mut module = None;
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let line = line.map_err(|e| cannot_run(&e))?;
        // Lines that are not JSON come from build scripts.
        let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
        if message.reason == "compiler-artifact" && message.package_id == package.id {
            let is_module = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
            module = message.filenames.into_iter().find(is_module).or(module);
        }
    }
    let status = child.wait().map_err(|e| cannot_run(&e))?;
    match module {
        Some(module) if status.success() => Ok(module),
        _ => Err(Error::failed(dir.display(), "cargo cannot build it", "correct what it says above")),
    }
}

/// Paths of this machine, which panics and `file!()` would carry into the module, with the names to put in their place.
fn machine_paths(metadata: &Metadata) -> Vec<(PathBuf, String)> {
    let mut mapped = vec![
        (metadata.workspace_root.clone(), "/src".to_owned()),
        (metadata.target_directory.clone(), "/target".to_owned()),
    ];
    mapped.extend(cargo_home().map(|home| (home, "/cargo".to_owned())));
    for package in metadata.packages.iter().filter(|package| package.source.is_none()) {
        let folder = package.manifest_path.parent().map(Path::to_owned);
        let outside = folder.filter(|folder| !folder.starts_with(&metadata.workspace_root));
        mapped.extend(outside.map(|folder| (folder, format!("/{}", package.name))));
    }
    mapped
}

fn remap_flags(mut mapped: Vec<(PathBuf, String)>) -> Vec<String> {
    // Of all that match rustc takes the last, so the longest wins.
    mapped.sort_by_key(|(path, _)| path.as_os_str().len());
    mapped.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())).collect()
}

fn cargo_home() -> Option<PathBuf> {
    let set = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME").or_else(|| set("HOME").map(|home| home.join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_it_depends_on_by_their_path_are_found_and_no_others() {
        let site = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(site.path()).unwrap();
        std::fs::write(root.join("Cargo.toml"), "[workspace]\nresolver = \"2\"\nmembers = [\"*\"]").unwrap();
        for (name, more) in
            [("f", "near = { path = \"../near\" }"), ("near", "far = { path = \"../far\" }"), ("far", ""), ("odd", "")]
        {
            let text = format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n{more}"
            );
            std::fs::create_dir_all(root.join(name).join("src")).unwrap();
            std::fs::write(root.join(name).join("Cargo.toml"), text).unwrap();
            std::fs::write(root.join(name).join("src/lib.rs"), "").unwrap();
        }
        assert_eq!(path_dependencies(&root.join("f")), Some(BTreeSet::from([root.join("near"), root.join("far")])));
        assert_eq!(path_dependencies(&root.join("none")), None);
    }
}
