//! `function.toml`: what a function is called, what wakes it, what it may do. Travels in the module as the custom
//! section [`SECTION_MANIFEST`](crate::module::SECTION_MANIFEST).

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::module::KEY_MAX_BYTES;
use crate::topic::{parse_filter, TOPIC_MAX_BYTES};

mod on_error;
mod rate;
mod rollout;

pub use on_error::{OnError, RETRIES_MAX, RETRIES_TAKE_MAX_MS};
pub use rate::{Rate, RATE_MAX_PER_H};
pub use rollout::{CanaryRun, Rollout, ShadowRun, Share, SHADOW_MESSAGES_MAX};

/// Longest function name.
pub const NAME_MAX_BYTES: usize = 32;
/// Largest manifest.
pub const MANIFEST_MAX_BYTES: usize = 16 << 10;
/// Most triggers of one function.
pub const TRIGGERS_MAX: usize = 64;
/// Most `allow.emit` filters of one function.
pub const EMIT_FILTERS_MAX: usize = 64;
/// Most `config` entries of one function.
pub const CONFIG_ENTRIES_MAX: usize = 64;
/// Longest `config` value.
pub const CONFIG_VALUE_MAX_BYTES: usize = 4096;
/// Largest number of a version: what comes after it is higher, and must be writable, too.
pub const VERSION_NUMBER_MAX: u32 = u32::MAX;
/// A function's manifest, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `[a-z0-9-]`, 1 to 32 characters.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Semantic version, each number at most [`VERSION_NUMBER_MAX`].
    #[serde(deserialize_with = "version")]
    pub version: semver::Version,
    /// What wakes it.
    #[serde(default, rename = "trigger")]
    pub triggers: Vec<Trigger>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// What becomes of a message it fails on.
    #[serde(default)]
    pub on_error: OnError,
    /// What it may do.
    #[serde(default)]
    pub allow: Allow,
    /// Values for `config_get`.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// How it comes in force where another version runs; none if the gateway decides.
    #[serde(default)]
    pub rollout: Option<Rollout>,
}

/// One event source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// An MQTT topic filter.
    #[serde(deserialize_with = "filter")]
    pub mqtt: String,
    /// How many messages are expected of it; for gateways that add up what their functions need.
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// Limits of one function; the gateway may cap them further. All sizes in bytes, all times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Fuel for one message: about one unit for each executed WebAssembly instruction.
    pub fuel: u64,
    /// Linear memory.
    #[serde(rename = "memory", deserialize_with = "size")]
    pub memory_bytes: u64,
    /// Topics and payloads of all emits of one message.
    #[serde(rename = "output", deserialize_with = "size")]
    pub output_bytes: u64,
    /// Keys and values kept by `state_set`.
    #[serde(rename = "state", deserialize_with = "size")]
    pub state_bytes: u64,
    /// Milliseconds it may run for one message. Fuel says the same for every machine alike, this for the one at hand;
    /// waiting for its turn does not count.
    #[serde(rename = "deadline", deserialize_with = "duration")]
    pub deadline_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 1_000_000,
            memory_bytes: 1 << 20,
            output_bytes: 64 << 10,
            state_bytes: 64 << 10,
            deadline_ms: 1000,
        }
    }
}

impl Limits {
    /// What a gateway grants at most, whatever the manifest asks for.
    pub const CEILING: Self = Self {
        fuel: 1_000_000_000,
        memory_bytes: 16 << 20,
        output_bytes: 1 << 20,
        state_bytes: 1 << 20,
        deadline_ms: 10_000,
    };

    /// The same, and no more than `ceiling`.
    pub fn lowered_to(self, ceiling: &Self) -> Self {
        Self {
            fuel: self.fuel.min(ceiling.fuel),
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
            output_bytes: self.output_bytes.min(ceiling.output_bytes),
            state_bytes: self.state_bytes.min(ceiling.state_bytes),
            deadline_ms: self.deadline_ms.min(ceiling.deadline_ms),
        }
    }

