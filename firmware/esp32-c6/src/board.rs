//! Heap, clock and watchdog.

use embedded_alloc::TlsfHeap;
use esp_hal::peripherals::TIMG0;
use esp_hal::time::{Duration, Instant};
use esp_hal::timer::timg::{MwdtStage, TimerGroup, Wdt};
use eyot_node::Board;

const HEAP_BYTES: usize = include!(concat!(env!("OUT_DIR"), "/heap.rs"));
/// While a function is loaded nobody feeds it.
const WATCHDOG: Duration = Duration::from_secs(8);

#[global_allocator]
static HEAP: TlsfHeap = TlsfHeap::empty();

/// The chip, once started.
pub struct Chip {
    watchdog: Wdt<TIMG0<'static>>,
}

impl Chip {
    /// Starts heap and watchdog; once.
    pub fn start(timers: TIMG0<'static>) -> Self {
        // SAFETY: called once, before anything is allocated; the macro's memory is its own.
        unsafe {
            embedded_alloc::init!(HEAP, HEAP_BYTES);
        }
        let mut watchdog = TimerGroup::new(timers).wdt;
        watchdog.set_timeout(MwdtStage::Stage0, WATCHDOG);
        watchdog.enable();
        Self { watchdog }
    }
}

impl Board for Chip {
    fn uptime_ms(&mut self) -> u64 {
        Instant::now().duration_since_epoch().as_millis()
    }

    fn alive(&mut self) {
        self.watchdog.feed();
    }

    fn heap(&self) -> (usize, usize) {
        // Not `used()`: in embedded-alloc 0.7.0 it borrows the heap twice, and panics.
        (HEAP_BYTES.saturating_sub(HEAP.free()), HEAP_BYTES)
    }
}
