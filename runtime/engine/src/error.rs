//! Why a module is not loaded.

use alloc::string::String;
use core::fmt;

use eyot_wire::code::Failure;
use eyot_wire::manifest::ManifestError;
use eyot_wire::module::{ABI_VERSION, MODULE_MAX_BYTES, SECTION_MANIFEST};

/// Why a module is refused. The text names the thing, the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The file is larger than [`MODULE_MAX_BYTES`].
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not a valid module, or one that uses a WebAssembly proposal outside the function interface.
    Invalid(String),
    /// No manifest in the module, and none given.
    NoManifest,
    /// The manifest is not a valid `function.toml`.
    Manifest(ManifestError),
    /// The manifest asks for more than this gateway grants.
    OverCeiling {
        /// Key below `[limits]`.
        key: &'static str,
        /// What the manifest asks for.
        asked: u64,
        /// What is granted at most.
        allowed: u64,
    },
    /// The module has too much of something.
    TooMany {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// How much.
        count: u64,
        /// The limit.
        most: u64,
    },
    /// The module uses something that no function may use.
    Forbidden {
        /// What.
        what: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// An import that the function interface does not have.
    UnknownImport {
        /// Module part of the import's name.
        module: String,
        /// Its name.
        name: String,
    },
    /// An import of the function interface, declared with another type.
    ImportType {
        /// Its name.
        name: String,
    },
    /// A required export is missing.
    MissingExport {
        /// Its name.
        name: &'static str,
    },
    /// An export of the function interface has another type.
    ExportType {
        /// Its name.
        name: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
    /// `eyot_abi` returned another version.
    Abi {
        /// What it returned.
        version: i32,
    },
    /// The module could not be instantiated: a segment lies outside memory, or this machine has no memory left.
    Instantiate(String),
    /// `eyot_abi` or `eyot_init` failed.
    Init(Failure),
    /// Configuration given for this gateway is over a limit.
    Config(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => write!(
                f,
                "module: {bytes} bytes, at most {MODULE_MAX_BYTES} are loaded; build for size and strip debug sections"
            ),
            Self::Invalid(reason) => {
                write!(f, "module: not loadable WebAssembly: {reason}; build for wasm32-unknown-unknown")
            }
            Self::NoManifest => {
                write!(f, "module: no section {SECTION_MANIFEST}; add function.toml with `eyot build`")
            }
            Self::Manifest(e) => write!(f, "module: section {SECTION_MANIFEST}: {e}; correct function.toml"),
            Self::OverCeiling { key, asked, allowed } => {
                write!(f, "limits.{key}: {asked} asked, at most {allowed} granted here; lower it in function.toml")
            }
            Self::TooMany { what, count, most } => {
                write!(f, "module: {count} {what}, at most {most} are allowed; make the function smaller")
            }
            Self::Forbidden { what, remedy } => write!(f, "module: {what} not allowed; {remedy}"),
            Self::UnknownImport { module, name } => write!(
                f,
                "import {module}.{name}: not part of function interface {ABI_VERSION}; functions have no WASI and no \
                 JavaScript, use only imports from \"eyot\""
            ),
            Self::ImportType { name } => write!(
                f,
                "import eyot.{name}: wrong type; declare it as in function interface {ABI_VERSION} or use the SDK"
            ),
            Self::MissingExport { name } => {
                write!(f, "export {name}: missing; export it as function interface {ABI_VERSION} asks or use the SDK")
            }
            Self::ExportType { name, expected } => write!(f, "export {name}: wrong type; it must be {expected}"),
            Self::Abi { version } => write!(
                f,
                "eyot_abi: returned {version}, this gateway speaks {ABI_VERSION}; rebuild with a matching SDK or \
                 update the gateway"
            ),
            Self::Instantiate(reason) => {
                write!(f, "module: cannot be instantiated: {reason}; check the sizes of memory and tables, and the segments")
            }
            Self::Init(Failure::Code(code)) => write!(
                f,
                "eyot_init: returned error code {code}, it must return 0; check [config] of function.toml, which it reads"
            ),
            Self::Init(failure) => {
                write!(f, "eyot_init: {failure}; it may only read its configuration and log")
            }
            Self::Config(reason) => write!(f, "config: {reason}; shorten it"),
        }
    }
}

impl core::error::Error for LoadError {}
