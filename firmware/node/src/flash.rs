//! Flash as a [`Keeper`], by the map of `sequential-storage`: pieces of a state in one of two slots, then which slot counts.

use core::ops::Range;

use alloc::vec::Vec;
use embassy_embedded_hal::adapter::BlockingAsync;
use embassy_futures::block_on;
use embedded_storage::nor_flash::NorFlash;
use eyot_engine::State;
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};
use sequential_storage::Error;

use crate::keep::{Keeper, NotKept};

/// A state is cut into pieces, each an item of a page.
const PIECE_BYTES: usize = 1024;
/// Most of them: of 8 KiB, twice what boards grant a state, as keys and values have lengths in front.
const PIECES_MAX: usize = 8;
/// Both slots, the head, and what is copied while a page is emptied.
pub const FLASH_MIN_BYTES: u32 = 32 << 10;
/// A piece, with its key and alignment.
const BUFFER_BYTES: usize = PIECE_BYTES + 64;
/// Key of the head.
const HEAD: u8 = 0;
/// Slot, SHA-256 of the function, bytes of the state.
const HEAD_BYTES: usize = 1 + 32 + 2;

type Map<F> = MapStorage<u8, BlockingAsync<F>, Cache<Uncached, Uncached, Uncached, u8>>;

/// A range of flash that is this keeper's alone.
pub struct FlashKeeper<F: NorFlash> {
    map: Map<F>,
}

enum Failure {
    /// The pages make no sense.
    Corrupted,
    Other,
}

struct Head {
    slot: u8,
    sha256: [u8; 32],
    len: usize,
}

impl<F: NorFlash> FlashKeeper<F> {
    /// Over whole pages, of [`FLASH_MIN_BYTES`] or more; none otherwise. What else is there is taken for nothing, and erased
    /// with the first state.
    pub fn new(flash: F, range: Range<u32>) -> Option<Self> {
        if range.end.saturating_sub(range.start) < FLASH_MIN_BYTES {
            return None;
        }
        let config = MapConfig::try_new(range).ok()?;
        Some(Self { map: MapStorage::new(BlockingAsync::new(flash), config, Cache::new_uncached()) })
    }

    fn head(&mut self) -> Option<Head> {
        let mut buffer = [0; BUFFER_BYTES];
        let bytes: &[u8] = block_on(self.map.fetch_item(&mut buffer, &HEAD)).ok()??;
        let (slot, rest) = bytes.split_first()?;
        let (sha256, len) = rest.split_first_chunk::<32>()?;
        let len = usize::from(u16::from_le_bytes(len.try_into().ok()?));
        Some(Head { slot: *slot, sha256: *sha256, len })
    }

    fn store(&mut self, key: u8, item: &[u8]) -> Result<(), Failure> {
        let mut buffer = [0; BUFFER_BYTES];
        block_on(self.map.store_item(&mut buffer, &key, &item)).map_err(|error| match error {
            Error::Corrupted { .. } => Failure::Corrupted,
            _ => Failure::Other,
        })
    }

    fn write(&mut self, slot: u8, sha256: &[u8; 32], bytes: &[u8]) -> Result<(), Failure> {
        for (key, piece) in (first_key(slot)..).zip(bytes.chunks(PIECE_BYTES)) {
            self.store(key, piece)?;
        }
        let len = u16::try_from(bytes.len()).map_err(|_| Failure::Other)?.to_le_bytes();
        let mut head = heapless::Vec::<u8, HEAD_BYTES>::new();
        for part in [&[slot][..], sha256, &len] {
            head.extend_from_slice(part).map_err(|_| Failure::Other)?;
        }
        self.store(HEAD, &head)
    }
}

fn first_key(slot: u8) -> u8 {
    1 + (slot & 1) * PIECES_MAX as u8
}

impl<F: NorFlash> Keeper for FlashKeeper<F> {
    fn load(&mut self, sha256: &[u8; 32]) -> Option<State> {
        let head = self.head().filter(|head| head.sha256 == *sha256)?;
        let mut bytes = Vec::new();
        for key in (first_key(head.slot)..).take(head.len.div_ceil(PIECE_BYTES).min(PIECES_MAX)) {
            let mut buffer = [0; BUFFER_BYTES];
            let piece: &[u8] = block_on(self.map.fetch_item(&mut buffer, &key)).ok()??;
            bytes.extend_from_slice(piece);
        }
        // A piece may be of a longer state of before.
        decode(bytes.get(..head.len)?)
    }

    fn keep(&mut self, sha256: &[u8; 32], state: &State) -> Result<(), NotKept> {
        let bytes = encode(state).filter(|bytes| bytes.len() <= PIECES_MAX * PIECE_BYTES).ok_or(NotKept)?;
        let slot = self.head().map_or(0, |head| (head.slot & 1) ^ 1);
        match self.write(slot, sha256, &bytes) {
            Ok(()) => Ok(()),
            Err(Failure::Other) => Err(NotKept),
            // What cannot be repaired, such as what was there before, holds nothing.
            Err(Failure::Corrupted) => {
                block_on(self.map.erase_all()).map_err(|_| NotKept)?;
                self.write(slot, sha256, &bytes).map_err(|_| NotKept)
            }
        }
    }
}

fn encode(state: &State) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (key, value) in state.iter() {
        for part in [key, value] {
            out.extend_from_slice(&u16::try_from(part.len()).ok()?.to_le_bytes());
            out.extend_from_slice(part);
        }
    }
    Some(out)
}

fn decode(mut bytes: &[u8]) -> Option<State> {
    let mut state = State::default();
    while !bytes.is_empty() {
        let key = part(&mut bytes)?;
        state.set(key, part(&mut bytes)?);
    }
    Some(state)
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (part, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *bytes = rest;
    Some(part)
}
