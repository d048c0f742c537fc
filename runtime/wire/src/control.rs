//! The control topics of a gateway, and the documents on them.
//!
//! `<id>` is the gateway's id or `@<group>` for what is meant for all gateways of a group. In:
//! - `eyot/<id>/push`: a whole module.
//! - `eyot/<id>/push/<sha256>/<n>`: part `n`, from 0, of the module with this SHA-256 (64 hexadecimal digits). Parts may have
//!   any sizes and come in any order. The push is complete when parts 0 to `n` together have the SHA-256.
//! - `eyot/<id>/command`: a signed [`Order`].
//! - `eyot/<id>/node/<node>/push` and below: as the first two, for a node behind the gateway.
//! - `eyot/<gw>/update/<sha256>/<offset>`: bytes, from `offset` on, of the system with this SHA-256, which [`Command::Update`] has
//!   announced. They come in order.
//!
//! Out, besides the retained documents of each function and of the gateway: `eyot/<gw>/function/<name>/config`, retained, a
//! [`ConfigReport`]; what became of a push, on `eyot/<gw>/push/<sha256>` (`eyot/<gw>/node/<node>/push/<sha256>`) a
//! [`PushReport`]; of a command, on `eyot/<gw>/command/<nonce>` an [`OrderReport`]; how far an update is, on
//! `eyot/<gw>/update/<sha256>` an [`UpdateReport`](crate::system::UpdateReport).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hex::FromHex as _;
use serde::{Deserialize, Serialize};

use crate::manifest::NAME_MAX_BYTES;
use crate::system::SystemUpdate;

/// Most parts of a push.
pub const PARTS_MAX: u32 = 4096;
/// Topics that are the gateways' own, on every broker.
pub const CONTROL: &str = "eyot/#";
/// Most numbers of missing parts that a report names.
pub const MISSING_MAX: usize = 64;
/// Largest signed command.
pub const ORDER_MAX_BYTES: usize = 16 << 10;
/// Longest nonce of a command, in characters.
pub const NONCE_MAX_BYTES: usize = 64;
/// Most bytes of keys and values that a [`ConfigReport`] has.
pub const CONFIG_SHOWN_MAX_BYTES: usize = 64 << 10;
/// Longest group name, without the `@`.
pub const GROUP_MAX_BYTES: usize = NAME_MAX_BYTES;

/// What a message on a control topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlTopic {
    /// A whole module.
    Push,
    /// A part of one.
    Part {
        /// SHA-256 of the whole module.
        sha256: [u8; 32],
        /// Its number.
        number: u32,
    },
    /// A signed command.
    Command,
    /// Bytes of a new system.
    UpdatePart {
        /// SHA-256 of the whole.
        sha256: [u8; 32],
        /// Where they begin.
        offset: u64,
    },
}

impl ControlTopic {
    /// Reads the topic of a message for `id`; `None` if it is no control topic of it, or not one that takes messages.
    pub fn parse(id: &str, topic: &str) -> Option<Self> {
        let rest = topic.strip_prefix("eyot/")?.strip_prefix(id)?.strip_prefix('/')?;
        match rest {
            "command" => Some(Self::Command),
            rest => Self::push(rest).or_else(|| Self::update(rest)),
        }
    }

    /// The same of a push for a node behind `id`, and which node.
    pub fn parse_for_node<'a>(id: &str, topic: &'a str) -> Option<(&'a str, Self)> {
        let rest = topic.strip_prefix("eyot/")?.strip_prefix(id)?.strip_prefix("/node/")?;
        let (node, push) = rest.split_once('/')?;
        Some((node, Self::push(push)?))
    }

    fn push(rest: &str) -> Option<Self> {
        if rest == "push" {
            return Some(Self::Push);
        }
        let (sha256, number) = rest.strip_prefix("push/")?.split_once('/')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large for its type is too large for any push: it is to be refused, not ignored.
        let number = if is_number { number.parse().unwrap_or(u32::MAX) } else { return None };
        Some(Self::Part { sha256: parse_sha256(sha256)?, number })
    }

    fn update(rest: &str) -> Option<Self> {
        let (sha256, offset) = rest.strip_prefix("update/")?.split_once('/')?;
        let is_number = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_digit());
        let offset = if is_number { offset.parse().ok()? } else { return None };
        Some(Self::UpdatePart { sha256: parse_sha256(sha256)?, offset })
    }

    /// The filter under which parts of updates come for `id`, where there is a system to update.
    pub fn update_filter(id: &str) -> String {
        format!("eyot/{id}/update/+/+")
    }

    /// The topic filters under which messages for `id` come.
    pub fn filters(id: &str) -> [String; 3] {
        [format!("eyot/{id}/push"), format!("eyot/{id}/push/+/+"), format!("eyot/{id}/command")]
    }

    /// The same of what is for its nodes.
    pub fn node_filters(id: &str) -> [String; 2] {
        [format!("eyot/{id}/node/+/push"), format!("eyot/{id}/node/+/push/+/+")]
    }
}

