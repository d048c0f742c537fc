//! Nodes, and sensors of our own: their readings on the way to the log, and what is published of them.

use super::*;
use crate::deploy::nodes::Standing;
use crate::deploy::plan::Document;
use crate::deploy::registry::Build;
use crate::node::{NodeBuild, NodeFunction, NodeReport, NodeStatus, UpdateState};
use crate::task::Task;

impl<S: Storage> Core<S> {
    /// Whether a node is at this link.
    pub(super) fn is_node(&self, link: LinkId) -> bool {
        self.nodes.iter().any(|node| node.link == link)
    }

    /// Whether what comes over this link is an output where no function wants it.
    pub(super) fn passes_on(&self, link: LinkId) -> bool {
        link == LinkId::SENSORS || self.is_node(link)
    }

    pub(super) fn sensor_reported(&mut self, place: usize, report: SensorReport) {
        let Some(sensor) = self.sensors.get_mut(place) else { return };
        if sensor.answers != report.answers {
            self.status_due_us = self.now.mono_us;
            self.more = true;
        }
        *sensor = report;
    }

    /// A reading: a message that came to be `age_ms` ago.
    pub(super) fn reading(&mut self, link: LinkId, age_ms: u32, message: &Message) {
        // Time on the way counts as the sensor's, not as ours.
        let arrived = self.now;
        self.now.unix_ms = arrived.unix_ms.saturating_sub(i64::from(age_ms));
        self.message(link, message);
        self.now = arrived;
    }

    /// What no function is triggered by is an output itself: a reading gets to the uplinks without one.
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
        let mono_us = self.now.mono_us;
        let Some(place) = self.nodes.iter().position(|node| node.link == link) else { return };
        let Some(node) = self.nodes.get_mut(place) else { return };
        let does_worse = node.watch.note(&report, mono_us);
        let update = report.update.as_ref().filter(|update| node.report.update.as_ref() != Some(update));
        let ended = update.filter(|update| update.state != UpdateState::Receiving).map(|update| update.sha256.clone());
        if let (Some(sha256), Ok(node)) = (ended, u8::try_from(place)) {
            self.deployer.tasks.push_back(Task::ProgramEnded { node, sha256 });
        }
        let is_news = node.reported(report);
        self.tend_node(place, does_worse);
        if is_news {
            self.more = true;
            self.publish_node(place);
        }
    }

    /// Each on its topic, when the status is due.
    pub(super) fn publish_nodes(&mut self) {
        (0..self.nodes.len()).for_each(|place| self.publish_node(place));
    }

    pub(super) fn publish_node(&mut self, place: usize) {
        let Some(node) = self.nodes.get(place) else { return };
        let document = serde_json::to_vec(&self.node_status(node)).unwrap_or_default();
        let topic = format!("node/{}", node.id());
        self.publish_bytes(&topic, document.into(), true);
    }

    /// A node's document.
    pub(super) fn node_status<'a>(&self, node: &'a Node) -> NodeStatus<'a> {
        let (deployed, reason) = self.node_function(node);
        let unmet = node.report.refused.as_ref().map(|(_, reason)| reason.clone());
        let board = node.configuration.board.as_deref();
        NodeStatus { node: node.id(), board, deployed, reason: reason.or(unmet), report: &node.report }
    }

    fn node_function(&self, node: &Node) -> (Option<NodeFunction>, Option<String>) {
        let standing = self.deployer.registry.standing(&node.configuration);
        let active = standing.as_ref().and_then(|standing| Some((standing, standing.entry.active.as_ref()?)));
        let word = active.map_or("", |(standing, active)| word(node, standing, active));
        let named = |(standing, build): (&Standing, &Build)| NodeBuild {
            name: standing.function.clone(),
            version: build.version.to_string(),
            sha256: hex::encode(build.sha256),
        };
        let trial = standing.as_ref().and_then(|standing| Some((standing, &standing.entry.trial.as_ref()?.build)));
        let runs = active.filter(|_| word == "active").map(named);
        // It is that of the configuration file which a node that refused it is still to run.
        let staged = trial.or(active.filter(|_| word != "active")).map(named);
        if let Some(document) = &node.rejected {
            let Document { name, version, sha256, state, reason } = document.clone();
            return (Some(NodeFunction { name, version, sha256, state, active: runs, staged }), reason);
        }
        let Some(standing) = &standing else { return (None, None) };
        let function = |build: &Build, state, active| {
            let NodeBuild { name, version, sha256 } = named((standing, build));
            let staged = staged.clone().filter(|_| state != "staged");
            NodeFunction { name, version, sha256, state, active, staged }
        };
        match (&standing.entry.trial, standing.taken_back(), active) {
            (Some(trial), _, _) => (Some(function(&trial.build, "staged", runs)), None),
            (None, Some(back), _) => (Some(function(&back.build, "rolled-back", runs)), Some(back.reason.clone())),
            (None, None, Some((_, active))) => (Some(function(active, word, None)), None),
            (None, None, None) => (None, None),
        }
    }
}

/// What becomes of a build of which nothing is on trial and nothing was taken back. What the configuration file names is
/// meant for the node, and no more than that until the node says that it runs it.
fn word(node: &Node, standing: &Standing, active: &Build) -> &'static str {
    let is_refused = node.report.refused.as_ref().is_some_and(|(sha256, _)| *sha256 == active.sha256);
    match standing.is_logged || node.watch.has_seen(active) {
        true => "active",
        false if is_refused => "rejected",
        false => "staged",
    }
}
