//! The machine: takes an input, and then decides, effect by effect, whose turn it is.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use eyot_spool::{AppendError, CommitError, Spool, Storage};
use eyot_wire::code::DropReason;
use eyot_wire::record::{Builder, Record};
use eyot_wire::topic::parse_topic;

use crate::active::{Active, Loaded};
use crate::backlog::Quotas;
use crate::commit::{Committer, Room, Step};
use crate::config::{Config, Priority, WhenFull};
use crate::deploy::nodes::NodeChange;
use crate::deploy::plan::Deployer;
use crate::down::Downlink;
use crate::flight::Flight;
use crate::forward::Forwarder;
use crate::functions::{Functions, Outlets, States};
use crate::intake::Intake;
use crate::io::{ConnId, Effect, Input, LinkId, Message, Notice, Now, Publish};
use crate::lane::Lane;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::notices::{Item, Notices, NOTICE_INTERVAL_US};
use crate::recover::Kept;
use crate::sensor::SensorReport;
use crate::streams::Streams;
use crate::wear::Wear;

mod arrive;
mod canary;
mod control;
mod deploy;
mod letters;
mod live;
mod node;
mod node_deploy;
mod node_push;
mod open;
mod orders;
mod report;
mod restore;
mod room;
mod swap;
mod system;
mod thin;
mod trial;
mod values;

use live::{Retirement, Succession};
use open::EPOCHS;
use room::{Eviction, FullEpisode};
use thin::Thinner;

pub use open::OpenError;

/// How long what is in flight may still land when the gateway is to stop. What has not is unacknowledged, and comes again.
const DRAIN_GRACE_US: u64 = 2_000_000;

/// The gateway's state machine over a storage. See the crate's documentation for how to drive it.
pub struct Core<S: Storage> {
    config: Config,
    max_bytes: u64,
    streams: Streams,
    quotas: Quotas,
    committer: Committer<S>,
    ledger: Ledger,
    functions: Functions,
    /// Makes less of the backlog.
    reducer: Option<Active>,
    thinner: Thinner<S::File>,
    /// State of functions that are not here at present: it comes back with them.
    orphans: States,
    deployer: Deployer,
    /// The last batch that is durable.
    durable: u64,
    /// Messages that are not in the log yet.
    flight: Flight,
    intake: Intake,
    wear: Wear,
    intake_conn: Option<ConnId>,
    downlinks: Vec<Downlink>,
    nodes: Vec<Node>,
    /// How those of our own are.
    sensors: Vec<SensorReport>,
    /// Changes to what they run that are not durable yet, the oldest first.
    node_changes: VecDeque<NodeChange>,
    lanes: Vec<Lane<S::File>>,
    successions: Vec<Succession>,
    retirements: Vec<Retirement>,
    record: Builder,
    rng: fastrand::Rng,
    now: Now,
    started_us: u64,
    sync_since_us: u64,
    status_due_us: u64,
    notices: Notices,
    notices_due_us: u64,
    effects: VecDeque<Effect<S::File>>,
    publishes: VecDeque<Publish>,
    room: Room,
    full: Option<FullEpisode>,
    eviction: Eviction,
    more: bool,
    draining: bool,
    /// What is in flight may still land until then; none if that is over, or not draining.
    grace_until_us: Option<u64>,
    drained: bool,
}

impl<S: Storage> Core<S> {
    /// The smallest set of topic filters that covers every trigger.
    pub fn subscriptions(&self) -> Vec<String> {
        let mut filters: Vec<&str> = Vec::new();
        for trigger in self.functions.iter().flat_map(|a| &a.manifest.triggers) {
            let filter = trigger.mqtt.as_str();
            if filters.iter().any(|f| eyot_wire::topic::covers(f, filter)) {
                continue;
            }
            filters.retain(|f| !eyot_wire::topic::covers(filter, f));
            filters.push(filter);
        }
        filters.into_iter().map(str::to_owned).collect()
    }

    /// The accounts as they stand.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Messages whose functions have not ended, or that wait for others of their topic; they are not in the log yet.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// What of `stream`, by its number in the log, is sent first and given up last.
    pub fn priority(&self, stream: u8) -> Priority {
        self.streams.priority(stream)
    }

    /// The log's identity: it changes when a log is made anew.
    pub fn epoch(&self) -> u64 {
        self.committer.spool.epoch()
    }

    /// The log, for inspection.
    pub fn spool(&self) -> &Spool<S> {
        &self.committer.spool
    }

