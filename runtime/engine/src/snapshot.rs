//! What an instance looked like once started, and how it is put back.
//!
//! A reset that misses a byte lets one message read another, so it never asks what a message has touched: it writes all
//! of memory. It copies the parts that were not zero and fills the rest with zeros, for which nothing is read. On an x86-64
//! core (`cargo run --release -p eyot-engine --example invoke`), in microseconds:
//!
//! | memory | in use | written | fresh instance |
//! |---|---|---|---|
//! | 64 KiB | 16 KiB | 0.4 | 1.4 |
//! | 64 KiB | all | 0.5 | 1.8 |
//! | 512 KiB | 16 KiB | 3.0 | 4.1 |
//! | 1 MiB | 16 KiB | 6.6 | 7.6 |
//! | 1 MiB | all | 18 | 26 |
//! | 4 MiB | 16 KiB | 31 | 33 |
//!
//! So it is the cheapest way for every size; comparing before writing 64 KiB took 0.6 to 0.8 us, and a question to the
//! kernel, what was written, takes longer than the answer is worth. A fresh instance also runs `eyot_init` again. One is
//! made where the kept content would be larger than [`RESET_KEPT_MAX_BYTES`], where memory has grown, and for modules that
//! change what no API can put back: tables and segments.

use alloc::vec::Vec;
use core::ops::Range;

use wasmi::{Global, Instance, Memory, Store, Val};

use crate::host::Host;
use crate::limits::RESET_KEPT_MAX_BYTES;
use crate::rewrite::global_name;

/// What a reset needs to know of the module.
#[derive(Clone, Debug)]
pub(crate) struct ResetPlan {
    /// Globals to put back.
    pub(crate) mutable_globals: Vec<u32>,
    /// The module changes what no API can put back.
    pub(crate) always_fresh: bool,
}

/// Memory is looked at in blocks of so many bytes: one that is all zero is not kept.
const BLOCK_BYTES: usize = 256;

/// Everything a message can change in an instance, other than by growing it.
pub(crate) struct Snapshot {
    memory: Image,
    globals: Vec<(Global, Val)>,
}

impl Snapshot {
    /// `None`: only a fresh instance is cheap, or safe.
    pub(crate) fn take(store: &Store<Host>, instance: &Instance, memory: Memory, plan: &ResetPlan) -> Option<Self> {
        if plan.always_fresh {
            return None;
        }
        let memory = Image::of(memory.data(store))?;
        let globals = plan
            .mutable_globals
            .iter()
            .map(|&index| instance.get_global(store, &global_name(index)).map(|global| (global, global.get(store))))
            .collect::<Option<Vec<_>>>()?;
        Some(Self { memory, globals })
    }

    /// Puts an instance back. `false`: it has grown.
    pub(crate) fn restore(&self, store: &mut Store<Host>, memory: Memory) -> bool {
        self.memory.write(memory.data_mut(&mut *store))
            && self.globals.iter().all(|(global, value)| global.set(&mut *store, value.clone()).is_ok())
    }
}

/// The content of a memory.
struct Image {
    memory_bytes: usize,
    /// Ascending parts that are not all zero.
    parts: Vec<Range<usize>>,
    /// What they hold, one after the other.
    content: Vec<u8>,
}

impl Image {
    /// `None`: there is too much to keep.
    fn of(memory: &[u8]) -> Option<Self> {
        let (mut parts, mut content) = (Vec::<Range<usize>>::new(), Vec::new());
        let mut start = 0;
        for block in memory.chunks(BLOCK_BYTES) {
            let end = start + block.len();
            if block.iter().any(|&byte| byte != 0) {
                if content.len() + block.len() > RESET_KEPT_MAX_BYTES {
                    return None;
                }
                content.extend_from_slice(block);
                match parts.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => parts.push(start..end),
                }
            }
            start = end;
        }
        parts.shrink_to_fit();
        content.shrink_to_fit();
        Some(Self { memory_bytes: memory.len(), parts, content })
    }

    /// Writes every byte of `memory`. `false`: it has another size, and nothing was written.
    fn write(&self, memory: &mut [u8]) -> bool {
        if memory.len() != self.memory_bytes {
            return false;
        }
        let (mut memory, mut content, mut at) = (memory, self.content.as_slice(), 0);
        for part in &self.parts {
            let Some((zeros, rest)) = memory.split_at_mut_checked(part.start - at) else { return false };
            let Some((target, rest)) = rest.split_at_mut_checked(part.len()) else { return false };
            let Some((source, later)) = content.split_at_checked(part.len()) else { return false };
            zeros.fill(0);
            target.copy_from_slice(source);
            (memory, content, at) = (rest, later, part.end);
        }
        memory.fill(0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_written_whatever_was_there() {
        for memory_bytes in [0, 1, 255, 256, 257, 1000, 4096, 5000] {
            for used in 0..=20 {
                let mut memory = alloc::vec![0u8; memory_bytes];
                // Parts at the start, at the end, next to each other and apart.
                for number in 0..used {
                    if let Some(byte) = memory.get_mut(number * number * 13) {
                        *byte = number as u8 + 1;
                    }
                }
                if let (Some(last), true) = (memory.last_mut(), used % 2 == 1) {
                    *last = 9;
                }
                let image = Image::of(&memory).unwrap();
                let mut dirty = alloc::vec![0xa5; memory_bytes];
                assert!(image.write(&mut dirty));
                assert_eq!(dirty, memory, "{used} of {memory_bytes}");
            }
        }
    }

    #[test]
    fn a_memory_of_another_size_is_left_alone() {
        let image = Image::of(&[1; 100]).unwrap();
        let mut grown = [7; 200];
        assert!(!image.write(&mut grown));
        assert_eq!(grown, [7; 200]);
    }

    #[test]
    fn zeros_are_not_kept() {
        let mut memory = alloc::vec![0u8; 64 << 10];
        memory[..16 << 10].fill(1);
        assert_eq!(Image::of(&memory).unwrap().content.len(), 16 << 10);
    }

    #[test]
    fn there_is_a_limit_to_what_is_kept() {
        let mut memory = alloc::vec![0u8; 1 << 20];
        memory[..RESET_KEPT_MAX_BYTES].fill(1);
        assert!(Image::of(&memory).is_some());
        memory[RESET_KEPT_MAX_BYTES] = 1;
        assert!(Image::of(&memory).is_none());
    }
}
