//! `canary = "10% for 1000 messages"`: a share of the messages, and for how long.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{messages, Share, SHADOW_MESSAGES_MAX};

/// A share of the messages for a version that is not in force yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CanaryRun {
    /// Of topics, and so of messages; more than nothing.
    pub share: Share,
    /// After so many messages it may come in force, 1 to [`SHADOW_MESSAGES_MAX`]; when a command says so if none.
    pub messages: Option<u32>,
}

impl TryFrom<String> for CanaryRun {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let (share, until) = text.split_once('%')?;
            let share = Share::try_from(format!("{share}%")).ok().filter(|share| share.ppm > 0)?;
            let messages = match until.trim() {
                "" | "until promoted" => None,
                run => Some(messages(run.strip_prefix("for ")?.trim_start())?),
            };
            Some(Self { share, messages })
        };
        read().ok_or_else(|| {
            format!(
                "\"{}\" is not a canary; write \"10%\", which lasts until it is promoted, or \"10% for 1000 messages\", with more \
                 than 0% and up to {SHADOW_MESSAGES_MAX} messages",
                text.chars().take(80).collect::<String>()
            )
        })
    }
}

/// As it stands in a `function.toml`.
impl fmt::Display for CanaryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.messages {
            Some(1) => write!(f, "{} for 1 message", self.share),
            Some(messages) => write!(f, "{} for {messages} messages", self.share),
            None => write!(f, "{} until promoted", self.share),
        }
    }
}

impl From<CanaryRun> for String {
    fn from(run: CanaryRun) -> Self {
        run.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_a_share_and_how_long_it_has_it() {
        for (text, ppm, messages, shown) in [
            ("10%", 100_000, None, "10% until promoted"),
            ("10% until promoted", 100_000, None, "10% until promoted"),
            ("0.5% for 1000 messages", 5000, Some(1000), "0.5% for 1000 messages"),
            ("100 %  for 1 message", 1_000_000, Some(1), "100% for 1 message"),
        ] {
            let run = CanaryRun::try_from(String::from(text)).unwrap();
            assert_eq!((run.share.ppm, run.messages, run.to_string().as_str()), (ppm, messages, shown), "{text}");
            assert_eq!(CanaryRun::try_from(run.to_string()), Ok(run), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_a_remedy() {
        let bad = ["", "10", "0%", "101%", "10% 1000 messages", "10% for ever", "10% for 0 messages", "1000 messages"];
        for text in bad.into_iter().chain(["10% for 1000001 messages", "10%%", "10% until", "-1%"]) {
            let error = CanaryRun::try_from(String::from(text)).unwrap_err();
            assert!(error.contains("write \"10%\""), "{text}: {error}");
        }
    }
}
