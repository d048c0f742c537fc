//! An image out of packages, programs and configuration.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::disk::{self, CONFIG, DATA, SLOTS};
use crate::initramfs::{gzip, Initramfs};
use crate::modules;
use crate::package::{self, Files};
use crate::system::{self, System};
use crate::{Error, Progress};

/// What the kernel is called on the card.
pub const KERNEL: &str = "kernel8.img";
/// And the root file system.
pub const INITRAMFS: &str = "initramfs.gz";
/// What DHCP leads to.
const LEASE_SCRIPT: &[u8] = include_bytes!("lease.sh");

/// What a board needs.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Its name in `boards/`.
    pub id: String,
    /// Modules of the kernel, if they are not built in. What they depend on is found.
    pub drivers: Vec<String>,
    /// Device tree in the kernel's package, if its boot loader needs one.
    pub device_tree: Option<String>,
    /// Serial console of the kernel.
    pub console: String,
    /// Its boot loader, if it is on the card.
    pub loader: Option<Loader>,
}

/// Boot loaders that are on the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// The firmware of Raspberry Pis up to 3, which begins on the first partition.
    RaspberryPi3,
    /// Of the 4 and its kin, which have the beginning in a memory of their own.
    RaspberryPi4,
    /// Of the 5, which has all of it there.
    RaspberryPi5,
}

/// What goes into an image.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What it is for.
    pub board: &'a Board,
    /// Packages: a kernel, busybox, certificates, firmware.
    pub packages: &'a [PathBuf],
    /// The first process, static and for the board's processor.
    pub init: &'a [u8],
    /// The daemon, likewise.
    pub eyotd: &'a [u8],
    /// What the first partition has for the gateway: `gateway.toml`, and what it names.
    pub config: Files,
}

/// Makes the image in `out`, which changes only when all is well.
///
/// # Errors
/// A package lacks something, or something does not fit.
pub fn build(parts: &Parts<'_>, out: &Path, progress: &dyn Progress) -> Result<(), Error> {
    let files = unpack(parts.packages, progress)?;
    let kernel = kernel(&files)?;
    progress.begin("root file system", 0);
    let initramfs = initramfs(parts, &files)?;
    progress.begin("kernel", 0);
    let kernel = if is_gzip(kernel) { kernel.to_vec() } else { gzip(kernel)? };
    let (mut config, mut slot) = (parts.config.clone(), Files::new());
    if let Some(loader) = parts.board.loader {
        add_loader(loader, parts.board, &files, &mut config, &mut slot)?;
    }
    // Which slot is started. Firmware before 2020 does not know the file, and finds config.txt beside it instead.
    config.insert("autoboot.txt".to_owned(), b"[all]\nboot_partition=2\n".to_vec());
    let system = System { board: parts.board.id.clone(), version: env!("CARGO_PKG_VERSION").to_owned() };
    slot.insert(system::FILE.to_owned(), system.text()?.into_bytes());
    slot.insert(KERNEL.to_owned(), kernel);
    slot.insert(INITRAMFS.to_owned(), initramfs);
    progress.begin("file systems", 0);
    let config = disk::fat(CONFIG.size, *b"EYOT       ", &config)?;
    let slot = disk::fat(SLOTS[0].size, *b"BOOT-A     ", &slot)?;
    let directory = out.parent().filter(|directory| *directory != Path::new("")).unwrap_or(Path::new("."));
    let cannot = |error: &io::Error| Error::file(out, error, "choose another file with --out");
    let temporary = tempfile::tempdir_in(directory).map_err(|e| cannot(&e))?;
    let data = disk::ext4(temporary.path())?;
    let mut image = NamedTempFile::new_in(directory).map_err(|e| cannot(&e))?;
    disk::write(image.as_file_mut(), &[(CONFIG, &config), (SLOTS[0], &slot), (DATA, &data)]).map_err(|e| cannot(&e))?;
    image.persist(out).map_err(|e| cannot(&e.error))?;
    readable(out).map_err(|e| cannot(&e))
}

/// As any new file; temporary ones are for their owner alone.
fn readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    File::open(path)?.set_permissions(PermissionsExt::from_mode(0o644))
}

fn unpack(packages: &[PathBuf], progress: &dyn Progress) -> Result<Files, Error> {
    let mut files = Files::new();
    for path in packages {
        progress.begin("unpacking", 0);
        files.extend(package::read(path, is_of_use)?);
    }
    Ok(files)
}

