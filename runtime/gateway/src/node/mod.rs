//! Nodes: microcontrollers at a serial line or a TCP socket, by the link of [`eyot_wire::link`].
//!
//! - [`port`]: the line.
//! - [`peer`]: what is known of a node, and what is said to it; without I/O.
//! - [`runner`]: keeps the line up, and moves readings, acknowledgements and reports across it.

pub mod peer;
pub mod port;
pub mod runner;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::file;

pub use port::Port;

/// Largest module that a gateway sends to a node: no node has room for more.
pub const MODULE_MAX_BYTES: usize = 1 << 20;

/// `[[node]]`.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in topics, status and logs.
    pub id: String,
    /// Where it is.
    pub port: Port,
    /// What it is to run; none to leave it as it is.
    pub module: Option<Module>,
}

/// A module for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// As it is sent.
    pub bytes: Vec<u8>,
    /// Of these.
    pub sha256: [u8; 32],
}

impl Module {
    /// Reads a file, of which the node says whether it can run it.
    ///
    /// # Errors
    /// It cannot be read, or is too large for any node: reason and remedy.
    pub fn load(path: &Path) -> Result<Self, String> {
        let shown = PathBuf::from(path);
        let bytes = file::read(path, MODULE_MAX_BYTES)
            .map_err(|error| format!("cannot use {}: {error}; name a .wasm file", shown.display()))?;
        let sha256 = Sha256::digest(&bytes).into();
        Ok(Self { bytes, sha256 })
    }
}
