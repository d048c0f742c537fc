//! A node's own program, renewed over its line: a microcontroller in QEMU with a boot loader, behind the real daemon.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::qemu::{bootable, Bootable, Qemu};
use eyot_test_e2e::site::Site;
use eyot_test_e2e::wait::wait_for;
use object::{Object, ObjectSegment};
use serde_json::Value;

use crate::push::{signer, SEED};
use crate::tool;

/// The programs' names of themselves, of equal length.
const OLD: &str = "eyot-mps2-an505 0.1.0";
const NEW: &str = "eyot-mps2-an505 0.1.9";
/// Where the program runs.
const SLOT: u64 = 0x8000_0000;
/// What the boot loader remembers: behind both slots and a page. A word that says what is to be done, one more, and one for each
/// page that was copied.
const STATE: u64 = (2 << 20) + 4096;
const SWAP: [u8; 4] = [0xf0; 4];
/// Words of a swap.
const COPIES: usize = 512;
/// For a transfer, a watchdog of 16 seconds and a trial of ten, on a busy machine.
const RENEWED: Duration = Duration::from_secs(600);

/// The program as the flash has it.
fn flat(linked: &[u8]) -> Vec<u8> {
    let mut flat = Vec::new();
    for segment in object::File::parse(linked).unwrap().segments() {
        let (start, bytes) = (segment.address().wrapping_sub(SLOT) as usize, segment.data().unwrap());
        if !bytes.is_empty() {
            flat.resize(start, 0xff);
            flat.extend_from_slice(bytes);
        }
    }
    flat
}

/// Another version, by its name.
fn renamed(program: &[u8]) -> Vec<u8> {
    let mut program = program.to_vec();
    let at = program.windows(OLD.len()).position(|window| window == OLD.as_bytes()).unwrap();
    program[at..at + NEW.len()].copy_from_slice(NEW.as_bytes());
    program
}

/// Another version that hangs where it begins, as the flash has it.
fn hanging(program: &[u8]) -> Vec<u8> {
    let mut program = program.to_vec();
    let start = u32::from_le_bytes(program[4..8].try_into().unwrap());
    let at = (u64::from(start & !1) - SLOT) as usize;
    // A branch to itself.
    program[at..at + 2].copy_from_slice(&[0xfe, 0xe7]);
    program
}

/// A node with the old program, and a gateway that is to renew it with what is in the file `program`.
fn site(bootable: &Bootable) -> (Site, Qemu) {
    let mut site = Site::with_broker("nodes", Mosquitto::persistent());
    let old = flat(&fs::read(&bootable.slot).unwrap());
    let qemu = Qemu::on_flash(&bootable.boot, site.dir().join("flash"), &old);
    let program = program(&site);
    site.config.more = format!("\n[[node]]\nid = \"north\"\nport = {:?}\nprogram = {program:?}\n", qemu.url());
    (site, qemu)
}

fn program(site: &Site) -> PathBuf {
    site.dir().join("program")
}

/// The node's document, once it runs this program and the other one is in this state.
#[track_caller]
fn await_update(site: &Site, state: &str, program: &str) -> Value {
    let mut last = Value::Null;
    wait_for(&format!("{program}, {state}"), RENEWED, || {
        last = site.await_status("the node", |status| status["nodes"][0].is_object())["nodes"][0].clone();
        let is_so = last["update"]["state"] == state && last["program"] == program && last["online"] == true;
        is_so.then(|| last.clone())
    })
}

/// How many pages were copied, while it swaps.
fn swapped(flash: &Path) -> Option<usize> {
    let mut words = [[0; 4]; COPIES + 2];
    File::open(flash).unwrap().read_exact_at(words.as_flattened_mut(), STATE).unwrap();
    (words[0] == SWAP).then(|| words[2..].iter().take_while(|word| !word.contains(&0xff)).count())
}

