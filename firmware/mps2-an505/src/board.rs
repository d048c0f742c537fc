//! Heap, clock and watchdog.

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::Peripherals;
use cortex_m_rt::exception;
use embedded_alloc::TlsfHeap;
use eyot_node::Board;

const HEAP_BYTES: usize = include!(concat!(env!("OUT_DIR"), "/heap.rs"));
const CLOCK_HZ: u32 = 20_000_000;
/// The watchdog counts clock ticks down, twice: the first time it asks, the second it resets. While a function is loaded nobody
/// feeds it, and on an emulator that has little of its host that can take seconds.
const WATCHDOG_TICKS: u32 = 8 * CLOCK_HZ;

#[global_allocator]
static HEAP: TlsfHeap = TlsfHeap::empty();

/// Milliseconds, as far as 32 bits hold them.
static MILLIS: AtomicU32 = AtomicU32::new(0);

#[exception]
fn SysTick() {
    MILLIS.store(MILLIS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// The CMSDK watchdog of the secure world.
pub struct Watchdog;

impl Watchdog {
    const LOAD: *mut u32 = 0x5008_1000 as *mut u32;
    const CONTROL: *mut u32 = 0x5008_1008 as *mut u32;
    const CLEAR: *mut u32 = 0x5008_100c as *mut u32;
    /// Counts, and resets.
    const ON: u32 = 0b11;

    /// Starts the count anew; from then on it is to be fed.
    pub fn start(&mut self) {
        // SAFETY: registers of a device that only this struct uses.
        unsafe {
            ptr::write_volatile(Self::LOAD, WATCHDOG_TICKS);
            ptr::write_volatile(Self::CONTROL, Self::ON);
        }
    }

    fn feed(&mut self) {
        // SAFETY: as above. Any write starts the count anew.
        unsafe { ptr::write_volatile(Self::CLEAR, 1) }
    }
}

/// The board, once started.
pub struct Mps2 {
    watchdog: Watchdog,
    millis: u32,
    uptime_ms: u64,
}

impl Mps2 {
    /// Starts heap, clock and watchdog; once.
    pub fn start() -> Self {
        // SAFETY: called once, before anything is allocated; the macro's memory is its own.
        unsafe {
            embedded_alloc::init!(HEAP, HEAP_BYTES);
        }
        if let Some(mut core) = Peripherals::take() {
            core.SYST.set_clock_source(SystClkSource::Core);
            core.SYST.set_reload(CLOCK_HZ / 1000 - 1);
            core.SYST.clear_current();
            core.SYST.enable_interrupt();
            core.SYST.enable_counter();
        }
        let mut watchdog = Watchdog;
        watchdog.start();
        Self { watchdog, millis: 0, uptime_ms: 0 }
    }
}

impl Board for Mps2 {
    fn uptime_ms(&mut self) -> u64 {
        let millis = MILLIS.load(Ordering::Relaxed);
        self.uptime_ms += u64::from(millis.wrapping_sub(self.millis));
        self.millis = millis;
        self.uptime_ms
    }

    fn alive(&mut self) {
        self.watchdog.feed();
    }

    fn heap(&self) -> (usize, usize) {
        // Not `used()`: in embedded-alloc 0.7.0 it borrows the heap twice, and panics.
        (HEAP_BYTES.saturating_sub(HEAP.free()), HEAP_BYTES)
    }
}
