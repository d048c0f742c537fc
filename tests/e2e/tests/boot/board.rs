//! The boards that QEMU has, and what it is told to be them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_image::disk::{read_fat, Partition, SLOTS};
use eyot_image::loader::{Loader, INITRAMFS, KERNEL_ARGUMENTS};

use crate::machine::started;

/// Firmware of a PC, and where that keeps its settings, of Debian's package ovmf.
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const SETTINGS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// Device tree that a Raspberry Pi's firmware takes for a 3B+.
const RASPI_TREE: &str = "bcm2837-rpi-3-b-plus.dtb";
/// QEMU 7.2 resets that board as soon as its watchdog is opened.
const RASPI_WITHOUT_WATCHDOG: &str = "module_blacklist=bcm2835_wdt";

/// The number of the system call, its argument, and the call.
const AARCH64_EXIT_7: &[u8] = &[0xa8, 0x0b, 0x80, 0xd2, 0xe0, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];

/// A board.
pub struct Board {
    /// Its name in `boards/`.
    pub id: &'static str,
    triple: &'static str,
    loader: Loader,
    /// What the card is plugged into, for QEMU.
    pub interface: &'static str,
    /// What else its card and its network are, for QEMU.
    pub devices: &'static [&'static str],
    /// How many it has, or may have.
    pub processors: &'static str,
    /// What the whole box may take, functions not counted.
    pub memory_max_mib: u32,
    /// Whether somebody can switch it off in order.
    pub has_button: bool,
    /// Whether its boot loader starts a new system once, and the one before after that.
    pub is_tried_once: bool,
    /// `exit(7)` in its processor's language.
    pub exit_7: &'static [u8],
}

/// QEMU's own 64-bit Arm. The test reads the card in a boot loader's place.
pub const VIRT: Board = Board {
    id: "qemu-virt",
    triple: "aarch64-unknown-linux-musl",
    loader: Loader::Direct,
    interface: "none",
    devices: &["-device", "virtio-blk-device,drive=card", "-device", "virtio-net-device,netdev=net"],
    processors: "2",
    memory_max_mib: 64,
    has_button: true,
    is_tried_once: false,
    exit_7: AARCH64_EXIT_7,
};

/// A Raspberry Pi 3, of which QEMU has the 3B and the images are for the 3B+: the test reads the card in its firmware's place.
/// Ethernet is one that QEMU has at its USB, in the place of the board's own.
pub const RASPI: Board = Board {
    id: "rpi-3b-plus",
    triple: "aarch64-unknown-linux-musl",
    loader: Loader::RaspberryPi3,
    interface: "sd",
    devices: &["-device", "usb-net,netdev=net"],
    processors: "4",
    memory_max_mib: 64,
    has_button: false,
    is_tried_once: false,
    exit_7: AARCH64_EXIT_7,
};

/// A PC with UEFI, which reads the card itself.
pub const PC: Board = Board {
    id: "x86-64",
    triple: "x86_64-unknown-linux-musl",
    loader: Loader::Uefi,
    interface: "none",
    devices: &["-device", "ide-hd,drive=card,bus=ide.0", "-device", "e1000e,netdev=net"],
    processors: "2",
    memory_max_mib: 60,
    has_button: true,
    is_tried_once: true,
    exit_7: &[0xbf, 7, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05],
};

impl Board {
    /// Where its programs are, if there are any.
    pub fn programs(&self) -> Option<PathBuf> {
        let Some(target) = env::var_os("EYOT_BOOT_TARGET_DIR").map(PathBuf::from) else {
            println!("SKIPPED: no EYOT_BOOT_TARGET_DIR; use tests/run.sh image");
            return None;
        };
        Some(target.join(self.triple).join("shipped"))
    }

    /// QEMU as this board, about to start from `card`; `dir` is for its files.
    pub fn emulator(&self, dir: &Path, card: &Path) -> Command {
        match self.loader {
            Loader::Uefi => pc(dir, FIRMWARE, SETTINGS, "q35"),
            Loader::RaspberryPi3 => self.raspi(dir, card),
            _ => {
                let mut qemu = self.arm(dir, card, &[]);
                qemu.args(["-machine", "virt", "-cpu", "cortex-a53", "-m", "256", "-device", "i6300esb"]);
                qemu.arg("-append").arg(format!("console=ttyAMA0 {KERNEL_ARGUMENTS}"));
                qemu
            }
        }
    }

    fn raspi(&self, dir: &Path, card: &Path) -> Command {
        let mut qemu = self.arm(dir, card, &[("-dtb", RASPI_TREE)]);
        qemu.args(["-machine", "raspi3b", "-monitor", "none"]);
        // Its console is at the second of two serial ports.
        qemu.args(["-serial", "null", "-serial", "stdio"]);
        let command_line = read_fat(card, slot(card), "cmdline.txt").unwrap();
        let command_line = String::from_utf8(command_line).unwrap();
        qemu.arg("-append").arg(format!("{} {RASPI_WITHOUT_WATCHDOG}", command_line.trim()));
        qemu
    }

    /// With the files that a boot loader takes from the slot that is started.
    fn arm(&self, dir: &Path, card: &Path, more: &[(&str, &str)]) -> Command {
        let mut qemu = Command::new("qemu-system-aarch64");
        let files = [("-kernel", self.loader.kernel()), ("-initrd", INITRAMFS)];
        for (option, name) in files.iter().chain(more) {
            let at = dir.join(name);
            fs::write(&at, read_fat(card, slot(card), name).unwrap()).unwrap();
            qemu.arg(option).arg(at);
        }
        qemu
    }
}

fn slot(card: &Path) -> Partition {
    *SLOTS.iter().find(|slot| slot.number == started(card)).unwrap()
}

/// A PC with this firmware.
pub fn pc(dir: &Path, firmware: &str, settings: &str, machine: &str) -> Command {
    // Anew for each start: what is remembered would be tried first, and the network next.
    let own = dir.join("settings.fd");
    fs::copy(settings, &own).unwrap();
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", machine, "-cpu", "max", "-m", "256"]);
    // With a thread for each processor, QEMU 7.2 now and then lets one run into a breakpoint with which the kernel patches
    // itself on the other, and the kernel panics.
    qemu.args(["-accel", "tcg,thread=single"]);
    qemu.args(["-global", "ICH9-LPC.noreboot=false"]);
    qemu.arg("-drive").arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={firmware}"));
    qemu.arg("-drive").arg(format!("if=pflash,format=raw,unit=1,file={}", own.display()));
    qemu
}
