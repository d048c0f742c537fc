//! The log by itself, to be cut.

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::history::History;
use crate::image::Image;
use crate::recorder::Recorder;
use crate::session::{options, Session, Terms, SEGMENT_BYTES};
use crate::subject::{Recovered, Subject};
use crate::tape::{Clock, Tape};
use crate::Error;

/// A workload: so many openings, and so many things done in each.
const LIVES_MAX: u32 = 4;
const STEPS_MAX: u32 = 260;
/// What is done after a cut.
const STEPS_AFTER_MAX: u32 = 24;

/// A log, and what it promised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Log {
    history: History,
    segment_bytes: u64,
    control: Control,
}

impl Log {
    fn terms(&self, clock: &Clock, rng: fastrand::Rng) -> Terms {
        Terms { options: options(self.segment_bytes), control: self.control, clock: clock.clone(), rng }
    }
}

impl Subject for Log {
    const NAME: &'static str = "log";

    fn work(
        recorder: &Recorder,
        fresh: &Image,
        control: Control,
        rng: &mut fastrand::Rng,
    ) -> Result<(Tape, Self), Error> {
        let segment_bytes = rng.choice(SEGMENT_BYTES).unwrap_or(SEGMENT_BYTES[0]);
        let mut log = Self { history: History::default(), segment_bytes, control };
        recorder.record(fresh.clone(), |folder, clock| {
            let mut terms = log.terms(clock, rng.fork());
            for _ in 0..rng.u32(1..=LIVES_MAX) {
                let mut session = Session::open(folder, log.history, terms)?;
                session.work(rng.u32(1..=STEPS_MAX))?;
                (log.history, terms) = session.end_life();
            }
            Ok(log)
        })
    }

    fn moments(&self) -> Vec<usize> {
        self.history.moments()
    }

    fn at(&self, events: usize) -> Self {
        Self { history: self.history.at(events), ..*self }
    }

    fn judge(mut self, recorder: &Recorder, image: &Image, seed: u64) -> Result<Recovered<Self>, Error> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (tape, (subject, open_at)) = recorder.record(image.clone(), |folder, clock| {
            let terms = self.terms(clock, rng.fork());
            let mut session = Session::open(folder, self.history, terms)?;
            let open_at = clock.now();
            session.work(rng.u32(0..STEPS_AFTER_MAX))?;
            if rng.bool() {
                session.settle()?;
            }
            let (history, terms) = session.end_life();
            (self.history, _) = Session::open(folder, history, terms)?.end_life();
            Ok((self, open_at))
        })?;
        Ok(Recovered { tape, subject, open_at })
    }
}
