//! Two slots of flash as [`Slots`], by `embassy-boot`: its boot loader swaps them, page by page, and swaps them back unless the
//! new program says that it is kept.
//!
//! What a program is stands behind it, in the last [`TRAILER_BYTES`] of its slot, and moves with it: so the node knows after a
//! start which one runs, and after one that failed which one that was. Behind that stand those that had failed before it came.

use embassy_boot::{BlockingFirmwareState, FirmwareUpdaterError, State};
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use sha2::{Digest, Sha256};

use crate::update::{SlotError, Slots, PIECE_MULTIPLE_BYTES};

/// Of a slot, not for its program.
pub const TRAILER_BYTES: u32 = 64;
const MAGIC: [u8; 8] = *b"eyotslot";
/// Programs that failed which a node remembers: the oldest is forgotten first.
pub const RETURNED_MAX: usize = 4;
/// Of the SHA-256 of each, so many bytes: another program is taken for one of them once in 2^38.
const RETURNED_BYTES: usize = 5;
/// Behind SHA-256 and size of the program.
const RETURNED_OFFSET: usize = 32 + 4;
const _: () = assert!(MAGIC.len() + RETURNED_OFFSET + RETURNED_MAX * RETURNED_BYTES == TRAILER_BYTES as usize);
/// Hashed at one time.
const HASH_BYTES: usize = 256;
/// What a flash holds where nothing was written.
const ERASED: u8 = 0xff;

/// The newest first.
type Returned = heapless::Vec<[u8; RETURNED_BYTES], RETURNED_MAX>;

/// The partitions that the boot loader knows by the same names.
pub struct BootSlots<A, D, S> {
    active: A,
    dfu: D,
    state: S,
    restart: fn(),
    /// Of both slots at the start: what is written over one of them later must not make it forget.
    returned: Returned,
}

impl<A: ReadNorFlash, D: NorFlash, S: NorFlash> BootSlots<A, D, S> {
    /// None unless they are as the boot loader needs them: the second larger than the first by a page or more. `restart` resets
    /// the chip.
    pub fn new(active: A, dfu: D, state: S, restart: fn()) -> Option<Self> {
        let fits = active.capacity() + D::ERASE_SIZE <= dfu.capacity()
            && active.capacity().is_multiple_of(D::ERASE_SIZE)
            && D::ERASE_SIZE > HASH_BYTES
            && [D::WRITE_SIZE, S::WRITE_SIZE].into_iter().all(|size| PIECE_MULTIPLE_BYTES.is_multiple_of(size));
        let mut slots = fits.then_some(Self { active, dfu, state, restart, returned: Returned::new() })?;
        slots.remember();
        Some(slots)
    }

    /// Programs that failed: the one beside that which runs if it was the last to, and those that either knows of.
    fn remember(&mut self) {
        let offset = self.trailer_offset();
        let is_back = self.with_state(|state| state.get_state()) == Ok(State::Revert);
        let (beside, running) = (Trailer::read(&mut self.dfu, offset), Trailer::read(&mut self.active, offset));
        let last = beside.iter().filter(|_| is_back).filter_map(|trailer| trailer.sha256.first_chunk().copied());
        let earlier = [&beside, &running].into_iter().flatten().flat_map(|trailer| trailer.returned.iter().copied());
        for known in last.chain(earlier) {
            if !self.returned.contains(&known) && self.returned.push(known).is_err() {
                return;
            }
        }
    }

