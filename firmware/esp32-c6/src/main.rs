//! A node on Espressif's ESP32-C6-DevKitC-1: the gateway at UART 0, which the board shows as a serial port (GPIO16, GPIO17), an
//! SHT4x at I2C 0 (GPIO6 data, GPIO7 clock), the boot button (GPIO9).
#![no_std]
#![no_main]

mod board;
mod line;

use core::panic::PanicInfo;

use esp_hal::delay::Delay;
use esp_hal::gpio::{Input, InputConfig, Pull};
use esp_hal::i2c::master::{Config, I2c};
use esp_hal::rng::Rng;
use esp_hal::system::software_reset;
use eyot_node::sensors::pin::Pin;
use eyot_node::sensors::{Address, Sht4x};
use eyot_node::{Channel, Limits, Node, NodeLimits, Options, StackLimits};

use crate::board::Chip;
use crate::line::Line;

esp_bootloader_esp_idf::esp_app_desc!();

/// Outputs that wait for a gateway: eleven minutes' worth of both sensors.
const QUEUE: usize = 128;
const CLIMATE_EVERY_MS: u32 = 10_000;
const BUTTON_EVERY_MS: u32 = 10_000;
/// Between two turns.
const PAUSE_MS: u32 = 1;

#[esp_hal::main]
fn main() -> ! {
    let pins = esp_hal::init(esp_hal::Config::default());
    let chip = Chip::start(pins.TIMG0);
    // The settings below are constant, and such as the chip has.
    let Ok(line) = Line::start(pins.UART0, pins.GPIO16, pins.GPIO17) else { software_reset() };
    let Ok(bus) = I2c::new(pins.I2C0, Config::default()) else { software_reset() };
    let bus = bus.with_sda(pins.GPIO6).with_scl(pins.GPIO7);
    let mut climate = Sht4x::new(bus, Address::Address0x44, Delay::new());
    let mut button = Pin(Input::new(pins.GPIO9, InputConfig::default().with_pull(Pull::Up)));
    let mut channels = [
        Channel::new("sensors/climate/raw", CLIMATE_EVERY_MS, &mut climate),
        Channel::new("sensors/button/raw", BUTTON_EVERY_MS, &mut button),
    ];
    // What the board's file grants, against which the gateway checks what is pushed.
    let limits = include!(concat!(env!("OUT_DIR"), "/limits.rs"));
    let program = concat!("eyot-esp32-c6 ", env!("CARGO_PKG_VERSION"));
    let random = Rng::new();
    let seed = u64::from(random.random()) << 32 | u64::from(random.random());
    let mut node: Node<'_, _, _, QUEUE> = Node::new(Options { program, limits, seed }, chip, line, &mut channels);
    loop {
        // What a line that fails loses, the link finds and sends again.
        let _ = node.turn();
        Delay::new().delay_millis(PAUSE_MS);
    }
}

/// Whatever goes wrong, memory among it: start anew. The gateway sees that the session is another.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    software_reset()
}
