//! `eyotd` as a process.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal};

use crate::notify::{self, DATAGRAM_MAX};
use crate::ring::{Ring, LINE_MAX_BYTES};
use crate::supervisor::ALIVE_EVERY;
use crate::{card, console, say, signal, slot, Message};

const PROGRAM: &str = "/bin/eyotd";
const SOCKET: &str = "/run/notify";
/// On the data partition.
const LOG: &str = "log/eyotd.log";
const LOG_BEFORE: &str = "log/eyotd.log.1";

/// It.
#[derive(Debug)]
pub struct Daemon {
    pid: Option<Pid>,
    log: Arc<Mutex<Ring>>,
}

impl Daemon {
    /// Listens to what it will say of itself. It is not started.
    pub fn new(messages: &Sender<Message>) -> io::Result<Self> {
        let socket = UnixDatagram::bind(SOCKET)?;
        let messages = messages.clone();
        thread::spawn(move || {
            let mut datagram = [0; DATAGRAM_MAX];
            while let Ok(length) = socket.recv(&mut datagram) {
                for said in notify::read(datagram.get(..length).unwrap_or_default()) {
                    if messages.send(Message::Daemon(said)).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { pid: None, log: Arc::default() })
    }

    /// Starts it.
    pub fn start(&mut self) -> io::Result<()> {
        fs::create_dir_all(format!("{}/eyot", card::DATA))?;
        // systemd's convention: half of it is how often it is expected.
        let watchdog_us = 2 * ALIVE_EVERY.as_micros();
        let mut child = Command::new(PROGRAM)
            .args(["--config", &format!("{}/gateway.toml", card::CONFIG)])
            .env_clear()
            .env("NOTIFY_SOCKET", SOCKET)
            .env("WATCHDOG_USEC", watchdog_us.to_string())
            .env("EYOT_SYSTEM", slot::SYSTEM_FILE)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .spawn()?;
        self.pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&self.log);
            thread::spawn(move || copy(stderr, &log));
        }
        Ok(())
    }

    /// Whether `pid` is it.
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == Some(pid)
    }

    /// It is no more.
    pub fn ended(&mut self) {
        self.pid = None;
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        signal(self.pid, Signal::TERM);
    }

    /// Ends it.
    pub fn kill(&self) {
        signal(self.pid, Signal::KILL);
    }

    /// Writes its last lines to the data partition, and keeps those of the time before.
    pub fn keep_log(&self) {
        let text = self.log.lock().unwrap_or_else(PoisonError::into_inner).text();
        let at = |name: &str| format!("{}/{name}", card::DATA);
        let write = || {
            fs::create_dir_all(at("log"))?;
            let _ = fs::rename(at(LOG), at(LOG_BEFORE));
            let mut file = File::create(at(LOG))?;
            file.write_all(&text)?;
            file.sync_all()
        };
        if let Err(error) = write() {
            say!("the log of eyotd is not kept: {error}");
        }
    }
}

/// To the consoles, and to the ring.
fn copy(from: impl Read, log: &Mutex<Ring>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_MAX_BYTES).unwrap_or(u64::MAX);
        match (&mut from).take(limit).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        log.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        console::write_line(text);
    }
}
