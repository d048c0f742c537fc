//! Updates of the system of a gateway that was flashed, and of the programs of its nodes: a [`SystemUpdate`] is announced by a signed
//! command, its bytes follow, and the gateway says how far it is.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::control::parse_sha256;
use crate::manifest::is_name;

/// Most bytes of a system: what a slot of a card has.
pub const SYSTEM_MAX_BYTES: u64 = 96 << 20;
/// Most bytes of a node's program.
pub const NODE_PROGRAM_MAX_BYTES: u64 = 2 << 20;
/// Longest name of a board, and longest version, in an update.
pub const SYSTEM_WORD_MAX_BYTES: usize = 32;

/// A new system for a gateway that was flashed, or a new program for a node behind a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemUpdate {
    /// The node; none for the gateway itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The board it is for.
    pub board: String,
    /// What it calls itself.
    pub version: String,
    /// Its SHA-256, as 64 hexadecimal digits.
    pub sha256: String,
    /// How many bytes it has; at most [`SYSTEM_MAX_BYTES`], or [`NODE_PROGRAM_MAX_BYTES`].
    pub bytes: u64,
}

impl SystemUpdate {
    /// Whether it is one, as far as its words go: they get into file names, lines and documents.
    pub fn has_form(&self) -> bool {
        let is_word = |word: &str| {
            (1..=SYSTEM_WORD_MAX_BYTES).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'))
        };
        let is_for = self.node.as_ref().is_none_or(|node| is_name(node));
        is_for && is_word(&self.board) && is_word(&self.version) && parse_sha256(&self.sha256).is_some()
    }
}

/// How far an update has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateState {
    /// The first [`UpdateReport::bytes`] of it are here.
    Receiving,
    /// It is whole, and what was signed: it is written to the card and started next, or sent to its node.
    Verified,
    /// It runs, and stays.
    Unchanged,
    /// It was refused, or came to nothing; the report has the reason.
    Rejected,
}

/// Published on `eyot/<gw>/update/<sha256>`, not retained: for the command, and for each part that comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateReport {
    /// SHA-256 of the update, as 64 hexadecimal digits.
    pub sha256: String,
    /// How far it is.
    pub state: UpdateState,
    /// Bytes that are here: where to go on.
    pub bytes: u64,
    /// Why it was refused, and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_update_are_words() {
        let good = SystemUpdate {
            node: None,
            board: "rpi-4b".into(),
            version: "0.2.0+1".into(),
            sha256: "ab".repeat(32),
            bytes: 1,
        };
        assert!(good.has_form() && SystemUpdate { node: Some("north".into()), ..good.clone() }.has_form());
        for bad in ["", "a b", "a\"", "a/b", "a\n", "123456789012345678901234567890123"] {
            assert!(!SystemUpdate { board: bad.into(), ..good.clone() }.has_form(), "{bad}");
            assert!(!SystemUpdate { version: bad.into(), ..good.clone() }.has_form(), "{bad}");
            assert!(!SystemUpdate { sha256: bad.into(), ..good.clone() }.has_form(), "{bad}");
            assert!(!SystemUpdate { node: Some(bad.into()), ..good.clone() }.has_form(), "{bad}");
        }
    }
}
