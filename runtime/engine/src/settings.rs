//! What a function is loaded with: its manifest and its configuration.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use eyot_wire::manifest::{Manifest, ManifestError, CONFIG_ENTRIES_MAX, CONFIG_VALUE_MAX_BYTES};
use eyot_wire::module::KEY_MAX_BYTES;

use crate::error::LoadError;

/// The manifest in a module's section.
pub(crate) fn parse_manifest(bytes: &[u8]) -> Result<Manifest, LoadError> {
    let text = core::str::from_utf8(bytes)
        .map_err(|e| LoadError::Manifest(ManifestError(format!("not UTF-8 from byte {} on", e.valid_up_to()))))?;
    Manifest::parse(text).map_err(LoadError::Manifest)
}

/// The manifest's `[config]`, with what this gateway replaces or adds.
pub(crate) fn merged_config(
    manifest: &Manifest,
    overrides: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, LoadError> {
    let mut config = manifest.config.clone();
    for (key, value) in overrides {
        if key.len() > KEY_MAX_BYTES || value.len() > CONFIG_VALUE_MAX_BYTES {
            let key: String = key.chars().take(40).collect();
            return Err(LoadError::Config(format!(
                "{key}: keys are at most {KEY_MAX_BYTES} bytes, values at most {CONFIG_VALUE_MAX_BYTES}"
            )));
        }
        config.insert((*key).to_string(), (*value).to_string());
    }
    if config.len() > CONFIG_ENTRIES_MAX {
        return Err(LoadError::Config(format!("{} entries, at most {CONFIG_ENTRIES_MAX}", config.len())));
    }
    Ok(config)
}
