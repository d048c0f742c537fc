//! The first process of a gateway that was flashed. It mounts, grows and names, gets the box an address and the time,
//! keeps `eyotd` running, and kicks the hardware watchdog only while that is well.
//!
//! The root file system is memory, and nothing can write to it once the box is up; what is kept is on the card's data
//! partition. The card's first partition has the configuration, for people with a card reader.
//!
//! - [`supervisor`]: all decisions, without I/O;
//! - [`card`]: the disk, as [`eyot_card`] says what is where on it; [`superblock`]: the head of its data, without I/O;
//! - [`system`]: mounts, name, end; [`drivers`]: modules of the kernel; [`ioctl`]: the system calls for which there is no safe library;
//! - [`trial`]: which of the two systems is started, and whether a new one stays, without I/O; [`slot`]: where they are on the card;
//!   [`update`]: both together;
//! - [`network`]: addresses, and SSH; [`clock`]: the time; [`button`]: the power button; [`console`]: where all is said;
//! - [`daemon`]: `eyotd` as a process, what it says ([`ring`]) and how it is ([`notify`]).
//!
//! A panic ends the first process, which is a panic of the kernel, which restarts the box after ten seconds.

mod button;
mod card;
mod clock;
mod console;
mod daemon;
mod drivers;
mod ioctl;
mod network;
mod notify;
mod ring;
mod slot;
mod superblock;
mod supervisor;
mod system;
mod trial;
mod update;

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{wait, Pid, WaitOptions};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::card::Card;
use crate::daemon::Daemon;
use crate::drivers::Drivers;
use crate::network::Network;
use crate::notify::Said;
use crate::supervisor::{Effect, End, Event, Note, Supervisor};
use crate::trial::Update;
use crate::update::Systems;

/// The watchdog of the Raspberry Pi can wait for 15 seconds and not longer.
const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(15);
/// A box that cannot keep anything is started anew after so long: the card may have been slow, or loose.
const NO_DATA_PAUSE: Duration = Duration::from_secs(30);

/// Says something on the consoles, with the time since the kernel started.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::say_line(&format!($($argument)*))
    };
}

/// See [`say!`].
pub fn say_line(line: &str) {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().unwrap_or_default();
    console::write_line(format!("[init {seconds}] {line}").as_bytes());
}

/// What the main thread waits for.
#[derive(Debug)]
pub enum Message {
    /// `eyotd` says something of itself.
    Daemon(Said),
    /// A new system is on the card, or could not be written.
    Installed(std::io::Result<Update>),
    /// This process got a signal.
    Signal(i32),
    /// There is a network interface that was not there before.
    Interface(String),
    /// Somebody pressed the power button.
    PowerButton,
}

fn main() {
    system::mount_kernel();
    say!("eyot {}", env!("CARGO_PKG_VERSION"));
    say!("{} drivers loaded", Drivers::start());
    let Some(card) = mount_card() else {
        say!("nothing can be kept; starting anew in {} s", NO_DATA_PAUSE.as_secs());
        thread::sleep(NO_DATA_PAUSE);
        return system::finish(End::Restart);
    };
    let begin = Instant::now();
    let Some(systems) = Systems::begin(card, Duration::ZERO) else { return system::finish(End::Restart) };
    let name = system::set_name();
    say!("this is {name}");
    system::protect_root();
    let (sender, messages) = mpsc::channel();
    if let Err(error) = listen(&sender) {
        say!("signals cannot be heard: {error}");
    }
    button::listen(&sender);
    let network = Network::start(name, &sender);
    thread::spawn(clock::keep);
    let daemon = match Daemon::new(&sender) {
        Ok(daemon) => daemon,
        Err(error) => {
            say!("eyotd cannot be heard: {error}");
            return system::finish(End::Restart);
        }
    };
    let supervisor = Supervisor::new(begin.elapsed());
    Init { begin, supervisor, daemon, network, systems, watchdog: watchdog(), sender }.run(&messages);
}

/// The card, if there is one to keep things on.
fn mount_card() -> Option<Card> {
    let Some(mut card) = Card::find() else {
        say!("no disk with the partitions of an image of eyot was found");
        return None;
    };
    say!("the card is {}", card.name());
    if let Err(error) = card.mount_config() {
        say!("its first partition cannot be read, so there is no configuration: {error}");
    }
    if let Err(error) = card.mount_data() {
        say!("its data cannot be mounted: {error}");
        return None;
    }
    match card.grow() {
        Ok(mib) => say!("{mib} MiB for data"),
        Err(error) => say!("the data stays as small as it is: {error}"),
    }
    Some(card)
}

