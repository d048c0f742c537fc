//! Nodes: microcontrollers behind the gateway. Their readings are messages like those of sensors; how they are is for
//! people to read.

use eyot_wire::link::Ledger;
use serde::Serialize;

use crate::io::LinkId;

/// Most nodes of one gateway.
pub const NODES_MAX: usize = 32;

/// How a node is, as far as the edge knows: the document on `eyot/<gw>/node/<id>`. What it counts it counts from its own
/// start, which a change of `session` shows.
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
    /// Why the function it is to run does not run there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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

impl NodeReport {
    /// Whether something has changed that people wait to hear.
    fn is_news_after(&self, before: &Self) -> bool {
        (self.online, self.session, &self.function, &self.reason)
            != (before.online, before.session, &before.function, &before.reason)
    }
}

/// One node, and the link it is at.
#[derive(Debug)]
pub(crate) struct Node {
    pub link: LinkId,
    pub id: String,
    pub report: NodeReport,
}

/// A node's document, as it is published.
#[derive(Serialize)]
pub(crate) struct NodeStatus<'a> {
    node: &'a str,
    #[serde(flatten)]
    report: &'a NodeReport,
}

impl Node {
    /// Those of the configuration, behind so many uplinks.
    pub fn all(ids: &[String], uplinks: usize) -> Vec<Self> {
        let links = (u8::try_from(uplinks).unwrap_or(u8::MAX)..).map(LinkId::uplink);
        links.zip(ids).map(|(link, id)| Self { link, id: id.clone(), report: NodeReport::default() }).collect()
    }

    /// How it is now; true if that is news.
    pub fn reported(&mut self, report: NodeReport) -> bool {
        let is_news = report.is_news_after(&self.report);
        self.report = report;
        is_news
    }

    pub fn status(&self) -> NodeStatus<'_> {
        NodeStatus { node: &self.id, report: &self.report }
    }
}
