//! What starts the kernel: files on the first partition, which stay, and in the slots, which come with each system.
//!
//! Which slot is started stands in one digit of `autoboot.txt` on the first partition, whoever reads it. GRUB, which can write,
//! also starts another one once.

use eyot_card::{LOADER_FILE, LOADER_KEY, SLOTS, SLOT_ARGUMENT, TRIAL_FILE, TRIAL_HEAD};

use crate::build::Board;
use crate::disk::ConfigKind;
use crate::initramfs::gzip;
use crate::package::{named, Files};
use crate::Error;

/// The root file system, in a slot.
pub const INITRAMFS: &str = "initramfs.gz";
/// Where packages have what is added here.
pub(crate) const DIRECTORIES: &[&str] = &["lib/linux-image-", "lib/raspi-firmware/", "lib/shim/", "lib/grub/"];

/// What each kernel is told. Large pages would have it keep 27 MiB of a 1 GiB box free for them, and nothing here is that large.
pub const KERNEL_ARGUMENTS: &str = "panic=10 quiet transparent_hugepage=never";

/// Finds the slot, and does what that says.
const GRUB_ON_CARD: &[u8] = include_bytes!("grub.cfg");
/// Where Debian's signed GRUB looks for it.
const GRUB_CONFIG: &str = "EFI/debian/grub.cfg";
/// GRUB overwrites [`TRIAL_FILE`] where it is.
const TRIAL_BYTES: usize = 1024;
/// The firmware of PCs starts the first, which is signed by Microsoft, and that the second, signed by Debian, as is the kernel.
const EFI_PROGRAMS: [(&str, &str); 2] =
    [("EFI/BOOT/BOOTX64.EFI", "shimx64.efi.signed"), ("EFI/BOOT/grubx64.efi", "grubx64.efi.signed")];

/// Boot loaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loader {
    /// None on the card.
    #[default]
    Direct,
    /// The firmware of Raspberry Pis up to 3, which begins on the first partition.
    RaspberryPi3,
    /// Of the 4 and its kin, which have the beginning in a memory of their own.
    RaspberryPi4,
    /// Of the 5, which has all of it there.
    RaspberryPi5,
    /// GRUB, started by the UEFI of a PC.
    Uefi,
}

impl Loader {
    /// What it takes the first partition for.
    pub fn config_kind(self) -> ConfigKind {
        match self {
            Self::Uefi => ConfigKind::EfiSystem,
            _ => ConfigKind::Fat,
        }
    }

    /// What the kernel is called in a slot.
    pub fn kernel(self) -> &'static str {
        match self {
            Self::Uefi => "vmlinuz",
            _ => "kernel8.img",
        }
    }
}

/// Adds the kernel, and what starts it on `board`.
pub(crate) fn add(
    board: &Board,
    kernel: &[u8],
    files: &Files,
    config: &mut Files,
    slot: &mut Files,
) -> Result<(), Error> {
    // A PC's kernel unpacks itself, and its signature is for what it is.
    let is_ready = board.loader == Loader::Uefi || kernel.starts_with(&[0x1f, 0x8b]);
    let kernel = if is_ready { kernel.to_vec() } else { gzip(kernel)? };
    slot.insert(board.loader.kernel().to_owned(), kernel);
    // Firmware of Raspberry Pis before 2020 does not know the file, and finds config.txt beside it instead.
    let section = if board.loader == Loader::Uefi { "" } else { "[all]\n" };
    config.insert(LOADER_FILE.to_owned(), format!("{section}{LOADER_KEY}{}\n", SLOTS[0]).into_bytes());
    let (first, second): (&[&str], &[&str]) = match board.loader {
        Loader::Direct => return Ok(()),
        Loader::Uefi => return add_grub(board, files, config, slot),
        Loader::RaspberryPi3 => (&["bootcode.bin"], &["start.elf", "fixup.dat"]),
        Loader::RaspberryPi4 => (&[], &["start4.elf", "fixup4.dat"]),
        Loader::RaspberryPi5 => (&[], &[]),
    };
    for name in first {
        config.insert((*name).to_owned(), find(files, name)?);
    }
    for name in second {
        slot.insert((*name).to_owned(), find(files, name)?);
    }
    if let Some(tree) = &board.device_tree {
        slot.insert(tree.clone(), find(files, tree)?);
    }
    let kernel = board.loader.kernel();
    let settings = format!(
        "arm_64bit=1\nenable_uart=1\nupstream_kernel=1\ndisable_splash=1\nkernel={kernel}\ninitramfs {INITRAMFS} followkernel\n"
    );
    slot.insert("config.txt".to_owned(), settings.into_bytes());
    slot.insert("cmdline.txt".to_owned(), format!("console={} {KERNEL_ARGUMENTS}\n", board.console).into_bytes());
    Ok(())
}

