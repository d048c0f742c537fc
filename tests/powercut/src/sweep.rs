//! Many cuts, on several disks at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::case::Case;
use crate::control::Control;
use crate::cut::{Cut, Kind, Player};
use crate::image::Image;
use crate::recorder::Recorder;
use crate::subject::{Recovered, Subject};
use crate::tape::Tape;
use crate::Error;

/// Cuts of one recorded workload, without those of what follows them.
const CUTS_PER_TAPE: usize = 40;
/// Cuts of what one recovery wrote.
const CUTS_PER_RECOVERY: usize = 2;
/// One in so many recoveries is cut.
const RECOVERIES_CUT: u32 = 4;
/// Recoveries that are cut one after the other, at most.
const DEPTH_MAX: u32 = 3;
/// Disks at a time: it is the kernel that takes its time to mount and unmount.
const DISKS: usize = 4;
/// Cases kept of one sweep.
const KEPT_MAX: u64 = 20;

/// What the power cut interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// A log, or a daemon, at work.
    Work,
    /// The mounting and opening of what another cut left.
    Recovery,
}

impl Stage {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Work, Self::Recovery];

    /// As it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Work => "at work",
            Self::Recovery => "in recovery",
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many cuts.
    pub cuts: u64,
    /// Decides all that is random, but for what the kernel does when.
    pub seed: u64,
    /// What is left undone.
    pub control: Control,
    /// Where cases that do not hold are kept; none keeps none.
    pub keep_in: Option<PathBuf>,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Cuts.
    pub cuts: BTreeMap<(Stage, Kind), u64>,
    /// Those that left what does not hold.
    pub failures: BTreeMap<Stage, u64>,
    /// Workloads recorded.
    pub tapes: u64,
    /// Writes and flushes recorded in them.
    pub events: u64,
}

impl Tally {
    /// All cuts.
    pub fn total(&self) -> u64 {
        self.cuts.values().sum()
    }

    /// All failures.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Is told of what happens.
pub trait Watch: Send {
    /// A cut was judged.
    fn judged(&mut self, tally: &Tally);
    /// A case does not hold: what it is, why, and where it is kept.
    fn failed(&mut self, about: &str, kept: Option<&Path>);
}

struct Sweep<'a> {
    plan: &'a Plan,
    fresh: &'a Image,
    next_tape: AtomicU64,
    progress: Mutex<Progress<'a>>,
}

struct Progress<'a> {
    tally: Tally,
    watch: &'a mut dyn Watch,
}

/// Records workloads on disks below `room` and cuts them, until there are as many cuts as planned.
pub fn sweep<S: Subject>(room: &Path, fresh: &Image, plan: &Plan, watch: &mut dyn Watch) -> Result<Tally, Error> {
    let mut recorders = vec![Recorder::new(&room.join("0"), plan.control)?];
    // With fewer loop devices it only takes longer.
    recorders.extend((1..DISKS).filter_map(|disk| Recorder::new(&room.join(disk.to_string()), plan.control).ok()));
    let progress = Mutex::new(Progress { tally: Tally::default(), watch });
    let sweep = Sweep { plan, fresh, next_tape: AtomicU64::new(0), progress };
    thread::scope(|scope| {
        let sweep = &sweep;
        let disks: Vec<_> =
            recorders.into_iter().map(|recorder| scope.spawn(move || sweep.run::<S>(&recorder))).collect();
        disks.into_iter().try_for_each(|disk| {
            disk.join().map_err(|_| Error::Breach("a panic, see above; the case is lost".to_owned()))?
        })
    })?;
    let progress = sweep.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(progress.tally)
}

