//! Gateways in other languages: installed by their own package managers at the versions their lock files name, into the
//! target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Written when everything is installed; holds what the lock file held then.
const DONE: &str = "installed";

/// A peer that is no program of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A script with mqtt.js.
    MqttJs,
    /// A flow of three nodes.
    NodeRed,
    /// A script with paho-mqtt.
    Paho,
}

impl Peer {
    /// Its directory, here and where it is installed.
    const fn dir(self) -> &'static str {
        match self {
            Self::MqttJs => "mqttjs",
            Self::NodeRed => "node-red",
            Self::Paho => "paho",
        }
    }

    const fn lock(self) -> &'static str {
        match self {
            Self::MqttJs | Self::NodeRed => "package-lock.json",
            Self::Paho => "requirements.txt",
        }
    }

    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::MqttJs => &["package.json", "package-lock.json", "gateway.js"],
            Self::NodeRed => &["package.json", "package-lock.json", "settings.js", "flow.json"],
            Self::Paho => &["requirements.txt", "gateway.py"],
        }
    }

    /// What installs it.
    fn installer(self, dir: &Path) -> Command {
        match self {
            Self::MqttJs | Self::NodeRed => {
                let mut npm = Command::new("npm");
                npm.args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(dir);
                npm
            }
            Self::Paho => {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
                pip.args(["--upgrade", "--target", "lib", "-r", "requirements.txt"]).current_dir(dir);
                pip
            }
        }
    }

    /// Sees that it is installed below `target`; returns where.
    ///
    /// # Errors
    /// Why it is not: its package manager is missing or failed.
    pub fn install(self, target: &Path) -> Result<PathBuf, String> {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(self.dir());
        let dir = target.join("bench-peers").join(self.dir());
        let lock = fs::read(from.join(self.lock())).map_err(|e| format!("{}: {e}", self.lock()))?;
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for file in self.files() {
            fs::copy(from.join(file), dir.join(file)).map_err(|e| format!("{file}: {e}"))?;
        }
        if fs::read(dir.join(DONE)).is_ok_and(|done| done == lock) {
            return Ok(dir);
        }
        succeed(&mut self.installer(&dir))?;
        fs::write(dir.join(DONE), lock).map_err(|e| format!("{DONE}: {e}"))?;
        Ok(dir)
    }

    /// What runs it from `dir`, where it is installed, with `data` for what it wants to write.
    ///
    /// # Panics
    /// When `data` cannot be written.
    pub fn command(self, dir: &Path, data: &Path, port: u16, qos: u8) -> Command {
        let (port, qos) = (port.to_string(), qos.to_string());
        let mut command = Command::new(if self == Self::Paho { "python3" } else { "node" });
        match self {
            Self::MqttJs => command.arg(dir.join("gateway.js")).args([port, qos]),
            Self::Paho => command.arg(dir.join("gateway.py")).args([port, qos]).env("PYTHONPATH", dir.join("lib")),
            Self::NodeRed => {
                fs::copy(dir.join("flow.json"), data.join("flow.json")).expect("the data directory is ours");
                let (main, settings) = (dir.join("node_modules/node-red/red.js"), dir.join("settings.js"));
                command.arg(main).arg("--settings").arg(settings).arg("--userDir").arg(data);
                command.env("MQTT_PORT", port).env("MQTT_QOS", qos)
            }
        };
        command
    }
}

/// Runs it to its end.
///
/// # Errors
/// It is missing, or failed: its last line.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|e| format!("{:?} does not start: {e}", command.get_program()))?;
    if done.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&done.stderr);
    Err(format!("{command:?} failed: {}", words.lines().next_back().unwrap_or_default()))
}
