//! What the configuration of a function is here, on a topic of its own.

use eyot_wire::control::{ConfigReport, CONFIG_SHOWN_MAX_BYTES};

use super::report::json;
use super::*;
use crate::deploy::plan::Change;

impl<S: Storage> Core<S> {
    /// Tells what `config_get` answers, if that may have changed with this.
    pub(super) fn tell_config(&mut self, name: &str, change: &Change) {
        if change.is_beside() {
            return;
        }
        // A removed one has none.
        let document = self.functions.get(name).map(|active| json(&config_report(active))).unwrap_or_default();
        self.publish_traces(&format!("function/{name}/config"), &document, true);
    }

    /// The same of all functions, for who has just come.
    pub(super) fn config_reports(&self) -> Vec<ConfigReport> {
        self.functions.iter().chain(&self.reducer).map(config_report).collect()
    }
}

fn config_report(active: &Active) -> ConfigReport {
    let own = active.manifest.config.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let set_here = active.overrides.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let all: BTreeMap<&str, &str> = own.chain(set_here).collect();
    let mut report = ConfigReport {
        function: active.name.to_string(),
        version: active.manifest.version.to_string(),
        values: BTreeMap::new(),
        set_here: active.overrides.iter().map(|(key, _)| key.clone()).collect(),
        left_out: Vec::new(),
    };
    let mut left_bytes = CONFIG_SHOWN_MAX_BYTES;
    for (key, value) in all {
        match left_bytes.checked_sub(key.len() + value.len()) {
            Some(left) => {
                left_bytes = left;
                report.values.insert(key.to_owned(), value.to_owned());
            }
            None => report.left_out.push(key.to_owned()),
        }
    }
    report
}
