//! CMSDK UART 0 of the secure world. It holds one byte, so bytes that arrive go into a queue at once.

use core::cell::RefCell;
use core::convert::Infallible;
use core::ptr;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use critical_section::Mutex;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use heapless::Deque;

/// More than a gateway sends before it is answered. What comes beyond is lost, which the link's checksum finds.
const RECEIVED_MAX_BYTES: usize = 2048;

static RECEIVED: Mutex<RefCell<Deque<u8, RECEIVED_MAX_BYTES>>> = Mutex::new(RefCell::new(Deque::new()));

const DATA: *mut u32 = 0x5020_0000 as *mut u32;
const STATE: *mut u32 = 0x5020_0004 as *mut u32;
const CONTROL: *mut u32 = 0x5020_0008 as *mut u32;
const INTERRUPT: *mut u32 = 0x5020_000c as *mut u32;
const DIVIDER: *mut u32 = 0x5020_0010 as *mut u32;

const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;
const RX_INTERRUPT: u32 = 2;
/// Both directions, and an interrupt for each byte that arrives.
const ON: u32 = 0b1011;
/// 20 MHz by this is 115,200 baud.
const BAUD_DIVIDER: u32 = 174;

#[derive(Clone, Copy)]
struct Received;

const RECEIVED_IRQ: i16 = 32;

// SAFETY: the number of UART 0's receive interrupt on this board.
unsafe impl InterruptNumber for Received {
    fn number(self) -> u16 {
        RECEIVED_IRQ as u16
    }
}

/// The only interrupt that is enabled is that of the line.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    if number == RECEIVED_IRQ {
        critical_section::with(|section| {
            let mut received = RECEIVED.borrow_ref_mut(section);
            // SAFETY: registers of a device whose receiving half only this handler uses.
            unsafe {
                ptr::write_volatile(INTERRUPT, RX_INTERRUPT);
                while ptr::read_volatile(STATE) & RX_FULL != 0 {
                    let _ = received.push_back(ptr::read_volatile(DATA) as u8);
                }
            }
        });
    }
}

/// The line, once started.
pub struct Uart(());

impl Uart {
    /// Starts it; once.
    pub fn start() -> Self {
        // SAFETY: registers of a device that nobody uses yet; the handler of its interrupt is ready.
        unsafe {
            ptr::write_volatile(DIVIDER, BAUD_DIVIDER);
            ptr::write_volatile(CONTROL, ON);
            NVIC::unmask(Received);
        }
        Self(())
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(critical_section::with(|section| !RECEIVED.borrow_ref(section).is_empty()))
    }
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut len = 0;
        for place in buffer {
            let Some(byte) = critical_section::with(|section| RECEIVED.borrow_ref_mut(section).pop_front()) else {
                break;
            };
            *place = byte;
            len += 1;
        }
        Ok(len)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            // SAFETY: registers of a device whose sending half only this function uses.
            unsafe {
                while ptr::read_volatile(STATE) & TX_FULL != 0 {}
                ptr::write_volatile(DATA, u32::from(*byte));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
