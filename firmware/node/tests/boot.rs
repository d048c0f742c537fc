//! A program that is renewed, by the boot loader on a flash whose power is cut at every write and erasure:
//! `cargo test -p eyot-node --features boot`.
#![cfg(feature = "boot")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod chip;

use chip::Flash;
use embassy_boot::{BootLoader, BootLoaderConfig};
use eyot_node::slots::{BootSlots, RETURNED_MAX, TRAILER_BYTES};
use eyot_node::update::SlotError;
use eyot_node::Slots;
use sha2::{Digest, Sha256};

const PAGE: usize = 4096;
const SLOT: usize = 4 * PAGE;
/// Bytes of a chunk.
const CHUNK: usize = 512;

fn partitions(flash: &Flash) -> [Flash; 3] {
    let state = 2 * SLOT + PAGE;
    [flash.part(0..SLOT), flash.part(SLOT..state), flash.part(state..state + PAGE)]
}

fn slots(flash: &Flash) -> BootSlots<Flash, Flash, Flash> {
    let [active, dfu, state] = partitions(flash);
    BootSlots::new(active, dfu, state, || {}).unwrap()
}

/// A start, with the power back.
fn start(flash: &Flash) {
    flash.power_on();
    let [active, dfu, state] = partitions(flash);
    BootLoader::new(BootLoaderConfig { active, dfu, state }).prepare_boot(&mut [0; PAGE]).unwrap();
}

fn program(number: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| number ^ index as u8).collect()
}

fn sha(program: &[u8]) -> [u8; 32] {
    Sha256::digest(program).into()
}

/// A board with this program, put there with a probe.
fn board(program: &[u8]) -> Flash {
    let flash = Flash::new(2 * SLOT + 2 * PAGE);
    flash.chip.borrow_mut().bytes[..program.len()].copy_from_slice(program);
    flash
}

fn runs(flash: &Flash, program: &[u8]) -> bool {
    flash.chip.borrow().bytes.starts_with(program)
}

/// Writes it beside the one that runs, and has it started next.
fn stage(flash: &Flash, program: &[u8]) -> Result<bool, SlotError> {
    let mut slots = slots(flash);
    for (offset, chunk) in (0..).step_by(CHUNK).zip(program.chunks(CHUNK)) {
        slots.write(offset, chunk)?;
    }
    slots.finish(&sha(program), program.len() as u32)
}

/// All that is done with a new program; the power may be cut in the middle.
fn renew(flash: &Flash, program: &[u8], is_kept: bool) -> Result<(), SlotError> {
    stage(flash, program)?;
    for _ in 0..2 {
        let [active, dfu, state] = partitions(flash);
        let started = BootLoader::new(BootLoaderConfig { active, dfu, state }).prepare_boot(&mut [0; PAGE]);
        started.map_err(|_| SlotError)?;
        if is_kept && slots(flash).is_on_trial() {
            slots(flash).keep()?;
        }
    }
    Ok(())
}

#[test]
fn what_is_kept_stays_and_what_is_not_goes_back_and_both_are_known() {
    let (old, new) = (program(1, SLOT / 2), program(2, SLOT - TRAILER_BYTES as usize));
    let flash = board(&old);
    start(&flash);
    assert_eq!((slots(&flash).running(), slots(&flash).is_on_trial()), (None, false));
    assert_eq!(stage(&flash, &new), Ok(true));
    start(&flash);
    assert!(runs(&flash, &new) && slots(&flash).is_on_trial());
    assert_eq!((slots(&flash).running(), slots(&flash).has_returned(&sha(&new))), (Some(sha(&new)), false));
    slots(&flash).keep().unwrap();
    start(&flash);
    assert!(runs(&flash, &new) && !slots(&flash).is_on_trial());
    // A third that nobody keeps, of a few bytes.
    let third = program(3, 9);
    assert_eq!(stage(&flash, &third), Ok(true));
    start(&flash);
    assert!(runs(&flash, &third) && slots(&flash).is_on_trial());
    start(&flash);
    assert!(runs(&flash, &new) && !slots(&flash).is_on_trial());
    assert_eq!((slots(&flash).running(), slots(&flash).has_returned(&sha(&third))), (Some(sha(&new)), true));
    // Two programs that came, and the way back from one.
    let most = flash.chip.borrow().erased.iter().max().copied();
    assert!(most <= Some(6), "{most:?} erasures of a page");
}