/// Signals become messages. `busybox reboot` and `poweroff` tell the first process by SIGTERM and SIGUSR2, the keyboard by
/// SIGINT.
fn listen(messages: &Sender<Message>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGCHLD, SIGINT, SIGTERM, SIGUSR2])?;
    let messages = messages.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            if messages.send(Message::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn watchdog() -> Option<File> {
    let file = match File::options().write(true).open("/dev/watchdog") {
        Ok(file) => file,
        Err(error) => {
            say!("no hardware watchdog: {error}");
            return None;
        }
    };
    match ioctl::set_watchdog_timeout(&file, WATCHDOG_TIMEOUT) {
        Ok(timeout) => say!("the watchdog waits for {} s", timeout.as_secs()),
        Err(error) => say!("the watchdog keeps its own timeout: {error}"),
    }
    Some(file)
}

struct Init {
    begin: Instant,
    supervisor: Supervisor,
    daemon: Daemon,
    network: Network,
    systems: Systems,
    watchdog: Option<File>,
    sender: Sender<Message>,
}

impl Init {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            while let Some(effect) = self.supervisor.poll() {
                self.act(effect);
            }
            let due = self.supervisor.deadline().min(self.network.deadline());
            let due = self.systems.deadline().map_or(due, |deadline| due.min(deadline));
            let event = match messages.recv_timeout(due.saturating_sub(self.now())) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => Event::Tick,
                Err(RecvTimeoutError::Disconnected) => Event::Stop(End::Restart),
            };
            let now = self.now();
            self.network.tick(now);
            self.supervisor.handle(now, event);
            if self.systems.look(now) {
                self.supervisor.handle(now, Event::Stop(End::Restart));
            }
        }
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    fn take(&mut self, message: Message) -> Event {
        match message {
            Message::Daemon(Said::Event(event)) => {
                if event == Event::Ready {
                    say!("eyotd is ready, with {} MiB of memory in use", system::memory_mib());
                    // What it left when the power failed.
                    self.systems.install(&self.sender);
                }
                event
            }
            Message::Daemon(Said::Connected(is_connected)) => {
                self.systems.connected(self.begin.elapsed(), is_connected);
                Event::Tick
            }
            Message::Daemon(Said::Update) => {
                self.systems.install(&self.sender);
                Event::Tick
            }
            Message::Installed(result) => {
                self.systems.installed(result);
                Event::Tick
            }
            Message::Interface(name) => {
                self.network.add(name);
                Event::Tick
            }
            Message::PowerButton | Message::Signal(SIGUSR2) => Event::Stop(End::PowerOff),
            Message::Signal(SIGCHLD) => self.reap(),
            Message::Signal(_) => Event::Stop(End::Restart),
        }
    }

    /// Whoever has ended, ours or orphaned.
    fn reap(&mut self) -> Event {
        let mut event = Event::Tick;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if self.daemon.is(pid) {
                let how = ending(status.exit_status(), status.terminating_signal());
                say!("eyotd has ended: {how}");
                self.systems.daemon_ended(&how);
                self.daemon.ended();
                event = Event::Exited(status.exit_status());
            } else {
                self.network.ended(self.begin.elapsed(), pid);
            }
        }
        event
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Start => {
                if let Err(error) = self.daemon.start() {
                    say!("eyotd does not start: {error}");
                    self.systems.daemon_ended(&error.to_string());
                    self.supervisor.handle(self.now(), Event::NotStarted);
                }
            }
            Effect::Terminate => {
                say!("stopping");
                self.daemon.terminate();
            }
            Effect::Kill => self.daemon.kill(),
            Effect::Kick => {
                if let Some(watchdog) = &mut self.watchdog {
                    // If this fails, it is to do what it is there for.
                    let _ = watchdog.write_all(b"k");
                }
            }
            Effect::KeepLog => self.daemon.keep_log(),
            Effect::Finish(end) => {
                self.network.stop();
                say!("stopped");
                system::finish(end);
            }
            Effect::Note(note) => say!("{}", text(note)),
        }
    }
}

fn ending(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "unknown".to_owned(),
    }
}

fn text(note: Note) -> String {
    match note {
        Note::StartsAgain(pause) => format!("eyotd is started again in {} s", pause.as_secs()),
        Note::BadConfig(pause) => format!(
            "eyotd refuses its configuration: correct gateway.toml on the first partition of the card; it is tried again in {} s",
            pause.as_secs()
        ),
        Note::Hangs => "eyotd is silent, and is killed".to_owned(),
        Note::FailsForGood => "eyotd fails again and again: the box starts anew".to_owned(),
    }
}

/// Sends `signal` to `pid`; a process that is gone needs none.
fn signal(pid: Option<Pid>, signal: rustix::process::Signal) {
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, signal);
    }
}
