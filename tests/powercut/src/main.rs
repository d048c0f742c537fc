//! `powercut`: cuts the power of the log and of `eyotd`, thousands of times, and tells what was lost.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use eyot_test_powercut::control::Control;
use eyot_test_powercut::daemon::Daemon;
use eyot_test_powercut::image::Image;
use eyot_test_powercut::log::Log;
use eyot_test_powercut::recorder::{fresh_ext4, Recorder};
use eyot_test_powercut::report::{Part, Report};
use eyot_test_powercut::subject::Subject;
use eyot_test_powercut::sweep::{sweep, Plan, Tally, Watch};
use eyot_test_powercut::{case, namespace, Error};
use indicatif::{ProgressBar, ProgressStyle};

/// One in so many cuts is of the daemon, which takes longer to start than a log to open.
const CUTS_PER_DAEMON_CUT: u64 = 10;
/// Cuts of each control.
const LOG_CONTROL_CUTS: u64 = 160;
const DAEMON_CONTROL_CUTS: u64 = 24;

/// Cut the power of the log and of the daemon at any write, and see what is lost. Needs root.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// Power cuts; one in ten is of eyotd.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(10..))]
    cuts: u64,
    /// What the workloads, the cuts and what they leave follow; when the kernel writes does not. By default another each time.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print one JSON object and nothing else to stdout.
    #[arg(long)]
    json: bool,
    /// Where cases that do not hold are kept; by default eyot-powercut-cases in the temporary directory.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Judge a case that was kept, and nothing else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cuts", "seed", "json", "keep"])]
    replay: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  powercut --cuts 10000
  powercut --cuts 10000 --json > powercut.json
  powercut --replay /tmp/eyot-powercut-cases/log-7-1.case

Exit codes: 0 nothing was lost and each control was caught, 1 otherwise, 2 bad usage.";

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("powercut: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool, Error> {
    if let Some(missing) = namespace::missing() {
        return Err(Error::Setup(format!("{missing}; run tests/setup.sh, then this as root on a machine with FUSE")));
    }
    // Built now, if it must be, and not while a progress bar stands.
    eyot_test_e2e::programs::eyotd();
    let room = namespace::enter()?;
    match &args.replay {
        Some(path) => replay(&room, path),
        None => sweeps(&room, args),
    }
}

fn replay(room: &Path, path: &Path) -> Result<bool, Error> {
    let (subject, control) = case::peek(path)?;
    let recorder = Recorder::new(room, control)?;
    let judged = match subject.as_str() {
        Daemon::NAME => case::replay::<Daemon>(path, &recorder),
        _ => case::replay::<Log>(path, &recorder),
    };
    match judged {
        Ok(()) => println!("it holds"),
        Err(Error::Breach(reason)) => {
            println!("it does not hold: {reason}");
            return Ok(false);
        }
        Err(other) => return Err(other),
    }
    Ok(true)
}

fn sweeps(room: &Path, args: &Args) -> Result<bool, Error> {
    let started = Instant::now();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("powercut: seed {seed}");
    let fresh = fresh_ext4(room)?;
    let daemon_cuts = args.cuts / CUTS_PER_DAEMON_CUT;
    let keep_in = args.keep.clone().unwrap_or_else(|| std::env::temp_dir().join("eyot-powercut-cases"));
    let run = Run { room, fresh, seed, keep_in };
    let mut parts = vec![
        run.part::<Log>(Control::Sound, args.cuts - daemon_cuts)?,
        run.part::<Daemon>(Control::Sound, daemon_cuts)?,
    ];
    for control in Control::UNSOUND {
        parts.push(run.part::<Log>(control, LOG_CONTROL_CUTS)?);
    }
    parts.push(run.part::<Daemon>(Control::NoFlush, DAEMON_CONTROL_CUTS)?);
    let report = Report { seed, seconds: started.elapsed().as_secs(), parts };
    if args.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.text());
    }
    Ok(report.holds())
}

struct Run<'a> {
    room: &'a Path,
    fresh: Image,
    seed: u64,
    keep_in: PathBuf,
}

impl Run<'_> {
    fn part<S: Subject>(&self, control: Control, cuts: u64) -> Result<Part, Error> {
        let is_sound = control == Control::Sound;
        let keep_in = is_sound.then(|| self.keep_in.clone());
        let plan = Plan { cuts, seed: self.seed, control, keep_in };
        let mut shown = Shown::new(&format!("{}, {}", S::NAME, control.name()), cuts, is_sound);
        let room = self.room.join(format!("{}-{control:?}", S::NAME));
        let tally = sweep::<S>(&room, &self.fresh, &plan, &mut shown)?;
        shown.bar.finish_and_clear();
        Ok(Part { subject: S::NAME, control, tally })
    }
}

/// Shows progress on a terminal, and failures anywhere.
struct Shown {
    bar: ProgressBar,
    tells_failures: bool,
}

impl Shown {
    fn new(what: &str, cuts: u64, tells_failures: bool) -> Self {
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} cuts, {msg}, {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        let bar = ProgressBar::new(cuts).with_style(style).with_prefix(what.to_owned());
        Self { bar, tells_failures }
    }
}

impl Watch for Shown {
    fn judged(&mut self, tally: &Tally) {
        self.bar.set_position(tally.total());
        self.bar.set_message(format!("{} failed", tally.failed()));
    }

    fn failed(&mut self, about: &str, kept: Option<&Path>) {
        if self.tells_failures {
            let again = kept.map(|path| format!("\n  again: powercut --replay {}", path.display()));
            self.bar.suspend(|| eprintln!("FAILED {about}{}", again.unwrap_or_default()));
        }
    }
}
