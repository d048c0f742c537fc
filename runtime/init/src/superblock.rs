//! The head of the data's ext4, its superblock, which takes two sectors. No I/O.
//!
//! The kernel writes it when it mounts and when the file system grows. If the power goes then, one sector of the card can be
//! new and the other old. Both are good: what changes is in the first, and the journal has all of it. But the second holds
//! the checksum of both, and the kernel refuses one that is wrong before it looks into the journal, at each start again.

/// Where it is in its partition, in bytes.
pub const AT: u64 = 1024;
/// Bytes.
pub const BYTES: usize = 1024;

const MAGIC_AT: usize = 0x38;
const MAGIC: [u8; 2] = [0x53, 0xef];
/// Second byte of the features without which it can be read but not written.
const FEATURES_AT: usize = 0x65;
const HAS_CHECKSUMS: u8 = 4;
const CHECKSUM_AT: usize = 0x3fc;

/// With the checksum of what it holds. None if it has that, or is none that has checksums.
pub fn mended(mut block: [u8; BYTES]) -> Option<[u8; BYTES]> {
    let has_checksums = block.get(FEATURES_AT)? & HAS_CHECKSUMS != 0;
    if !has_checksums || !block.get(MAGIC_AT..)?.starts_with(&MAGIC) {
        return None;
    }
    let (content, checksum) = block.split_at_mut(CHECKSUM_AT);
    // ext4 leaves out the last step of CRC-32C.
    let right = (!crc32c::crc32c(content)).to_le_bytes();
    if *checksum == right {
        return None;
    }
    checksum.copy_from_slice(&right);
    Some(block)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    use tempfile::NamedTempFile;

    use super::*;

    /// As the tool makes it.
    fn superblock() -> [u8; BYTES] {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").args(["-q", "-F", "-t", "ext4"]).arg(file.path());
        assert!(mke2fs.status().unwrap().success());
        let mut block = [0; BYTES];
        file.as_file().read_exact_at(&mut block, AT).unwrap();
        block
    }

    #[test]
    fn one_of_two_halves_gets_the_checksum_of_what_is_there() {
        let whole = superblock();
        assert_eq!(mended(whole), None, "its checksum is right");
        let mut torn = whole;
        torn[0x34] ^= 1;
        let mended_once = mended(torn).unwrap();
        assert_eq!(mended_once[..CHECKSUM_AT], torn[..CHECKSUM_AT]);
        assert_eq!(mended(mended_once), None);
        torn[0x34] ^= 1;
        torn[CHECKSUM_AT] ^= 1;
        assert_eq!(mended(torn), Some(whole));
    }

    #[test]
    fn what_is_no_superblock_with_checksums_stays_as_it_is() {
        assert_eq!(mended([0; BYTES]), None);
        let mut block = superblock();
        block[0x34] ^= 1;
        let mut without = block;
        without[FEATURES_AT] &= !HAS_CHECKSUMS;
        assert_eq!(mended(without), None);
        block[MAGIC_AT] ^= 1;
        assert_eq!(mended(block), None);
    }
}
