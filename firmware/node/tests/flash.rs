//! State on a flash whose power is cut at every write and erasure: `cargo test -p eyot-node --features flash`.
#![cfg(feature = "flash")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod chip;

use chip::Flash;
use eyot_engine::State;
use eyot_node::flash::{FlashKeeper, FLASH_MIN_BYTES};
use eyot_node::keep::{Keeper, NotKept};

const FLASH_BYTES: usize = 64 << 10;
const SHA: [u8; 32] = [7; 32];

fn flash() -> Flash {
    Flash::new(FLASH_BYTES)
}

fn keeper(flash: &Flash) -> FlashKeeper<Flash> {
    FlashKeeper::new(flash.clone(), 0..FLASH_BYTES as u32).unwrap()
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
    let flash = flash();
    assert_eq!(keeper(&flash).load(&SHA), None);
    for number in 0..100 {
        keeper(&flash).keep(&SHA, &state(number)).unwrap();
        assert_eq!(keeper(&flash).load(&SHA), Some(state(number)), "{number}");
    }
    assert_eq!(keeper(&flash).load(&[8; 32]), None);
    keeper(&flash).keep(&[8; 32], &State::default()).unwrap();
    assert_eq!((keeper(&flash).load(&SHA), keeper(&flash).load(&[8; 32])), (None, Some(State::default())));
    let erased = &flash.chip.borrow().erased;
    let (least, most) = (erased.iter().min().unwrap(), erased.iter().max().unwrap());
    // 100 states of 2.5 KiB are four times all of the flash.
    assert!(*most <= 12 && most - least <= 2, "{erased:?}");
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_old_state_or_the_new_one() {
    for before in [1, 20, 21, 22, 23, 24] {
        for cut in 0.. {
            let flash = flash();
            for number in 0..before {
                keeper(&flash).keep(&SHA, &state(number)).unwrap();
            }
            let (old, new) = (state(before - 1), state(before));
            flash.cut_after(cut);
            let is_done = keeper(&flash).keep(&SHA, &new).is_ok();
            flash.power_on();
            let found = keeper(&flash).load(&SHA);
            assert!(
                found.as_ref() == Some(&old) || found.as_ref() == Some(&new),
                "cut {cut} after {before}: {found:?}"
            );
            // And it goes on.
            keeper(&flash).keep(&SHA, &old).unwrap();
            assert_eq!(keeper(&flash).load(&SHA), Some(old), "cut {cut} after {before}");
            if is_done {
                break;
            }
        }
    }
}

#[test]
fn a_flash_full_of_something_else_is_made_one() {
    let flash = flash();
    let mut random = fastrand::Rng::with_seed(4);
    flash.chip.borrow_mut().bytes.fill_with(|| random.u8(..));
    assert_eq!(keeper(&flash).load(&SHA), None);
    keeper(&flash).keep(&SHA, &state(1)).unwrap();
    assert_eq!(keeper(&flash).load(&SHA), Some(state(1)));
}

#[test]
fn what_is_too_large_is_refused_and_what_was_kept_stays() {
    let flash = flash();
    keeper(&flash).keep(&SHA, &state(1)).unwrap();
    let mut large = State::default();
    large.set(b"k", &[0; 8 << 10]);
    assert_eq!(keeper(&flash).keep(&SHA, &large), Err(NotKept));
    assert_eq!(keeper(&flash).load(&SHA), Some(state(1)));
    assert!(FlashKeeper::new(flash.clone(), 0..FLASH_MIN_BYTES - 4096).is_none());
    assert!(FlashKeeper::new(flash, 100..FLASH_MIN_BYTES + 100).is_none());
}
