//! Finds a Rust toolchain that has the standard library for WebAssembly.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;

/// What functions are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Chooses the toolchain.
const CHOICE: &str = "EYOT_WASM_TOOLCHAIN";

/// Where `cargo` and `rustc` come from.
#[derive(Clone, Debug)]
pub enum Toolchain {
    /// As they are found on `PATH`; with rustup, the active toolchain.
    Active,
    /// A toolchain that rustup knows by this name.
    Named(OsString),
    /// A folder with `bin/cargo` and `bin/rustc`.
    Folder(PathBuf),
}

impl Toolchain {
    /// The first toolchain that can build the function in `dir`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(dir: &Path) -> Result<Self, Error> {
        if let Some(choice) = env::var_os(CHOICE).filter(|choice| !choice.is_empty()) {
            let toolchain = Self::from_choice(&choice);
            if toolchain.has_target(dir) {
                return Ok(toolchain);
            }
            return Err(Error::bad_input(
                format_args!("{CHOICE}={}", choice.display()),
                format_args!("is no toolchain with the target {TARGET}"),
                "give a toolchain folder or the name of a rustup toolchain that has it, or unset it",
            ));
        }
        let private = private_folder();
        let known = [Some(Self::Active), private.clone().map(Self::Folder)];
        known.into_iter().flatten().find(|toolchain| toolchain.has_target(dir)).ok_or_else(|| {
            let looked = private.map(|folder| format!(", nor {}", folder.display())).unwrap_or_default();
            Error::failed(
                TARGET,
                format_args!("the active Rust toolchain does not have this target{looked}"),
                format_args!(
                    "run `rustup target add {TARGET}` (Rust is at https://rustup.rs), or tests/setup.sh in a clone of Eyot"
                ),
            )
        })
    }

    fn from_choice(choice: &OsStr) -> Self {
        let folder = Path::new(choice);
        if folder.is_absolute() || folder.components().count() > 1 {
            // Cargo runs in the function's folder, from where a relative path would lead elsewhere.
            return Self::Folder(fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()));
        }
        Self::Named(choice.to_owned())
    }

    /// A command that runs `cargo` or `rustc` in `dir`.
    pub fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = match self {
            Self::Active => Command::new(program),
            Self::Named(name) => {
                let mut command = Command::new(program);
                command.env("RUSTUP_TOOLCHAIN", name);
                command
            }
            Self::Folder(folder) => {
                let bin = folder.join("bin");
                let mut command = Command::new(bin.join(program));
                command.env("RUSTC", bin.join("rustc")).env("RUSTDOC", bin.join("rustdoc"));
                command
            }
        };
        command.current_dir(dir);
        command
    }

    /// What `rustc` says to a question; `None` if it cannot be asked.
    fn ask_rustc(&self, dir: &Path, question: &[&str]) -> Option<String> {
        let output = self.command("rustc", dir).args(question).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn has_target(&self, dir: &Path) -> bool {
        let Some(libraries) = self.ask_rustc(dir, &["--print", "target-libdir", "--target", TARGET]) else {
            return false;
        };
        let is_core = |name: OsString| name.to_string_lossy().starts_with("libcore-");
        fs::read_dir(libraries).is_ok_and(|entries| entries.flatten().any(|entry| is_core(entry.file_name())))
    }

    /// Where the source of the standard library is, and the name it has in libraries as they are released.
    pub fn library_source(&self, dir: &Path) -> Option<(PathBuf, String)> {
        let sysroot = PathBuf::from(self.ask_rustc(dir, &["--print", "sysroot"])?);
        let version = self.ask_rustc(dir, &["-vV"])?;
        let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "))?;
        Some((sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{commit}")))
    }
}

/// Where `tests/setup.sh` puts a toolchain.
fn private_folder() -> Option<PathBuf> {
    let set = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("eyot/sysroot"))
}
