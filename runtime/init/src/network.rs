//! An address for each interface, by busybox's DHCP client.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::{say, signal, system, Message};

const BUSYBOX: &str = "/bin/busybox";
/// What the client calls with each lease.
const SCRIPT: &str = "/etc/udhcpc";
/// USB adapters and radios come when they come.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Interfaces that get an address.
const INTERFACES_MAX: usize = 8;
/// Before a client that has ended is started again.
const PAUSE: Duration = Duration::from_secs(5);

/// Its clients.
#[derive(Debug)]
pub struct Network {
    host_name: String,
    clients: HashMap<Pid, String>,
    /// To be started, and when.
    waiting: Vec<(Duration, String)>,
}

impl Network {
    /// Looks for interfaces.
    pub fn start(host_name: String, messages: &Sender<Message>) -> Self {
        let _ = run(&["ip", "link", "set", "lo", "up"]);
        let messages = messages.clone();
        thread::spawn(move || {
            let mut known = Vec::new();
            loop {
                for name in system::interfaces() {
                    if known.contains(&name) || known.len() == INTERFACES_MAX {
                        continue;
                    }
                    known.push(name.clone());
                    if messages.send(Message::Interface(name)).is_err() {
                        return;
                    }
                }
                thread::sleep(LOOK_EVERY);
            }
        });
        Self { host_name, clients: HashMap::new(), waiting: Vec::new() }
    }

    /// Gets an address for a new interface.
    pub fn add(&mut self, interface: String) {
        say!("the network interface {interface}");
        self.waiting.push((Duration::ZERO, interface));
    }

    /// When [`tick`](Self::tick) is due.
    pub fn deadline(&self) -> Duration {
        self.waiting.iter().map(|(due, _)| *due).min().unwrap_or(Duration::MAX)
    }

    /// Starts what is due.
    pub fn tick(&mut self, now: Duration) {
        let (due, waiting) = self.waiting.drain(..).partition(|(due, _)| *due <= now);
        self.waiting = waiting;
        let due: Vec<(Duration, String)> = due;
        for (_, interface) in due {
            match self.client(&interface) {
                Some(pid) => drop(self.clients.insert(pid, interface)),
                None => self.waiting.push((now + PAUSE, interface)),
            }
        }
    }

    /// A process has ended; a client among them is started again.
    pub fn ended(&mut self, now: Duration, pid: Pid) {
        if let Some(interface) = self.clients.remove(&pid) {
            self.waiting.push((now + PAUSE, interface));
        }
    }

    /// Ends the clients.
    pub fn stop(&mut self) {
        for pid in self.clients.keys() {
            signal(Some(*pid), Signal::TERM);
        }
    }

    fn client(&self, interface: &str) -> Option<Pid> {
        let name = format!("hostname:{}", self.host_name);
        run(&[
            "udhcpc", "-f", "-t", "4", "-T", "2", "-A", "5", "-O", "ntpsrv", "-s", SCRIPT, "-x", &name, "-i", interface,
        ])
    }
}

fn run(arguments: &[&str]) -> Option<Pid> {
    let child = Command::new(BUSYBOX).args(arguments).env_clear().stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    match child {
        Ok(child) => i32::try_from(child.id()).ok().and_then(Pid::from_raw),
        Err(error) => {
            say!("busybox does not start: {error}");
            None
        }
    }
}
