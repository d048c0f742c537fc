//! Writes the seeds of all targets that have no file in `tests/fuzz/corpus` yet: `cargo run -p eyot-test-fuzz --example seeds`.

use eyot_test_fuzz::{seeds, targets};

fn main() -> std::io::Result<()> {
    targets::ALL.iter().try_for_each(seeds::write_missing)
}
