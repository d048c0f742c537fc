//! What stands for flash: the memory at 0x8000_0000, which a reset leaves as it is, and a power cut, too, where QEMU has it in a
//! file. Two slots for the program, and what the boot loader remembers.

use core::ptr;

use embedded_storage::nor_flash::{
    check_erase, check_read, check_write, ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash,
};

/// Where the program runs.
pub const ACTIVE: u32 = 0x8000_0000;
/// The program's flash ends where that for state would begin.
const SLOT_BYTES: u32 = include!(concat!(env!("OUT_DIR"), "/state.rs")).start;
/// Erased at once.
pub const PAGE_BYTES: usize = 4096;

/// One of the partitions.
pub struct Region {
    start: u32,
    bytes: u32,
}

/// The program that runs, with room for another one, the page that swapping them takes, and the boot loader's state.
pub fn partitions() -> [Region; 3] {
    let page = PAGE_BYTES as u32;
    let (dfu, dfu_bytes) = (ACTIVE + SLOT_BYTES, SLOT_BYTES + page);
    // Four words for each page of the slot, and two.
    let state_bytes = (SLOT_BYTES / page * 16 + 8).next_multiple_of(page);
    let region = |start, bytes| Region { start, bytes };
    [region(ACTIVE, SLOT_BYTES), region(dfu, dfu_bytes), region(dfu + dfu_bytes, state_bytes)]
}

impl ErrorType for Region {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Region {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        for (address, byte) in (self.start + offset..).zip(bytes) {
            // SAFETY: memory of the region, which no variable of ours is in.
            *byte = unsafe { ptr::read_volatile(address as *const u8) };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes as usize
    }
}

impl NorFlash for Region {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for address in self.start + from..self.start + to {
            // SAFETY: as above; the program that runs is in no region that it erases.
            unsafe { ptr::write_volatile(address as *mut u8, 0xff) };
        }
        Ok(())
    }

    /// As flash does, it only clears bits.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (address, byte) in (self.start + offset..).zip(bytes) {
            let address = address as *mut u8;
            // SAFETY: as above.
            unsafe { ptr::write_volatile(address, ptr::read_volatile(address) & byte) };
        }
        Ok(())
    }
}
