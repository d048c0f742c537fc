//! What is there before anything else: pseudo file systems, drivers, a name; and how all of it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{mount, mount_remount, unmount, MountFlags, UnmountFlags};
use rustix::system::{reboot, sethostname, RebootCommand};

use crate::card;
use crate::say;
use crate::supervisor::End;

/// What the user calls the box.
const NAME_FILE: &str = "/boot/hostname";
/// Bytes of a host name.
const NAME_MAX_BYTES: usize = 63;
/// For the first network interface, whose address tells boxes without a name apart.
const INTERFACE_WITHIN: Duration = Duration::from_secs(3);

/// Mounts what the kernel offers.
pub fn mount_kernel() {
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    let device_flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let kinds = [
        ("proc", "/proc", flags, c""),
        ("sysfs", "/sys", flags, c""),
        ("devtmpfs", "/dev", device_flags, c""),
        ("tmpfs", "/run", flags, c"mode=0755,size=8m"),
        ("tmpfs", "/tmp", flags, c"mode=1777,size=32m"),
    ];
    for (kind, at, flags, options) in kinds {
        if let Err(error) = mount(kind, at, kind, flags, options) {
            say!("{at} cannot be mounted: {error}");
        }
    }
}

/// Mounts terminals, for people who come in.
///
/// # Errors
/// The kernel refuses.
pub fn mount_terminals() -> std::io::Result<()> {
    fs::create_dir_all("/dev/pts")?;
    mount("devpts", "/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=0620,ptmxmode=0666")?;
    Ok(())
}

/// Memory in use, by the whole box.
pub fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let in_use = field("MemTotal:").unwrap_or_default().saturating_sub(field("MemAvailable:").unwrap_or_default());
    in_use >> 10
}

/// From here on nothing can write to the root file system, which is memory.
pub fn protect_root() {
    // The kernel makes it for everyone to write to, and dropbear takes no keys from below such a directory.
    if let Err(error) = fs::set_permissions("/", PermissionsExt::from_mode(0o755)) {
        say!("the root directory stays as it is: {error}");
    }
    if let Err(error) = mount_remount("/", MountFlags::RDONLY, "") {
        say!("the root file system stays writable: {error}");
    }
}

/// Network interfaces that are, or look like, Ethernet.
pub fn interfaces() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = fs::read_to_string(entry.path().join("type")).unwrap_or_default();
        if name != "lo" && kind.trim() == "1" {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Whether an interface is a radio.
pub fn is_wireless(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).join("phy80211").exists()
}

/// Names the box: as the user says, or after its first network interface.
pub fn set_name() -> String {
    let chosen = fs::read_to_string(NAME_FILE).unwrap_or_default();
    let mut name: String =
        chosen.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(NAME_MAX_BYTES).collect();
    if name.is_empty() {
        name = name_by_address();
    }
    if let Err(error) = sethostname(name.as_bytes()) {
        say!("the host name cannot be set: {error}");
    }
    name
}

fn name_by_address() -> String {
    let begin = Instant::now();
    while begin.elapsed() < INTERFACE_WITHIN {
        if let Some(first) = interfaces().first() {
            let address = fs::read_to_string(format!("/sys/class/net/{first}/address")).unwrap_or_default();
            let digits: String = address.trim().replace(':', "").chars().skip(6).collect();
            return format!("eyot-{digits}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    "eyot".to_owned()
}

/// Ends it all. Returns only if the kernel refuses.
pub fn finish(end: End) {
    rustix::fs::sync();
    for at in [card::DATA, card::CONFIG] {
        if Path::new(at).exists() && unmount(at, UnmountFlags::empty()).is_err() {
            // Somebody still writes: then at least everything that is there gets written.
            let _ = mount_remount(at, MountFlags::RDONLY, "");
        }
    }
    rustix::fs::sync();
    let command = match end {
        End::PowerOff => RebootCommand::PowerOff,
        End::Restart => RebootCommand::Restart,
    };
    if let Err(error) = reboot(command) {
        say!("the kernel does not stop: {error}");
    }
}
