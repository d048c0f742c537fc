//! Nodes: their readings on the way to the log, and what is published of them.

use super::*;
use crate::node::NodeReport;

impl<S: Storage> Core<S> {
    /// Whether a node is at this link.
    pub(super) fn is_node(&self, link: LinkId) -> bool {
        self.nodes.iter().any(|node| node.link == link)
    }

    /// A node's reading: a message that came to be `age_ms` ago.
    pub(super) fn reading(&mut self, link: LinkId, age_ms: u32, message: &Message) {
        // Time on the way counts as the sensor's, not as ours.
        let arrived = self.now;
        self.now.unix_ms = arrived.unix_ms.saturating_sub(i64::from(age_ms));
        self.message(link, message);
        self.now = arrived;
    }

    /// What no function is triggered by is an output itself: a node's reading gets to the uplinks without one.
    pub(super) fn pass_on(&mut self, topic: &str, payload: &[u8]) -> (u32, Option<DropReason>) {
        let outlets = Outlets { streams: &self.streams, quotas: &self.quotas, gateway_id: &self.config.gateway_id };
        let mut routes = Vec::new();
        let routed = outlets.route(topic, payload, &mut self.ledger, &mut routes);
        self.record.output(topic, payload, &routes);
        if routed.refused == 0 {
            return (routed.mask, None);
        }
        self.committer.ledger_changed(self.now.mono_us);
        (routed.mask, Some(DropReason::UplinkFull))
    }

    pub(super) fn node_reported(&mut self, link: LinkId, report: NodeReport) {
        let Some(place) = self.nodes.iter().position(|node| node.link == link) else { return };
        if self.nodes.get_mut(place).is_some_and(|node| node.reported(report)) {
            self.more = true;
            self.publish_node(place);
        }
    }

    /// Each on its topic, when the status is due.
    pub(super) fn publish_nodes(&mut self) {
        (0..self.nodes.len()).for_each(|place| self.publish_node(place));
    }

    fn publish_node(&mut self, place: usize) {
        let Some(node) = self.nodes.get(place) else { return };
        let (topic, document) = (format!("node/{}", node.id), serde_json::to_vec(&node.status()).unwrap_or_default());
        self.publish_bytes(&topic, document.into(), true);
    }
}
