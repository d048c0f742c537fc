//! Free ports.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range the kernel takes ports of outgoing connections from: else a reconnecting client could be given the
/// very port of the broker it is looking for while that broker is stopped.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port of the loopback interface that nobody listens on, and that no other call in this process returned.
///
/// # Panics
/// When all are taken.
pub fn free_port() -> u16 {
    // Test programs that run side by side begin at different places.
    let start = (process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_mul(97).wrapping_add(step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