fn add_grub(board: &Board, files: &Files, config: &mut Files, slot: &mut Files) -> Result<(), Error> {
    for (at, name) in EFI_PROGRAMS {
        config.insert(at.to_owned(), find(files, name)?);
    }
    config.insert(GRUB_CONFIG.to_owned(), GRUB_ON_CARD.to_vec());
    let trial = format!("{:#<TRIAL_BYTES$}", format!("{TRIAL_HEAD}\n"));
    config.insert(TRIAL_FILE.to_owned(), trial.into_bytes());
    let (kernel, console) = (board.loader.kernel(), &board.console);
    // The first process is told which slot this is.
    let start = format!(
        "linux /{kernel} console=tty0 console={console} {SLOT_ARGUMENT}$boot_partition {KERNEL_ARGUMENTS}\ninitrd /{INITRAMFS}\nboot\n"
    );
    slot.insert("grub.cfg".to_owned(), start.into_bytes());
    Ok(())
}

fn find(files: &Files, name: &str) -> Result<Vec<u8>, Error> {
    let found = named(files, name).ok_or_else(|| Error::package("the packages", format_args!("have no {name}")));
    found.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Files {
        names.iter().map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect()
    }

    fn names(files: &Files) -> Vec<&str> {
        files.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_pi_finds_its_firmware_its_tree_and_its_slot() {
        let files = files(&[
            "usr/lib/raspi-firmware/start4.elf",
            "usr/lib/raspi-firmware/fixup4.dat",
            "usr/lib/linux-image-6/broadcom/bcm2711-rpi-4-b.dtb",
        ]);
        let mut board = Board {
            device_tree: Some("bcm2711-rpi-4-b.dtb".to_owned()),
            console: "ttyS1,115200".to_owned(),
            loader: Loader::RaspberryPi4,
            ..Board::default()
        };
        let (mut config, mut slot) = (Files::new(), Files::new());
        add(&board, b"kernel", &files, &mut config, &mut slot).unwrap();
        let expected = ["bcm2711-rpi-4-b.dtb", "cmdline.txt", "config.txt", "fixup4.dat", "kernel8.img", "start4.elf"];
        assert_eq!(names(&slot), expected);
        assert!(slot["kernel8.img"].starts_with(&[0x1f, 0x8b]), "it is compressed");
        assert_eq!(config, Files::from([(LOADER_FILE.to_owned(), b"[all]\nboot_partition=2\n".to_vec())]));
        let settings = String::from_utf8(slot["config.txt"].clone()).unwrap();
        assert!(settings.contains("kernel=kernel8.img\ninitramfs initramfs.gz followkernel\n"), "{settings}");
        board.loader = Loader::RaspberryPi3;
        let lacks = add(&board, b"kernel", &files, &mut config, &mut slot).unwrap_err();
        assert!(lacks.to_string().contains("bootcode.bin"));
    }

    #[test]
    fn a_pc_finds_signed_programs_and_a_kernel_as_it_was_signed() {
        let files = files(&["usr/lib/shim/shimx64.efi.signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"]);
        let board = Board { console: "ttyS0,115200".to_owned(), loader: Loader::Uefi, ..Board::default() };
        let (mut config, mut slot) = (Files::new(), Files::new());
        add(&board, b"MZ", &files, &mut config, &mut slot).unwrap();
        let expected = ["EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "EFI/debian/grub.cfg", LOADER_FILE, TRIAL_FILE];
        assert_eq!(names(&config), expected);
        assert_eq!(config[TRIAL_FILE].len(), 1024, "as GRUB demands");
        assert!(config["EFI/BOOT/BOOTX64.EFI"].starts_with(b"usr/lib/shim"));
        assert_eq!(config[LOADER_FILE], b"boot_partition=2\n", "a line that GRUB can run");
        assert_eq!(slot["vmlinuz"], b"MZ");
        let start = String::from_utf8(slot["grub.cfg"].clone()).unwrap();
        assert!(start.starts_with("linux /vmlinuz console=tty0 console=ttyS0,115200 "), "{start}");
        let lacks = add(&board, b"MZ", &Files::new(), &mut config, &mut slot).unwrap_err();
        assert!(lacks.to_string().contains("shimx64.efi.signed"));
    }
}
