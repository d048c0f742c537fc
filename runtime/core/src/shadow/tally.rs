//! What a shadow run has come to so far, and whether that is enough.

use eyot_wire::code::Failure;
use eyot_wire::manifest::{Rollout, ShadowRun};
use eyot_wire::shadow::{ShadowSample, ShadowSide, SAMPLES_MAX};

use super::compare::{sample, Likeness, Outcome};
use crate::deploy::registry::cut;
use crate::job::Parcel;

/// Counts of one run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub messages: u64,
    pub same: u64,
    pub same_json: u64,
    pub different: u64,
    pub failed_alone: u64,
    pub skipped: u64,
    pub active: Side,
    pub shadow: Side,
    pub samples: Vec<ShadowSample>,
}

/// How one of the two did.
#[derive(Debug, Default)]
pub(crate) struct Side {
    errors: u64,
    traps: u64,
    last_failure: Option<Failure>,
    fuel: Figures,
    run_ns: Figures,
}

#[derive(Debug, Default)]
struct Figures {
    count: u64,
    sum: u64,
    most: u64,
}

impl Figures {
    fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.most = self.most.max(value);
    }

    fn mean(&self) -> u64 {
        self.sum / self.count.max(1)
    }
}

/// What one of the two used for a message: fuel if it ended well, time if that was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub fuel: Option<u64>,
    pub run_ns: Option<u64>,
}

impl Side {
    fn add(&mut self, result: &Result<(), Failure>, used: Used) {
        if let Err(failure) = result {
            match failure {
                Failure::Code(_) => self.errors += 1,
                _ => self.traps += 1,
            }
            self.last_failure = Some(failure.clone());
        }
        used.fuel.into_iter().for_each(|fuel| self.fuel.add(fuel));
        used.run_ns.into_iter().for_each(|ns| self.run_ns.add(ns));
    }

    /// As it is reported.
    pub fn report(&self) -> ShadowSide {
        let is_measured = self.run_ns.count > 0;
        ShadowSide {
            errors: self.errors,
            traps: self.traps,
            last_failure: self.last_failure.as_ref().map(|failure| cut(&failure.to_string()).to_owned()),
            fuel_mean: self.fuel.mean(),
            fuel_max: self.fuel.most,
            run_us_mean: is_measured.then(|| self.run_ns.mean() / 1000),
            run_us_max: is_measured.then_some(self.run_ns.most / 1000),
        }
    }
}

impl Tally {
    /// Both have done with a message.
    pub fn add(
        &mut self,
        parcel: &Parcel,
        likeness: Likeness,
        (active, active_used): (&Outcome, Used),
        (shadow, shadow_used): (&Outcome, Used),
    ) {
        self.messages += 1;
        self.active.add(&active.result, active_used);
        self.shadow.add(&shadow.result, shadow_used);
        self.failed_alone += u64::from(shadow.result.is_err() && active.result.is_ok());
        match likeness {
            Likeness::Same => self.same += 1,
            Likeness::SameJson => self.same_json += 1,
            Likeness::Different(at) => {
                self.different += 1;
                if self.samples.len() < SAMPLES_MAX {
                    self.samples.push(sample(parcel, at, active, shadow));
                }
            }
        }
    }

    /// Whether the version may come in force, or why not; none as long as that is open. It is out as soon as nothing that may
    /// follow can help it.
    pub fn verdict(&self, rule: &Rollout) -> Option<Result<(), String>> {
        let Some(ShadowRun::Messages(number)) = rule.shadow else { return None };
        let of = format_args!("of {} messages as a shadow", self.messages);
        if self.failed_alone > u64::from(rule.failures) {
            let failure = self.shadow.last_failure.as_ref().map(Failure::to_string).unwrap_or_default();
            return Some(Err(format!(
                "failed on {} {of} that the version in force did well with, last: {}; at most {} may fail",
                self.failed_alone,
                cut(&failure),
                rule.failures
            )));
        }
        if self.different > rule.different.of(u64::from(number)) {
            return Some(Err(format!(
                "made something else of {} {of} than the version in force; at most {} of {number} may differ: see the samples \
                 on its topic, and raise different in [rollout] if they are meant to",
                self.different, rule.different
            )));
        }
        (self.messages >= u64::from(number)).then_some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use eyot_wire::manifest::Share;

    use super::*;

    fn rule(number: u32, failures: u32, ppm: u32) -> Rollout {
        Rollout { shadow: Some(ShadowRun::Messages(number)), failures, different: Share { ppm }, canary: None }
    }

    fn add(tally: &mut Tally, active: Result<(), Failure>, shadow: Result<(), Failure>, likeness: Likeness) {
        let parcel = Parcel { topic: Bytes::from("t"), payload: Bytes::new(), now_ms: 0, seed: 0 };
        let outcome = |result| Outcome { result, emits: Vec::new() };
        tally.add(&parcel, likeness, (&outcome(active), Used::default()), (&outcome(shadow), Used::default()));
    }

    #[test]
    fn it_is_promoted_after_so_many_and_not_before() {
        let mut tally = Tally::default();
        for number in 1..=10 {
            assert_eq!(tally.verdict(&rule(10, 0, 0)), None);
            let likeness = if number % 2 == 0 { Likeness::Same } else { Likeness::SameJson };
            add(&mut tally, Ok(()), Ok(()), likeness);
        }
        assert_eq!(tally.verdict(&rule(10, 0, 0)), Some(Ok(())));
        assert_eq!((tally.same, tally.same_json, tally.messages), (5, 5, 10));
        assert_eq!(tally.verdict(&Rollout { shadow: Some(ShadowRun::UntilPromoted), ..rule(1, 0, 0) }), None);
    }

    #[test]
    fn it_is_out_with_the_first_one_too_many() {
        let mut tally = Tally::default();
        add(&mut tally, Err(Failure::Code(1)), Err(Failure::Code(1)), Likeness::Same);
        assert_eq!(tally.verdict(&rule(10, 0, 0)), None, "what both fail on is no fault of its own");
        for _ in 0..2 {
            add(&mut tally, Ok(()), Err(Failure::Fuel), Likeness::Different(None));
        }
        assert_eq!(tally.verdict(&rule(10, 2, 200_000)), None);
        let failed = tally.verdict(&rule(10, 1, 1_000_000)).unwrap().unwrap_err();
        assert!(failed.contains("failed on 2 of 3 messages"), "{failed}");
        let differs = tally.verdict(&rule(10, 2, 199_999)).unwrap().unwrap_err();
        assert!(
            differs.contains("something else of 2 of 3 messages") && differs.contains("raise different"),
            "{differs}"
        );
    }

    #[test]
    fn the_first_samples_are_kept_and_both_sides_counted() {
        let mut tally = Tally::default();
        for _ in 0..10 {
            add(&mut tally, Ok(()), Err(Failure::Trap("x".into())), Likeness::Different(None));
        }
        assert_eq!((tally.samples.len(), tally.different, tally.failed_alone), (SAMPLES_MAX, 10, 10));
        let mut side = Side::default();
        for (fuel, ns) in [(100, 2000), (300, 6000)] {
            side.add(&Ok(()), Used { fuel: Some(fuel), run_ns: Some(ns) });
        }
        side.add(&Err(Failure::Code(3)), Used::default());
        let report = side.report();
        assert_eq!((report.fuel_mean, report.fuel_max, report.errors, report.traps), (200, 300, 1, 0));
        assert_eq!((report.run_us_mean, report.run_us_max), (Some(4), Some(6)));
    }
}
