//! A flash whose power is cut in the middle of a write or an erasure.

use std::cell::RefCell;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

#[derive(Debug)]
pub struct PowerCut;

impl NorFlashError for PowerCut {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// Of one board. Bits that a write can only clear, words of four bytes, pages of 4 KiB.
pub struct Chip {
    pub bytes: Vec<u8>,
    /// Writes and erasures until the power goes, in the middle of one.
    pub left: usize,
    pub is_off: bool,
    pub erased: Vec<u32>,
}

/// A part of it.
#[derive(Clone)]
pub struct Flash {
    pub chip: Rc<RefCell<Chip>>,
    start: usize,
    bytes: usize,
}

impl Flash {
    pub fn new(bytes: usize) -> Self {
        let erased = vec![0; bytes / Self::ERASE_SIZE];
        let chip = Chip { bytes: vec![0xff; bytes], left: usize::MAX, is_off: false, erased };
        Self { chip: Rc::new(RefCell::new(chip)), start: 0, bytes }
    }

    #[allow(dead_code)] // one of the tests that have this takes it whole
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self { chip: self.chip.clone(), start: self.start + range.start, bytes: range.len() }
    }

    /// The power goes after so many writes and erasures.
    pub fn cut_after(&self, left: usize) {
        self.chip.borrow_mut().left = left;
    }

    /// It is back.
    pub fn power_on(&self) {
        (self.chip.borrow_mut().left, self.chip.borrow_mut().is_off) = (usize::MAX, false);
    }

    /// Half of it is done when the power goes.
    fn change(&self, offset: usize, len: usize, change: impl Fn(&mut u8, usize)) -> Result<(), PowerCut> {
        assert!(
            offset + len <= self.bytes
                && offset.is_multiple_of(Self::WRITE_SIZE)
                && len.is_multiple_of(Self::WRITE_SIZE)
        );
        let (offset, chip) = (self.start + offset, &mut *self.chip.borrow_mut());
        if chip.is_off {
            return Err(PowerCut);
        }
        let is_cut = chip.left == 0;
        chip.is_off = is_cut;
        let len = if is_cut { len / 2 } else { len };
        for (index, byte) in chip.bytes[offset..offset + len].iter_mut().enumerate() {
            change(byte, index);
        }
        chip.left = chip.left.saturating_sub(1);
        if is_cut {
            Err(PowerCut)
        } else {
            Ok(())
        }
    }
}

impl ErrorType for Flash {
    type Error = PowerCut;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PowerCut> {
        bytes.copy_from_slice(&self.chip.borrow().bytes[self.start + offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), PowerCut> {
        for page in (from..to).step_by(Self::ERASE_SIZE) {
            self.chip.borrow_mut().erased[(self.start + page as usize) / Self::ERASE_SIZE] += 1;
        }
        self.change(from as usize, (to - from) as usize, |byte, _| *byte = 0xff)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerCut> {
        self.change(offset as usize, bytes.len(), |byte, index| *byte &= bytes[index])
    }
}
