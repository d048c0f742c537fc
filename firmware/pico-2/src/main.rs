//! A node on the Raspberry Pi Pico 2: the gateway at UART 0 (GP0, GP1), an SHT4x at I2C 0 (GP4, GP5), a contact to ground at GP15.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::clocks::RoscRng;
use embassy_rp::gpio::{Input, Pull};
use embassy_rp::peripherals::UART0;
use embassy_rp::uart::{BufferedInterruptHandler, BufferedUart};
use embassy_rp::watchdog::Watchdog;
use embassy_rp::{bind_interrupts, i2c, uart};
use embassy_time::{Delay, Duration};
use eyot_embassy::{run, Chip};
use eyot_node::sensors::pin::Pin;
use eyot_node::sensors::{Address, Sht4x};
use eyot_node::{Channel, Limits, Node, NodeLimits, Options, StackLimits};
use static_cell::ConstStaticCell;

/// Outputs that wait for a gateway: eleven minutes' worth of both sensors.
const QUEUE: usize = 128;
const CLIMATE_EVERY_MS: u32 = 10_000;
const CONTACT_EVERY_MS: u32 = 10_000;
/// While a function is loaded nobody feeds it. The chip knows no longer one than 16 s.
const WATCHDOG: Duration = Duration::from_secs(8);
/// More than a gateway sends before it is answered.
const RECEIVED_MAX_BYTES: usize = 2048;
const SENT_MAX_BYTES: usize = 1024;
const HEAP_BYTES: usize = include!(concat!(env!("OUT_DIR"), "/heap.rs"));

bind_interrupts!(struct Irqs {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
});

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    static HEAP: ConstStaticCell<[u8; HEAP_BYTES]> = ConstStaticCell::new([0; HEAP_BYTES]);
    static SENT: ConstStaticCell<[u8; SENT_MAX_BYTES]> = ConstStaticCell::new([0; SENT_MAX_BYTES]);
    static RECEIVED: ConstStaticCell<[u8; RECEIVED_MAX_BYTES]> = ConstStaticCell::new([0; RECEIVED_MAX_BYTES]);

    let pins = embassy_rp::init(Default::default());
    let mut watchdog = Watchdog::new(pins.WATCHDOG);
    watchdog.start(WATCHDOG);
    let chip = Chip::start(HEAP.take(), move || watchdog.feed(WATCHDOG));
    let line = BufferedUart::new(
        pins.UART0,
        pins.PIN_0,
        pins.PIN_1,
        Irqs,
        SENT.take(),
        RECEIVED.take(),
        // 115,200 baud, 8 data bits, no parity.
        uart::Config::default(),
    );
    let bus = i2c::I2c::new_blocking(pins.I2C0, pins.PIN_5, pins.PIN_4, i2c::Config::default());
    let mut climate = Sht4x::new(bus, Address::Address0x44, Delay);
    let mut contact = Pin(Input::new(pins.PIN_15, Pull::Up));
    let mut channels = [
        Channel::new("sensors/climate/raw", CLIMATE_EVERY_MS, &mut climate),
        Channel::new("sensors/contact/raw", CONTACT_EVERY_MS, &mut contact),
    ];
    // What the board's file grants, against which the gateway checks what is pushed.
    let limits = include!(concat!(env!("OUT_DIR"), "/limits.rs"));
    let program = concat!("eyot-pico-2 ", env!("CARGO_PKG_VERSION"));
    let options = Options { program, limits, seed: RoscRng.next_u64() };
    let mut node: Node<'_, _, _, QUEUE> = Node::new(options, chip, line, &mut channels);
    run(&mut node).await
}
