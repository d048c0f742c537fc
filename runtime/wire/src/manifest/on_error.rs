//! `on_error`: what becomes of a message a function fails on.

use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::Deserialize;

use super::parse_duration;

/// Most tries after the first that failed.
pub const RETRIES_MAX: u32 = 8;
/// Longest time, in milliseconds, all tries of one message may wait.
pub const RETRIES_TAKE_MAX_MS: u64 = 10_000;

/// What becomes of a message a function fails on, with all its effects undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum OnError {
    /// `"dead-letter"`: it goes to the dead letters, and counts as dropped.
    #[default]
    DeadLetter,
    /// `"pass"`: nothing comes of it here, and it does not count as dropped.
    Pass,
    /// `"retry(3, 100ms)"`: it is run again, and goes to the dead letters when it failed each time.
    Retry {
        /// How often, 1 to [`RETRIES_MAX`].
        times: u32,
        /// Milliseconds before the first; twice as many before each further one. Together [`RETRIES_TAKE_MAX_MS`] at most.
        backoff_ms: u64,
    },
}

impl OnError {
    /// Milliseconds to wait after the `failed`-th try, from 1; none if that was the last.
    pub fn backoff_ms(self, failed: u32) -> Option<u64> {
        match self {
            Self::Retry { times, backoff_ms } if (1..=times).contains(&failed) => Some(backoff_ms << (failed - 1)),
            _ => None,
        }
    }
}

impl TryFrom<String> for OnError {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let retry = || {
            let (times, backoff) = text.strip_prefix("retry(")?.strip_suffix(')')?.split_once(',')?;
            let times: u32 = times.trim().parse().ok().filter(|times| (1..=RETRIES_MAX).contains(times))?;
            let backoff_ms = parse_duration(backoff.trim()).ok()?;
            let all_ms = backoff_ms.checked_mul((1 << times) - 1)?;
            (all_ms <= RETRIES_TAKE_MAX_MS).then_some(Self::Retry { times, backoff_ms })
        };
        match text.as_str() {
            "dead-letter" => Ok(Self::DeadLetter),
            "pass" => Ok(Self::Pass),
            _ => retry().ok_or_else(|| {
                let shown: String = text.chars().take(80).collect();
                format!(
                    "\"{shown}\" is unknown; write \"dead-letter\", \"pass\" or \"retry(3, 100ms)\", with up to {RETRIES_MAX} \
                     tries whose waits, doubled each time, take {} s at most",
                    RETRIES_TAKE_MAX_MS / 1000
                )
            }),
        }
    }
}

/// As it stands in a `function.toml`.
impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadLetter => f.write_str("dead-letter"),
            Self::Pass => f.write_str("pass"),
            Self::Retry { times, backoff_ms } => write!(f, "retry({times}, {backoff_ms}ms)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    const FULL: &str = "name = \"celsius\"\nversion = \"1.2.0\"\n[[trigger]]\nmqtt = \"sensors/+/raw\"\n[limits]\n";

    #[test]
    fn what_happens_on_an_error_is_bounded() {
        let on_error = |text: &str| {
            let manifest = FULL.replace("[[trigger]]", &format!("on_error = \"{text}\"\n[[trigger]]"));
            Manifest::parse(&manifest).map(|m| m.on_error).map_err(|e| e.0)
        };
        assert_eq!(Manifest::parse(FULL).unwrap().on_error, OnError::DeadLetter);
        assert_eq!(on_error("pass").unwrap(), OnError::Pass);
        let retry = on_error("retry(3, 100ms)").unwrap();
        assert_eq!(retry, OnError::Retry { times: 3, backoff_ms: 100 });
        assert_eq!([1, 2, 3, 4].map(|n| retry.backoff_ms(n)), [Some(100), Some(200), Some(400), None]);
        assert_eq!(OnError::Pass.backoff_ms(1), None);
        for bad in
            ["ignore", "retry", "retry(3)", "retry(0, 1s)", "retry(9, 1ms)", "retry(4, 1s)", "retry(2, 9999999m)"]
        {
            let error = on_error(bad).unwrap_err();
            assert!(error.contains("line 3") && error.contains("10 s at most"), "{error}");
        }
        assert!(on_error("retry(8, 39ms)").is_ok(), "255 times 39 ms");
        for written in ["dead-letter", "pass", "retry(3, 1400ms)"] {
            assert_eq!(alloc::string::ToString::to_string(&on_error(written).unwrap()), written);
        }
    }
}