    /// The first limit that exceeds `ceiling`, as (key, asked, allowed).
    pub fn over(&self, ceiling: &Self) -> Option<(&'static str, u64, u64)> {
        [
            ("fuel", self.fuel, ceiling.fuel),
            ("memory", self.memory_bytes, ceiling.memory_bytes),
            ("output", self.output_bytes, ceiling.output_bytes),
            ("state", self.state_bytes, ceiling.state_bytes),
            ("deadline", self.deadline_ms, ceiling.deadline_ms),
        ]
        .into_iter()
        .find(|(_, asked, allowed)| asked > allowed)
    }
}

/// Permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Topic filters it may emit to; none means it may not emit.
    #[serde(default, deserialize_with = "filters")]
    pub emit: Vec<String>,
}

/// A manifest that is refused: the text names the line, the key and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError(pub String);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for ManifestError {}

impl Manifest {
    /// Parses and checks the text of a `function.toml`.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_MAX_BYTES {
            return Err(ManifestError(format!("manifest is {} bytes; at most {MANIFEST_MAX_BYTES}", text.len())));
        }
        let manifest: Self = toml::from_str(text).map_err(|e| ManifestError(e.to_string().trim_end().to_owned()))?;
        manifest.check_counts()?;
        Ok(manifest)
    }

    fn check_counts(&self) -> Result<(), ManifestError> {
        for (what, count, most) in [
            ("[[trigger]] entries", self.triggers.len(), TRIGGERS_MAX),
            ("allow.emit filters", self.allow.emit.len(), EMIT_FILTERS_MAX),
            ("config entries", self.config.len(), CONFIG_ENTRIES_MAX),
        ] {
            if count > most {
                return Err(ManifestError(format!("{count} {what}; at most {most}")));
            }
        }
        for (key, value) in &self.config {
            if key.len() > KEY_MAX_BYTES || value.len() > CONFIG_VALUE_MAX_BYTES {
                return Err(ManifestError(format!(
                    "config.{}: keys are at most {KEY_MAX_BYTES} bytes, values at most {CONFIG_VALUE_MAX_BYTES}",
                    key.chars().take(40).collect::<String>()
                )));
            }
        }
        Ok(())
    }

    /// Whether a trigger selects `topic`.
    pub fn triggered_by(&self, topic: &str) -> bool {
        self.triggers.iter().any(|t| crate::topic::matches(&t.mqtt, topic))
    }
}

impl Allow {
    /// Whether `topic` may be emitted to.
    pub fn emits(&self, topic: &str) -> bool {
        self.emit.iter().any(|f| crate::topic::matches(f, topic))
    }
}

/// Whether `text` can be a function's name.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    if is_name(&text) {
        Ok(text)
    } else {
        Err(D::Error::custom("a function name is 1 to 32 characters of a-z, 0-9 and -"))
    }
}

fn version<'de, D: Deserializer<'de>>(d: D) -> Result<semver::Version, D::Error> {
    let text = String::deserialize(d)?;
    if text.len() > 64 {
        return Err(D::Error::custom("a version is at most 64 characters"));
    }
    let version = semver::Version::parse(&text).map_err(|e| D::Error::custom(format!("a version reads 1.2.3: {e}")))?;
    if [version.major, version.minor, version.patch].into_iter().max() > Some(u64::from(VERSION_NUMBER_MAX)) {
        let reason = format!("version {text} leaves none above it; write numbers up to {VERSION_NUMBER_MAX}");
        return Err(D::Error::custom(reason));
    }
    Ok(version)
}

fn filter<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    checked_filter::<D>(text)
}

fn checked_filter<'de, D: Deserializer<'de>>(text: String) -> Result<String, D::Error> {
    match parse_filter(text.as_bytes()) {
        Ok(_) => Ok(text),
        Err(e) => {
            let shown: String = text.chars().take(TOPIC_MAX_BYTES.min(80)).collect();
            Err(D::Error::custom(format!("topic filter \"{shown}\" {e}")))
        }
    }
}

fn filters<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    Vec::<String>::deserialize(d)?.into_iter().map(checked_filter::<D>).collect()
}

fn size<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let text = String::deserialize(d)?;
    parse_size(&text).map_err(D::Error::custom)
}

