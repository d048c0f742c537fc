//! The partition table of the card: whose it is, and how its last partition grows. No I/O.

/// Bytes of a sector, as tables count them.
pub const SECTOR_BYTES: u64 = 512;
/// What tells our card from others, where a table has its disk signature: "EYOT".
pub const SIGNATURE: [u8; 4] = *b"EYOT";
/// Number of the partition for configuration.
pub const CONFIG: u8 = 1;
/// Number of the partition for data, the last one.
pub const DATA: u8 = 4;

const SIGNATURE_AT: usize = 440;
const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const START_IN_ENTRY: usize = 8;
const SECTORS_IN_ENTRY: usize = 12;
/// Partitions end at a whole MiB.
const ALIGN_SECTORS: u64 = 2048;

/// A part of the disk, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First one.
    pub start: u64,
    /// How many.
    pub sectors: u64,
}

/// The first sector of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table([u8; 512]);

impl Table {
    /// None unless it is the table of a disk that we made.
    pub fn read(sector: [u8; 512]) -> Option<Self> {
        let is_ours = sector.ends_with(&[0x55, 0xaa]) && sector.get(SIGNATURE_AT..)?.starts_with(&SIGNATURE);
        is_ours.then_some(Self(sector))
    }

    /// Where the data is.
    pub fn data(&self) -> Span {
        Span { start: self.field(START_IN_ENTRY), sectors: self.field(SECTORS_IN_ENTRY) }
    }

    /// With the data up to the end of a disk of `disk_sectors`; none if it is there already.
    pub fn grown(mut self, disk_sectors: u64) -> Option<Self> {
        let data = self.data();
        // A table cannot say more.
        let end = disk_sectors.min(data.start + u64::from(u32::MAX)) / ALIGN_SECTORS * ALIGN_SECTORS;
        let sectors = end.checked_sub(data.start).filter(|sectors| *sectors > data.sectors)?;
        let at = entry_at() + SECTORS_IN_ENTRY;
        self.0.get_mut(at..at + 4)?.copy_from_slice(&u32::try_from(sectors).ok()?.to_le_bytes());
        Some(self)
    }

    /// To be written.
    pub fn sector(&self) -> &[u8; 512] {
        &self.0
    }

    fn field(&self, at: usize) -> u64 {
        let at = entry_at() + at;
        let bytes = self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        u64::from(u32::from_le_bytes(bytes))
    }
}

fn entry_at() -> usize {
    ENTRIES_AT + ENTRY_BYTES * usize::from(DATA - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(start: u32, sectors: u32) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[440..444].copy_from_slice(b"EYOT");
        sector[494 + 8..494 + 12].copy_from_slice(&start.to_le_bytes());
        sector[494 + 12..494 + 16].copy_from_slice(&sectors.to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn only_our_table_is_taken() {
        assert!(Table::read(table(1, 2)).is_some());
        let mut other = table(1, 2);
        other[440] = b'X';
        assert!(Table::read(other).is_none());
        let mut none = table(1, 2);
        none[511] = 0;
        assert!(Table::read(none).is_none());
    }

    #[test]
    fn the_last_partition_takes_the_rest_and_only_that_changes() {
        let before = table(0x6_8800, 0x2_0000);
        let grown = Table::read(before).unwrap().grown(0x100_0007).unwrap();
        assert_eq!(grown.data(), Span { start: 0x6_8800, sectors: 0x100_0000 - 0x6_8800 });
        let changed: Vec<_> = (0..512).filter(|at| before[*at] != grown.sector()[*at]).collect();
        assert!(changed.iter().all(|at| (506..510).contains(at)), "{changed:?}");
        assert_eq!(grown.grown(0x100_0007), None, "it is there already");
        assert_eq!(grown.grown(0x10_0000), None, "it never shrinks");
    }

    #[test]
    fn more_than_a_table_can_say_is_left() {
        let grown = Table::read(table(2048, 2048)).unwrap().grown(1 << 40).unwrap();
        assert!(grown.data().sectors <= u64::from(u32::MAX));
    }
}
