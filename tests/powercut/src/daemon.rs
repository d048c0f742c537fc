//! `eyotd`, to be cut: what it acknowledged to sensors must be at the cloud in the end, whenever the power went.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use eyot_spool::{FileStorage, Lsn, Options, Replay, Spool};
use eyot_test_e2e::config::{Config, Uplink};
use eyot_test_e2e::guest::{handler, Manifest};
use eyot_test_e2e::programs::eyotd;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{kill_process, pidfd_open, Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::image::Image;
use crate::messages::{Messages, OUTPUTS, TOPICS};
use crate::peer::{Manner, Peer};
use crate::recorder::Recorder;
use crate::subject::{Recovered, Subject};
use crate::tape::{Clock, Tape};
use crate::Error;

/// Messages of a workload, and those of each start after a cut.
const MESSAGES: std::ops::Range<usize> = 60..240;
/// Most starts of a workload; all but the last end with `kill -9`.
const LIVES_MAX: usize = 3;
/// Room for the log: the least there may be, so that it changes segments.
const SPOOL: &str = "max_bytes = \"512KiB\"\nwhen_full = \"block\"\ncommit_window = \"1ms\"";
const SPOOL_MAX_BYTES: u64 = 512 << 10;
/// Patience with a daemon that is to end.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Between fork and exec a child has our files open, and the lock of a log that we close in that moment stays: nobody
/// forks while somebody has a log open.
static LOG_OR_FORK: Mutex<()> = Mutex::new(());

/// A gateway, and what it promised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Daemon {
    messages: Messages,
}

impl Subject for Daemon {
    const NAME: &'static str = "eyotd";

    fn work(
        recorder: &Recorder,
        fresh: &Image,
        _control: Control,
        rng: &mut fastrand::Rng,
    ) -> Result<(Tape, Self), Error> {
        let mut messages = Messages::default();
        messages.add(rng.usize(MESSAGES));
        recorder.record(fresh.clone(), |folder, clock| {
            for life in (0..rng.usize(1..=LIVES_MAX)).rev() {
                let manner = Manner { window: rng.usize(1..40), owed: rng.choice([0, 10, 60]).unwrap_or(0) };
                let peer = Peer::start(messages, clock, manner)?;
                let child = Running::start(recorder.room(), folder, &peer)?;
                let left = peer.result_so_far().unacknowledged().count();
                match life {
                    0 => peer.await_acknowledged(usize::MAX)?,
                    _ => peer.await_acknowledged(rng.usize(0..=left))?,
                }
                child.kill()?;
                messages = peer.result_so_far();
            }
            Ok(Self { messages })
        })
    }

    fn moments(&self) -> Vec<usize> {
        self.messages.moments()
    }

    fn at(&self, events: usize) -> Self {
        Self { messages: self.messages.at(events) }
    }

    fn judge(self, recorder: &Recorder, image: &Image, seed: u64) -> Result<Recovered<Self>, Error> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (tape, (messages, open_at)) = recorder.record(image.clone(), |folder, clock| {
            if rng.bool() {
                open_log(&data_dir(folder), rng.u64(1..))?;
            }
            self.recover(recorder, folder, clock, &mut rng)
        })?;
        Ok(Recovered { tape, subject: Self { messages }, open_at })
    }
}

impl Daemon {
    fn recover(
        self,
        recorder: &Recorder,
        folder: &Path,
        clock: &Clock,
        rng: &mut fastrand::Rng,
    ) -> Result<(Messages, usize), Error> {
        let mut messages = self.messages;
        // One of each topic at least: when the last has arrived, those before it have, or never will.
        messages.add(TOPICS + rng.usize(0..10));
        let peer = Peer::start(messages, clock, Manner { window: rng.usize(1..40), owed: 0 })?;
        let child = Running::start(recorder.room(), folder, &peer)?;
        let ended = peer.await_end();
        let ended = ended.and_then(|()| if rng.bool() { child.terminate() } else { child.kill() });
        let (messages, open_at) =
            ended.and_then(|()| peer.result()).map_err(|error| with_log(error, recorder.room()))?;
        messages.check().map_err(Error::Breach)?;
        Ok((messages, open_at))
    }
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn log_path(room: &Path) -> PathBuf {
    room.join("eyotd.log")
}

fn with_log(error: Error, room: &Path) -> Error {
    let log = std::fs::read_to_string(log_path(room)).unwrap_or_default();
    match error {
        Error::Breach(text) if !log.is_empty() => Error::Breach(format!("{text}\n{}", log.trim_end())),
        other => other,
    }
}

/// A daemon that runs. It is killed when dropped.
#[derive(Debug)]
struct Running {
    child: Child,
}

impl Running {
    /// Starts it with its data in `folder` and its other files in `room`.
    fn start(room: &Path, folder: &Path, peer: &Peer) -> Result<Self, Error> {
        let path = room.join("gateway.toml");
        std::fs::write(&path, configuration(room, folder, peer).text()).map_err(Error::io(&path))?;
        let log = File::create(log_path(room)).map_err(Error::io(&path))?;
        let also_log = log.try_clone().map_err(Error::io(&path))?;
        let mut command = Command::new(eyotd());
        command.arg("--config").arg(&path).stdin(Stdio::null()).stdout(log).stderr(also_log);
        let program = eyotd();
        let forking = LOG_OR_FORK.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn().map_err(Error::io(&program))?;
        drop(forking);
        Ok(Self { child })
    }

