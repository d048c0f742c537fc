//! Whoever pushes versions of the function and signs commands about it, all over MQTT. One thing at a time, said again and
//! again until the gateway tells what became of it.

use bytes::Bytes;
use eyot_wire::control::{Command, Order, OrderReport, PushReport, PushState};

use crate::broker::Published;
use crate::faults::Schedule;
use crate::force::Force;
use crate::guest::{Build, Module, Nature, EXTRA, NAME, VERSION_MAX};
use crate::scenario::Scenario;
use crate::way::Way;
use crate::world::World;

/// Without an answer, it is said again after this long.
const AGAIN_MS: u64 = 30_000;
/// A command that is refused so often is given up.
const REFUSED_MAX: u32 = 3;
/// Parts of a push that comes in parts.
const PARTS: usize = 3;
/// Commands of this world expire after it.
const NEVER_S: u64 = 4_000_000_000;
/// What every control topic of the gateway begins with.
const PREFIX: &str = "eyot/sim/";

/// What is asked for.
#[derive(Clone, Debug)]
enum Act {
    Push { function: &'static str, version: u8, module: Module, in_parts: bool },
    Order(Order),
}

/// What the operator asks for and may not know the outcome of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// To put this version in force, or on trial.
    pub version: Option<u8>,
    /// To put this version of the other function in force.
    pub extra: Option<u8>,
    /// To change something about the function by a command.
    pub order: bool,
    /// To remove the other function.
    pub removal: bool,
}

/// The operator.
#[derive(Debug)]
pub struct Operator {
    rng: fastrand::Rng,
    /// Of what was added later: without it, all else is as it is.
    more: fastrand::Rng,
    acts: Schedule,
    /// The last version that was made.
    version: u8,
    orders: u32,
    open: Option<Act>,
    refused: u32,
    again_at_ms: u64,
    /// Commands were given up that the gateway may still come upon.
    stray: Asked,
}

