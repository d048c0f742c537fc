//! A whole gateway from its image: the kernel, the first process, `eyotd`, a card of its own, in QEMU's `virt`, beside two
//! real brokers on this machine.
//!
//! And an image onto a card, which is a loop device.
//!
//! `EYOT_BOOT_PROGRAMS` names a directory with `eyotd` and `eyot-init` for aarch64; without it these tests say SKIPPED.
//! `tests/run.sh image` builds them and says where they are. What no QEMU shows: the firmware of a Raspberry Pi and what it
//! reads, its drivers, and Wi-Fi.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use eyot_image::build::{INITRAMFS, KERNEL};
use eyot_image::disk::{self, read_fat, SLOTS};
use eyot_test_e2e::client::Client;
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::programs::{eyot, root};
use eyot_test_e2e::site::{await_status, balances};
use eyot_test_e2e::wait::wait_for;
use serde_json::Value;
use tempfile::TempDir;

const ID: &str = "barn-7";
/// This machine, as QEMU's user network shows it.
const HOST: &str = "10.0.2.2";
/// Patience with a machine that is emulated, on a busy one.
const BOOT: Duration = Duration::from_secs(120);
/// What the whole box may take, functions not counted.
const MEMORY_MAX_MIB: u32 = 64;
/// Bytes of the card; the image is smaller.
const CARD_BYTES: u64 = 512 << 20;

/// Where programs are, if there are any.
fn programs() -> Option<PathBuf> {
    let found = env::var_os("EYOT_BOOT_PROGRAMS").map(PathBuf::from);
    if found.is_none() {
        println!("SKIPPED: no EYOT_BOOT_PROGRAMS; use tests/run.sh image");
    }
    found
}

