//! A short piece of chaos: every fault once, then as they come. The long one is `--bin chaos`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::env;
use std::time::Duration;

use eyot_test_e2e::chaos::{run, Plan};

const LASTS: Duration = Duration::from_secs(30);

/// `EYOT_E2E_SEED` repeats a run.
#[test]
fn nothing_is_lost_in_a_short_piece_of_chaos() {
    let seed = env::var("EYOT_E2E_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("EYOT_E2E_SEED={seed}");
    let plan = Plan { lasts: LASTS, seed, rate_per_s: 300 };
    let report = run(plan, &mut |line| println!("{line}")).unwrap_or_else(|breach| panic!("{breach}"));
    println!("{}", report.markdown());
}