impl Operator {
    /// Nothing was pushed yet; the configuration file has version 1.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(scenario.seed.rotate_left(32)),
            more: fastrand::Rng::with_seed(scenario.seed.rotate_left(40)),
            acts: Schedule::new(scenario.seed, 9, 0, scenario.faults.push_mean_ms),
            version: 1,
            orders: 0,
            open: None,
            refused: 0,
            again_at_ms: u64::MAX,
            stray: Asked::default(),
        }
    }

    /// Nothing new is asked for from here on.
    pub fn calm_down(&mut self, now_ms: u64) {
        self.acts = Schedule::new(0, 0, 0, 0);
        self.again_at_ms = self.again_at_ms.min(now_ms);
    }

    /// When it does something next by itself.
    pub fn next_ms(&self) -> u64 {
        let again_at_ms = if self.open.is_some() { self.again_at_ms } else { u64::MAX };
        self.acts.next_ms().min(again_at_ms)
    }

    /// Everything that was asked for was answered.
    pub fn is_idle(&self) -> bool {
        self.open.is_none()
    }

    /// What the gateway may do, or have done, without having told.
    pub fn asked(&self) -> Asked {
        match &self.open {
            Some(Act::Push { function: EXTRA, version, .. }) => Asked { extra: Some(*version), ..self.stray },
            Some(Act::Push { version, .. }) => Asked { version: Some(*version), ..self.stray },
            Some(Act::Order(order)) => asked_by(order, self.stray),
            None => self.stray,
        }
    }

    /// A version that was not there before.
    pub fn next_version(&mut self) -> Option<u8> {
        (self.version < VERSION_MAX).then(|| {
            self.version += 1;
            self.version
        })
    }

    /// Messages to publish now, with their topics. `is_waiting`: what was said last was not delivered yet.
    pub fn speak(
        &mut self,
        now_ms: u64,
        scenario: &Scenario,
        force: &mut Force,
        is_waiting: bool,
    ) -> Vec<(String, Bytes)> {
        if self.acts.is_due(now_ms) && self.open.is_none() {
            self.open = self.decide(scenario, force);
            (self.again_at_ms, self.refused) = (now_ms, 0);
        }
        if now_ms < self.again_at_ms {
            return Vec::new();
        }
        self.again_at_ms = now_ms + AGAIN_MS;
        match &self.open {
            _ if is_waiting => Vec::new(),
            None => Vec::new(),
            Some(Act::Push { module, in_parts: false, .. }) => vec![(format!("{PREFIX}push"), module.bytes.clone())],
            Some(Act::Push { module, .. }) => {
                let topic = |number| format!("{PREFIX}push/{}/{number}", module.hex());
                let mut parts: Vec<_> = module.parts(PARTS).enumerate().map(|(n, part)| (topic(n), part)).collect();
                self.rng.shuffle(&mut parts);
                parts
            }
            Some(Act::Order(order)) => {
                let text = serde_json::to_vec(order).expect("an order is a document");
                vec![(format!("{PREFIX}command"), text.into())]
            }
        }
    }

    fn decide(&mut self, scenario: &Scenario, force: &mut Force) -> Option<Act> {
        if scenario.setup.removes && self.more.u32(0..4) == 0 {
            return self.come_or_go(scenario, force);
        }
        let function = NAME.to_owned();
        let command = match self.rng.u32(0..10) {
            0..=5 => return self.make(scenario, force, Nature::Good),
            // What is taken back goes back to a version that works.
            6 if force.is_good() => return self.make(scenario, force, Nature::Failing),
            7 if force.is_good() => return self.make(scenario, force, Nature::Greedy),
            8 if force.can_go_back() => Command::Rollback { function, to: None },
            // One that fails is no worse than another that does, and would stay.
            9 if force.can_promote() && force.is_good() => Command::Promote { function },
            _ => {
                let set = [("x".to_owned(), self.orders.to_string())].into();
                Command::Config { function, set, unset: Vec::new() }
            }
        };
        Some(self.order(command))
    }

    fn order(&mut self, command: Command) -> Act {
        self.orders += 1;
        let nonce = format!("order-{:06}", self.orders);
        Act::Order(Order { gateway: "sim".to_owned(), nonce, expires: NEVER_S, command })
    }

    /// The other function comes in another version, or goes.
    fn come_or_go(&mut self, scenario: &Scenario, force: &Force) -> Option<Act> {
        if force.has_extra() && self.more.bool() {
            return Some(self.order(Command::Remove { function: EXTRA.to_owned() }));
        }
        let version = self.next_version()?;
        let module = Build::new(version, &scenario.setup).called(EXTRA).module();
        Some(Act::Push { function: EXTRA, version, module, in_parts: self.more.bool() })
    }

    fn make(&mut self, scenario: &Scenario, force: &mut Force, nature: Nature) -> Option<Act> {
        let version = self.next_version()?;
        let way = Way::draw(&mut self.more, &scenario.setup);
        force.made(version, nature, way);
        let module = Build::new(version, &scenario.setup).of_nature(nature).by_way(way).module();
        Some(Act::Push { function: NAME, version, module, in_parts: self.rng.bool() })
    }

    /// The gateway tells something on a topic of its own.
    pub fn hear(&mut self, topic: &str, payload: &[u8], now_ms: u64) {
        let Some(topic) = topic.strip_prefix(PREFIX) else { return };
        if topic.starts_with("push/") {
            let report: PushReport = serde_json::from_slice(payload).expect("a report is a document");
            self.hear_push(&report, now_ms);
        } else if topic.starts_with("command/") {
            let report: OrderReport = serde_json::from_slice(payload).expect("a report is a document");
            self.hear_order(&report);
        }
    }

    fn hear_push(&mut self, report: &PushReport, now_ms: u64) {
        let Some(Act::Push { module, .. }) = &self.open else { return };
        if report.sha256 != module.hex() {
            return;
        }
        let is_over = match report.state {
            PushState::Active | PushState::Unchanged | PushState::Shadow | PushState::Canary => true,
            PushState::Rejected => !report.reason.as_ref().is_some_and(|reason| reason.contains("send it again")),
            PushState::Receiving if !report.missing.is_empty() => {
                self.again_at_ms = now_ms;
                false
            }
            _ => false,
        };
        if is_over {
            self.open = None;
        }
    }

    fn hear_order(&mut self, report: &OrderReport) {
        let Some(Act::Order(order)) = &self.open else { return };
        if report.nonce != order.nonce {
            return;
        }
        let reason = report.reason.as_deref().unwrap_or_default();
        self.refused += 1;
        if report.done || reason.contains("was done already") {
            self.open = None;
        } else if self.refused >= REFUSED_MAX {
            self.stray = asked_by(order, self.stray);
            self.open = None;
        }
    }
}

/// With what this command asks for.
fn asked_by(order: &Order, others: Asked) -> Asked {
    match order.command {
        Command::Remove { .. } => Asked { removal: true, ..others },
        _ => Asked { order: true, ..others },
    }
}

impl World {
    /// Lets the operator say what there is to say.
    pub(crate) fn operate(&mut self) {
        let now_ms = self.ms();
        if now_ms < self.operator.next_ms() {
            return;
        }
        let is_waiting = self.broker.controls() > 0;
        let said = self.operator.speak(now_ms, &self.scenario, &mut self.checks.force, is_waiting);
        for control in said {
            self.broker.publish(Published { topic: 0, number: 0, qos: 1, control: Some(control) });
        }
    }
}
