//! Of parts that come in any order, more than once, or not at all.

use super::*;

const A: [u8; 32] = [1; 32];
const MIB: u64 = 1 << 20;

fn staging() -> Staging {
    Staging::new(16 * MIB, 86_400_000_000, 1 << 40)
}

fn put(staging: &mut Staging, id: [u8; 32], number: u32, bytes: u64, mono_us: u64) {
    assert_eq!(staging.admit(id, number, bytes, mono_us).0, Verdict::Keep);
    staging.kept(&id, number, bytes, true);
}

#[test]
fn parts_in_any_order_are_whole_when_none_is_missing() {
    let mut staging = staging();
    put(&mut staging, A, 2, 50, 0);
    put(&mut staging, A, 0, 100, 1);
    assert_eq!(staging.next_whole(2), None);
    assert_eq!(staging.missing(&A), Missing { bytes: 150, numbers: vec![1], next: 3 });
    assert_eq!(staging.admit(A, 1, 100, 2).0, Verdict::Keep);
    assert_eq!(staging.next_whole(2), None, "it is not on the disk yet");
    staging.kept(&A, 1, 100, true);
    assert_eq!(staging.next_whole(2), Some((A, 3)), "the last is short");
    assert_eq!(staging.next_whole(2), None);
    assert_eq!(staging.admit(A, 7, 10, 2).0, Verdict::Keep, "also while it is tried");
    staging.kept(&A, 7, 10, false);
    staging.incomplete(&A);
    assert_eq!(staging.next_whole(9_000_000), None, "until there are more parts");
    put(&mut staging, A, 3, 100, 3);
    assert_eq!((staging.next_whole(4), staging.next_whole(300_004)), (None, Some((A, 4))));
}

#[test]
fn what_is_missing_is_asked_for_ever_more_rarely() {
    let mut staging = staging();
    put(&mut staging, A, 1, 100, 0);
    assert_eq!(staging.next_to_ask(ASK_AFTER_US - 1), None);
    let mut asked = Vec::new();
    let mut now_us = 0;
    while asked.len() < 8 {
        now_us = now_us.max(staging.due_us().unwrap());
        if let Some((id, missing)) = staging.next_to_ask(now_us) {
            assert_eq!((id, missing.numbers, missing.next), (A, vec![0], 2));
            asked.push(now_us / 1_000_000);
        }
    }
    assert_eq!(asked, [2, 4, 8, 16, 32, 64, 124, 184]);
    assert_eq!(staging.next_expired(86_400_000_000), Some(A));
    assert_eq!((staging.len(), staging.due_us()), (0, None));
}

#[test]
fn a_part_there_was_no_time_for_is_asked_for() {
    let mut staging = staging();
    staging.expect(A, 1, 0);
    staging.expect([2; 32], PARTS_MAX, 0);
    assert_eq!(staging.len(), 1, "no push has so many parts");
    assert_eq!(staging.next_to_ask(ASK_AFTER_US), Some((A, Missing { bytes: 0, numbers: vec![0, 1], next: 2 })));
    put(&mut staging, A, 0, 100, ASK_AFTER_US);
    assert_eq!(staging.next_whole(ASK_AFTER_US), None, "the other is known to be missing");
    put(&mut staging, A, 1, 50, ASK_AFTER_US);
    assert_eq!(staging.next_whole(9_000_000), Some((A, 2)));
    for id in 0..=PUSHES_MAX as u8 {
        staging.expect([id; 32], 0, 0);
    }
    assert_eq!(staging.len(), PUSHES_MAX);
}

#[test]
fn a_bomb_stays_small() {
    let mut staging = staging();
    assert!(matches!(staging.admit(A, PARTS_MAX, 1, 0).0, Verdict::Refused(_)));
    assert!(matches!(staging.admit(A, u32::MAX, 1, 0).0, Verdict::Refused(_)));
    for number in 0..8 {
        put(&mut staging, A, number, MIB, 0);
    }
    assert_eq!(staging.admit(A, 8, 1, 0).0, Verdict::Refused(TOO_LARGE.to_owned()));
    assert!(TOO_LARGE.contains(&MODULE_MAX_BYTES.to_string()));
    for id in 2..9 {
        put(&mut staging, [id; 32], 0, MIB, u64::from(id));
    }
    assert!(matches!(staging.admit([99; 32], 0, 1, 10).0, Verdict::Refused(_)), "so many pushes at once");
    assert_eq!(staging.admit([99; 32], 0, 2 * MIB, IDLE_US + 1), (Verdict::Keep, Some(A)), "the idle one goes");
    assert!(staging.bytes() <= 16 * MIB);
}

