//! A gateway in this process, with a broker of its own. It takes functions of anybody who reaches it, so it listens on this
//! machine only.

use std::path::Path;

use eyot_gateway::{Config, Gateway};
use tempfile::TempDir;

use crate::error::Error;

/// What it is called.
pub const ID: &str = "dev";

/// It.
pub struct Local {
    gateway: Gateway,
    /// Of its broker.
    pub port: u16,
    _data: TempDir,
}

impl Local {
    /// On this port; 0 takes any that is free.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(port: u16) -> Result<Self, Error> {
        let failed = |reason: String| Error::failed("the gateway in this process", reason, "see the reason");
        let data = tempfile::tempdir().map_err(|e| failed(e.to_string()))?;
        let text = format!(
            "[gateway]\nid = \"{ID}\"\ndata_dir = {:?}\nstatus_interval = \"5s\"\n\
             [broker]\nurl = \"embedded://127.0.0.1:{port}\"\n[spool]\nmax_bytes = \"64MiB\"\n\
             [trust]\nallow_unsigned = true\n",
            data.path()
        );
        let config = Config::parse(Path::new("dev.toml"), &text).map_err(|e| failed(e.to_string()))?;
        let gateway = Gateway::start(config).map_err(|e| failed(e.to_string()))?;
        let port = gateway.broker_addr().map_or(port, |addr| addr.port());
        Ok(Self { gateway, port, _data: data })
    }

    /// URL of its broker.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends it in order.
    pub fn stop(self) {
        self.gateway.stop();
    }
}
