//! An address for each interface, by busybox's DHCP client; Wi-Fi, by wpa_supplicant, if the image has that and the card has
//! networks for it; and a shell over SSH, by dropbear, if the image has that and the card has keys. Whoever of them ends is
//! started again.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use eyot_card::{SSH_KEYS, WIFI_NETWORKS};
use rustix::process::{Pid, Signal};

use crate::{card, say, signal, system, Message};

const BUSYBOX: &str = "/bin/busybox";
/// What the client calls with each lease.
const SCRIPT: &str = "/etc/udhcpc";
const DROPBEAR: &str = "/bin/dropbear";
const WPA_SUPPLICANT: &str = "/bin/wpa_supplicant";
/// On the data partition, what the box itself is known by.
const SSH_OWN_KEYS: &str = "ssh";
/// USB adapters and radios come when they come.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Interfaces that get an address.
const INTERFACES_MAX: usize = 8;
/// Before a program that has ended is started again.
const PAUSE: Duration = Duration::from_secs(5);

/// A program that serves the network.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Service {
    /// Gets an address for this interface.
    Address(String),
    /// Joins a Wi-Fi with this interface.
    Wifi(String),
    /// Lets people in.
    Ssh,
}

/// Its services.
#[derive(Debug)]
pub struct Network {
    host_name: String,
    /// The radio that joins a Wi-Fi: the first there is. Two in the same network would have two ways to everywhere.
    radio: Option<String>,
    running: HashMap<Pid, Service>,
    /// To be started, and when.
    waiting: Vec<(Duration, Service)>,
}

impl Network {
    /// Looks for interfaces.
    pub fn start(host_name: String, messages: &Sender<Message>) -> Self {
        let _ = run(BUSYBOX, &["ip", "link", "set", "lo", "up"]);
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
        let waiting = if ssh_is_wanted() { vec![(Duration::ZERO, Service::Ssh)] } else { Vec::new() };
        Self { host_name, radio: None, running: HashMap::new(), waiting }
    }

    /// Gets an address for a new interface.
    pub fn add(&mut self, interface: String) {
        say!("the network interface {interface}");
        if self.radio.is_none() && system::is_wireless(&interface) && wifi_is_wanted() {
            self.radio = Some(interface.clone());
            self.waiting.push((Duration::ZERO, Service::Wifi(interface.clone())));
        }
        self.waiting.push((Duration::ZERO, Service::Address(interface)));
    }

    /// When [`tick`](Self::tick) is due.
    pub fn deadline(&self) -> Duration {
        self.waiting.iter().map(|(due, _)| *due).min().unwrap_or(Duration::MAX)
    }

    /// Starts what is due.
    pub fn tick(&mut self, now: Duration) {
        let (due, waiting) = self.waiting.drain(..).partition(|(due, _)| *due <= now);
        self.waiting = waiting;
        let due: Vec<(Duration, Service)> = due;
        for (_, service) in due {
            match self.launch(&service) {
                Some(pid) => drop(self.running.insert(pid, service)),
                None => self.waiting.push((now + PAUSE, service)),
            }
        }
    }

    /// A process has ended; a service among them is started again.
    pub fn ended(&mut self, now: Duration, pid: Pid) {
        if let Some(service) = self.running.remove(&pid) {
            self.waiting.push((now + PAUSE, service));
        }
    }

    /// Ends the services.
    pub fn stop(&mut self) {
        for pid in self.running.keys() {
            signal(Some(*pid), Signal::TERM);
        }
    }

    fn launch(&self, service: &Service) -> Option<Pid> {
        match service {
            Service::Address(interface) => {
                let name = format!("hostname:{}", self.host_name);
                let client =
                    ["udhcpc", "-f", "-t", "4", "-T", "2", "-A", "5", "-O", "ntpsrv", "-s", SCRIPT, "-x", &name];
                run(BUSYBOX, &[&client[..], &["-i", interface]].concat())
            }
            // In the foreground; what it says of networks and passphrases is for the console.
            Service::Wifi(interface) => {
                let networks = Path::new(card::CONFIG).join(WIFI_NETWORKS);
                run(WPA_SUPPLICANT, &["-i", interface, "-D", "nl80211", "-c", &networks.to_string_lossy()])
            }
            // In the foreground, with keys of its own made when they are needed; no passwords, no forwarding.
            Service::Ssh => run(DROPBEAR, &["-F", "-E", "-R", "-s", "-j", "-k", "-D", card::CONFIG]),
        }
    }
}

/// Whether this image has Wi-Fi, and the card a network for it.
fn wifi_is_wanted() -> bool {
    Path::new(WPA_SUPPLICANT).exists() && Path::new(card::CONFIG).join(WIFI_NETWORKS).exists()
}

/// Whether this image has SSH and somebody may come in; what it takes for that is made.
fn ssh_is_wanted() -> bool {
    if !Path::new(DROPBEAR).exists() || !Path::new(card::CONFIG).join(SSH_KEYS).exists() {
        return false;
    }
    let own = Path::new(card::DATA).join(SSH_OWN_KEYS);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(own);
    match made.and_then(|()| system::mount_terminals()) {
        Ok(()) => true,
        Err(error) => {
            say!("there is no SSH: {error}");
            false
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Option<Pid> {
    let child = Command::new(program).args(arguments).env_clear().stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    match child {
        Ok(child) => i32::try_from(child.id()).ok().and_then(Pid::from_raw),
        Err(error) => {
            say!("{program} does not start: {error}");
            None
        }
    }
}
