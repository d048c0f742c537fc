//! Nodes: microcontrollers behind the gateway. Their readings are messages like those of sensors; how they are is for
//! people to read; what they run is pushed to them as to the gateway.

use eyot_wire::link::Ledger;
use serde::Serialize;

use crate::config::{Config, Node as Configuration};
use crate::deploy::nodes::{Watch, NODE_STAGING_MAX_BYTES};
use crate::deploy::plan::Document;
use crate::deploy::staging::Staging;
use crate::io::LinkId;

/// Most nodes of one gateway.
pub const NODES_MAX: usize = 32;
/// Largest module that goes to a node: none has room for more.
pub const NODE_MODULE_MAX_BYTES: usize = 1 << 20;

/// How a node is, as far as the edge knows: part of the document on `eyot/<gw>/node/<id>`. What it counts it counts from its
/// own start, which a change of `session` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// It is connected, and has said who it is.
    pub online: bool,
    /// What it is called since it started; 0 if it was never here.
    pub session: u32,
    /// Its program: name and version.
    pub program: String,
    /// SHA-256 of its function's module, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// SHA-256 of a module that it does not run though it should, and why not.
    #[serde(skip)]
    pub refused: Option<([u8; 32], String)>,
    /// On what its function failed last, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Its own program, where that is to be renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateReport>,
    /// Milliseconds since its start, when it last said so.
    pub uptime_ms: u64,
    /// Of its heap.
    pub heap_used_bytes: u32,
    /// All of it.
    pub heap_bytes: u32,
    /// Fuel its function used for the last sample.
    pub fuel: u64,
    /// Its account.
    pub ledger: Ledger,
    /// Times it started anew since the gateway did.
    pub restarts: u32,
    /// Outputs that it had said it had and that never came, because it started anew; those it had not spoken of are not
    /// among them.
    pub lost: u64,
    /// Lines from it that were damaged, or not known here.
    pub bad_lines: u64,
}

/// How far a node's own program is that came over its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateState {
    /// On its way, or on trial.
    Receiving,
    /// The node runs it, and keeps it.
    Confirmed,
    /// The node did not take it, or went back to the one before.
    Rejected,
}

/// A program for a node, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpdateReport {
    /// SHA-256 of the program, in hexadecimal digits.
    pub sha256: String,
    /// How far it is.
    pub state: UpdateState,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl NodeReport {
    /// Whether something has changed that people wait to hear.
    fn is_news_after(&self, before: &Self) -> bool {
        (self.online, self.session, &self.function, &self.refused, &self.update)
            != (before.online, before.session, &before.function, &before.refused, &before.update)
    }

    /// Whether it runs this module.
    pub fn runs(&self, sha256: &[u8; 32]) -> bool {
        self.function.as_deref() == Some(hex::encode(sha256).as_str())
    }
}

/// One node, and the link it is at.
#[derive(Debug)]
pub(crate) struct Node {
    pub link: LinkId,
    pub configuration: Configuration,
    pub report: NodeReport,
    /// Parts of pushes to it.
    pub staging: Staging,
    pub watch: Watch,
    /// What was pushed to it last, if that was refused.
    pub rejected: Option<Document>,
}

/// A node's document, as it is published.
#[derive(Serialize)]
pub(crate) struct NodeStatus<'a> {
    pub node: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<&'a str>,
    /// What it is to run, or what became of that.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<NodeFunction>,
    /// Why it does not run what was pushed to it, or named in the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(flatten)]
    pub report: &'a NodeReport,
}

/// A function of a node, in the words of a function's own topic.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeFunction {
    pub name: String,
    pub version: String,
    pub sha256: String,
    /// "staged", "active", "rejected" or "rolled-back".
    pub state: &'static str,
    /// What runs, where the rest is about another version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<NodeBuild>,
    /// What it is to run and has not said that it does, where `state` is not "staged".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged: Option<NodeBuild>,
}

/// A version that is in force on a node, or meant for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeBuild {
    pub name: String,
    pub version: String,
    pub sha256: String,
}

impl Node {
    /// Those of the configuration, behind its uplinks.
    pub fn all(config: &Config) -> Vec<Self> {
        let links = (u8::try_from(config.uplinks.len()).unwrap_or(u8::MAX)..).map(LinkId::uplink);
        let node = |(link, configuration): (LinkId, &Configuration)| Self {
            link,
            configuration: configuration.clone(),
            report: NodeReport::default(),
            staging: Staging::new(
                config.staging_max_bytes.min(NODE_STAGING_MAX_BYTES),
                config.parts_ttl_us,
                config.vain_day_bytes,
            ),
            watch: Watch::default(),
            rejected: None,
        };
        links.zip(&config.nodes).map(node).collect()
    }

    pub fn id(&self) -> &str {
        &self.configuration.id
    }

    /// How it is now; true if that is news.
    pub fn reported(&mut self, report: NodeReport) -> bool {
        let is_news = report.is_news_after(&self.report);
        self.report = report;
        is_news
    }
}
