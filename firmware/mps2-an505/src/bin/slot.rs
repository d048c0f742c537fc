//! The node of `main.rs`, for the boot loader's slot: its program can be renewed over the line.
#![no_std]
#![no_main]

use cortex_m::peripheral::SCB;
use cortex_m_rt::entry;
use eyot_mps2_an505::flash::partitions;
use eyot_mps2_an505::node;
use eyot_node::slots::BootSlots;
use eyot_node::Slots;

#[entry]
fn main() -> ! {
    let [active, dfu, state] = partitions();
    let mut slots = BootSlots::new(active, dfu, state, || SCB::sys_reset());
    node::run(slots.as_mut().map(|slots| slots as &mut dyn Slots))
}
