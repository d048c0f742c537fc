//! What comes of a message when its functions have ended: outputs, changes of state, dead letters.

use super::*;
use crate::dead::Failed;

/// What the functions made of one message; the effects are in the record builder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Functions it triggers.
    pub woken: u32,
    /// Functions with a dead letter of it.
    pub failed: u32,
    /// Streams with outputs.
    pub mask: u32,
    /// Outputs that an uplink had no room for.
    pub refused: u32,
    /// `random` was called: the seed belongs in the record.
    pub random_used: bool,
}

impl Outcome {
    fn add(&mut self, Routed { mask, refused }: Routed) {
        self.mask |= mask;
        self.refused += refused;
    }
}

impl Functions {
    /// Writes what the functions at hand did, or dead letters, to `record`; their state operations become part of the
    /// state.
    pub fn settle_here(
        &mut self,
        waking: &Waking<'_>,
        outlets: &Outlets<'_>,
        ledger: &mut Ledger,
        record: &mut Builder,
    ) -> Outcome {
        let mut parts = std::mem::take(&mut self.parts);
        let outcome = self.settle(&parts, waking, outlets, ledger, record);
        parts.clear();
        self.parts = parts;
        outcome
    }

    /// As [`settle_here`](Self::settle_here), for functions that were parked.
    pub fn settle(
        &mut self,
        parts: &[Part],
        waking: &Waking<'_>,
        outlets: &Outlets<'_>,
        ledger: &mut Ledger,
        record: &mut Builder,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for part in parts {
            let Some(active) = self.active.get_mut(part.place) else { continue };
            let Progress::Done(Ran { by, result, effects: taken, run_ns, is_cut }) = &part.progress else { continue };
            outcome.woken += 1;
            let version = active.version(*by);
            let effects = taken.as_deref().or_else(|| version.instances.effects());
            self.captures.see(version, waking, result, effects);
            if *by == By::InForce {
                self.shadows.see(part.place, active, waking, result, effects, *run_ns);
            }
            match result {
                Ok(usage) => {
                    outcome.random_used |= usage.random_used;
                    if let Some(effects) = effects {
                        outcome.add(write(&active.name, effects, outlets, ledger, record, &mut self.routes));
                    }
                    active.keep(*by, taken.as_deref());
                }
                Err(_) if version.passes() => active.with(*by, |version| version.passed += 1),
                Err(failure) => {
                    outcome.failed += 1;
                    outcome.random_used = true;
                    let maker = part.maker.clone().unwrap_or_else(|| Arc::new(active.version(*by).maker()));
                    let failure = Failed { failure, is_cut: *is_cut };
                    let (topic, payload) =
                        active.with(*by, |version| dead::letter(outlets.gateway_id, version, &maker, waking, &failure));
                    outcome.add(outlets.route(&topic, &payload, ledger, &mut self.routes));
                    record.output(&topic, &payload, &self.routes);
                }
            }
            active.give_back(*by);
            if *by == By::Canary {
                self.canaries_done.extend(active.canary_done());
            }
        }
        outcome
    }
}

/// Writes the effects of one function to the record.
fn write(
    name: &str,
    effects: &Effects,
    outlets: &Outlets<'_>,
    ledger: &mut Ledger,
    record: &mut Builder,
    routes: &mut Vec<Route>,
) -> Routed {
    let mut all = Routed::default();
    for emit in effects.emits() {
        let routed = outlets.route(emit.topic, emit.payload, ledger, routes);
        all = Routed { mask: all.mask | routed.mask, refused: all.refused + routed.refused };
        record.output(emit.topic, emit.payload, routes);
    }
    let count = effects.state_ops().count() as u32;
    if count > 0 {
        let ops = effects.state_ops().map(|op| match op {
            StateOp::Set { key, value } => (key, Some(value)),
            StateOp::Delete { key } => (key, None),
        });
        record.state(name, count, ops);
    }
    all
}
