//! Who keeps promises on a disk.

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::control::Control;
use crate::image::Image;
use crate::recorder::Recorder;
use crate::tape::Tape;
use crate::Error;

/// What is cut, with what it promised so far: the log by itself, or the daemon.
pub trait Subject: Clone + Send + Serialize + DeserializeOwned {
    /// Its name in reports and in the names of files.
    const NAME: &'static str;

    /// Works on a fresh disk, recorded. What is done follows `rng`; when the kernel writes what, does not.
    fn work(
        recorder: &Recorder,
        fresh: &Image,
        control: Control,
        rng: &mut fastrand::Rng,
    ) -> Result<(Tape, Self), Error>;

    /// Events before which it promised something, in order: where a cut hurts most.
    fn moments(&self) -> Vec<usize>;

    /// What it had promised and been told when the disk had seen so many events; then time begins anew.
    fn at(&self, events: usize) -> Self;

    /// Mounts a disk that a cut left, recovers on it, holds that to the promises, and goes on. A [`Error::Breach`] says
    /// which does not hold.
    fn judge(self, recorder: &Recorder, image: &Image, seed: u64) -> Result<Recovered<Self>, Error>;
}

/// What came of a case that holds.
#[derive(Debug)]
pub struct Recovered<S> {
    /// What reached the disk since it was mounted.
    pub tape: Tape,
    /// What is promised by now.
    pub subject: S,
    /// Events before it was open again.
    pub open_at: usize,
}
