//! Nodes: microcontrollers at a serial line or a TCP socket, by the link of [`eyot_wire::link`].
//!
//! - [`port`]: the line.
//! - [`peer`]: what is known of a node, and what is said to it; without I/O.
//! - [`renewal`]: of its own program, which [`program`] reads, or [`programs`] receives.
//! - [`runner`]: keeps the line up, and moves readings, acknowledgements and reports across it; [`allowance`]: how many.

pub mod allowance;
pub mod peer;
pub mod port;
pub mod program;
pub mod programs;
pub mod renewal;
pub mod runner;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use eyot_core::config::Configured;
use eyot_core::deploy::registry::build;
use eyot_core::node::NODE_MODULE_MAX_BYTES;
use eyot_trust::verify;
use eyot_wire::link::{ToNode, CHUNK_MAX_BYTES};
use sha2::{Digest, Sha256};

use crate::board::FunctionBudget;

use crate::file;

pub use port::Port;

/// `[[node]]`.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in topics, status and logs.
    pub id: String,
    /// Where it is.
    pub port: Port,
    /// Its board and what that grants functions, if the configuration names it.
    pub board: Option<(String, FunctionBudget)>,
    /// What it is to run, from which file; none to leave it as it is.
    pub module: Option<(Module, PathBuf)>,
    /// What its own program is to be; none to leave it as it is.
    pub program: Option<Module>,
}

impl Node {
    /// What it is to run as a function that a push may follow, if it is one.
    pub fn configured(&self) -> Option<Configured> {
        let (Module { bytes, sha256 }, _) = self.module.as_ref()?;
        let module = verify::Module::read(bytes).ok()?;
        let name = module.manifest().name.clone();
        Some(Configured { name, build: build(module.manifest(), *sha256, *module.content_sha256()) })
    }
}

/// A module for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// As it is sent.
    pub bytes: Bytes,
    /// Of these.
    pub sha256: [u8; 32],
}

impl Module {
    /// What is sent of it from `offset` on; none if that is not there.
    pub(crate) fn chunk(&self, offset: u32) -> Option<ToNode<'_>> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let bytes = rest.get(..rest.len().min(CHUNK_MAX_BYTES))?;
        Some(ToNode::Chunk { sha256: self.sha256, offset, bytes })
    }

    /// Reads a file, of which the node says whether it can run it.
    ///
    /// # Errors
    /// It cannot be read, or is too large for any node: reason and remedy.
    pub fn load(path: &Path) -> Result<Self, String> {
        let shown = PathBuf::from(path);
        let bytes = file::read(path, NODE_MODULE_MAX_BYTES)
            .map_err(|error| format!("cannot use {}: {error}; name a .wasm file", shown.display()))?;
        let sha256 = Sha256::digest(&bytes).into();
        Ok(Self { bytes: bytes.into(), sha256 })
    }

    /// Whether it fits a board; of what is no function, the node says so.
    ///
    /// # Errors
    /// What does not fit, and the remedy.
    pub fn fit(&self, board: &FunctionBudget) -> Result<(), String> {
        let module = verify::Module::read(&self.bytes);
        module.map_or(Ok(()), |module| board.fit(module.manifest(), self.bytes.len()))
    }
}
