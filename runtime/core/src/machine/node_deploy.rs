//! What nodes run: each change goes into the log, and is told when that is durable.
//!
//! A version that was pushed is *staged* until the node says that it runs it; then it is in force, on probation. If the node
//! does not take it, or does worse with it, the one before is in force again. Each of these is a change of its own in the log,
//! so that after a power cut it is before the change or after it; what a node is to run follows from the log alone, and what it
//! runs it says itself, so nothing else needs to be remembered.

use bytes::Bytes;
use eyot_wire::control::{Command, NodeAct, PushState};

use super::*;
use crate::deploy::guard::Baseline;
use crate::deploy::nodes::{key, NodeChange, Standing, Step, Wanted};
use crate::deploy::plan::Origin;
use crate::deploy::registry::{Build, Entry, StateChange, ON_NODE};
use crate::task::{Authorized, Shelf, Task};

impl<S: Storage> Core<S> {
    /// What nodes are to run after a start.
    pub(super) fn restore_nodes(&mut self) {
        for place in 0..self.nodes.len() {
            let Some(node) = self.nodes.get_mut(place) else { continue };
            self.deployer.registry.take_configured(&node.configuration);
            let standing = self.deployer.registry.standing(&node.configuration);
            if let Some((build, entry)) = standing.and_then(|s| Some((s.entry.active.clone()?, s.entry))) {
                node.watch.begin(&build, entry.baseline, self.now.mono_us);
            }
            self.send_wanted(place);
        }
    }

    /// Parts of pushes to nodes that came before the gateway ended.
    pub(super) fn restore_node_parts(&mut self, shelf: &mut dyn Shelf) {
        for place in 0..self.nodes.len() {
            let parts = shelf.node_parts(u8::try_from(place).unwrap_or(u8::MAX));
            let Some(node) = self.nodes.get_mut(place) else { continue };
            let mut gone = node.staging.restore(&parts, self.now.mono_us);
            let wanted = self.deployer.registry.standing(&node.configuration);
            let wanted = wanted.and_then(|standing| standing.wanted().map(|build| build.sha256));
            // What the log has needs its parts no more.
            gone.extend(wanted.filter(|sha256| node.staging.forget(sha256)));
            gone.into_iter().for_each(|push| self.node_task(place, Task::Forget { push }));
        }
    }

    /// Has the node's link be told what the node is to run.
    fn send_wanted(&mut self, place: usize) {
        let Some(node) = self.nodes.get(place) else { return };
        match self.deployer.registry.wanted(&node.configuration) {
            Wanted::AsConfigured => {}
            Wanted::Nothing => self.effects.push_back(Effect::Install { link: node.link, module: None }),
            Wanted::Module(sha256) => self.node_task(place, Task::Fetch { sha256 }),
        }
    }

    /// The module is here.
    pub(super) fn fetched_for_node(&mut self, place: usize, sha256: [u8; 32], result: Result<Bytes, String>) {
        let Some(node) = self.nodes.get(place) else { return };
        if self.deployer.registry.wanted(&node.configuration) != Wanted::Module(sha256) {
            return;
        }
        match result {
            Ok(module) => {
                self.effects.push_back(Effect::Install { link: node.link, module: Some((sha256, module)) });
            }
            Err(reason) => {
                let function = format!("{ON_NODE}{}", node.id());
                self.notices.push(Notice::ModuleLost { function, reason });
            }
        }
    }

    /// Whether a function of this gateway or of a node needs this module, or will have it again when the gateway starts.
    pub(super) fn is_needed(&self, sha256: &[u8; 32]) -> bool {
        let configured = self.nodes.iter().filter_map(|node| node.configuration.configured.as_ref());
        self.deployer.registry.modules().contains(sha256)
            || self.functions.iter().any(|active| active.sha256 == *sha256)
            || configured.into_iter().any(|configured| configured.build.sha256 == *sha256)
    }

    /// A build that may come is kept for its node.
    pub(super) fn stage_on_node(
        &mut self,
        place: usize,
        function: &str,
        mut entry: Entry,
        build: Build,
        origin: Origin,
    ) -> Result<(), String> {
        entry.stage(build.clone());
        self.change_node(place, function, entry, Step::Staged(build), origin)
    }

