//! Where the programs under test are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Directory with `eyotd` and `eyot` of this source tree, in the profile of the test itself, built on first use.
///
/// `EYOT_E2E_BIN_DIR` names another one, to test programs that are installed.
///
/// # Panics
/// When the build fails.
pub fn bin_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| match env::var_os("EYOT_E2E_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => build(&["eyot-gateway", "eyot-cli"], !cfg!(debug_assertions)),
    })
}

/// Path of the daemon.
pub fn eyotd() -> PathBuf {
    bin_dir().join("eyotd")
}

/// Path of the tool.
pub fn eyot() -> PathBuf {
    bin_dir().join("eyot")
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is where it was built")
}

/// Builds the binaries of `packages` into the target directory of the running program, and returns where they are.
///
/// # Panics
/// When cargo fails.
pub fn build(packages: &[&str], release: bool) -> PathBuf {
    let profile_dir = profile_dir();
    let target_dir = profile_dir.parent().expect("a profile directory has a parent");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).env("CARGO_TARGET_DIR", target_dir).args(["build", "--quiet", "--bins"]);
    // What cargo tells the program it runs; build scripts that look at it would run again, and all that follows.
    for (name, _) in env::vars_os() {
        let inner = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        if inner.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    for package in packages {
        cargo.args(["-p", package]);
    }
    if release {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "{cargo:?} failed");
    target_dir.join(if release { "release" } else { "debug" })
}

/// `target/<profile>`: test programs run from `deps` in it, others directly.
fn profile_dir() -> PathBuf {
    let exe = env::current_exe().expect("the running program has a path");
    let dir = exe.parent().expect("a program is in a directory");
    let dir = if dir.ends_with("deps") { dir.parent().expect("deps is in a profile directory") } else { dir };
    dir.to_path_buf()
}
