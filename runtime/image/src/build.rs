//! An image out of packages, programs and configuration.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use eyot_card::WIFI_NETWORKS;
use tempfile::NamedTempFile;

use crate::disk::{self, CONFIG, DATA, SLOTS};
use crate::extra::{self, Extra, Wifi};
use crate::initramfs::Initramfs;
use crate::libraries;
use crate::loader::{self, Loader, INITRAMFS};
use crate::modules;
use crate::package::{self, named, Files};
use crate::system::{self, System};
use crate::{Error, Progress};

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
    /// What starts its kernel.
    pub loader: Loader,
    /// If it has that.
    pub wifi: Option<Wifi>,
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
    /// What it has beside these.
    pub extras: &'a [Extra],
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
    let (mut config, mut slot) = (parts.config.clone(), Files::new());
    loader::add(parts.board, kernel, &files, &mut config, &mut slot)?;
    let system = System { board: parts.board.id.clone(), version: env!("CARGO_PKG_VERSION").to_owned() };
    slot.insert(system::FILE.to_owned(), system.text()?.into_bytes());
    slot.insert(INITRAMFS.to_owned(), initramfs);
    progress.begin("file systems", 0);
    let config = disk::fat(CONFIG.size, *b"EYOT       ", &config)?;
    let slot = disk::fat(SLOTS[0].size, *b"BOOT-A     ", &slot)?;
    let directory = out.parent().filter(|directory| *directory != Path::new("")).unwrap_or(Path::new("."));
    let cannot = |error: &io::Error| Error::file(out, error, "choose another file with --out");
    let temporary = tempfile::tempdir_in(directory).map_err(|e| cannot(&e))?;
    let data = disk::ext4(temporary.path())?;
    let mut image = NamedTempFile::new_in(directory).map_err(|e| cannot(&e))?;
    let contents = [(CONFIG, &config[..]), (SLOTS[0], &slot), (DATA, &data)];
    disk::write(image.as_file_mut(), parts.board.loader.config_kind(), &contents).map_err(|e| cannot(&e))?;
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
    let prefixes = ["boot/vmlinu", "bin/busybox", "sbin/", "share/ca-certificates/mozilla/", "lib/firmware/"];
    prefixes.iter().chain(loader::DIRECTORIES).any(|prefix| path.starts_with(prefix))
        || libraries::is_library(path)
        || (path.starts_with("lib/modules/")
            && [".ko", ".ko.xz", ".dtb", "/vmlinuz", "/modules.builtin"].iter().any(|end| path.ends_with(end)))
}

fn kernel(files: &Files) -> Result<&[u8], Error> {
    let is_kernel = |path: &str| path.contains("/vmlinuz") || path.starts_with("boot/vmlinu");
    let found = files.iter().find(|(path, _)| is_kernel(path));
    found.map(|(_, kernel)| kernel.as_slice()).ok_or_else(|| Error::package("the kernel's package", "has no kernel"))
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
    let wifi = parts.board.wifi.as_ref().filter(|_| parts.extras.contains(&Extra::Wifi));
    let radio = wifi.map(|wifi| wifi.drivers.as_slice()).unwrap_or_default();
    // Nothing shows that a radio is there.
    for module in modules::select(files, &parts.board.drivers, radio)? {
        let path = format!("lib/modules/{}{}", module.name, module.ending);
        root.file(&path, &module.content);
        list.push_str(&module.line());
    }
    root.file("etc/modules", list.as_bytes());
    extra::add(parts.extras, wifi, parts.config.get(WIFI_NETWORKS).map(Vec::as_slice), files, &mut root)?;
    root.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_packages_only_what_is_of_use_is_unpacked() {
        for path in ["boot/vmlinuz-6", "usr/lib/modules/6/kernel/a.ko.xz", "bin/busybox", "usr/lib/linux-image-6/x.dtb"]
        {
            assert!(is_of_use(path), "{path}");
        }
        for path in ["boot/config-6", "boot/System.map-6", "usr/share/doc/busybox-static/copyright", "usr/bin/dbclient"]
        {
            assert!(!is_of_use(path), "{path}");
        }
    }
}
