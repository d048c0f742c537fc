//! Images, and a machine of QEMU's that starts from them.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use eyot_card::{LOADER_FILE, LOADER_KEY};
use eyot_image::disk::{read_fat, CONFIG};
use eyot_test_e2e::client::Client;
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::programs::{eyot, root};
use eyot_test_e2e::wait::wait_for;
use serde_json::Value;

use crate::board::Board;

pub const ID: &str = "barn-7";
/// This machine, as QEMU's user network shows it.
pub const HOST: &str = "10.0.2.2";
/// Patience with a machine that is emulated, on a busy one.
pub const BOOT: Duration = Duration::from_secs(300);
/// Bytes of the card; the image is smaller.
pub const CARD_BYTES: u64 = 512 << 20;

/// `eyot` with these arguments must do well; what it prints.
#[track_caller]
pub fn run(arguments: &[&str]) -> String {
    let done = Command::new(eyot()).args(arguments).current_dir(root()).output().unwrap();
    assert!(done.status.success(), "eyot {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// An image for this board; what `eyot image build --json` says of it. None without a mirror of Debian, which is said.
///
/// When the mirror has replaced a package of the lock file since, the test goes on with the packages of today.
pub fn build(board: &Board, programs: &Path, out: &Path, more: &[&str]) -> Option<Value> {
    let lock = out.with_file_name("new.lock");
    loop {
        let mut command = Command::new(eyot());
        command.args(["image", "build", "--board", board.id, "--json", "--programs"]).arg(programs);
        command.arg("--out").arg(out).args(more);
        if lock.exists() {
            command.arg("--lock").arg(&lock);
        }
        let done = command.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.success() {
            return Some(serde_json::from_slice(&done.stdout).unwrap());
        }
        if said.contains("check the network") {
            println!("SKIPPED: {said}");
            return None;
        }
        assert!(said.contains("Debian has replaced") && !lock.exists(), "{said}");
        println!("{said}");
        run(&["image", "lock", "--file", lock.to_str().unwrap()]);
    }
}

/// Number of the partition that a boot loader starts: what it reads of the card, this reads.
pub fn started(card: &Path) -> u8 {
    let text = String::from_utf8(read_fat(card, CONFIG, LOADER_FILE).unwrap()).unwrap();
    text.lines().find_map(|line| line.strip_prefix(LOADER_KEY)).unwrap().parse().unwrap()
}

/// A running machine. Dropping it pulls its plug.
pub struct Machine {
    child: Child,
    console: Arc<Mutex<String>>,
    monitor: PathBuf,
    started: Instant,
    ssh_port: u16,
    memory_max_mib: u32,
}

impl Machine {
    /// Starts it from a card, in files of `dir`.
    pub fn start(board: &Board, dir: &Path, card: &Path) -> Self {
        Self::with(board, dir, card, board.devices)
    }

    /// The same, with other devices for card and network.
    pub fn with(board: &Board, dir: &Path, card: &Path, devices: &[&str]) -> Self {
        let mut qemu = board.emulator(dir, card);
        qemu.arg("-drive").arg(format!("file={},format=raw,if={},id=card", card.display(), board.interface));
        qemu.args(devices);
        Self::run(board, qemu, dir)
    }

    /// The same from a card whose content is at `url`, past all caches of this machine.
    pub fn on(board: &Board, dir: &Path, card: &Path, url: &str) -> Self {
        let mut qemu = board.emulator(dir, card);
        qemu.arg("-drive").arg(format!("file={url},format=raw,if={},id=card,cache=none", board.interface));
        qemu.args(board.devices);
        Self::run(board, qemu, dir)
    }

    /// Of this machine, that leads to SSH of that one.
    pub fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Starts what `qemu` says, but for console, network and monitor.
    pub fn run(board: &Board, mut qemu: Command, dir: &Path) -> Self {
        let monitor = dir.join("monitor");
        let _ = fs::remove_file(&monitor);
        qemu.args(["-smp", board.processors, "-nographic", "-no-reboot"]);
        let ssh_port = free_port();
        qemu.arg("-netdev").arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{ssh_port}-:22"));
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", monitor.display()));
        let started = Instant::now();
        let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("QEMU starts");
        let console = Arc::new(Mutex::new(String::new()));
        let (lines, to) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&console));
        thread::spawn(move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                to.lock().unwrap().push_str(&format!("{:7.2} {}\n", started.elapsed().as_secs_f32(), line.trim()));
            }
        });
        Self { child, console, monitor, started, ssh_port, memory_max_mib: board.memory_max_mib }
    }

    pub fn console(&self) -> String {
        self.console.lock().unwrap().clone()
    }

    /// Waits for it to say `what` on its console.
    #[track_caller]
    pub fn says(&self, what: &str) {
        wait_for(&format!("the machine to say {what:?}"), BOOT, || self.console().contains(what).then_some(()));
    }

    /// Waits until `eyotd` is ready, and says how long that took, and how much memory the whole takes.
    #[track_caller]
    pub fn ready(&self, how: &str) {
        self.says("eyotd is ready");
        let console = self.console();
        let (_, rest) = console.split_once("eyotd is ready, with ").unwrap();
        let mib: u32 = rest.split(' ').next().unwrap().parse().unwrap();
        println!("{how}: ready after {:.1} s, {mib} MiB of memory in use", self.started.elapsed().as_secs_f32());
        assert!(mib < self.memory_max_mib);
    }

    /// As pulling the plug, for all but the writes that QEMU has already given to this machine's kernel.
    pub fn pull_plug(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it starts anew, which ends this QEMU; what it said until then.
    #[track_caller]
    pub fn restarts(mut self) -> String {
        wait_for("the machine to start anew", BOOT, || self.child.try_wait().unwrap());
        self.console()
    }

    /// Presses the power button, and waits until it is off.
    #[track_caller]
    pub fn press_button(mut self) {
        let mut monitor = UnixStream::connect(&self.monitor).unwrap();
        writeln!(monitor, "{{\"execute\":\"qmp_capabilities\"}}\n{{\"execute\":\"system_powerdown\"}}").unwrap();
        wait_for("the machine to be off", BOOT, || self.child.try_wait().unwrap());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the console ---\n{}-------------------", self.console());
        }
    }
}

/// Publishes readings with these numbers, each acknowledged.
pub fn publish(broker: &Mosquitto, numbers: std::ops::Range<u32>) {
    let mut sensor = Client::connect(broker.port(), "sensor");
    for number in numbers {
        sensor.publish("sensors/7/raw", format!("{{\"device\":\"7\",\"t\":21.5,\"rh\":40,\"ts\":{number}}}"));
    }
}

/// Waits until the cloud got readings with all of these numbers.
#[track_caller]
pub fn receive(cloud: &mut Client, numbers: std::ops::Range<u32>) {
    let mut missing: HashSet<u64> = numbers.map(u64::from).collect();
    cloud.await_message("all readings in the cloud", |publish| {
        let reading: Value = serde_json::from_slice(&publish.payload).ok()?;
        missing.remove(&reading["ts"].as_u64()?);
        missing.is_empty().then_some(())
    });
}
