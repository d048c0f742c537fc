//! The line to a node: a serial port, or a TCP socket for those behind a serial server or an emulator.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serial2_tokio::SerialPort;

use crate::mqtt::transport::{Endpoint, Io};

/// Where a node is.
#[derive(Clone, Debug)]
pub enum Port {
    /// Behind a TCP socket.
    Tcp(Endpoint),
    /// At a serial port, 8 data bits, no parity, one stop bit, no flow control.
    Serial {
        /// Its device file.
        path: PathBuf,
        /// Bits a second.
        baud: u32,
    },
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(endpoint) => write!(f, "tcp://{}", endpoint.address()),
            Self::Serial { path, baud } => write!(f, "{} at {baud} baud", path.display()),
        }
    }
}

impl Port {
    /// Opens it.
    ///
    /// # Errors
    /// It is not there, or not ours to use.
    pub async fn open(&self) -> io::Result<Box<dyn Io>> {
        match self {
            Self::Tcp(endpoint) => endpoint.connect().await,
            Self::Serial { path, baud } => Ok(Box::new(SerialPort::open(path, *baud)?)),
        }
    }
}
