//! UART 0. It holds 128 bytes, eleven milliseconds' worth, so what arrives goes into a queue by its interrupt.

use core::cell::RefCell;

use critical_section::Mutex;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use esp_hal::gpio::interconnect::{PeripheralInput, PeripheralOutput};
use esp_hal::peripherals::UART0;
use esp_hal::uart::{Config, ConfigError, TxError, Uart, UartInterrupt};
use esp_hal::Blocking;
use heapless::Deque;

/// More than a gateway sends before it is answered. What comes beyond is lost, which the link's checksum finds.
const RECEIVED_MAX_BYTES: usize = 2048;
/// Bytes that the interrupt takes at once.
const TAKEN_BYTES: usize = 32;

struct Port {
    uart: Uart<'static, Blocking>,
    received: Deque<u8, RECEIVED_MAX_BYTES>,
}

static PORT: Mutex<RefCell<Option<Port>>> = Mutex::new(RefCell::new(None));

fn with<R>(used: impl FnOnce(&mut Port) -> R) -> Option<R> {
    critical_section::with(|section| PORT.borrow_ref_mut(section).as_mut().map(used))
}

/// Some bytes are here, or the last of them.
#[esp_hal::handler]
fn receive() {
    with(|port| {
        port.uart.clear_interrupts(UartInterrupt::RxFifoFull | UartInterrupt::RxTimeout);
        let mut taken = [0; TAKEN_BYTES];
        while port.uart.read_ready() {
            // Bytes that were damaged are missing; that too the checksum finds.
            let len = port.uart.read_buffered(&mut taken).unwrap_or_default();
            for byte in taken.iter().take(len) {
                let _ = port.received.push_back(*byte);
            }
        }
    });
}

/// The line, once started.
pub struct Line(());

impl Line {
    /// Starts it, at 115,200 baud with 8 data bits and no parity; once.
    ///
    /// # Errors
    /// The chip has no such baud rate.
    pub fn start(
        uart: UART0<'static>,
        tx: impl PeripheralOutput<'static>,
        rx: impl PeripheralInput<'static>,
    ) -> Result<Self, ConfigError> {
        let mut uart = Uart::new(uart, Config::default())?.with_tx(tx).with_rx(rx);
        uart.set_interrupt_handler(receive);
        uart.listen(UartInterrupt::RxFifoFull | UartInterrupt::RxTimeout);
        critical_section::with(|section| {
            PORT.borrow_ref_mut(section).replace(Port { uart, received: Deque::new() });
        });
        Ok(Self(()))
    }
}

impl ErrorType for Line {
    type Error = TxError;
}

impl ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, TxError> {
        Ok(with(|port| !port.received.is_empty()).unwrap_or_default())
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TxError> {
        let mut len = 0;
        for place in buffer {
            let Some(byte) = with(|port| port.received.pop_front()).flatten() else { break };
            *place = byte;
            len += 1;
        }
        Ok(len)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, TxError> {
        loop {
            // Waits outside of the section: it keeps the interrupt out.
            let written = with(|port| port.uart.write_ready().then(|| port.uart.write(bytes))).flatten();
            if let Some(written) = written {
                return written;
            }
        }
    }

    fn flush(&mut self) -> Result<(), TxError> {
        with(|port| port.uart.flush()).unwrap_or(Ok(()))
    }
}
