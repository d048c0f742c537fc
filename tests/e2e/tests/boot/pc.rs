//! What PCs differ in: disks, networks, and whether their firmware asks for signatures.

use std::path::Path;

use tempfile::TempDir;

use crate::board::{pc, PC};
use crate::machine::{build, Machine};

/// Firmware that starts only what a key of Microsoft's has signed.
const SECURE_FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.ms.fd";
const SECURE_SETTINGS: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// Disks and networks, as QEMU names them; and what the system calls the disk.
const DEVICES: [(&str, &[&str]); 4] = [
    ("sda", &["-device", "ide-hd,drive=card,bus=ide.0", "-device", "e1000,netdev=net"]),
    ("nvme0n1", &["-device", "nvme,drive=card,serial=1", "-device", "virtio-net-pci,netdev=net"]),
    ("sda", &["-device", "qemu-xhci", "-device", "usb-storage,drive=card", "-device", "usb-net,netdev=net"]),
    ("vda", &["-device", "virtio-blk-pci,drive=card", "-device", "vmxnet3,netdev=net"]),
];

#[test]
fn a_pc_starts_from_each_kind_of_disk_and_has_each_kind_of_network() {
    let Some(programs) = PC.programs() else { return };
    let dir = TempDir::new().unwrap();
    let card = dir.path().join("card.img");
    if build(&PC, &programs, &card, &["--hostname", "barn"]).is_none() {
        return;
    }
    for (disk, devices) in DEVICES {
        let machine = Machine::with(&PC, dir.path(), &card, devices);
        machine.says(&format!("the card is {disk}"));
        machine.says("has the address 10.0.2.15");
        machine.press_button();
    }
}

#[test]
fn a_pc_that_asks_for_signatures_starts_it() {
    let Some(programs) = PC.programs() else { return };
    let dir = TempDir::new().unwrap();
    let card = dir.path().join("card.img");
    if build(&PC, &programs, &card, &[]).is_none() {
        return;
    }
    let mut qemu = pc(dir.path(), SECURE_FIRMWARE, SECURE_SETTINGS, "q35,smm=on");
    qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]).arg("-drive");
    qemu.arg(format!("file={},format=raw,if=none,id=card", Path::new(&card).display())).args(PC.devices);
    let machine = Machine::run(&PC, qemu, dir.path());
    machine.says("eyotd refuses its configuration");
    machine.press_button();
}