    fn with_state<R>(
        &mut self,
        act: impl FnOnce(&mut BlockingFirmwareState<'_, &mut S>) -> Result<R, FirmwareUpdaterError>,
    ) -> Result<R, SlotError> {
        let mut word = [0; PIECE_MULTIPLE_BYTES];
        let word = word.get_mut(..S::WRITE_SIZE).ok_or(SlotError)?;
        act(&mut BlockingFirmwareState::new(&mut self.state, word)).map_err(|_| SlotError)
    }

    fn trailer_offset(&self) -> u32 {
        u32::try_from(self.active.capacity()).unwrap_or(u32::MAX).saturating_sub(TRAILER_BYTES)
    }

    /// Whether the slot has this SHA-256, as far as it was written.
    fn holds(&mut self, sha256: &[u8; 32], bytes: u32) -> Result<bool, SlotError> {
        let (mut digest, mut buffer, mut offset) = (Sha256::new(), [0; HASH_BYTES], 0);
        while offset < bytes {
            self.dfu.read(offset, &mut buffer).map_err(|_| SlotError)?;
            let len = usize::try_from(bytes - offset).unwrap_or(usize::MAX).min(HASH_BYTES);
            digest.update(buffer.get(..len).unwrap_or_default());
            offset += HASH_BYTES as u32;
        }
        Ok(<[u8; 32]>::from(digest.finalize()) == *sha256)
    }
}

/// What stands behind a program.
struct Trailer {
    sha256: [u8; 32],
    returned: Returned,
}

impl Trailer {
    fn read(flash: &mut impl ReadNorFlash, offset: u32) -> Option<Self> {
        let mut bytes = [0; TRAILER_BYTES as usize];
        flash.read(offset, &mut bytes).ok()?;
        let bytes = bytes.strip_prefix(&MAGIC)?;
        // Where it was written before this was, nothing is there.
        let chunks = bytes.get(RETURNED_OFFSET..)?.chunks_exact(RETURNED_BYTES);
        let known = chunks.filter_map(|chunk| chunk.try_into().ok()).filter(|chunk| *chunk != [ERASED; RETURNED_BYTES]);
        Some(Self { sha256: bytes.first_chunk().copied()?, returned: known.take(RETURNED_MAX).collect() })
    }

    fn bytes(sha256: &[u8; 32], bytes: u32, returned: &Returned) -> Option<[u8; TRAILER_BYTES as usize]> {
        let mut trailer = [ERASED; TRAILER_BYTES as usize];
        let parts = [&MAGIC[..], sha256, &bytes.to_le_bytes(), returned.as_flattened()];
        let mut rest = &mut trailer[..];
        for part in parts {
            let (place, behind) = rest.split_at_mut_checked(part.len())?;
            place.copy_from_slice(part);
            rest = behind;
        }
        Some(trailer)
    }
}

impl<A: ReadNorFlash, D: NorFlash, S: NorFlash> Slots for BootSlots<A, D, S> {
    fn max_bytes(&self) -> u32 {
        self.trailer_offset()
    }

    fn running(&mut self) -> Option<[u8; 32]> {
        let offset = self.trailer_offset();
        Trailer::read(&mut self.active, offset).map(|trailer| trailer.sha256)
    }

    fn has_returned(&mut self, sha256: &[u8; 32]) -> bool {
        self.returned.iter().any(|known| sha256.starts_with(known))
    }

    fn is_on_trial(&mut self) -> bool {
        self.with_state(|state| state.get_state()) == Ok(State::Swap)
    }

    fn write(&mut self, offset: u32, piece: &[u8]) -> Result<(), SlotError> {
        let page = D::ERASE_SIZE as u32;
        let mut offset = offset;
        for word in piece.chunks(PIECE_MULTIPLE_BYTES) {
            if offset.is_multiple_of(page) {
                self.dfu.erase(offset, offset.saturating_add(page)).map_err(|_| SlotError)?;
            }
            let mut padded = [ERASED; PIECE_MULTIPLE_BYTES];
            padded.get_mut(..word.len()).ok_or(SlotError)?.copy_from_slice(word);
            self.dfu.write(offset, &padded).map_err(|_| SlotError)?;
            offset = offset.saturating_add(PIECE_MULTIPLE_BYTES as u32);
        }
        Ok(())
    }

    fn finish(&mut self, sha256: &[u8; 32], bytes: u32) -> Result<bool, SlotError> {
        if !self.holds(sha256, bytes)? {
            return Ok(false);
        }
        let (offset, page) = (self.trailer_offset(), D::ERASE_SIZE as u32);
        let start = offset - offset % page;
        // Unless the program itself reaches so far.
        if bytes <= start {
            self.dfu.erase(start, start.saturating_add(page)).map_err(|_| SlotError)?;
        }
        // From here on the trailer is no longer that of the one that failed last; a cut must not make it look as if this one had.
        if self.with_state(|state| state.get_state())? == State::Revert {
            self.with_state(|state| state.mark_booted())?;
        }
        let trailer = Trailer::bytes(sha256, bytes, &self.returned).ok_or(SlotError)?;
        self.dfu.write(offset, &trailer).map_err(|_| SlotError)?;
        self.with_state(|state| state.mark_updated())?;
        Ok(true)
    }

    fn keep(&mut self) -> Result<(), SlotError> {
        self.with_state(|state| state.mark_booted())
    }

    fn restart(&mut self) {
        (self.restart)();
    }
}