    /// Every function's state, as of the last message: (function, key, value) in order.
    pub fn states(&self) -> impl Iterator<Item = (&str, &[u8], &[u8])> {
        self.functions.iter().flat_map(|a| a.instances.state().iter().map(|(key, value)| (&*a.name, key, value)))
    }

    /// Whether [`Input::Message`] may be handed in. False while the disk is behind or failing, at the quota
    /// of the spool or of an uplink under [`WhenFull::Block`], and while a function that is to be removed ends what it has.
    pub fn accepts_messages(&self) -> bool {
        !self.draining
            && self.deployer.leaves_until_us().is_none()
            && !self.flight.is_full()
            && !self.quotas.block(&self.ledger)
            && match self.room {
                Room::Yes => true,
                Room::Full => self.config.when_full == WhenFull::DropNewest,
                Room::No => false,
            }
    }

    /// Whether a message on this topic may be handed in: as [`accepts_messages`](Self::accepts_messages), and control messages
    /// always may until the end.
    pub fn accepts(&self, from: LinkId, topic: &[u8]) -> bool {
        let is_control = || self.control_topic(from, topic).is_some() || self.node_control_topic(from, topic).is_some();
        self.accepts_messages() || !self.draining && is_control()
    }

    /// When [`Input::Tick`] is due, on the clock of [`Now::mono_us`].
    pub fn deadline_us(&self) -> Option<u64> {
        if self.more {
            return Some(self.now.mono_us);
        }
        let timers = [self.status_due_us, self.notices_due_us];
        let commit = self.committer.deadline_us();
        let burst = commit.and(self.intake.burst_ends_us());
        let thinning = self.thin_due_us();
        let retry = self.functions.retry_due_us();
        let told = self.full.and_then(|episode| episode.ends_us());
        let paced = self.lanes.iter().filter_map(|lane| lane.traffic.waits_until_us);
        timers
            .into_iter()
            .chain(commit)
            .chain(burst)
            .chain(paced)
            .chain(thinning)
            .chain(told)
            .chain(retry)
            .chain(self.grace_until_us)
            .chain(self.deployer.leaves_until_us())
            .chain(self.deployer.staging.due_us())
            .chain(self.nodes.iter().filter_map(|node| node.staging.due_us()))
            .chain(self.functions.shadows.due_us())
            .chain(self.canary_due_us())
            .min()
    }

