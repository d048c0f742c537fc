//! A fresh broker for each run.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;
use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::port::free_port;
use eyot_test_e2e::wait::{wait_for, STEP};

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// rumqttd 0.20, the fastest at hand: shows the gateway's cost.
    Rumqttd,
    /// mosquitto, the one people have: shows what they would see.
    Mosquitto,
}

impl Kind {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rumqttd => "rumqttd",
            Self::Mosquitto => "mosquitto",
        }
    }
}

/// A running broker; it ends when dropped.
#[derive(Debug)]
pub enum Broker {
    /// The program `broker` of this crate.
    Rumqttd {
        /// The process.
        child: Child,
        /// Port for MQTT 3.1.1.
        v4_port: u16,
        /// Port for MQTT 5.
        v5_port: u16,
    },
    /// A real mosquitto, without limits of queues and with `TCP_NODELAY`.
    Mosquitto(Mosquitto),
}

impl Broker {
    /// Starts one. `bin_dir` is where the program `broker` is.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn start(kind: Kind, bin_dir: &Path) -> Self {
        match kind {
            Kind::Mosquitto => Self::Mosquitto(Mosquitto::forgetful()),
            Kind::Rumqttd => {
                let (v4_port, v5_port) = (free_port(), free_port());
                let child = Command::new(bin_dir.join("broker"))
                    .args([v4_port.to_string(), v5_port.to_string()])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("the program `broker` starts");
                for port in [v4_port, v5_port] {
                    wait_for("rumqttd to listen", STEP, || TcpStream::connect(("127.0.0.1", port)).ok());
                }
                Self::Rumqttd { child, v4_port, v5_port }
            }
        }
    }

    /// Where it speaks MQTT `protocol`: 4 for 3.1.1, or 5.
    pub fn port(&self, protocol: u8) -> u16 {
        match self {
            Self::Rumqttd { v4_port, .. } if protocol == 4 => *v4_port,
            Self::Rumqttd { v5_port, .. } => *v5_port,
            Self::Mosquitto(broker) => broker.port(),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Self::Rumqttd { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
