//! A case through a function, in the engine the gateway uses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eyot_engine::{Function, Invocation, LoadOptions, State};
use eyot_wire::capture::Outcome;
use sha2::{Digest, Sha256};

use crate::case::Case;
use crate::error::Error;
use crate::guest;

/// A function, ready for cases; to be used in [`guest::on_guest_thread`].
pub struct Runner {
    path: PathBuf,
    function: Function,
    pub sha256: String,
    config: Vec<(String, String)>,
}

impl Runner {
    /// Loads the module in `path`, with the configuration of the first case: it may not start without.
    ///
    /// # Errors
    /// It cannot be read, or is refused.
    pub fn load(path: &Path, first: Option<&Case>) -> Result<Self, Error> {
        let wasm = guest::read_module(path)?;
        let config = first.map(|case| case.config.clone()).unwrap_or_default();
        let options = LoadOptions { config: &borrowed(&config), ..LoadOptions::default() };
        let function = guest::load(path, &wasm, options)?;
        Ok(Self { path: path.to_owned(), function, sha256: hex::encode(Sha256::digest(&wasm)), config })
    }

    /// Name and version.
    pub fn name(&self) -> String {
        let manifest = self.function.manifest();
        format!("{} {}", manifest.name, manifest.version)
    }

    /// What comes of a case, and the fuel that took.
    ///
    /// # Errors
    /// The function does not start with the configuration of the case.
    pub fn run(&mut self, case: &Case) -> Result<(Outcome, u64), Error> {
        if self.config != case.config {
            self.function.set_config(&borrowed(&case.config)).map_err(|e| Error::refused(self.path.display(), &e))?;
            self.config.clone_from(&case.config);
        }
        *self.function.state_mut() = State::from(case.state.iter().cloned().collect::<BTreeMap<_, _>>());
        let invocation =
            Invocation { topic: &case.topic, payload: &case.payload, now_ms: case.now_ms, seed: case.seed };
        let result = self.function.invoke(&invocation).map(|_| ());
        Ok((self.function.effects().outcome(result), self.function.fuel_spent()))
    }
}

fn borrowed(config: &[(String, String)]) -> Vec<(&str, &str)> {
    config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}
