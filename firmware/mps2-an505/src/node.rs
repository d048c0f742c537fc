//! The node, wherever its program is.

use eyot_node::{Channel, Limits, Node, NodeLimits, Options, Slots, StackLimits};

use crate::board::Mps2;
use crate::sensor::Simulated;
use crate::uart::Uart;

/// Outputs that wait for a gateway: 13 seconds' worth at the rate below.
const QUEUE: usize = 128;
const SAMPLE_EVERY_MS: u32 = 100;

/// Starts it, with slots if its program can be renewed; once.
pub fn run(slots: Option<&mut dyn Slots>) -> ! {
    let board = Mps2::start();
    let mut sensor = Simulated::default();
    let mut channels = [Channel::new("sensors/sim/raw", SAMPLE_EVERY_MS, &mut sensor)];
    // What the board's file grants, against which the gateway checks what is pushed.
    let limits = include!(concat!(env!("OUT_DIR"), "/limits.rs"));
    let program = concat!("eyot-mps2-an505 ", env!("CARGO_PKG_VERSION"));
    // The board has no randomness, and QEMU no second one of its kind on the same line.
    let options = Options { program, limits, seed: 505 };
    let mut node: Node<'_, _, _, QUEUE> = Node::new(options, board, Uart::start(), &mut channels);
    if let Some(slots) = slots {
        node = node.with_slots(slots);
    }
    loop {
        // The line of an emulator does not fail.
        let Ok(()) = node.turn();
        // Until the next millisecond, or the next byte.
        cortex_m::asm::wfi();
    }
}