/// `eyot` with these arguments must do well; what it prints.
#[track_caller]
fn run(arguments: &[&str]) -> String {
    let done = Command::new(eyot()).args(arguments).current_dir(root()).output().unwrap();
    assert!(done.status.success(), "eyot {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// An image for `virt`; what `eyot image build --json` says of it. None without a mirror of Debian, which is said.
///
/// When the mirror has replaced a package of the lock file since, the test goes on with the packages of today.
fn build(programs: &Path, out: &Path, more: &[&str]) -> Option<Value> {
    let lock = out.with_file_name("new.lock");
    loop {
        let mut command = Command::new(eyot());
        command.args(["image", "build", "--board", "qemu-virt", "--json", "--programs"]).arg(programs);
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

/// A running machine. Dropping it pulls its plug.
struct Machine {
    child: Child,
    console: Arc<Mutex<String>>,
    monitor: PathBuf,
    started: Instant,
}

impl Machine {
    fn start(dir: &Path, card: &Path) -> Self {
        let file = |name: &str| {
            let at = dir.join(name);
            fs::write(&at, read_fat(card, SLOTS[0], name).unwrap()).unwrap();
            at
        };
        let (kernel, initramfs) = (file(KERNEL), file(INITRAMFS));
        let monitor = dir.join("monitor");
        let _ = fs::remove_file(&monitor);
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.args(["-machine", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "256", "-nographic", "-no-reboot"]);
        qemu.args(["-append", "console=ttyAMA0 panic=10 quiet"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs);
        qemu.arg("-drive").arg(format!("file={},format=raw,if=none,id=card", card.display()));
        qemu.args(["-device", "virtio-blk-device,drive=card", "-netdev", "user,id=net"]);
        qemu.args(["-device", "virtio-net-device,netdev=net", "-device", "i6300esb"]);
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", monitor.display()));
        let started = Instant::now();
        let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("qemu-system-aarch64 starts");
        let console = Arc::new(Mutex::new(String::new()));
        let (lines, to) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&console));
        thread::spawn(move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                to.lock().unwrap().push_str(&format!("{:7.2} {}\n", started.elapsed().as_secs_f32(), line.trim()));
            }
        });
        Self { child, console, monitor, started }
    }

    fn console(&self) -> String {
        self.console.lock().unwrap().clone()
    }

    /// Waits for it to say `what` on its console.
    #[track_caller]
    fn says(&self, what: &str) {
        wait_for(&format!("the machine to say {what:?}"), BOOT, || self.console().contains(what).then_some(()));
    }

    /// Waits until `eyotd` is ready, and says how long that took, and how much memory the whole takes.
    #[track_caller]
    fn ready(&self, how: &str) {
        self.says("eyotd is ready");
        let console = self.console();
        let (_, rest) = console.split_once("eyotd is ready, with ").unwrap();
        let mib: u32 = rest.split(' ').next().unwrap().parse().unwrap();
        println!("{how}: ready after {:.1} s, {mib} MiB of memory in use", self.started.elapsed().as_secs_f32());
        assert!(mib < MEMORY_MAX_MIB);
    }

    /// As pulling the plug, for all but the writes that QEMU has already given to this machine's kernel.
    fn pull_plug(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Presses the power button, and waits until it is off.
    #[track_caller]
    fn press_button(mut self) {
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
fn publish(broker: &Mosquitto, numbers: std::ops::Range<u32>) {
    let mut sensor = Client::connect(broker.port(), "sensor");
    for number in numbers {
        sensor.publish("sensors/7/raw", format!("{{\"device\":\"7\",\"t\":21.5,\"rh\":40,\"ts\":{number}}}"));
    }
}

/// Waits until the cloud got readings with all of these numbers.
#[track_caller]
fn receive(cloud: &mut Client, numbers: std::ops::Range<u32>) {
    let mut missing: HashSet<u64> = numbers.map(u64::from).collect();
    cloud.await_message("all readings in the cloud", |publish| {
        let reading: Value = serde_json::from_slice(&publish.payload).ok()?;
        missing.remove(&reading["ts"].as_u64()?);
        missing.is_empty().then_some(())
    });
}

#[test]
fn the_same_image_each_time() {
    let Some(programs) = programs() else { return };
    let dir = TempDir::new().unwrap();
    let Some(once) = build(&programs, &dir.path().join("a.img"), &[]) else { return };
    let again = build(&programs, &dir.path().join("b.img"), &[]).unwrap();
    assert_eq!(once["sha256"], again["sha256"]);
    assert_eq!(once["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn a_gateway_from_its_image_takes_functions_and_messages_and_survives_the_plug() {
    let Some(programs) = programs() else { return };
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let broker = Mosquitto::persistent();
    let mut cloud_broker = Mosquitto::persistent();
    run(&["keys", "new", "--out", &text(&at("ada"))]);
    let key = fs::read_to_string(at("ada.pub")).unwrap();
    let config = format!(
        "[gateway]\nid = \"{ID}\"\nstatus_interval = \"1s\"\n[broker]\nurl = \"mqtt://{HOST}:{}\"\n\
         [[uplink]]\nname = \"cloud\"\nurl = \"mqtt://{HOST}:{}\"\ntopics = [\"processed/#\"]\n\
         [trust]\nkeys = [\"{}\"]\n",
        broker.port(),
        cloud_broker.port(),
        key.trim()
    );
    fs::write(at("gateway.toml"), config).unwrap();
    let card = at("card.img");
    let more = ["--config", &text(&at("gateway.toml")), "--hostname", "barn"];
    if build(&programs, &card, &more).is_none() {
        return;
    }
    File::options().write(true).open(&card).unwrap().set_len(CARD_BYTES).unwrap();

    let machine = Machine::start(dir.path(), &card);
    machine.ready("first start");
    machine.says("271 MiB for data");
    machine.says("this is barn");
    await_status(broker.port(), ID, "a gateway that listens", |status| status["subscribed"] == true);
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let function = root().join("functions/celsius/celsius.wasm");
    let key = text(&at("ada"));
    run(&["push", &text(&function), "--broker", &url, "--gateway", ID, "--key", &key, "--wait"]);
    let mut cloud = Client::connect(cloud_broker.port(), "cloud");
    cloud.subscribe("processed/#");
    publish(&broker, 0..100);
    receive(&mut cloud, 0..100);

    drop(cloud);
    cloud_broker.stop();
    publish(&broker, 100..300);
    await_status(broker.port(), ID, "200 results that wait", |status| {
        status["ledger"]["received"] == 300 && status["ledger"]["pending"] == 200
    });
    machine.pull_plug();

    cloud_broker.resume();
    let mut cloud = Client::connect(cloud_broker.port(), "cloud");
    cloud.subscribe("processed/#");
    let machine = Machine::start(dir.path(), &card);
    machine.ready("after kill -9");
    receive(&mut cloud, 100..300);
    let status = await_status(broker.port(), ID, "an empty log", |status| status["ledger"]["pending"] == 0);
    assert!(balances(&status), "{status}");
    assert_eq!(status["functions"][0]["name"], "celsius", "{status}");
    machine.press_button();
}

/// A loop device, freed when dropped.
struct Loop(String);

impl Loop {
    /// Over `file`. None without the right to, which is said.
    fn over(file: &Path) -> Option<Self> {
        let made = Command::new("losetup").env("PATH", SBIN).args(["--find", "--show"]).arg(file).output();
        let made = made.ok().filter(|made| made.status.success());
        if made.is_none() {
            println!("SKIPPED: no loop device; run this as root");
        }
        Some(Self(String::from_utf8(made?.stdout).unwrap().trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").env("PATH", SBIN).args(["--detach", &self.0]).status();
    }
}

const SBIN: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// `eyot image flash` of `image` to `device`: exit code, and what it says.
fn flash(image: &Path, device: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(eyot());
    command.args(["image", "flash"]).arg(image).arg(device).args(more).stdin(Stdio::null());
    let done = command.output().unwrap();
    (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

#[test]
fn a_card_is_written_and_read_back_and_disks_in_use_are_not_touched() {
    let dir = TempDir::new().unwrap();
    let (image, card) = (dir.path().join("gateway.img"), dir.path().join("card"));
    let mut file = File::options().read(true).write(true).create_new(true).open(&image).unwrap();
    disk::write(&mut file, &[(SLOTS[0], &vec![0x5a; 3 << 20])]).unwrap();
    File::create(&card).unwrap().set_len(CARD_BYTES).unwrap();
    let Some(device) = Loop::over(&card) else { return };

    let (code, said) = flash(&image, &device.0, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--yes"), "{said}");
    let (code, said) = flash(&card, &device.0, &["--yes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no image"), "{said}");
    assert!(fs::read(&card).unwrap().iter().all(|byte| *byte == 0), "nothing was written");

    let (code, said) = flash(&image, &device.0, &["--yes", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"verified\":true"), "{said}");
    let expected = fs::read(&image).unwrap();
    assert!(fs::read(&card).unwrap()[..expected.len()] == expected, "it is all there");

    let at = dir.path().join("mounted");
    fs::create_dir(&at).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).env("PATH", SBIN).args(arguments).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}");
    };
    run("mkfs.ext4", &["-q", "-F", &device.0]);
    run("mount", &[&device.0, at.to_str().unwrap()]);
    let (code, said) = flash(&image, &device.0, &["--yes"]);
    run("umount", &[at.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is mounted at") && said.contains("unmount it"), "{said}");
}