/// Has it started, and fail.
fn fail(flash: &Flash, program: &[u8]) {
    assert_eq!(stage(flash, program), Ok(true));
    start(flash);
    assert!(runs(flash, program) && slots(flash).is_on_trial());
    start(flash);
    assert!(slots(flash).has_returned(&sha(program)));
}

/// Which of the programs with these numbers the node knows to have failed.
fn failed(flash: &Flash, numbers: std::ops::RangeInclusive<u8>) -> Vec<u8> {
    let mut slots = slots(flash);
    numbers.filter(|number| slots.has_returned(&sha(&program(*number, PAGE)))).collect()
}

#[test]
fn the_last_that_failed_are_remembered_over_others_that_fail_or_are_kept() {
    let flash = board(&program(1, PAGE));
    start(&flash);
    assert!(failed(&flash, 1..=9).is_empty());
    for number in 2..=3 {
        fail(&flash, &program(number, PAGE));
    }
    assert_eq!(failed(&flash, 1..=9), [2, 3]);
    assert_eq!(stage(&flash, &program(4, PAGE)), Ok(true));
    start(&flash);
    slots(&flash).keep().unwrap();
    start(&flash);
    assert_eq!(failed(&flash, 1..=9), [2, 3], "the one that is kept knows of them");
    // One that is overwritten before it is whole, and a start in the middle.
    slots(&flash).write(0, &program(5, CHUNK)).unwrap();
    assert_eq!(failed(&flash, 1..=9), [2, 3]);
    for number in 5..=7 {
        fail(&flash, &program(number, PAGE));
    }
    assert_eq!(failed(&flash, 1..=9), [3, 5, 6, 7], "no more than {RETURNED_MAX}");
}

#[test]
fn what_was_written_before_there_was_a_list_says_nothing_of_others() {
    let flash = board(&program(1, PAGE));
    start(&flash);
    fail(&flash, &program(2, PAGE));
    // As it stood there: the rest of the trailer as it is erased.
    let list = SLOT + SLOT - 20..2 * SLOT;
    assert_eq!(flash.chip.borrow().bytes[list], [0xff; 20]);
    assert_eq!(failed(&flash, 1..=9), [2]);
}

#[test]
fn what_is_not_what_was_announced_is_not_started() {
    let (old, new) = (program(1, SLOT / 2), program(2, SLOT / 2));
    let flash = board(&old);
    slots(&flash).write(0, &new[..CHUNK]).unwrap();
    assert_eq!(slots(&flash).finish(&sha(&new), new.len() as u32), Ok(false));
    start(&flash);
    assert!(runs(&flash, &old));
    // What was written before is overwritten.
    assert_eq!(stage(&flash, &new), Ok(true));
    let [active, dfu, state] = partitions(&flash);
    assert!(BootSlots::new(active.clone(), active, state.clone(), || {}).is_none(), "no page more");
    assert!(BootSlots::new(dfu.clone(), dfu, state, || {}).is_none());
}

#[test]
fn a_power_cut_at_any_moment_leaves_a_program_that_is_whole() {
    let (old, new) = (program(1, SLOT / 2 + 5), program(2, SLOT / 2 + 777));
    for is_kept in [true, false] {
        for cut in 0.. {
            let flash = board(&old);
            flash.cut_after(cut);
            let is_done = renew(&flash, &new, is_kept).is_ok();
            if is_done {
                assert!(runs(&flash, if is_kept { &new } else { &old }));
                break;
            }
            start(&flash);
            assert!(runs(&flash, &old) || runs(&flash, &new), "cut {cut}");
            // Whatever came of it, the next one is taken.
            let third = program(3, SLOT / 2);
            if slots(&flash).is_on_trial() {
                slots(&flash).keep().unwrap();
            }
            assert_eq!(stage(&flash, &third), Ok(true), "cut {cut}");
            start(&flash);
            assert!(runs(&flash, &third) && slots(&flash).running() == Some(sha(&third)), "cut {cut}");
        }
    }
}

#[test]
fn a_program_that_was_never_started_is_not_taken_for_one_that_failed() {
    let (old, bad, new) = (program(1, SLOT / 2), program(2, SLOT / 2), program(3, SLOT / 2));
    for cut in 0.. {
        let flash = board(&old);
        fail(&flash, &bad);
        flash.cut_after(cut);
        if stage(&flash, &new).is_ok() {
            assert!(cut > 10, "nothing was cut");
            break;
        }
        start(&flash);
        assert!(runs(&flash, &old) && !slots(&flash).has_returned(&sha(&new)), "cut {cut}");
        fail(&flash, &new);
    }
}
