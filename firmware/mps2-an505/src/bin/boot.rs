//! The boot loader: starts the program in the flash, and before that exchanges it for the other one if that is to be tried, or
//! was tried and was not kept.
//!
//! `qemu-system-arm -machine mps2-an505,memory-backend=flash -object memory-backend-file,id=flash,size=16M,mem-path=F,share=on -kernel BOOT`
#![no_std]
#![no_main]

use cortex_m::peripheral::Peripherals;
use cortex_m_rt::entry;
use embassy_boot::{AlignedBuffer, BootLoader, BootLoaderConfig};
use eyot_mps2_an505::board::Watchdog;
use eyot_mps2_an505::flash::{partitions, ACTIVE, PAGE_BYTES};

#[entry]
fn main() -> ! {
    let [active, dfu, state] = partitions();
    let mut page = AlignedBuffer([0; PAGE_BYTES]);
    // If this is cut off, or fails, the next start goes on with it.
    if BootLoader::new(BootLoaderConfig { active, dfu, state }).prepare_boot(&mut page.0).is_err() {
        cortex_m::peripheral::SCB::sys_reset();
    }
    // A program that hangs before it has its own ends by this one.
    Watchdog.start();
    if let Some(core) = Peripherals::take() {
        // SAFETY: the table of the program's vectors is at its beginning.
        unsafe { core.SCB.vtor.write(ACTIVE) };
    }
    // SAFETY: as above. No interrupt is enabled here.
    unsafe { cortex_m::asm::bootload(ACTIVE as *const u32) }
}
