//! Wear: what a commit costs the device, and how a commit is made to cost less.
//!
//! A device takes whole blocks, and a file system writes about files as well: the first write to a block that was only
//! reserved changes the file's map, and the sync that makes it durable writes three or four blocks of journal beside the
//! data. So small batches bring zeros for the blocks after them: one change of the map for many commits. Large batches
//! do not: there the zeros would cost more than the journal.
//!
//! The costs are ext4's, measured; `tests/bench` (`wear`) says how far they are off.

/// The device takes multiples of this.
const BLOCK_BYTES: u64 = 4096;
/// Batches beyond this bring no zeros.
const FILL_BATCH_MAX_BYTES: u64 = 8 << 10;
/// Zeros reach to a multiple of this.
const FILL_BYTES: u64 = 64 << 10;
/// A sync after a change of the file's map.
const MAP_CHANGE_BYTES: u64 = 13 << 10;
/// A new segment: its names, before and after, and their syncs.
const NEW_SEGMENT_BYTES: u64 = 48 << 10;
/// What a write costs once its time of change reaches the journal by itself, at most once in [`TIMES_INTERVAL_US`].
pub const TIMES_BYTES: u64 = 13 << 10;
/// ext4 writes back a file's time of change this often, in microseconds.
pub const TIMES_INTERVAL_US: u64 = 5_000_000;

/// Zeros to write behind a batch of `bytes` at `at`, in a file whose content is written up to `filled` and reserved up
/// to `reserved`.
pub(crate) fn fill_bytes(at: u64, bytes: u64, filled: u64, reserved: u64) -> u64 {
    let end = at + bytes;
    if end <= filled || bytes > FILL_BATCH_MAX_BYTES {
        return 0;
    }
    end.next_multiple_of(FILL_BYTES).min(reserved).saturating_sub(end)
}

/// What the device takes for a synced write of `bytes` at `at`.
pub(crate) fn write_bytes(at: u64, bytes: u64, filled: u64) -> u64 {
    let end = at + bytes;
    let blocks = end.next_multiple_of(BLOCK_BYTES) - at / BLOCK_BYTES * BLOCK_BYTES;
    blocks + if end > filled.next_multiple_of(BLOCK_BYTES) { MAP_CHANGE_BYTES } else { 0 }
}

/// What the device takes for the first write of a segment.
pub(crate) fn new_segment_bytes(bytes: u64) -> u64 {
    write_bytes(0, bytes, 0) + NEW_SEGMENT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_batches_bring_zeros_only_where_nothing_was_written() {
        assert_eq!(fill_bytes(1000, 300, 0, 4 << 20), FILL_BYTES - 1300);
        assert_eq!(fill_bytes(1000, 300, 1300, 4 << 20), 0, "written before");
        assert_eq!(fill_bytes(1000, FILL_BATCH_MAX_BYTES + 1, 0, 4 << 20), 0, "large enough by itself");
        assert_eq!(fill_bytes(1000, 300, 0, 4096), 4096 - 1300, "no further than what is reserved");
        assert_eq!(fill_bytes(1000, 300, 0, 1100), 0, "beyond what is reserved");
    }

    #[test]
    fn blocks_are_whole_and_a_change_of_the_map_costs_extra() {
        assert_eq!(write_bytes(4090, 10, 8192), 2 * BLOCK_BYTES);
        assert_eq!(write_bytes(4096, 4096, 8192), BLOCK_BYTES);
        assert_eq!(write_bytes(4096, 4096, 4097), BLOCK_BYTES, "the block was begun");
        assert_eq!(write_bytes(4096, 4096, 4096), BLOCK_BYTES + MAP_CHANGE_BYTES);
    }
}
