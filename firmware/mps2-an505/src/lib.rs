//! What the programs for the Arm MPS2 AN505 board have in common: `main.rs` is the node, `bin/slot.rs` the same for the slots
//! of the boot loader in `bin/boot.rs`, and `bin/figures.rs` measures.
#![no_std]

pub mod board;
pub mod flash;
pub mod node;
pub mod sensor;
pub mod uart;

use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;

/// Whatever goes wrong, memory among it: start anew. The gateway sees that the session is another.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    SCB::sys_reset()
}
