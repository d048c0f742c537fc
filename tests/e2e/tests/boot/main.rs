//! A whole gateway from its image: the kernel, the first process, `eyotd`, a card of its own, in a machine of QEMU's, beside
//! two real brokers on this one.
//!
//! And an image onto a card, which is a loop device.
//!
//! `EYOT_BOOT_TARGET_DIR` names cargo's directory, with `eyotd` and `eyot-init` for aarch64 and x86-64; without it these tests
//! say SKIPPED. `tests/run.sh image` builds them and says where they are. What no QEMU shows: the firmware of a Raspberry Pi
//! and what it reads, its drivers, and its radio: Wi-Fi here is simulated by the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod board;
mod cuts;
mod machine;
mod pc;
mod raspi;
mod shell;
mod ssh;
mod update;
mod volatile;
mod wifi;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use eyot_image::disk::{self, ConfigKind, SLOTS};
use eyot_test_e2e::client::Client;
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::programs::{eyot, root};
use eyot_test_e2e::site::{await_status, balances};
use tempfile::TempDir;

use board::{Board, PC, VIRT};
use machine::{build, publish, receive, run, Machine, CARD_BYTES, HOST, ID};

#[test]
fn the_same_image_each_time() {
    same_image_each_time(&VIRT);
    same_image_each_time(&PC);
}

fn same_image_each_time(board: &Board) {
    let Some(programs) = board.programs() else { return };
    let dir = TempDir::new().unwrap();
    let Some(once) = build(board, &programs, &dir.path().join("a.img"), &[]) else { return };
    let again = build(board, &programs, &dir.path().join("b.img"), &[]).unwrap();
    assert_eq!(once["sha256"], again["sha256"]);
    assert_eq!(once["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn a_gateway_from_its_image_takes_functions_and_messages_and_survives_the_plug() {
    takes_functions_and_messages_and_survives_the_plug(&VIRT);
}

#[test]
fn so_does_a_pc() {
    takes_functions_and_messages_and_survives_the_plug(&PC);
}

fn takes_functions_and_messages_and_survives_the_plug(board: &Board) {
    let Some(programs) = board.programs() else { return };
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
    if build(board, &programs, &card, &more).is_none() {
        return;
    }
    File::options().write(true).open(&card).unwrap().set_len(CARD_BYTES).unwrap();

    let machine = Machine::start(board, dir.path(), &card);
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
    let machine = Machine::start(board, dir.path(), &card);
    machine.ready("after kill -9");
    receive(&mut cloud, 100..300);
    let status = await_status(broker.port(), ID, "an empty log", |status| status["ledger"]["pending"] == 0);
    assert!(balances(&status), "{status}");
    assert_eq!(status["functions"][0]["name"], "celsius", "{status}");
    if board.has_button {
        machine.press_button();
    }
}

#[test]
fn a_superblock_that_a_power_cut_tore_is_mended() {
    let Some(programs) = VIRT.programs() else { return };
    let dir = TempDir::new().unwrap();
    let card = dir.path().join("card.img");
    if build(&VIRT, &programs, &card, &[]).is_none() {
        return;
    }
    // Its second sector, with the checksum of both, is that of before.
    let file = File::options().read(true).write(true).open(&card).unwrap();
    let (mounts, mut count) = (disk::DATA.start + 1024 + 0x34, [0]);
    file.read_exact_at(&mut count, mounts).unwrap();
    file.write_all_at(&[count[0] + 1], mounts).unwrap();
    let machine = Machine::start(&VIRT, dir.path(), &card);
    machine.says("half of its superblock; that is mended");
    machine.says("MiB for data");
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
    disk::write(&mut file, ConfigKind::Fat, &[(SLOTS[0], &vec![0x5a; 3 << 20])]).unwrap();
    File::create(&card).unwrap().set_len(CARD_BYTES).unwrap();
    let Some(device) = Loop::over(&card) else { return };

    let (code, said) = flash(&image, &device.0, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--yes"), "{said}");
    let (code, said) = flash(&card, &device.0, &["--yes"]);
    assert_eq!(code, Some(2), "{said}");
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
