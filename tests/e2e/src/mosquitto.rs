//! A real mosquitto as a child.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use tempfile::TempDir;

use crate::port::free_port;
use crate::wait::{wait_for, STEP};

/// Attempts at a port that a process which is none of ours may take between our look and mosquitto's.
const PORT_ATTEMPTS: u32 = 5;
/// Ends the line that it logs once all its listeners are open. That somebody can connect to the port shows less: it may
/// be another process that listens there.
const LISTENS: &str = " running";

/// PEM files of a TLS listener.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate of the broker.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificate of the authority whose clients alone are let in; none: any are.
    pub client_ca: Option<PathBuf>,
}

/// A running, or stopped, mosquitto.
#[derive(Debug)]
pub struct Mosquitto {
    dir: TempDir,
    child: Option<Child>,
    port: u16,
    tls_port: Option<u16>,
}

impl Mosquitto {
    /// A broker that forgets everything when it stops.
    pub fn forgetful() -> Self {
        Self::start(false, None, "")
    }

    /// A broker that keeps sessions and messages over [`stop`](Self::stop) and [`resume`](Self::resume).
    pub fn persistent() -> Self {
        Self::start(true, None, "")
    }

    /// A broker with a second listener that speaks TLS.
    pub fn with_tls(files: &TlsFiles) -> Self {
        Self::start(false, Some(files), "")
    }

    /// A broker with more lines of `mosquitto.conf`.
    pub fn with_settings(lines: &str) -> Self {
        Self::start(false, None, lines)
    }

    fn start(persistence: bool, tls: Option<&TlsFiles>, lines: &str) -> Self {
        let mut said = String::new();
        for _ in 0..PORT_ATTEMPTS {
            let (port, tls_port) = (free_port(), tls.map(|_| free_port()));
            let dir = TempDir::new().expect("a temporary directory");
            fs::write(
                dir.path().join("mosquitto.conf"),
                settings(dir.path(), port, persistence, lines, tls_port.zip(tls)),
            )
            .expect("mosquitto.conf is written");
            let mut broker = Self { dir, child: None, port, tls_port };
            if broker.launch() {
                return broker;
            }
            said = broker.log();
        }
        panic!("mosquitto does not start: {said}");
    }

    /// Spawns the process; true once it listens, false if it gave up.
    fn launch(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the broker's log opens");
        let said_before = self.log().len();
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(self.dir.path().join("mosquitto.conf"))
            .env("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto starts; is it installed (apt-get install mosquitto)?");
        self.child = Some(child);
        wait_for("mosquitto to listen", STEP, || {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().expect("the child is ours").is_some());
            let listens = self.log().get(said_before..).is_some_and(|said| said.lines().any(|l| l.ends_with(LISTENS)));
            (ended || listens).then_some(!ended)
        })
    }

    /// Stops it in order: what it holds is saved if it is persistent. Connections are cut.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), Signal::TERM).expect("the child can be signalled");
            wait_for("mosquitto to end", STEP, || child.try_wait().expect("the child is ours"));
        }
    }

    /// Starts it again on the same port.
    pub fn resume(&mut self) {
        assert!(self.child.is_none(), "the broker is running");
        assert!(self.launch(), "mosquitto does not start again: {}", self.log());
    }

    /// Stopped, then started: every connection is cut, and a forgetful broker has lost its sessions.
    pub fn restart(&mut self) {
        self.stop();
        self.resume();
    }

    /// Port of the plain listener.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of the plain listener.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// URL of the TLS listener.
    pub fn tls_url(&self) -> String {
        format!("mqtts://localhost:{}", self.tls_port.expect("a broker made with TLS"))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("mosquitto.log")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn settings(dir: &Path, port: u16, persistence: bool, lines: &str, tls: Option<(u16, &TlsFiles)>) -> String {
    // No queue limits: a message the broker acknowledged and then dropped would be charged to the gateway.
    let mut text = format!(
        "user root\nper_listener_settings false\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n\
         set_tcp_nodelay true\nlog_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\nlog_type information\n\
         persistence {persistence}\npersistence_location {}/\n{lines}\nlistener {port} 127.0.0.1\n",
        dir.display()
    );
    if let Some((tls_port, files)) = tls {
        text += &format!(
            "listener {tls_port} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            files.cert.display(),
            files.key.display()
        );
        if let Some(ca) = &files.client_ca {
            text += &format!("cafile {}\nrequire_certificate true\n", ca.display());
        }
    }
    text
}
