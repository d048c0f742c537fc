//! The partition table: four partitions, as computers had them since 1983, whose disk it is, and how the last one grows.

/// Bytes of a sector, as tables count them.
pub const SECTOR_BYTES: u64 = 512;
/// Number of the partition for people: configuration, and the beginning of the boot loader.
pub const CONFIG: u8 = 1;
/// Numbers of the partitions with a system.
pub const SLOTS: [u8; 2] = [2, 3];
/// Number of the partition for what is kept, the last one.
pub const DATA: u8 = 4;
/// What tells our disks from others, where a table has a disk's signature: "EYOT".
pub const SIGNATURE: [u8; 4] = *b"EYOT";

const SIGNATURE_AT: usize = 440;
const ENTRIES_AT: usize = 446;
const ENTRY_BYTES: usize = 16;
const KIND_IN_ENTRY: usize = 4;
const START_IN_ENTRY: usize = 8;
const SECTORS_IN_ENTRY: usize = 12;
/// What the firmware of old computers started.
const ACTIVE: u8 = 0x80;
/// It is a sector.
const TABLE_BYTES: usize = SECTOR_BYTES as usize;
/// How any such table ends.
const END: [u8; 2] = [0x55, 0xaa];
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

/// The first sector of a disk of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table([u8; TABLE_BYTES]);

impl Table {
    /// Of these partitions, from the first on, each with what it is, as tables say it. None if a table cannot say where they
    /// are.
    pub fn new(partitions: [(u8, Span); 4]) -> Option<Self> {
        let mut table = Self([0; TABLE_BYTES]);
        table.put(SIGNATURE_AT, &SIGNATURE)?;
        table.put(TABLE_BYTES - END.len(), &END)?;
        table.put(entry_at(CONFIG), &[ACTIVE])?;
        for (number, (kind, span)) in (CONFIG..).zip(partitions) {
            let at = entry_at(number);
            // Cylinders and heads are nothing that anybody reads any more.
            table.put(at + KIND_IN_ENTRY, &[kind])?;
            table.put(at + START_IN_ENTRY, &u32::try_from(span.start).ok()?.to_le_bytes())?;
            table.put(at + SECTORS_IN_ENTRY, &u32::try_from(span.sectors).ok()?.to_le_bytes())?;
        }
        Some(table)
    }

    /// None unless it is the table of a disk that we made.
    pub fn read(sector: [u8; TABLE_BYTES]) -> Option<Self> {
        let is_ours = sector.ends_with(&END) && sector.get(SIGNATURE_AT..)?.starts_with(&SIGNATURE);
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
        self.put(entry_at(DATA) + SECTORS_IN_ENTRY, &u32::try_from(sectors).ok()?.to_le_bytes())?;
        Some(self)
    }

    /// To be written.
    pub fn sector(&self) -> &[u8; TABLE_BYTES] {
        &self.0
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Option<()> {
        self.0.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        Some(())
    }

    fn field(&self, at: usize) -> u64 {
        let at = entry_at(DATA) + at;
        let bytes = self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        u64::from(u32::from_le_bytes(bytes))
    }
}

fn entry_at(number: u8) -> usize {
    ENTRIES_AT + ENTRY_BYTES * usize::from(number - CONFIG)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

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
    fn a_new_table_says_where_each_partition_is_and_is_read_as_ours() {
        let span = |start, sectors| Span { start, sectors };
        let partitions =
            [(0x0c, span(1, 10)), (0x0c, span(11, 20)), (0x0c, span(31, 30)), (0x83, span(61, 0x0102_0304))];
        let made = Table::new(partitions).unwrap();
        assert_eq!(Table::read(*made.sector()), Some(made));
        assert_eq!(made.data(), span(61, 0x0102_0304));
        let second = [0, 0, 0, 0, 0x0c, 0, 0, 0, 11, 0, 0, 0, 20, 0, 0, 0];
        let last = [0, 0, 0, 0, 0x83, 0, 0, 0, 61, 0, 0, 0, 4, 3, 2, 1];
        assert_eq!((made.sector()[446], &made.sector()[462..478]), (0x80, &second[..]));
        assert_eq!(made.sector()[494..], [&last[..], &[0x55, 0xaa]].concat());
        assert_eq!(Table::new([(0, span(1 << 32, 1)); 4]), None, "there is no room to say it");
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
