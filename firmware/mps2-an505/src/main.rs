//! A node on the Arm MPS2 AN505 board, as QEMU emulates it: UART 0 is the link, the sensor is simulated.
//!
//! `qemu-system-arm -machine mps2-an505 -display none -monitor none -serial tcp:127.0.0.1:5555,server,nowait -kernel F`
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use eyot_mps2_an505::board::Mps2;
use eyot_mps2_an505::sensor::Simulated;
use eyot_mps2_an505::uart::Uart;
use eyot_node::{Channel, Limits, Node, NodeLimits, Options, StackLimits};

/// Outputs that wait for a gateway: 13 seconds' worth at the rate below.
const QUEUE: usize = 128;
const SAMPLE_EVERY_MS: u32 = 100;

#[entry]
fn main() -> ! {
    let board = Mps2::start();
    let mut sensor = Simulated::default();
    let mut channels = [Channel::new("sensors/sim/raw", SAMPLE_EVERY_MS, &mut sensor)];
    // What the board's file grants, against which the gateway checks what is pushed.
    let limits = include!(concat!(env!("OUT_DIR"), "/limits.rs"));
    let program = concat!("eyot-mps2-an505 ", env!("CARGO_PKG_VERSION"));
    // The board has no randomness, and QEMU no second one of its kind on the same line.
    let options = Options { program, limits, seed: 505 };
    let mut node: Node<'_, _, _, QUEUE> = Node::new(options, board, Uart::start(), &mut channels);
    loop {
        // The line of an emulator does not fail.
        let Ok(()) = node.turn();
        // Until the next millisecond, or the next byte.
        cortex_m::asm::wfi();
    }
}
