//! What the nodes on embassy's chips have in common; a chip's program adds its pins.
#![no_std]

use core::panic::PanicInfo;

use embassy_futures::block_on;
use embassy_time::{Duration, Instant, Timer};
use embedded_alloc::TlsfHeap;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use eyot_node::{Board, Node};

/// Between two turns: a line of 115,200 baud brings eleven bytes meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

#[global_allocator]
static HEAP: TlsfHeap = TlsfHeap::empty();

/// Heap, clock and watchdog.
pub struct Chip<F> {
    heap_bytes: usize,
    feed: F,
}

impl<F: FnMut()> Chip<F> {
    /// Gives the heap its memory, and feeds the watchdog by `feed`; once.
    pub fn start(heap: &'static mut [u8], feed: F) -> Self {
        // SAFETY: called once, before anything is allocated; the memory is the heap's from here on.
        unsafe { HEAP.init(heap.as_mut_ptr() as usize, heap.len()) }
        Self { heap_bytes: heap.len(), feed }
    }
}

impl<F: FnMut()> Board for Chip<F> {
    fn uptime_ms(&mut self) -> u64 {
        Instant::now().as_millis()
    }

    fn alive(&mut self) {
        (self.feed)();
    }

    fn heap(&self) -> (usize, usize) {
        // Not `used()`: in embedded-alloc 0.7.0 it borrows the heap twice, and panics.
        (self.heap_bytes.saturating_sub(HEAP.free()), self.heap_bytes)
    }
}

/// Runs a node.
pub async fn run<B: Board, S: Read + ReadReady + Write, const QUEUE: usize>(node: &mut Node<'_, B, S, QUEUE>) -> ! {
    loop {
        // What a line that fails loses, the link finds and sends again.
        let _ = node.turn();
        Timer::after(PAUSE).await;
    }
}

/// A buffered serial line whose driver only has the asynchronous half of its traits.
pub struct Blocking<S>(pub S);

impl<S: ErrorType> ErrorType for Blocking<S> {
    type Error = S::Error;
}

impl<S: ReadReady> ReadReady for Blocking<S> {
    fn read_ready(&mut self) -> Result<bool, S::Error> {
        self.0.read_ready()
    }
}

impl<S: embedded_io_async::Read> Read for Blocking<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        block_on(self.0.read(buffer))
    }
}

impl<S: embedded_io_async::Write> Write for Blocking<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, S::Error> {
        block_on(self.0.write(bytes))
    }

    fn flush(&mut self) -> Result<(), S::Error> {
        block_on(self.0.flush())
    }
}

/// Whatever goes wrong, memory among it: start anew. The gateway sees that the session is another.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
