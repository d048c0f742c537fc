//! A mount namespace of one's own: whatever way the rig ends, its mounts end with it, and with them its loop devices
//! and images.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{mount, MountFlags};

use crate::Error;

/// Set for the process that is in the namespace.
const INSIDE: &str = "EYOT_POWERCUT_INSIDE";
/// An empty directory to everybody else.
const ROOM: &str = "eyot-powercut";
/// Most memory that files there may take.
const ROOM_OPTIONS: &std::ffi::CStr = c"size=256m,mode=700";

/// What this machine lacks for power cuts; none if it lacks nothing.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, to mount".to_owned());
    }
    let nodes = ["/dev/fuse", "/dev/loop-control"].into_iter().filter(|node| !Path::new(node).exists());
    let programs = ["unshare", "losetup", "mkfs.ext4"].into_iter().filter(|program| find(program).is_none());
    let missing: Vec<&str> = nodes.chain(programs).collect();
    (!missing.is_empty()).then(|| format!("it needs {}", missing.join(", ")))
}

/// Starts this program again in a namespace of its own, and returns there: with a directory in memory.
pub fn enter() -> Result<PathBuf, Error> {
    let room = env::temp_dir().join(ROOM);
    if env::var_os(INSIDE).is_none() {
        std::fs::create_dir_all(&room).map_err(Error::io(&room))?;
        let program = env::current_exe().map_err(Error::io(Path::new("the running program")))?;
        let unshare =
            find("unshare").ok_or_else(|| Error::Setup("unshare is missing; install util-linux".to_owned()))?;
        let mut command = Command::new(unshare);
        command.args(["--mount", "--propagation", "private", "--"]).arg(program).args(env::args_os().skip(1));
        let error = command.env(INSIDE, "1").env("PATH", path()).exec();
        return Err(Error::Setup(format!("{command:?} does not start: {error}")));
    }
    mount("tmpfs", &room, "tmpfs", MountFlags::NOATIME, ROOM_OPTIONS)
        .map_err(|error| Error::Mount { at: room.clone(), error: error.into() })?;
    Ok(room)
}

/// Administrators' programs are not on everybody's path.
fn path() -> String {
    env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}