/// What a gateway is called on control topics: by its id, and as a member of each of its groups.
pub fn ids(gateway_id: &str, groups: &[String]) -> Vec<String> {
    core::iter::once(gateway_id.into()).chain(groups.iter().map(|group| format!("@{group}"))).collect()
}

/// Reads 64 hexadecimal digits.
pub fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    <[u8; 32]>::from_hex(text).ok()
}

/// How far a push has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushState {
    /// Parts of it are here; those it waits for are in the report.
    Receiving,
    /// It is whole, and being verified and compiled; or kept for its node.
    Staged,
    /// It runs beside the present version, without effects.
    Shadow,
    /// It runs beside the present version, on a share of the messages.
    Canary,
    /// It runs.
    Active,
    /// It ran before: the same push again changes nothing.
    Unchanged,
    /// It was refused; the report has the reason.
    Rejected,
}

/// Published on `eyot/<gw>/push/<sha256>`, and for a node on `eyot/<gw>/node/<node>/push/<sha256>`, not retained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushReport {
    /// The node it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// SHA-256 of the module, as 64 hexadecimal digits.
    pub sha256: String,
    /// How far it is.
    pub state: PushState,
    /// The function's name, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why it was refused, and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes that are here.
    #[serde(default)]
    pub bytes: u64,
    /// Numbers of parts below `next` that are missing; at most [`MISSING_MAX`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<u32>,
    /// Number after that of the last part that is here.
    #[serde(default)]
    pub next: u32,
}

/// What is asked of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Go back to the version that ran before, or to another that is still kept.
    Rollback {
        /// Name of the function.
        function: String,
        /// Its version, or the first digits, 8 or more, of its module's SHA-256.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Lead a version one step on: from shadow to canary if its rollout has one, or else in force, as it does with a canary and
    /// with what was rejected or rolled back last.
    Promote {
        /// Name of the function.
        function: String,
    },
    /// Remove a function and its state.
    Remove {
        /// Name of the function.
        function: String,
    },
    /// Change a function's configuration.
    Config {
        /// Name of the function.
        function: String,
        /// Values to set.
        #[serde(default)]
        set: BTreeMap<String, String>,
        /// Keys to give back to the manifest's values.
        #[serde(default)]
        unset: Vec<String>,
    },
    /// Record the next messages of a function with all it reads.
    Capture {
        /// Name of the function.
        function: String,
        /// How many; 0 ends it.
        count: u32,
        /// Only those it fails on.
        #[serde(default)]
        on_error: bool,
    },
    /// Change what a node behind the gateway runs.
    Node {
        /// Name of the node.
        node: String,
        /// Name of the function.
        function: String,
        /// How.
        act: NodeAct,
        /// Of a rollback: as there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Take a new system, whose parts follow, and start it.
    Update(SystemUpdate),
}

/// What is to become of a node's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeAct {
    /// As [`Command::Rollback`].
    Rollback,
    /// The version that was taken back goes to the node again.
    Promote,
    /// The node runs none.
    Remove,
}

impl Command {
    /// Name of the function it is about; empty if it is about none.
    pub fn function(&self) -> &str {
        match self {
            Self::Update(_) => "",
            Self::Rollback { function, .. }
            | Self::Promote { function }
            | Self::Remove { function }
            | Self::Config { function, .. }
            | Self::Capture { function, .. }
            | Self::Node { function, .. } => function,
        }
    }

