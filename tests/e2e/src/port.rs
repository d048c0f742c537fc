//! Free ports.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{flock, FlockOperation};

/// Below the range the kernel takes ports of outgoing connections from: else a reconnecting client could be given the
/// very port of the broker it is looking for while that broker is stopped.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// In the system's directory for temporary files: a file for each port, locked by the process that has it.
const LOCKS: &str = "eyot-test-ports";

static NEXT: AtomicU16 = AtomicU16::new(0);
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A TCP port of the loopback interface that nobody listens on, and that no other call returns, in this process or in
/// another, as long as this process runs.
///
/// # Panics
/// When all are taken.
pub fn free_port() -> u16 {
    // Test programs that run side by side begin at different places.
    let start = (process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_mul(97).wrapping_add(step) % COUNT;
        let Some(lock) = lock(port) else { continue };
        // Not all that listens here takes its port from us.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// None if another has it, or has made its file so that only that user may open it.
fn lock(port: u16) -> Option<File> {
    let dir = env::temp_dir().join(LOCKS);
    fs::create_dir_all(&dir).expect("a directory for the locks of ports");
    let file = File::options().create(true).append(true).open(dir.join(port.to_string())).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(file)
}
