//! A TCP connection between two programs that can be cut, left standing with nothing coming through, or slowed down as losses
//! slow it down.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How soon a change of state is noticed.
const STEP: Duration = Duration::from_millis(5);
const CHUNK_BYTES: usize = 16 << 10;
/// What an Ethernet frame has room for.
const SEGMENT_BYTES: usize = 1448;
/// How much later what was lost comes: at the best, a round trip over a mobile network.
const AGAIN: Duration = Duration::from_millis(40);

/// What comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything.
    Open,
    /// Everything, but one in five segments is lost and comes later, and all behind it with it.
    Lossy,
    /// Nothing: connections are closed, and so are new ones.
    Cut,
    /// Nothing, and nobody is told: connections stand, bytes wait.
    Stalled,
    /// The proxy is gone.
    Ended,
}

/// Listens on a port of its own and passes connections on to another.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<AtomicU8>,
}

impl Proxy {
    /// In front of `target` on this machine.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub fn new(target: u16) -> Self {
        let port = crate::port::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let state = Arc::new(AtomicU8::new(State::Open as u8));
        listener.set_nonblocking(true).expect("a listener can be polled");
        let seen = Arc::clone(&state);
        thread::spawn(move || accept(&listener, target, &seen));
        Self { port, state }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of the broker behind it.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// From now on.
    pub fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(State::Ended);
    }
}

fn is(state: &AtomicU8, wanted: State) -> bool {
    state.load(Ordering::Relaxed) == wanted as u8
}

fn accept(listener: &TcpListener, target: u16, state: &Arc<AtomicU8>) {
    while !is(state, State::Ended) {
        match listener.accept() {
            Ok((near, _)) if !is(state, State::Cut) => {
                if let Ok(far) = TcpStream::connect(("127.0.0.1", target)) {
                    join(&near, &far, state);
                }
            }
            Ok(_) => {}
            Err(_) => thread::sleep(STEP),
        }
    }
}

fn join(near: &TcpStream, far: &TcpStream, state: &Arc<AtomicU8>) {
    for (from, to) in [(near, far), (far, near)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        // An accepted socket takes over that its listener does not block.
        let _ = from.set_nonblocking(false);
        let _ = from.set_read_timeout(Some(STEP));
        let _ = to.set_nodelay(true);
        let state = Arc::clone(state);
        thread::spawn(move || {
            pass_on(&from, &to, &state);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream, state: &AtomicU8) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut passed = 0_u64;
    while !is(state, State::Cut) && !is(state, State::Ended) {
        if is(state, State::Stalled) {
            thread::sleep(STEP);
            continue;
        }
        let is_lossy = is(state, State::Lossy);
        let room = if is_lossy { SEGMENT_BYTES } else { CHUNK_BYTES };
        match from.read(&mut chunk[..room]) {
            Ok(0) => return,
            Ok(count) => {
                passed += 1;
                if is_lossy && passed.is_multiple_of(5) {
                    thread::sleep(AGAIN);
                }
                // The link may have stalled since.
                while is(state, State::Stalled) {
                    thread::sleep(STEP);
                }
                if is(state, State::Cut) {
                    return;
                }
                // A reader that has stopped ends with the connection, on the other side.
                if to.write_all(&chunk[..count]).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
