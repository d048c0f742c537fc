//! `on_error`: what becomes of a message a function fails on.

use alloc::format;
use alloc::string::String;

use serde::Deserialize;

/// What becomes of a message a function fails on, with all its effects undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum OnError {
    /// `"dead-letter"`: it goes to the dead letters, and counts as dropped.
    #[default]
    DeadLetter,
    /// `"pass"`: nothing comes of it here, and it does not count as dropped.
    Pass,
}

impl TryFrom<String> for OnError {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "dead-letter" => Ok(Self::DeadLetter),
            "pass" => Ok(Self::Pass),
            _ => {
                let shown: String = text.chars().take(80).collect();
                Err(format!("\"{shown}\" is unknown; write \"dead-letter\" or \"pass\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    #[test]
    fn a_manifest_says_what_becomes_of_a_failure() {
        let on_error = |line: &str| {
            let text = format!("name = \"celsius\"\nversion = \"1.2.0\"\n{line}");
            Manifest::parse(&text).map(|m| m.on_error).map_err(|e| e.0)
        };
        assert_eq!(on_error(""), Ok(OnError::DeadLetter));
        assert_eq!(on_error("on_error = \"dead-letter\""), Ok(OnError::DeadLetter));
        assert_eq!(on_error("on_error = \"pass\""), Ok(OnError::Pass));
        let error = on_error("on_error = \"ignore\"").unwrap_err();
        assert!(error.contains("line 3") && error.contains("\"pass\""), "{error}");
    }
}
