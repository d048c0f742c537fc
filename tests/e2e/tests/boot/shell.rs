//! A shell in a machine, over SSH.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::Machine;

/// Keys of two people, `ada` and `eve`, and what machines are known by.
pub struct Shell {
    dir: PathBuf,
}

impl Shell {
    /// Makes keys in `dir`.
    pub fn new(dir: &Path) -> Self {
        let shell = Self { dir: dir.to_owned() };
        for name in ["ada", "eve"] {
            let mut keygen = Command::new("ssh-keygen");
            let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(shell.dir.join(name)).status();
            assert!(made.unwrap().success());
        }
        shell
    }

    /// What becomes of a command in the machine, and what it says, with this one's key. A box that is known by another key the
    /// second time is refused.
    pub fn run(&self, machine: &Machine, key: &str, command: &str) -> (Option<i32>, String) {
        let known = format!("UserKnownHostsFile={}", self.known().display());
        let options = ["BatchMode=yes", "StrictHostKeyChecking=accept-new", "IdentitiesOnly=yes", "HostKeyAlias=barn"];
        let mut ssh = Command::new("ssh");
        for option in options.into_iter().chain([known.as_str()]) {
            ssh.args(["-o", option]);
        }
        ssh.args(["-p", &machine.ssh_port().to_string(), "-i"]).arg(self.dir.join(key));
        let done = ssh.args(["root@127.0.0.1", command]).output().unwrap();
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    }

    /// What machines are known by.
    pub fn known(&self) -> PathBuf {
        self.dir.join("known")
    }
}