#[test]
fn a_new_program_comes_over_the_line_and_is_kept_and_one_that_hangs_goes_back() {
    let Some(bootable) = bootable("renewed programs of nodes") else { return };
    let (site, mut qemu) = site(&bootable);
    let new = renamed(&fs::read(&bootable.slot).unwrap());
    fs::write(program(&site), &new).unwrap();
    let mut daemon = site.start();
    let node = await_update(&site, "confirmed", NEW);
    assert_eq!((&node["restarts"], &node["lost"]), (&1.into(), &0.into()), "{node}");
    // It stays over a power cut, and is not sent again.
    qemu.power_cycle(&bootable.boot);
    daemon.kill();
    fs::write(program(&site), hanging(&flat(&new))).unwrap();
    let mut daemon = site.start();
    let node = await_update(&site, "rejected", NEW);
    assert!(node["update"]["reason"].as_str().unwrap().contains("the one before is back"), "{node}");
    daemon.kill();
    let _daemon = site.start();
    let node = await_update(&site, "rejected", NEW);
    assert_eq!(node["restarts"], 0, "it knows that it was so: {node}");
}

#[test]
fn power_cuts_while_a_program_comes_and_while_it_is_exchanged_leave_one_that_runs() {
    let Some(bootable) = bootable("power cuts of renewed nodes") else { return };
    let (site, mut qemu) = site(&bootable);
    fs::write(program(&site), renamed(&flat(&fs::read(&bootable.slot).unwrap()))).unwrap();
    let mut daemon = site.start();
    let flash = site.dir().join("flash");
    let begun = |bytes: u64| {
        let mut word = [0; 64];
        File::open(&flash).unwrap().read_exact_at(&mut word, (1 << 20) + bytes).unwrap();
        word.iter().any(|byte| !matches!(byte, 0 | 0xff)).then_some(())
    };
    // In the middle of the transfer, the node and the gateway.
    wait_for("half of the program", RENEWED, || begun(200 << 10));
    qemu.power_cycle(&bootable.boot);
    await_update(&site, "receiving", OLD);
    daemon.kill();
    let _daemon = site.start();
    // In the middle of the exchange.
    let copied = wait_for("the exchange", RENEWED, || swapped(&flash).filter(|copied| *copied > 10));
    qemu.power_cycle(&bootable.boot);
    assert!(copied < COPIES, "the cut came too late");
    await_update(&site, "confirmed", NEW);
}

#[test]
fn a_program_that_is_pushed_by_the_tool_reaches_the_node_whatever_is_killed_and_what_hangs_is_told() {
    let Some(bootable) = bootable("pushed programs of nodes") else { return };
    let (mut site, qemu) = site(&bootable);
    site.config.trust_keys = vec![signer(SEED).public().to_openssh()];
    site.config.more = format!("\n[[node]]\nid = \"north\"\nport = {:?}\nboard = \"mps2-an505\"\n", qemu.url());
    let new = renamed(&fs::read(&bootable.slot).unwrap());
    fs::write(program(&site), &new).unwrap();
    let mut daemon = site.start();
    let file = program(&site);
    let push = |more: &[&str], code| {
        let args = ["update", "push", file.to_str().unwrap(), "--node", "north"];
        tool::run(&site, &[&args, more].concat(), code)
    };
    push(&["--board", "pico-2"], 1);
    push(&["--board", "mps2-an505"], 0);
    // It is with the gateway, and that is killed.
    daemon.kill();
    let _daemon = site.start();
    await_update(&site, "confirmed", NEW);
    let said = push(&["--board", "mps2-an505", "--wait"], 0).stdout;
    assert!(said.contains("keeps it"), "{said}");
    fs::write(&file, hanging(&flat(&new))).unwrap();
    let said = push(&["--board", "mps2-an505", "--wait"], 1).stderr;
    assert!(said.contains("the one before is back"), "{said}");
    await_update(&site, "rejected", NEW);
}