/// Reads a size such as `64KiB` or `1.5MB`. A unit is required, so that nobody has to guess it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let has_unit = text.trim_end().ends_with(|c: char| c.is_ascii_alphabetic());
    match text.parse::<ByteSize>() {
        // Where the parser ends: what is written may be more.
        Ok(size) if has_unit && size.as_u64() == u64::MAX => {
            Err(format!("\"{text}\" is more than can be counted; write less"))
        }
        Ok(size) if has_unit => Ok(size.as_u64()),
        _ => Err(format!("\"{text}\" is not a size; write a number and a unit, for example \"64KiB\" or \"512MiB\"")),
    }
}

fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let text = String::deserialize(d)?;
    parse_duration(&text).map_err(D::Error::custom)
}

/// Reads a duration such as `50ms` or `2s`, in milliseconds and at least one.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
        Some(ms) if ms > 0 => Ok(ms),
        _ => Err(format!(
            "\"{text}\" is not a duration; write a whole number and a unit, for example \"50ms\" or \"2s\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
name = "celsius"
version = "1.2.0"
[[trigger]]
mqtt = "sensors/+/raw"
[limits]
fuel = 1_000_000
memory = "1MiB"
output = "64KiB"
state = "64KiB"
deadline = "1s"
[allow]
emit = ["processed/#", "cloud/#"]
[config]
rh_max = "95"
"#;

    #[test]
    fn the_contract_example_parses() {
        let m = Manifest::parse(FULL).unwrap();
        assert_eq!((m.name.as_str(), m.version.minor), ("celsius", 2));
        assert_eq!(m.limits, Limits::default());
        assert!(m.triggered_by("sensors/9/raw") && !m.triggered_by("sensors/raw"));
        assert!(m.allow.emits("cloud/x") && !m.allow.emits("other"));
        assert_eq!(m.config["rh_max"], "95");
    }

    #[test]
    fn errors_name_line_and_key() {
        for (broken, needle) in [
            (FULL.replace("celsius", "Celsius"), "a-z"),
            (FULL.replace("1.2.0", "1.2"), "1.2.3"),
            (FULL.replace("1.2.0", "4294967296.0.0"), "up to 4294967295"),
            (FULL.replace("1.2.0", "1.2.18446744073709551615"), "up to 4294967295"),
            (FULL.replace("sensors/+/raw", "sensors/+x"), "wildcard"),
            (FULL.replace("\"1MiB\"", "\"1\""), "unit"),
            (FULL.replace("\"1s\"", "\"1\""), "\"50ms\""),
            (FULL.replace("\"1s\"", "\"0s\""), "\"50ms\""),
            (FULL.replace("\"1s\"", "\"99999999999999999999s\""), "\"50ms\""),
            (FULL.replace("[limits]", "[limit]"), "limit"),
            (FULL.replace("fuel", "fule"), "fule"),
            (FULL.replace("name = \"celsius\"", ""), "name"),
        ] {
            let error = Manifest::parse(&broken).unwrap_err().0;
            assert!(error.contains(needle), "{error}");
        }
        let error = Manifest::parse(&FULL.replace("1.2.0", "x")).unwrap_err().0;
        assert!(error.contains("line 3"), "{error}");
    }

    #[test]
    fn sizes_have_a_unit_and_do_not_saturate() {
        assert_eq!((parse_size("1.5MB"), parse_size("64 KiB")), (Ok(1_500_000), Ok(64 << 10)));
        assert!(parse_size("64").unwrap_err().contains("a number and a unit"));
        for much in ["16EiB", "99999999999PiB"] {
            assert!(parse_size(much).unwrap_err().contains("more than can be counted"), "{much}");
        }
    }

    #[test]
    fn limits_over_the_ceiling_are_named() {
        let limits = Limits { memory_bytes: 1 << 30, ..Limits::default() };
        assert_eq!(limits.over(&Limits::CEILING), Some(("memory", 1 << 30, 16 << 20)));
        assert_eq!(Limits::default().over(&Limits::CEILING), None);
    }
}
