//! A node on Nordic's nRF52840 DK: the gateway at UARTE 0, which its debugger shows as a serial port (P0.06, P0.08), an SHT4x at
//! TWI 0 (P0.26 data, P0.27 clock), button 1.
#![no_std]
#![no_main]

use core::ops::Range;

use embassy_executor::Spawner;
use embassy_nrf::buffered_uarte::{self, BufferedUarte};
use embassy_nrf::gpio::{Input, Pull};
use embassy_nrf::nvmc::Nvmc;
use embassy_nrf::peripherals::{TWISPI0, UARTE0};
use embassy_nrf::rng::Rng;
use embassy_nrf::twim::{self, Twim};
use embassy_nrf::wdt::{self, Watchdog};
use embassy_nrf::{bind_interrupts, uarte};
use embassy_time::Delay;
use eyot_embassy::{run, Blocking, Chip};
use eyot_node::flash::FlashKeeper;
use eyot_node::sensors::pin::Pin;
use eyot_node::sensors::{Address, Sht4x};
use eyot_node::{Channel, Limits, Node, NodeLimits, Options, StackLimits};
use static_cell::ConstStaticCell;

/// Outputs that wait for a gateway: five minutes' worth of both sensors.
const QUEUE: usize = 64;
const CLIMATE_EVERY_MS: u32 = 10_000;
const BUTTON_EVERY_MS: u32 = 10_000;
/// While a function is loaded nobody feeds it.
const WATCHDOG_TICKS: u32 = 8 * 32_768;
/// More than a gateway sends before it is answered.
const RECEIVED_MAX_BYTES: usize = 2048;
const SENT_MAX_BYTES: usize = 1024;
/// Commands to sensors pass through memory: DMA does not reach the flash.
const COMMAND_MAX_BYTES: usize = 16;
/// Of the flash.
const STATE: Range<u32> = include!(concat!(env!("OUT_DIR"), "/state.rs"));
const HEAP_BYTES: usize = include!(concat!(env!("OUT_DIR"), "/heap.rs"));

bind_interrupts!(struct Irqs {
    UARTE0 => buffered_uarte::InterruptHandler<UARTE0>;
    TWISPI0 => twim::InterruptHandler<TWISPI0>;
});

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    static HEAP: ConstStaticCell<[u8; HEAP_BYTES]> = ConstStaticCell::new([0; HEAP_BYTES]);
    static SENT: ConstStaticCell<[u8; SENT_MAX_BYTES]> = ConstStaticCell::new([0; SENT_MAX_BYTES]);
    static RECEIVED: ConstStaticCell<[u8; RECEIVED_MAX_BYTES]> = ConstStaticCell::new([0; RECEIVED_MAX_BYTES]);
    static COMMAND: ConstStaticCell<[u8; COMMAND_MAX_BYTES]> = ConstStaticCell::new([0; COMMAND_MAX_BYTES]);

    let pins = embassy_nrf::init(Default::default());
    let mut config = wdt::Config::default();
    config.timeout_ticks = WATCHDOG_TICKS;
    // One that a boot loader started in another way is fed by nobody here, and resets the chip.
    let mut watchdog = Watchdog::try_new::<_, 1>(pins.WDT, config).ok().map(|(_, [handle])| handle);
    let feed = move || {
        if let Some(handle) = &mut watchdog {
            handle.pet();
        }
    };
    let chip = Chip::start(HEAP.take(), feed);
    let line = BufferedUarte::new(
        pins.UARTE0,
        pins.TIMER0,
        pins.PPI_CH0,
        pins.PPI_CH1,
        pins.PPI_GROUP0,
        pins.P0_08,
        pins.P0_06,
        Irqs,
        // 115,200 baud, 8 data bits, no parity.
        uarte::Config::default(),
        RECEIVED.take(),
        SENT.take(),
    );
    let bus = Twim::new(pins.TWISPI0, Irqs, pins.P0_26, pins.P0_27, twim::Config::default(), COMMAND.take());
    let mut climate = Sht4x::new(bus, Address::Address0x44, Delay);
    let mut button = Pin(Input::new(pins.P0_11, Pull::Up));
    let mut channels = [
        Channel::new("sensors/climate/raw", CLIMATE_EVERY_MS, &mut climate),
        Channel::new("sensors/button/raw", BUTTON_EVERY_MS, &mut button),
    ];
    // What the board's file grants, against which the gateway checks what is pushed.
    let limits = include!(concat!(env!("OUT_DIR"), "/limits.rs"));
    let program = concat!("eyot-nrf52840-dk ", env!("CARGO_PKG_VERSION"));
    let options = Options { program, limits, seed: Rng::new_blocking(pins.RNG).blocking_next_u64() };
    let mut keeper = FlashKeeper::new(Nvmc::new(pins.NVMC), STATE);
    let mut node: Node<'_, _, _, QUEUE> = Node::new(options, chip, Blocking(line), &mut channels);
    if let Some(keeper) = &mut keeper {
        node = node.with_keeper(keeper);
    }
    run(&mut node).await
}