impl<'a> Sweep<'a> {
    fn progress(&self) -> MutexGuard<'_, Progress<'a>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<S: Subject>(&self, recorder: &Recorder) -> Result<(), Error> {
        while self.progress().tally.total() < self.plan.cuts {
            let tape_number = self.next_tape.fetch_add(1, Ordering::Relaxed);
            // Which disk takes which workload does not matter for what it is.
            let mut rng = fastrand::Rng::with_seed(self.plan.seed ^ tape_number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (tape, subject) = S::work(recorder, self.fresh, self.plan.control, &mut rng)?;
            {
                let tally = &mut self.progress().tally;
                tally.tapes += 1;
                tally.events += tape.events.len() as u64;
            }
            let cuts = choose(&mut rng, &subject.moments(), tape.events.len(), CUTS_PER_TAPE);
            self.cut(recorder, &tape, &subject, cuts, 0, &mut rng)?;
        }
        Ok(())
    }

    fn cut<S: Subject>(
        &self,
        recorder: &Recorder,
        tape: &Tape,
        subject: &S,
        cuts: Vec<Cut>,
        depth: u32,
        rng: &mut fastrand::Rng,
    ) -> Result<(), Error> {
        let mut player = Player::new(tape);
        let stage = if depth == 0 { Stage::Work } else { Stage::Recovery };
        let mut left: Vec<(Cut, Image)> = cuts.into_iter().map(|cut| (cut, player.image(&cut))).collect();
        // A sweep that ends in the middle must not have cut beginnings only.
        rng.shuffle(&mut left);
        for (cut, image) in left {
            if !self.count(stage, cut.kind) {
                break;
            }
            let case = Case { image, subject: subject.at(cut.event), seed: rng.u64(..) };
            match case.subject.clone().judge(recorder, &case.image, case.seed) {
                Ok(recovered) => self.cut_again(recorder, &recovered, depth, rng)?,
                Err(error @ (Error::Breach(_) | Error::Mount { .. } | Error::Io { .. })) => {
                    let (event, of) = (cut.event, tape.events.len());
                    let about = format!(
                        "{} {}, {} before event {event} of {of}: {error}",
                        S::NAME,
                        stage.name(),
                        cut.kind.name()
                    );
                    self.failed(&case, stage, &about)?;
                }
                Err(other) => return Err(other),
            }
            let progress = &mut *self.progress();
            progress.watch.judged(&progress.tally);
        }
        Ok(())
    }

    /// Cuts what mounting and opening wrote, now and then.
    fn cut_again<S: Subject>(
        &self,
        recorder: &Recorder,
        recovered: &Recovered<S>,
        depth: u32,
        rng: &mut fastrand::Rng,
    ) -> Result<(), Error> {
        if depth == DEPTH_MAX || rng.u32(0..RECOVERIES_CUT) != 0 {
            return Ok(());
        }
        let cuts = choose(rng, &[], recovered.open_at, CUTS_PER_RECOVERY);
        self.cut(recorder, &recovered.tape, &recovered.subject, cuts, depth + 1, rng)
    }

    /// Counts a cut; false if there were enough.
    fn count(&self, stage: Stage, kind: Kind) -> bool {
        let tally = &mut self.progress().tally;
        let is_wanted = tally.total() < self.plan.cuts;
        if is_wanted {
            *tally.cuts.entry((stage, kind)).or_default() += 1;
        }
        is_wanted
    }

    fn failed<S: Subject>(&self, case: &Case<S>, stage: Stage, about: &str) -> Result<(), Error> {
        let progress = &mut *self.progress();
        *progress.tally.failures.entry(stage).or_default() += 1;
        let number = progress.tally.failed();
        let kept = self.plan.keep_in.as_ref().filter(|_| number <= KEPT_MAX);
        let kept = kept.map(|folder| folder.join(format!("{}-{}-{number}.case", S::NAME, self.plan.seed)));
        if let Some(path) = &kept {
            path.parent().map_or(Ok(()), |folder| std::fs::create_dir_all(folder).map_err(Error::io(folder)))?;
            case.save(self.plan.control, path)?;
        }
        progress.watch.failed(about, kept.as_deref());
        Ok(())
    }
}

/// Cuts before events up to `last`, in order; half of them close to `moments`.
fn choose(rng: &mut fastrand::Rng, moments: &[usize], last: usize, count: usize) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = (0..count)
        .map(|_| {
            let near = rng.choice(moments).filter(|_| rng.bool()).map(|at| at + rng.usize(0..3));
            let event = near.unwrap_or_else(|| rng.usize(0..=last)).min(last);
            Cut { event, kind: rng.choice(Kind::ALL).unwrap_or(Kind::Torn), seed: rng.u64(..) }
        })
        .collect();
    cuts.sort_by_key(|cut| cut.event);
    cuts
}