    /// Takes an input. Follow with [`poll`](Self::poll) until it has nothing.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::LinkUp { link, conn, inflight_max, inflight_max_bytes } => {
                self.link_up(link, conn, inflight_max, inflight_max_bytes);
            }
            Input::LinkDown { link, conn } => self.link_down(link, conn),
            Input::Message(message) => self.message(LinkId::INTAKE, &message),
            Input::Down { link, message } => self.message(link, &message),
            Input::Reading { link, age_ms, message } => self.reading(link, age_ms, &message),
            Input::Sensor { place, report } => self.sensor_reported(place, *report),
            Input::Node { link, report } => self.node_reported(link, *report),
            Input::Published { link, conn, token, accepted } => self.published(link, conn, token, accepted),
            Input::IntakeDropped { messages } => self.drop_unseen(DropReason::IntakeFull, messages, b""),
            Input::Synced { commit, result } if self.thinner.awaits(commit) => self.rewrite_synced(commit, result),
            Input::Synced { commit, result } => self.synced(commit, result),
            Input::Ran(job) => self.ran(*job),
            Input::Answer(answer) => self.answered(*answer),
            Input::Tick => self.more = true,
            Input::Drain => {
                self.draining = true;
                self.grace_until_us = Some(now.mono_us.saturating_add(DRAIN_GRACE_US));
                self.more = true;
            }
        }
    }

    /// The next effect; none when the machine waits for an input or for its deadline.
    pub fn poll(&mut self) -> Option<Effect<S::File>> {
        if let Some(effect) = self.next_effect() {
            return Some(effect);
        }
        self.more = false;
        self.timers();
        self.tend_shadows();
        self.tend_canaries();
        self.deploy();
        self.keep_quotas();
        // First the disk: what can be forwarded is worked out while it is busy.
        self.commit();
        self.land();
        self.forward();
        self.thin();
        let effect = self.next_effect();
        if effect.is_none() && self.draining && !self.drained && self.committer.is_idle() && self.has_landed() {
            self.drained = true;
            return Some(Effect::Drained);
        }
        effect
    }

    /// Whether [`poll`](Self::poll) has an effect at hand. If not, it may take a while to work out the next: a good moment
    /// to see that the ones before happen.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty() || !self.publishes.is_empty()
    }

    fn next_effect(&mut self) -> Option<Effect<S::File>> {
        if let Some(effect) = self.effects.pop_front() {
            return Some(effect);
        }
        if let Some(publish) = self.publishes.pop_front() {
            return Some(Effect::Publish(publish));
        }
        self.notices.pop().map(|item| match item {
            Item::Notice(notice) => Effect::Notice(notice),
            Item::Log { function, level, line } => {
                self.publish_log(&function, level, &line);
                Effect::FunctionLog { function, level, line }
            }
        })
    }

    fn link_up(&mut self, link: LinkId, conn: ConnId, inflight_max: u16, inflight_max_bytes: u64) {
        self.status_due_us = self.now.mono_us;
        self.more = true;
        if link != LinkId::LOCAL && !self.is_node(link) {
            self.publish_functions(link, conn);
        }
        if link == LinkId::INTAKE {
            self.intake_conn = Some(conn);
            self.intake.reconnected();
            self.tell_answers();
            return;
        }
        let window = usize::from(inflight_max.min(self.config.inflight_max));
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.link == Some(link)) {
            lane.link_up(conn, (window, inflight_max_bytes), &self.ledger, &self.committer.spool);
            self.begin_live(link, window);
        }
        self.downlinks.iter_mut().filter(|down| down.link == link).for_each(Downlink::reconnected);
        self.tell_answers();
    }

    fn link_down(&mut self, link: LinkId, conn: ConnId) {
        if link == LinkId::INTAKE && self.intake_conn == Some(conn) {
            self.intake_conn = None;
            self.intake.reconnected();
        }
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.link == Some(link)) {
            lane.link_down(conn, &self.ledger, &self.committer.spool);
        }
    }

    fn timers(&mut self) {
        let mono_us = self.now.mono_us;
        if self.grace_until_us.is_some_and(|until_us| mono_us >= until_us) {
            self.grace_until_us = None;
        }
        self.try_again();
        self.cut_retries();
        self.publish_changed_functions();
        if mono_us >= self.notices_due_us {
            self.notices_due_us = mono_us + NOTICE_INTERVAL_US;
            self.notices.tick(mono_us);
            self.functions.give_up_spare();
            self.give_up_warm();
        }
        if mono_us >= self.status_due_us {
            self.status_due_us = mono_us + self.config.status_interval_us;
            self.publish_status();
            self.publish_nodes();
        }
    }

    fn forward(&mut self) {
        if self.committer.spool.may_undo_rewrite() {
            // Nothing is sent behind what it dropped.
            return;
        }
        let mut delivered = Vec::new();
        for lane in &mut self.lanes {
            match lane.pump(&mut self.committer.spool, &mut self.ledger, &mut self.publishes, self.now) {
                Ok(more) => self.more |= more,
                Err(error) => {
                    self.notices.storage_failed(&format!("the log cannot be read: {error}"), self.now.mono_us);
                }
            }
            let window = lane.window() as u64;
            for forwarder in lane.forwarders_mut() {
                forwarder.settle(&mut self.ledger);
                let passed = self.ledger.passed(forwarder.stream);
                if passed > forwarder.acked {
                    forwarder.acked = passed;
                    self.committer.spool.ack(forwarder.stream, passed);
                    match self.ledger.stream(forwarder.stream).map_or(0, |s| s.outputs.pending) > window {
                        true => self.committer.backlog_shrank(self.now.mono_us),
                        false => self.committer.ledger_changed(self.now.mono_us),
                    }
                }
                if std::mem::take(&mut forwarder.waits_for_gap) {
                    self.committer.hurry_ledger(self.now.mono_us);
                }
                if forwarder.is_delivered(&self.ledger) {
                    delivered.push(forwarder.stream);
                }
            }
        }
        delivered.into_iter().for_each(|stream| self.begin_to_retire(stream));
    }
}

/// All that a checkpoint has besides the ledger, borrowed.
fn kept<'a>(functions: &'a Functions, orphans: &'a States, deployer: &'a Deployer) -> Kept<'a> {
    let absent = orphans
        .iter()
        .map(|(name, state)| (name.as_str(), state.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect()));
    let present = functions.iter().map(|a| (&*a.name, a.instances.state().iter().collect()));
    Kept { states: absent.chain(present).collect(), registry: &deployer.registry, audits: &deployer.audits }
}
