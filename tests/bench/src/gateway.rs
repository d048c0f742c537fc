//! The programs that are compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use eyot_test_e2e::config::Config;
use eyot_test_e2e::guest;
use tempfile::TempDir;

use crate::peers::Peer;

/// A file system in memory, on every Linux.
pub const MEMORY_DIR: &str = "/dev/shm";

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `eyotd` with the function `celsius`: every result committed to disk before the sensor's PUBACK.
    Eyot,
    /// The same with its log in memory: what the disk costs is the difference.
    InMemory,
    /// Another build of `eyotd`, to be compared with this one.
    Baseline,
    /// The program `native`: the same work, nothing kept.
    Native,
    /// A program in another language: the same work, nothing kept.
    Peer(Peer),
    /// None: the broker alone, as a limit.
    None,
}

impl Kind {
    /// As the report writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eyot => "eyotd, committing",
            Self::InMemory => "eyotd, its log in memory",
            Self::Baseline => "eyotd, the other build",
            Self::Native => "native Rust, keeping nothing",
            Self::Peer(Peer::MqttJs) => "mqtt.js",
            Self::Peer(Peer::NodeRed) => "Node-RED",
            Self::Peer(Peer::Paho) => "paho (Python)",
            Self::None => "no gateway: broker alone",
        }
    }

    /// Whether it is a build of `eyotd`.
    pub const fn is_eyot(self) -> bool {
        matches!(self, Self::Eyot | Self::InMemory | Self::Baseline)
    }

    /// Of the messages of a run, one in so many is enough for it: it is slow, and a rate is a rate.
    pub const fn one_in(self) -> u64 {
        match self {
            Self::Peer(Peer::NodeRed | Peer::Paho) => 5,
            _ => 1,
        }
    }
}

/// Where programs and data are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Programs in the release profile.
    pub bin_dir: PathBuf,
    /// The other `eyotd`, if there is one.
    pub baseline: Option<PathBuf>,
    /// A directory on a real disk.
    pub data_dir: PathBuf,
    /// Where cargo and the other package managers put things.
    pub target_dir: PathBuf,
}

/// A running gateway; it ends when dropped, and its data with it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    data: TempDir,
}

impl Gateway {
    /// Starts one; `None` where there is none to start.
    ///
    /// # Panics
    /// When the program does not start.
    pub fn start(kind: Kind, places: &Places, port: u16, protocol: u8, qos: u8) -> Option<Self> {
        match kind {
            Kind::Eyot => {
                Some(Self::eyot(&places.bin_dir.join("eyotd"), &places.data_dir, port, protocol, &["celsius"]))
            }
            Kind::InMemory => {
                Some(Self::eyot(&places.bin_dir.join("eyotd"), Path::new(MEMORY_DIR), port, protocol, &["celsius"]))
            }
            Kind::Baseline => {
                let program = places.baseline.as_deref().expect("a baseline is measured only where there is one");
                Some(Self::eyot(program, &places.data_dir, port, protocol, &["celsius"]))
            }
            Kind::Native => {
                let mut command = Command::new(places.bin_dir.join("native"));
                command.args([port.to_string(), qos.to_string()]);
                Some(Self::spawn(&mut command, data_dir(&places.data_dir)))
            }
            Kind::Peer(peer) => {
                let data = data_dir(&places.data_dir);
                let dir = peer.install(&places.target_dir).expect("it was installed before");
                Some(Self::spawn(&mut peer.command(&dir, data.path(), port, qos), data))
            }
            Kind::None => None,
        }
    }

    /// `eyotd` with example functions; `program` is its path, its data are below `parent`.
    ///
    /// # Panics
    /// When the program does not start.
    pub fn eyot(program: &Path, parent: &Path, port: u16, protocol: u8, functions: &[&str]) -> Self {
        let dir = data_dir(parent);
        let mut config = Config::new("bench", &dir.path().join("data"), format!("mqtt://127.0.0.1:{port}"));
        config.protocol = protocol;
        config.functions = functions.iter().map(|name| guest::example(name)).collect();
        let path = dir.path().join("gateway.toml");
        fs::write(&path, config.text()).expect("gateway.toml is written");
        Self::spawn(Command::new(program).arg("--config").arg(path), dir)
    }

    fn spawn(command: &mut Command, data: TempDir) -> Self {
        let log = fs::File::create(data.path().join("log")).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self { child, data }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines it wrote, to explain a failure.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.data.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn data_dir(parent: &Path) -> TempDir {
    fs::create_dir_all(parent).expect("the data directory can be made");
    TempDir::new_in(parent).expect("a directory in the data directory")
}