#[test]
fn what_of_a_bomb_was_on_its_way_leaves_nothing_either() {
    let mut staging = staging();
    for number in 0..8 {
        put(&mut staging, A, number, MIB, 0);
    }
    assert!(matches!(staging.admit(A, 8, 1, 0).0, Verdict::Refused(_)));
    staging.forget(&A);
    assert!(matches!(staging.admit(A, 9, MIB, 1).0, Verdict::Refused(_)));
    assert_eq!(staging.len(), 0);
    assert_eq!(staging.admit(A, 0, MIB, REFUSED_FOR_US).0, Verdict::Keep, "another attempt");
}

#[test]
fn a_part_that_is_not_kept_may_come_again() {
    let mut staging = staging();
    assert_eq!(staging.admit(A, 0, 100, 0).0, Verdict::Keep);
    assert_eq!(staging.admit(A, 0, 100, 0).0, Verdict::Known);
    staging.kept(&A, 0, 100, false);
    assert_eq!((staging.len(), staging.bytes()), (0, 0));
    put(&mut staging, A, 0, 100, 0);
    let mut again = self::staging();
    assert!(again.restore(&[Part { push: A, number: 0, bytes: 100 }], 7).is_empty());
    assert_eq!(again.next_whole(7 + TRY_AFTER_US), Some((A, 1)));
}

/// The directory may hold what a larger `staging_max` left, or what somebody put there.
#[test]
fn what_the_store_has_from_before_is_bounded_too() {
    let mut staging = Staging::new(MIB, 86_400_000_000, 1 << 40);
    let part = |id: u8, number, bytes| Part { push: [id; 32], number, bytes };
    let mut parts: Vec<_> = (0..20).map(|id| part(id, 0, 10)).collect();
    parts.extend([part(0, PARTS_MAX, 1), part(1, 1, 17 * MIB), part(1, 2, 1)]);
    let gone: Vec<u8> = staging.restore(&parts, 0).iter().map(|id| id[0]).collect();
    assert_eq!((gone, staging.len()), (vec![0, 1, 16, 17, 18, 19], 14));
    assert_eq!(staging.bytes(), 140);
}

/// Whoever may publish may send parts that are none, for a push that somebody else has begun.
#[test]
fn parts_that_are_none_do_not_keep_a_push_from_being_whole() {
    let mut staging = staging();
    put(&mut staging, A, PARTS_MAX - 1, 10, 0);
    put(&mut staging, A, 0, 100, 0);
    put(&mut staging, A, 1, 100, 0);
    assert_eq!((staging.next_whole(TRY_AFTER_US - 1), staging.next_whole(TRY_AFTER_US)), (None, Some((A, 2))));
    staging.incomplete(&A);
    // One of them is not what it should be. Its author sends both again.
    put(&mut staging, A, 1, 90, TRY_AFTER_US);
    assert_eq!(staging.bytes(), 200);
    put(&mut staging, A, 0, 100, TRY_AFTER_US);
    assert_eq!(staging.next_whole(2 * TRY_AFTER_US), Some((A, 2)));
}

#[test]
fn what_the_store_could_not_try_is_tried_again_ever_more_rarely() {
    let mut staging = staging();
    staging.whole(A, 100, 0);
    let mut tried = Vec::new();
    for ms in 0..20_000 {
        let mono_us = ms * 1000;
        staging.next_to_ask(mono_us);
        if staging.next_whole(mono_us).is_some() {
            tried.push(ms);
            staging.failed(&A);
        }
    }
    assert_eq!(tried, [0, 2000, 4000, 8000, 16_000]);
}
