//! Two slots of flash as [`Slots`], by `embassy-boot`: its boot loader swaps them, page by page, and swaps them back unless the
//! new program says that it is kept.
//!
//! What a program is stands behind it, in the last [`TRAILER_BYTES`] of its slot, and moves with it: so the node knows after a
//! start which one runs, and after one that failed which one that was.

use embassy_boot::{BlockingFirmwareState, FirmwareUpdaterError, State};
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use sha2::{Digest, Sha256};

use crate::update::{SlotError, Slots, PIECE_MULTIPLE_BYTES};

/// Of a slot, not for its program.
pub const TRAILER_BYTES: u32 = 64;
const MAGIC: [u8; 8] = *b"eyotslot";
/// Magic, SHA-256, size of the program.
const TRAILER_USED_BYTES: usize = 8 + 32 + 4;
/// Hashed at one time.
const HASH_BYTES: usize = 256;
/// What a flash holds where nothing was written.
const ERASED: u8 = 0xff;

/// The partitions that the boot loader knows by the same names.
pub struct BootSlots<A, D, S> {
    active: A,
    dfu: D,
    state: S,
    restart: fn(),
}

impl<A: ReadNorFlash, D: NorFlash, S: NorFlash> BootSlots<A, D, S> {
    /// None unless they are as the boot loader needs them: the second larger than the first by a page or more. `restart` resets
    /// the chip.
    pub fn new(active: A, dfu: D, state: S, restart: fn()) -> Option<Self> {
        let fits = active.capacity() + D::ERASE_SIZE <= dfu.capacity()
            && active.capacity().is_multiple_of(D::ERASE_SIZE)
            && D::ERASE_SIZE > HASH_BYTES
            && [D::WRITE_SIZE, S::WRITE_SIZE].into_iter().all(|size| PIECE_MULTIPLE_BYTES.is_multiple_of(size));
        fits.then_some(Self { active, dfu, state, restart })
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

/// The SHA-256 in the trailer at this offset.
fn trailer(flash: &mut impl ReadNorFlash, offset: u32) -> Option<[u8; 32]> {
    let mut bytes = [0; TRAILER_BYTES as usize];
    flash.read(offset, &mut bytes).ok()?;
    bytes.strip_prefix(&MAGIC)?.first_chunk().copied()
}

impl<A: ReadNorFlash, D: NorFlash, S: NorFlash> Slots for BootSlots<A, D, S> {
    fn max_bytes(&self) -> u32 {
        self.trailer_offset()
    }

    fn running(&mut self) -> Option<[u8; 32]> {
        let offset = self.trailer_offset();
        trailer(&mut self.active, offset)
    }

    fn returned(&mut self) -> Option<[u8; 32]> {
        let is_back = self.with_state(|state| state.get_state()) == Ok(State::Revert);
        let offset = self.trailer_offset();
        is_back.then(|| trailer(&mut self.dfu, offset)).flatten()
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
        let mut trailer = heapless::Vec::<u8, { TRAILER_BYTES as usize }>::new();
        for part in [&MAGIC[..], sha256, &bytes.to_le_bytes(), &[ERASED; TRAILER_BYTES as usize - TRAILER_USED_BYTES]] {
            trailer.extend_from_slice(part).map_err(|_| SlotError)?;
        }
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
