//! `eyotd` as a child process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Pid, Signal};

use crate::config::Config;
use crate::programs::eyotd;
use crate::wait::{wait_for, STEP};

/// A running daemon. It is killed when dropped.
#[derive(Debug)]
pub struct Eyotd {
    child: Child,
    log: Log,
}

/// How a daemon that ended by itself did so.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// All it wrote.
    pub log: String,
}

impl Eyotd {
    /// Writes `gateway.toml` beside the data directory and starts the daemon with it.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(config: &Config) -> Self {
        Self::spawn(Command::new(eyotd()).arg("--config").arg(write_config(config)))
    }

    /// Starts any `eyotd` command.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let log = Log::default();
        log.follow(child.stdout.take().expect("stdout is piped"));
        log.follow(child.stderr.take().expect("stderr is piped"));
        Self { child, log }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("the child can be signalled");
        self.child.wait().expect("the child is ours");
        self.assert_sound();
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the child can be signalled");
        self.wait("eyotd to end after SIGTERM", STEP)
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let code = self.wait("eyotd to end by itself", STEP).code();
        Ended { code, log: self.log.complete() }
    }

    #[track_caller]
    fn wait(&mut self, what: &str, within: Duration) -> ExitStatus {
        let status = wait_for(what, within, || self.child.try_wait().expect("the child is ours"));
        self.assert_sound();
        status
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }

    /// All it wrote so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits for a line that contains one of `needles`, in any case, and returns it.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn await_log(&self, needles: &[&str]) -> String {
        self.log.await_line(needles, STEP)
    }

    /// # Panics
    /// When the daemon panicked.
    #[track_caller]
    fn assert_sound(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "eyotd panicked:\n{log}");
    }
}

impl Drop for Eyotd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- eyotd wrote ---\n{}-------------------", self.log.text());
        }
    }
}

/// Runs `eyotd --check` on a configuration text.
///
/// # Panics
/// When the program cannot be started, or does not end.
pub fn check(dir: &Path, text: &str) -> Ended {
    let path = dir.join("gateway.toml");
    fs::write(&path, text).expect("gateway.toml is written");
    check_file(&path)
}

/// Runs `eyotd --check` on a configuration file.
///
/// # Panics
/// When the program cannot be started, or does not end.
pub fn check_file(path: &Path) -> Ended {
    Eyotd::spawn(Command::new(eyotd()).arg("--config").arg(path).arg("--check")).ended()
}

/// Writes `gateway.toml` beside the data directory.
///
/// # Panics
/// When it cannot be written.
pub fn write_config(config: &Config) -> PathBuf {
    let dir = config.data_dir.parent().expect("the data directory is in a directory");
    let path = dir.join(format!("{}.toml", config.id));
    fs::write(&path, config.text()).expect("gateway.toml is written");
    path
}

/// Lines a child wrote to stdout and stderr.
#[derive(Clone, Debug, Default)]
struct Log {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    followed: u32,
}

impl Log {
    fn follow(&self, pipe: impl Read + Send + 'static) {
        self.lines().followed += 1;
        let log = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                log.lines().text.push_str(&String::from_utf8_lossy(&line));
                log.shared.1.notify_all();
                line.clear();
            }
            log.lines().followed -= 1;
            log.shared.1.notify_all();
        });
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        self.lines().text.clone()
    }

    /// The text once both pipes are closed.
    fn complete(&self) -> String {
        let lines = self.lines();
        let (lines, _) = self
            .shared
            .1
            .wait_timeout_while(lines, STEP, |lines| lines.followed > 0)
            .unwrap_or_else(PoisonError::into_inner);
        lines.text.clone()
    }

    #[track_caller]
    fn await_line(&self, needles: &[&str], within: Duration) -> String {
        let deadline = Instant::now() + within;
        let mut lines = self.lines();
        loop {
            let found = lines.text.lines().find(|line| {
                let line = line.to_lowercase();
                needles.iter().any(|needle| line.contains(&needle.to_lowercase()))
            });
            if let Some(line) = found {
                return line.to_owned();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {within:?} for a line with one of {needles:?}, in vain:\n{}", lines.text);
            lines = self.shared.1.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
