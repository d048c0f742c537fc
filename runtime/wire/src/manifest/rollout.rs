//! `[rollout]`: how a version comes in force where another one runs.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use serde::{Deserialize, Serialize};

mod canary;

pub use canary::CanaryRun;

/// Most messages of a shadow run, or of a canary.
pub const SHADOW_MESSAGES_MAX: u32 = 1_000_000;

/// How a version comes in force where another one runs. At once, if it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    /// It first sees what the other one sees, its effects withheld.
    pub shadow: Option<ShadowRun>,
    /// Of these messages, so many may fail that the other one does well with.
    pub failures: u32,
    /// Of these messages, so many may lead to other outputs.
    pub different: Share,
    /// Then it has a share of the messages, and its effects count.
    pub canary: Option<CanaryRun>,
}

impl Rollout {
    /// Whether it asks for anything before a version comes in force.
    pub const fn is_trial(&self) -> bool {
        self.shadow.is_some() || self.canary.is_some()
    }
}

/// When a shadow run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ShadowRun {
    /// `"1000 messages"`: after so many, 1 to [`SHADOW_MESSAGES_MAX`].
    Messages(u32),
    /// `"until promoted"`: when a command says so.
    UntilPromoted,
}

impl TryFrom<String> for ShadowRun {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "until promoted" {
            return Ok(Self::UntilPromoted);
        }
        match messages(&text) {
            Some(number) => Ok(Self::Messages(number)),
            None => Err(format!(
                "\"{}\" is not a shadow run; write \"1000 messages\", up to {SHADOW_MESSAGES_MAX}, or \"until promoted\"",
                text.chars().take(80).collect::<String>()
            )),
        }
    }
}

/// Reads `"1000 messages"`.
fn messages(text: &str) -> Option<u32> {
    let number = text.strip_suffix("messages").or_else(|| text.strip_suffix("message"))?.trim();
    let number = Some(number).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    number.parse().ok().filter(|number| (1..=SHADOW_MESSAGES_MAX).contains(number))
}

/// As it stands in a `function.toml`.
impl fmt::Display for ShadowRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(1) => f.write_str("1 message"),
            Self::Messages(number) => write!(f, "{number} messages"),
            Self::UntilPromoted => f.write_str("until promoted"),
        }
    }
}

impl From<ShadowRun> for String {
    fn from(run: ShadowRun) -> Self {
        run.to_string()
    }
}

/// Decimals of a share in percent.
const DECIMALS: usize = 4;

/// A part of messages: `"0.1%"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share {
    /// In millionths, at most all of them.
    pub ppm: u32,
}

impl Share {
    /// So many of `messages`, rounded down.
    pub fn of(self, messages: u64) -> u64 {
        (u128::from(messages) * u128::from(self.ppm) / 1_000_000) as u64
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let number = text.strip_suffix('%')?.trim_end();
            let (whole, part) = number.split_once('.').unwrap_or((number, ""));
            let are_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
            if whole.is_empty() || part.len() > DECIMALS || !are_digits(whole) || !are_digits(part) {
                return None;
            }
            let whole = whole.parse::<u32>().ok().filter(|percent| *percent <= 100)?;
            let part = format!("{part:0<DECIMALS$}").parse::<u32>().ok()?;
            Some(whole * 10_000 + part).filter(|ppm| *ppm <= 1_000_000)
        };
        read().map(|ppm| Self { ppm }).ok_or_else(|| {
            format!(
                "\"{}\" is not a share; write for example \"0.1%\", from 0% to 100% with up to {DECIMALS} decimals",
                text.chars().take(80).collect::<String>()
            )
        })
    }
}

/// As it stands in a `function.toml`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.ppm / 10_000, self.ppm % 10_000);
        if part == 0 {
            return write!(f, "{whole}%");
        }
        let part = format!("{part:04}");
        write!(f, "{whole}.{}%", part.trim_end_matches('0'))
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

/// As it stands in a `function.toml`, in one line.
impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.shadow, self.canary) {
            (None, None) => return f.write_str("at once"),
            (None, Some(canary)) => return write!(f, "canary with {canary}"),
            (Some(ShadowRun::UntilPromoted), _) => f.write_str("shadow until promoted")?,
            (Some(run), _) => {
                write!(
                    f,
                    "shadow for {run}, with at most {} failures and {} different",
                    self.failures, self.different
                )?;
            }
        }
        match self.canary {
            Some(canary) => write!(f, ", then canary with {canary}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn rollout(lines: &str) -> Result<Option<Rollout>, String> {
        let text = format!("name = \"f\"\nversion = \"1.0.0\"\n{lines}");
        Manifest::parse(&text).map(|manifest| manifest.rollout).map_err(|error| error.0)
    }

    #[test]
    fn a_rollout_is_read_and_strict_unless_it_says_otherwise() {
        assert_eq!(rollout(""), Ok(None));
        assert_eq!(rollout("[rollout]"), Ok(Some(Rollout::default())));
        let strict = rollout("[rollout]\nshadow = \"1000 messages\"").unwrap().unwrap();
        assert_eq!(strict.shadow, Some(ShadowRun::Messages(1000)));
        assert_eq!((strict.failures, strict.different.ppm), (0, 0));
        let lenient = "[rollout]\nshadow = \"1 message\"\nfailures = 2\ndifferent = \"12.5%\"";
        let lenient = rollout(lenient).unwrap().unwrap();
        assert_eq!(lenient.to_string(), "shadow for 1 message, with at most 2 failures and 12.5% different");
        let patient = rollout("[rollout]\nshadow = \"until promoted\"").unwrap().unwrap();
        assert_eq!(patient.to_string(), "shadow until promoted");
        let both = "[rollout]\nshadow = \"until promoted\"\ncanary = \"10% for 1 message\"";
        let both = rollout(both).unwrap().unwrap();
        assert_eq!(both.to_string(), "shadow until promoted, then canary with 10% for 1 message");
    }

    #[test]
    fn what_is_wrong_is_said_with_a_remedy() {
        for bad in ["1000", "0 messages", "1000001 messages", "-1 messages", "+1 messages", "messages", "promoted"] {
            let error = rollout(&format!("[rollout]\nshadow = \"{bad}\"")).unwrap_err();
            assert!(error.contains("\"until promoted\""), "{bad}: {error}");
        }
        for bad in ["1", "0.00001%", "101%", "100.1%", "%", ".5%", "-1%", "1e1%", "99999999999%"] {
            let error = rollout(&format!("[rollout]\ndifferent = \"{bad}\"")).unwrap_err();
            assert!(error.contains("\"0.1%\""), "{bad}: {error}");
        }
        assert!(rollout("[rollout]\nfailures = -1").is_err());
        assert!(rollout("[rollout]\nshade = \"1 message\"").unwrap_err().contains("shade"));
    }

    #[test]
    fn shares_are_exact_and_round_down() {
        for (text, ppm, of_1000) in [("0%", 0, 0), ("0.1%", 1000, 1), ("0.0999%", 999, 0), ("100%", 1_000_000, 1000)] {
            let share = Share::try_from(String::from(text)).unwrap();
            assert_eq!((share.ppm, share.of(1000)), (ppm, of_1000), "{text}");
            assert_eq!(share.to_string(), text);
        }
    }
}