    /// One word, as in the document, or of what a node is to do.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Rollback { .. } | Self::Node { act: NodeAct::Rollback, .. } => "rollback",
            Self::Promote { .. } | Self::Node { act: NodeAct::Promote, .. } => "promote",
            Self::Remove { .. } | Self::Node { act: NodeAct::Remove, .. } => "remove",
            Self::Config { .. } => "config",
            Self::Capture { .. } => "capture",
            Self::Update(_) => "update",
        }
    }
}

/// A command with what keeps it from being used twice, or elsewhere. This is what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The gateway's id, or `@<group>`.
    pub gateway: String,
    /// Text of 8 to 64 letters, digits, `-` and `_` that no other command has.
    pub nonce: String,
    /// Unix time in seconds from which on it is void.
    pub expires: u64,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

/// Published on `eyot/<gw>/command/<nonce>`, not retained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReport {
    /// The command's nonce.
    pub nonce: String,
    /// One word: which command.
    pub command: String,
    /// Name of the function.
    pub function: String,
    /// Whether it was done.
    pub done: bool,
    /// Why not, and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It was refused because one with this nonce came before. Whoever gave both knows by this what became of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<Repeated>,
}

/// What the configuration of a function is on a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// Name of the function.
    pub function: String,
    /// The version in force.
    pub version: String,
    /// What `config_get` answers.
    pub values: BTreeMap<String, String>,
    /// Keys that a command has set, in place of what the manifest says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_here: Vec<String>,
    /// Keys whose values would be more than [`CONFIG_SHOWN_MAX_BYTES`] with the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What became of the command that came first under a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeated {
    /// It is waiting, or being done.
    Waiting,
    /// It was done.
    Done,
}

/// Whether `text` can be a nonce.
pub fn is_nonce(text: &str) -> bool {
    (8..=NONCE_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_topics_are_read_and_others_are_not() {
        let sha = "ab".repeat(32);
        let part = |number| Some(ControlTopic::Part { sha256: [0xab; 32], number });
        for (topic, expected) in [
            ("eyot/barn-7/push", Some(ControlTopic::Push)),
            ("eyot/barn-7/command", Some(ControlTopic::Command)),
            (&format!("eyot/barn-7/push/{sha}/17"), part(17)),
            (&format!("eyot/barn-7/push/{sha}/99999999999"), part(u32::MAX)),
            (
                &format!("eyot/barn-7/update/{sha}/4096"),
                Some(ControlTopic::UpdatePart { sha256: [0xab; 32], offset: 4096 }),
            ),
            (&format!("eyot/barn-7/update/{sha}/+1"), None),
            (&format!("eyot/barn-7/update/{sha}"), None),
            (&format!("eyot/barn-7/push/{sha}/-1"), None),
            (&format!("eyot/barn-7/push/{sha}/"), None),
            (&format!("eyot/barn-7/push/{sha}"), None),
            (&format!("eyot/barn-7/push/{}/1", "+f".repeat(32)), None),
            ("eyot/barn-77/push", None),
            ("eyot/@barns/push", None),
            ("eyot/barn-7/command/abcdefgh", None),
            ("eyot/barn-7/status", None),
        ] {
            assert_eq!(ControlTopic::parse("barn-7", topic), expected, "{topic}");
        }
        assert_eq!(ControlTopic::parse("@barns", "eyot/@barns/push"), Some(ControlTopic::Push));
    }

    #[test]
    fn control_topics_of_nodes_are_those_below_their_name() {
        let sha = "ab".repeat(32);
        let part = Some(("north", ControlTopic::Part { sha256: [0xab; 32], number: 3 }));
        for (topic, expected) in [
            ("eyot/barn-7/node/north/push", Some(("north", ControlTopic::Push))),
            (&format!("eyot/barn-7/node/north/push/{sha}/3"), part),
            (&format!("eyot/barn-7/node/north/push/{sha}"), None),
            ("eyot/barn-7/node/north", None),
            ("eyot/barn-7/node/north/command", None),
            ("eyot/barn-7/node/north/x/push", None),
            ("eyot/barn-77/node/north/push", None),
            ("eyot/barn-7/push", None),
        ] {
            assert_eq!(ControlTopic::parse_for_node("barn-7", topic), expected, "{topic}");
            assert!(expected.is_none() || ControlTopic::parse("barn-7", topic).is_none(), "{topic}");
        }
    }
}