    fn kill(mut self) -> Result<(), Error> {
        let failed = Error::io(Path::new("eyotd"));
        if let Some(status) = self.child.try_wait().map_err(&failed)? {
            return Err(Error::Breach(format!("eyotd ended by itself, {status}")));
        }
        self.child.kill().and_then(|()| self.child.wait()).map_err(failed)?;
        Ok(())
    }

    fn terminate(mut self) -> Result<(), Error> {
        let failed = Error::io(Path::new("eyotd"));
        let pid = Pid::from_child(&self.child);
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
        kill_process(pid, Signal::TERM).map_err(|error| failed(error.into()))?;
        let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&PATIENCE));
        if ended.map_err(|error| failed(error.into()))? == 0 {
            return Err(Error::Breach(format!("eyotd did not end within {} s of SIGTERM", PATIENCE.tv_sec)));
        }
        let status = self.child.wait().map_err(&failed)?;
        if !status.success() {
            return Err(Error::Breach(format!("eyotd ended with {status} after SIGTERM")));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(room: &Path, folder: &Path, peer: &Peer) -> Config {
    let mut config = Config::new("cut", &data_dir(folder), peer.url());
    config.uplinks = vec![Uplink::cloud(peer.url())];
    config.spool = SPOOL.to_owned();
    config.functions = vec![Manifest::new("counter").module(room, &counter())];
    config
}

/// Counts messages in its state, and emits the count and the message to the message's topic behind [`OUTPUTS`].
fn counter() -> String {
    let length = OUTPUTS.len();
    handler(
        &format!(r#"(data (i32.const 16) "n") (data (i32.const 1024) "{OUTPUTS}")"#),
        &format!(
            "(drop (call $state_get (i32.const 16) (i32.const 1) (i32.const 300000) (i32.const 8)))
             (i64.store (i32.const 300000) (i64.add (i64.load (i32.const 300000)) (i64.const 1)))
             (drop (call $state_set (i32.const 16) (i32.const 1) (i32.const 300000) (i32.const 8)))
             (memory.copy (i32.const 300008) (local.get $pp) (local.get $pl))
             (memory.copy (i32.const {}) (local.get $tp) (local.get $tl))
             (drop (call $emit (i32.const 1024) (i32.add (local.get $tl) (i32.const {length}))
                               (i32.const 300000) (i32.add (local.get $pl) (i32.const 8))))
             (i32.const 0)",
            1024 + length
        ),
    )
}

/// Opens a daemon's log with nothing but the log's own code: all that is there must be whole.
fn open_log(data_dir: &Path, fresh: u64) -> Result<(), Error> {
    let _open = LOG_OR_FORK.lock().unwrap_or_else(PoisonError::into_inner);
    let breach = |what: &str| Error::Breach(format!("the daemon's log, opened by itself: {what}"));
    let storage = FileStorage::open(data_dir).map_err(Error::io(data_dir))?;
    let mut last = Last(None);
    let mut spool = Spool::open(storage, Options::for_quota(SPOOL_MAX_BYTES), fresh, &mut last)
        .map_err(|error| breach(&error.to_string()))?;
    if last.0.is_some_and(|lsn| lsn != spool.durable()) {
        return Err(breach(&format!("replay ends with {:?}, the log with {}", last.0, spool.durable())));
    }
    let mut reader = spool.reader(0);
    let mut next = spool.usage().oldest_lsn;
    while let Some(frame) = spool.read(&mut reader).map_err(|error| breach(&error.to_string()))? {
        if frame.lsn != next {
            return Err(breach(&format!("frame {} comes where {next} is due", frame.lsn)));
        }
        next += 1;
    }
    match (next - 1 == spool.durable(), spool.usage().damaged_frames) {
        (true, 0) => Ok(()),
        (_, damaged) => Err(breach(&format!("{} of {} frames read, {damaged} damaged", next - 1, spool.durable()))),
    }
}

/// The last frame of a replay.
struct Last(Option<Lsn>);

impl Replay for Last {
    fn checkpoint(&mut self, _bytes: &[u8]) {}

    fn frame(&mut self, lsn: Lsn, _kind: u8, _body: &[u8]) {
        self.0 = Some(lsn);
    }

    fn note(&mut self, _kind: u8, _body: &[u8]) {}
}