/// What of a package may get into an image.
fn is_of_use(path: &str) -> bool {
    let path = path.strip_prefix("usr/").unwrap_or(path);
    ["boot/vmlinu", "lib/linux-image-", "lib/raspi-firmware/", "bin/busybox", "share/ca-certificates/mozilla/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
        || (path.starts_with("lib/modules/")
            && [".ko", ".ko.xz", ".dtb", "/vmlinuz", "/modules.builtin"].iter().any(|end| path.ends_with(end)))
}

fn kernel(files: &Files) -> Result<&[u8], Error> {
    let is_kernel = |path: &str| path.contains("/vmlinuz") || path.starts_with("boot/vmlinu");
    let found = files.iter().find(|(path, _)| is_kernel(path));
    found.map(|(_, kernel)| kernel.as_slice()).ok_or_else(|| Error::package("the kernel's package", "has no kernel"))
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

fn initramfs(parts: &Parts<'_>, files: &Files) -> Result<Vec<u8>, Error> {
    let busybox = named(files, "busybox").ok_or_else(|| Error::package("busybox-static", "has no busybox"))?;
    let mut root = Initramfs::default();
    root.directories(&["bin", "boot", "dev", "etc", "etc/ssl", "etc/ssl/certs", "lib", "lib/modules"]);
    root.directories(&["proc", "run", "sys", "tmp", "var", "var/lib"]);
    root.console();
    root.program("init", parts.init);
    root.program("bin/eyotd", parts.eyotd);
    root.program("bin/busybox", busybox);
    root.program("etc/udhcpc", LEASE_SCRIPT);
    root.link("etc/resolv.conf", "/run/resolv.conf");
    root.file("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n");
    root.file("etc/board", parts.board.id.as_bytes());
    let authorities = files.iter().filter(|(path, _)| path.contains("/ca-certificates/mozilla/"));
    let mut bundle = Vec::new();
    for (_, certificate) in authorities {
        bundle.extend_from_slice(certificate.trim_ascii());
        bundle.push(b'\n');
    }
    root.file("etc/ssl/certs/ca-certificates.crt", &bundle);
    let mut list = String::new();
    for module in modules::select(files, &parts.board.drivers)? {
        let path = format!("lib/modules/{}.ko", module.name);
        root.file(&path, &module.content);
        list.push_str(&format!("/{path}\n"));
    }
    root.file("etc/modules", list.as_bytes());
    root.finish()
}

fn named<'a>(files: &'a Files, name: &str) -> Option<&'a [u8]> {
    let is_it = |path: &str| path.rsplit('/').next() == Some(name);
    files.iter().find(|(path, _)| is_it(path)).map(|(_, content)| content.as_slice())
}

/// Firmware, its configuration and the device tree, where the Raspberry Pi looks for them.
fn add_loader(loader: Loader, board: &Board, files: &Files, config: &mut Files, slot: &mut Files) -> Result<(), Error> {
    let (first, second): (&[&str], &[&str]) = match loader {
        Loader::RaspberryPi3 => (&["bootcode.bin"], &["start.elf", "fixup.dat"]),
        Loader::RaspberryPi4 => (&[], &["start4.elf", "fixup4.dat"]),
        Loader::RaspberryPi5 => (&[], &[]),
    };
    let find = |name: &str| {
        let found = named(files, name).ok_or_else(|| Error::package("the packages", format_args!("have no {name}")));
        found.map(<[u8]>::to_vec)
    };
    for name in first {
        config.insert((*name).to_owned(), find(name)?);
    }
    for name in second {
        slot.insert((*name).to_owned(), find(name)?);
    }
    if let Some(tree) = &board.device_tree {
        slot.insert(tree.clone(), find(tree)?);
    }
    let settings = format!(
        "arm_64bit=1\nenable_uart=1\nupstream_kernel=1\ndisable_splash=1\nkernel={KERNEL}\ninitramfs {INITRAMFS} followkernel\n"
    );
    slot.insert("config.txt".to_owned(), settings.into_bytes());
    slot.insert("cmdline.txt".to_owned(), format!("console={} panic=10 quiet\n", board.console).into_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let names = ["usr/lib/raspi-firmware/start4.elf", "usr/lib/raspi-firmware/fixup4.dat"];
        let tree = "usr/lib/linux-image-6/broadcom/bcm2711-rpi-4-b.dtb";
        names.iter().chain([&tree]).map(|name| ((*name).to_owned(), name.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_pi_finds_its_firmware_its_tree_and_its_slot() {
        let board = Board {
            device_tree: Some("bcm2711-rpi-4-b.dtb".to_owned()),
            console: "ttyS1,115200".to_owned(),
            ..Board::default()
        };
        let (mut config, mut slot) = (Files::new(), Files::new());
        add_loader(Loader::RaspberryPi4, &board, &files(), &mut config, &mut slot).unwrap();
        let names: Vec<_> = slot.keys().map(String::as_str).collect();
        assert_eq!(names, ["bcm2711-rpi-4-b.dtb", "cmdline.txt", "config.txt", "fixup4.dat", "start4.elf"]);
        assert!(config.is_empty());
        let settings = String::from_utf8(slot["config.txt"].clone()).unwrap();
        assert!(settings.contains("kernel=kernel8.img\ninitramfs initramfs.gz followkernel\n"), "{settings}");
        let lacks = add_loader(Loader::RaspberryPi3, &board, &files(), &mut config, &mut slot).unwrap_err();
        assert!(lacks.to_string().contains("bootcode.bin"));
    }

    #[test]
    fn of_packages_only_what_is_of_use_is_unpacked() {
        for path in ["boot/vmlinuz-6", "usr/lib/modules/6/kernel/a.ko.xz", "bin/busybox", "usr/lib/linux-image-6/x.dtb"]
        {
            assert!(is_of_use(path), "{path}");
        }
        for path in ["boot/config-6", "boot/System.map-6", "usr/share/doc/busybox-static/copyright"] {
            assert!(!is_of_use(path), "{path}");
        }
    }
}
