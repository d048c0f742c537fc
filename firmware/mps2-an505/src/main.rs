//! A node on the Arm MPS2 AN505 board, as QEMU emulates it: UART 0 is the link, the sensor is simulated.
//!
//! `qemu-system-arm -machine mps2-an505 -display none -monitor none -serial tcp:127.0.0.1:5555,server,nowait -kernel F`
#![no_std]
#![no_main]

use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    eyot_mps2_an505::node::run(None)
}