    /// Writes a change; the registry has it from here on.
    fn change_node(
        &mut self,
        place: usize,
        function: &str,
        entry: Entry,
        step: Step,
        origin: Origin,
    ) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(place) else { return Ok(()) };
        node.rejected = None;
        let key = key(node.id(), function);
        let before = self.deployer.registry.nodes.get(&key).cloned();
        let name = format!("{ON_NODE}{key}");
        let (action, result) = word(&step, &origin);
        let line = self.audit_line(action, &name, &origin.by, step.sha256(), result);
        let (deployed, batch) =
            self.write_change(&name, Some(entry), origin.order.as_ref(), StateChange::Keep, line)?;
        let needed = before.iter().flat_map(Entry::modules).chain(origin.push);
        let gone = needed.filter(|sha256| !self.is_needed(sha256)).collect();
        let (number, function) = (deployed.number, function.to_owned());
        self.node_changes.push_back(NodeChange { batch, number, place, function, step, origin, gone });
        self.more = true;
        Ok(())
    }

    /// The node said how it is: what follows from that.
    pub(super) fn tend_node(&mut self, place: usize, does_worse: Option<String>) {
        let Some(node) = self.nodes.get(place) else { return };
        let Some(Standing { function, mut entry, .. }) = self.deployer.registry.standing(&node.configuration) else {
            return;
        };
        let by = format!("{ON_NODE}{}", node.id());
        let refused = node.report.refused.as_ref();
        let trial = entry.trial.as_ref().map(|trial| trial.build.clone());
        let origin = |push| Origin { push, order: None, by };
        let changed = match (trial, does_worse) {
            (Some(build), _) if node.report.runs(&build.sha256) => {
                let baseline = entry.active.is_some().then(|| node.watch.baseline());
                entry.advance(build.clone());
                entry.baseline = baseline;
                let (push, step) = (Some(build.sha256), Step::Installed(build.clone()));
                self.change_node(place, &function, entry, step, origin(push))
                    .map(|()| self.watch(place, &build, baseline))
            }
            (Some(build), _) => {
                let reason = refused.filter(|(sha256, _)| *sha256 == build.sha256).map(|(_, reason)| reason.clone());
                let Some(reason) = reason else { return };
                entry.refuse(&reason);
                let push = Some(build.sha256);
                self.change_node(place, &function, entry, Step::Refused(build, reason), origin(push))
            }
            (None, Some(reason)) => self.take_back_on_node(place, &function, entry, None, &reason, origin(None)),
            (None, None) => return,
        };
        // What could not be written is tried again with the next report.
        if let Err(reason) = changed {
            self.notices.push(Notice::PushRejected { function: Some(function), reason });
        }
    }

    fn watch(&mut self, place: usize, build: &Build, baseline: Option<Baseline>) {
        let mono_us = self.now.mono_us;
        if let Some(node) = self.nodes.get_mut(place) {
            node.watch.begin(build, baseline, mono_us);
            let report = node.report.clone();
            // From here on it counts for this version.
            let _ = node.watch.note(&report, mono_us);
        }
    }

    /// Goes back to `to`, or else to the version before, if there is one.
    fn take_back_on_node(
        &mut self,
        place: usize,
        function: &str,
        mut entry: Entry,
        to: Option<Build>,
        reason: &str,
        origin: Origin,
    ) -> Result<(), String> {
        let Some(from) = entry.active.clone() else { return Ok(()) };
        let Some(to) = to.or_else(|| entry.previous.first().cloned()) else { return Ok(()) };
        entry.take_back(&to, reason);
        let step = Step::TakenBack(from, reason.to_owned());
        self.change_node(place, function, entry, step, origin).map(|()| self.watch(place, &to, None))
    }

    /// A command for what a node runs.
    pub(super) fn begin_node_order(&mut self, authorized: Authorized) -> Result<(), String> {
        let Command::Node { node: id, function, act, to } = authorized.order.command.clone() else { return Ok(()) };
        let none = || format!("no node here is called \"{id}\"; see `eyot status`");
        let place = self.node_place(&id).ok_or_else(none)?;
        let configuration = self.nodes.get(place).map(|node| node.configuration.clone()).ok_or_else(none)?;
        let standing = self.deployer.registry.standing(&configuration).filter(|standing| standing.function == function);
        let Standing { mut entry, .. } = standing.ok_or_else(|| {
            format!("node \"{id}\" runs no function that is called \"{function}\"; see `eyot status`")
        })?;
        let by = authorized.signer.clone();
        let origin = Origin { push: None, order: Some(authorized), by: by.clone() };
        match act {
            NodeAct::Rollback if to.is_none() && entry.trial.is_some() => {
                let reason = format!("taken back by {by}");
                let Some(build) = entry.refuse(&reason) else { return Ok(()) };
                let origin = Origin { push: Some(build.sha256), ..origin };
                self.change_node(place, &function, entry, Step::Refused(build, reason), origin)
            }
            NodeAct::Rollback => {
                let back = entry.way_back(to.as_deref()).cloned().ok_or_else(|| match &to {
                    Some(to) => {
                        format!(
                            "version {to} of \"{function}\" is not kept for it; push it again under a higher version"
                        )
                    }
                    None => format!("there is no version of \"{function}\" before the present one; push another"),
                })?;
                let reason = format!("rolled back by {by}");
                self.take_back_on_node(place, &function, entry, Some(back), &reason, origin)
            }
            NodeAct::Promote => {
                let back = entry.taken_back.clone().filter(|_| entry.trial.is_none());
                let back =
                    back.ok_or_else(|| format!("no version of \"{function}\" waits to be promoted; push one"))?;
                self.stage_on_node(place, &function, entry, back.build, origin)
            }
            NodeAct::Remove => {
                let entry = Entry { highest: entry.highest, ..Entry::default() };
                self.change_node(place, &function, entry, Step::Removed, origin)
            }
        }
    }

    /// Whether a command with this nonce is in the log, but not durable.
    pub(super) fn is_node_order_on_its_way(&self, nonce: &str) -> bool {
        let orders = self.node_changes.iter().filter_map(|change| change.origin.order.as_ref());
        orders.into_iter().any(|authorized| authorized.order.nonce == nonce)
    }

    /// Changes that are durable are told to all, and the node's link of what the node is to run.
    pub(super) fn node_changes_are_durable(&mut self, durable: u64) {
        while self.node_changes.front().is_some_and(|change| change.batch <= durable) {
            if let Some(change) = self.node_changes.pop_front() {
                self.node_change_is_durable(change);
            }
        }
    }

    fn node_change_is_durable(&mut self, change: NodeChange) {
        let NodeChange { number, place, function, step, origin, gone, .. } = change;
        for sha256 in gone {
            self.deployer.tasks.push_back(Task::Discard { sha256 });
        }
        if let (Some(push), Some(node)) = (origin.push, self.nodes.get_mut(place)) {
            node.staging.vouch(&push);
            node.staging.forget(&push);
            self.node_task(place, Task::Forget { push });
        }
        self.tell_step(place, &function, &step);
        if !matches!(step, Step::Installed(_)) {
            self.send_wanted(place);
        }
        self.publish_node(place);
        self.status_due_us = self.now.mono_us;
        if let Some(authorized) = &origin.order {
            self.settle(&authorized.order, Ok(()));
        }
        self.audit_change(number);
        self.more = true;
    }

    fn tell_step(&mut self, place: usize, function: &str, step: &Step) {
        let Some(node) = self.nodes.get(place) else { return };
        let (name, is_away) = (format!("{ON_NODE}{}", key(node.id(), function)), !node.report.online);
        let standing = self.deployer.registry.standing(&node.configuration);
        let active = standing.and_then(|standing| standing.entry.active);
        let version = active.map(|active| active.version.to_string()).unwrap_or_default();
        let report = |state, build: &Build, reason: Option<&str>, core: &mut Self| {
            let version = build.version.to_string();
            core.report_node_push(place, build.sha256, state, Some((function, &version)), reason);
        };
        match step {
            Step::Staged(build) => {
                let reason = is_away.then_some("the node is away; it gets it when it is back");
                report(PushState::Staged, build, reason, self);
            }
            Step::Installed(build) => {
                report(PushState::Active, build, None, self);
                self.notices.push(Notice::Deployed { function: name, version, is_new: false });
            }
            Step::Refused(build, reason) => {
                report(PushState::Rejected, build, Some(reason), self);
                self.notices.push(Notice::RolledBack { function: name, version, reason: reason.clone() });
            }
            Step::TakenBack(_, reason) => {
                self.notices.push(Notice::RolledBack { function: name, version, reason: reason.clone() });
            }
            Step::Removed => self.notices.push(Notice::FunctionRemoved { function: name }),
        }
    }
}

/// What the audit log calls it, and how it ended.
fn word<'a>(step: &'a Step, origin: &Origin) -> (&'static str, Result<(), &'a str>) {
    match (&origin.order, step) {
        (Some(authorized), _) => (authorized.order.command.word(), Ok(())),
        (None, Step::Staged(_)) => ("push", Ok(())),
        (None, Step::Installed(_)) => ("install", Ok(())),
        (None, Step::Refused(_, reason)) => ("install", Err(reason)),
        (None, Step::TakenBack(..)) => ("rollback", Ok(())),
        (None, Step::Removed) => ("remove", Ok(())),
    }
}
