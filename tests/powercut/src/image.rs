//! Contents of a disk.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// What images share, they share in pieces of this size.
const PIECE_BYTES: usize = 16 << 10;

/// All bytes of a disk. Clones share what they do not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    bytes: usize,
    /// None is zeros.
    pieces: Vec<Option<Arc<Vec<u8>>>>,
}

impl Image {
    /// A disk of zeros.
    pub fn blank(bytes: usize) -> Self {
        Self { bytes, pieces: vec![None; bytes.div_ceil(PIECE_BYTES)] }
    }

    /// What a file holds.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let mut image = Self::blank(bytes.len());
        for (index, piece) in bytes.chunks(PIECE_BYTES).enumerate().filter(|(_, piece)| piece.iter().any(|b| *b != 0)) {
            image.write((index * PIECE_BYTES) as u64, piece);
        }
        Ok(image)
    }

    /// Size of the disk.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether the disk has no room at all.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// As much of `[offset, offset + bytes)` as the disk has.
    pub fn read(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes);
        let mut out = vec![0; start.saturating_add(bytes).min(self.bytes) - start];
        let mut at = start;
        let mut rest = out.as_mut_slice();
        while !rest.is_empty() {
            let from = at % PIECE_BYTES;
            let (now, later) = rest.split_at_mut(rest.len().min(PIECE_BYTES - from));
            if let Some(piece) = &self.pieces[at / PIECE_BYTES] {
                now.copy_from_slice(&piece[from..from + now.len()]);
            }
            at += now.len();
            rest = later;
        }
        out
    }

    /// Overwrites; false, and nothing written, if it goes beyond the end.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if start.saturating_add(bytes.len()) > self.bytes {
            return false;
        }
        let mut at = start;
        let mut rest = bytes;
        while !rest.is_empty() {
            let from = at % PIECE_BYTES;
            let (now, later) = rest.split_at(rest.len().min(PIECE_BYTES - from));
            let piece = self.pieces[at / PIECE_BYTES].get_or_insert_with(|| Arc::new(vec![0; PIECE_BYTES]));
            Arc::make_mut(piece)[from..from + now.len()].copy_from_slice(now);
            at += now.len();
            rest = later;
        }
        true
    }
}

/// An image without its zeros, as it is kept in files.
#[derive(Debug, Serialize, Deserialize)]
pub struct Packed {
    bytes: usize,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl From<&Image> for Packed {
    fn from(image: &Image) -> Self {
        let pieces = image.pieces.iter().enumerate().filter_map(|(index, piece)| {
            let offset = index * PIECE_BYTES;
            // The last piece may be larger than what the disk has of it.
            let piece = piece.as_ref()?.get(..PIECE_BYTES.min(image.bytes - offset))?;
            Some((offset as u64, piece.to_vec()))
        });
        Self { bytes: image.bytes, pieces: pieces.collect() }
    }
}

impl From<&Packed> for Image {
    fn from(packed: &Packed) -> Self {
        let mut image = Self::blank(packed.bytes);
        for (offset, piece) in &packed.pieces {
            image.write(*offset, piece);
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_keep_their_content_also_packed() {
        let mut image = Image::blank(100_000);
        assert!(image.write(99_000, &[7; 1_000]) && !image.write(99_001, &[7; 1_000]));
        assert!(image.write(16_380, &[1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(image.read(16_379, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
        assert_eq!(image.read(99_999, 10), [7]);
        let packed = Packed::from(&image);
        assert_eq!(packed.pieces.len(), 3, "zeros are left out");
        assert_eq!(Image::from(&packed), image);
    }

    #[test]
    fn clones_do_not_write_to_each_other() {
        let mut one = Image::blank(40_000);
        one.write(0, &[1; 40_000]);
        let other = one.clone();
        one.write(20_000, &[2; 10]);
        assert_eq!((one.read(20_000, 1), other.read(20_000, 1)), (vec![2], vec![1]));
    }
}
