//! Plays scenarios, and makes the ones that fail smaller.

use std::cell::Cell;
use std::panic::{catch_unwind, set_hook, take_hook, AssertUnwindSafe};
use std::sync::Once;

use crate::scenario::{Scenario, KINDS};
use crate::tally::Tally;
use crate::world::World;

/// Histories are not made shorter than this.
const SPAN_MIN_MS: u64 = 1_000;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Plays `span_ms` of a scenario and the healing after it; what a check said if one failed.
pub fn play(scenario: &Scenario, span_ms: u64) -> Result<Tally, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(scenario.clone());
        world.advance(span_ms);
        world.heal();
        world.tally()
    }));
    QUIET.set(false);
    outcome.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("a panic without words").to_owned(),
    })
}

/// The simplest failing variant of a scenario that was found.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What fails.
    pub scenario: Scenario,
    /// Kinds of trouble it does not need, by name.
    pub without: Vec<&'static str>,
    /// How long it takes, healing not included.
    pub span_ms: u64,
    /// What the check said.
    pub message: String,
}

impl Failure {
    /// How to play it again.
    pub fn command(&self) -> String {
        let Self { scenario, without, span_ms, .. } = self;
        let without = without.join(",");
        format!(
            "EYOT_SIM_SEED={} EYOT_SIM_SPAN_MS={span_ms} EYOT_SIM_WITHOUT={without} cargo test -p eyot-test-sim one_seed",
            scenario.seed
        )
    }
}

/// Makes a failing history smaller: takes out one kind of trouble after the other, then time, for as long as it fails.
pub fn smallest(scenario: &Scenario, span_ms: u64, message: String) -> Failure {
    let mut failure = Failure { scenario: scenario.clone(), without: Vec::new(), span_ms, message };
    for (kind, remove) in KINDS {
        let mut simpler = failure.scenario.clone();
        remove(&mut simpler);
        if let Err(message) = play(&simpler, failure.span_ms) {
            failure.scenario = simpler;
            failure.without.push(kind);
            failure.message = message;
        }
    }
    let mut cut_ms = failure.span_ms / 2;
    while cut_ms >= SPAN_MIN_MS {
        let shorter_ms = failure.span_ms.saturating_sub(cut_ms);
        match play(&failure.scenario, shorter_ms) {
            Err(message) if shorter_ms >= SPAN_MIN_MS => {
                failure.span_ms = shorter_ms;
                failure.message = message;
                cut_ms = cut_ms.min(failure.span_ms / 2);
            }
            _ => cut_ms /= 2,
        }
    }
    failure
}
