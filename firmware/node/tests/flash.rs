//! State on a flash whose power is cut at every write and erasure: `cargo test -p eyot-node --features flash`.
#![cfg(feature = "flash")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use eyot_engine::State;
use eyot_node::flash::{FlashKeeper, FLASH_MIN_BYTES};
use eyot_node::keep::{Keeper, NotKept};

const FLASH_BYTES: usize = 64 << 10;
const SHA: [u8; 32] = [7; 32];

#[derive(Debug)]
struct PowerCut;

impl NorFlashError for PowerCut {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// Bits that a write can only clear, words of four bytes, pages of 4 KiB.
struct Chip {
    bytes: Vec<u8>,
    /// Writes and erasures until the power goes, in the middle of one.
    left: usize,
    is_off: bool,
    erased: Vec<u32>,
}

#[derive(Clone)]
struct Flash(Rc<RefCell<Chip>>);

impl Flash {
    fn new() -> Self {
        let erased = vec![0; FLASH_BYTES / Self::ERASE_SIZE];
        Self(Rc::new(RefCell::new(Chip { bytes: vec![0xff; FLASH_BYTES], left: usize::MAX, is_off: false, erased })))
    }

    fn keeper(&self) -> FlashKeeper<Self> {
        FlashKeeper::new(self.clone(), 0..FLASH_BYTES as u32).unwrap()
    }

    /// Half of it is done when the power goes.
    fn change(&self, offset: usize, len: usize, change: impl Fn(&mut u8, usize)) -> Result<(), PowerCut> {
        let chip = &mut *self.0.borrow_mut();
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
        bytes.copy_from_slice(&self.0.borrow().bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_BYTES
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), PowerCut> {
        for page in from as usize / Self::ERASE_SIZE..to as usize / Self::ERASE_SIZE {
            self.0.borrow_mut().erased[page] += 1;
        }
        self.change(from as usize, (to - from) as usize, |byte, _| *byte = 0xff)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), PowerCut> {
        self.change(offset as usize, bytes.len(), |byte, index| *byte &= bytes[index])
    }
}

/// Of some kilobytes, another for each number.
fn state(number: u32) -> State {
    let mut state = State::default();
    for key in 0..20u8 {
        let len = 50 + (usize::from(key) * 7 + number as usize * 13) % 150;
        state.set(&[key], &vec![number as u8; len]);
    }
    state
}

#[test]
fn a_state_comes_back_to_its_function_and_to_no_other() {
    let flash = Flash::new();
    assert_eq!(flash.keeper().load(&SHA), None);
    for number in 0..100 {
        flash.keeper().keep(&SHA, &state(number)).unwrap();
        assert_eq!(flash.keeper().load(&SHA), Some(state(number)), "{number}");
    }
    assert_eq!(flash.keeper().load(&[8; 32]), None);
    flash.keeper().keep(&[8; 32], &State::default()).unwrap();
    assert_eq!((flash.keeper().load(&SHA), flash.keeper().load(&[8; 32])), (None, Some(State::default())));
    let erased = &flash.0.borrow().erased;
    let (least, most) = (erased.iter().min().unwrap(), erased.iter().max().unwrap());
    // 100 states of 2.5 KiB are four times all of the flash.
    assert!(*most <= 12 && most - least <= 2, "{erased:?}");
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_old_state_or_the_new_one() {
    for before in [1, 20, 21, 22, 23, 24] {
        for cut in 0.. {
            let flash = Flash::new();
            for number in 0..before {
                flash.keeper().keep(&SHA, &state(number)).unwrap();
            }
            let (old, new) = (state(before - 1), state(before));
            flash.0.borrow_mut().left = cut;
            let is_done = flash.keeper().keep(&SHA, &new).is_ok();
            (flash.0.borrow_mut().left, flash.0.borrow_mut().is_off) = (usize::MAX, false);
            let found = flash.keeper().load(&SHA);
            assert!(
                found.as_ref() == Some(&old) || found.as_ref() == Some(&new),
                "cut {cut} after {before}: {found:?}"
            );
            // And it goes on.
            flash.keeper().keep(&SHA, &old).unwrap();
            assert_eq!(flash.keeper().load(&SHA), Some(old), "cut {cut} after {before}");
            if is_done {
                break;
            }
        }
    }
}

#[test]
fn a_flash_full_of_something_else_is_made_one() {
    let flash = Flash::new();
    let mut random = fastrand::Rng::with_seed(4);
    flash.0.borrow_mut().bytes.fill_with(|| random.u8(..));
    assert_eq!(flash.keeper().load(&SHA), None);
    flash.keeper().keep(&SHA, &state(1)).unwrap();
    assert_eq!(flash.keeper().load(&SHA), Some(state(1)));
}

#[test]
fn what_is_too_large_is_refused_and_what_was_kept_stays() {
    let flash = Flash::new();
    flash.keeper().keep(&SHA, &state(1)).unwrap();
    let mut large = State::default();
    large.set(b"k", &[0; 8 << 10]);
    assert_eq!(flash.keeper().keep(&SHA, &large), Err(NotKept));
    assert_eq!(flash.keeper().load(&SHA), Some(state(1)));
    assert!(FlashKeeper::new(flash.clone(), 0..FLASH_MIN_BYTES - 4096).is_none());
    assert!(FlashKeeper::new(flash, 100..FLASH_MIN_BYTES + 100).is_none());
}
