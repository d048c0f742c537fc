//! A node's own program, as it is built and as its flash has it.

use std::path::Path;

use eyot_wire::system::NODE_PROGRAM_MAX_BYTES;
use object::elf::{FileHeader32, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::Endianness;
use sha2::{Digest, Sha256};

use super::Module;
use crate::file;

/// Largest program of a node, as its flash has it.
pub const PROGRAM_MAX_BYTES: usize = NODE_PROGRAM_MAX_BYTES as usize;
/// Largest file that it is in, with symbols.
pub const PROGRAM_FILE_MAX_BYTES: usize = 16 << 20;
/// Of files that are no image, but as the linker made them.
const ELF: &[u8] = b"\x7fELF";
/// How files begin that are easily taken for a program, and what to do with them. An image begins with the stack or the first
/// instruction, and with none of these.
const OTHERS: [(&[u8], &str); 4] = [
    (b"\0asm", "it is a function; push it with `eyot push`"),
    (b"UF2\n", "it is in UF2, for a drive; name the program as it is linked"),
    (b":", "it is in Intel's HEX; name the program as it is linked"),
    (b"S0", "it is in Motorola's SREC; name the program as it is linked"),
];
/// What a flash holds where nothing is.
const ERASED: u8 = 0xff;

/// Reads a program: as the linker made it, or as the flash is to have it, from the beginning of its slot on.
///
/// # Errors
/// It cannot be read, or is none: reason and remedy.
pub fn load(path: &Path) -> Result<Module, String> {
    let cannot = |reason: String| format!("cannot use {}: {reason}", path.display());
    let file = file::read(path, PROGRAM_FILE_MAX_BYTES)
        .map_err(|error| cannot(format!("{error}; name the program of a node")))?;
    if let Some((_, reason)) = OTHERS.iter().find(|(begin, _)| file.starts_with(begin)) {
        return Err(cannot((*reason).to_owned()));
    }
    let bytes = if file.starts_with(ELF) { flat(&file) } else { Some(file) };
    let fits = |bytes: &Vec<u8>| (1..=PROGRAM_MAX_BYTES).contains(&bytes.len());
    let bytes = bytes.filter(fits).ok_or_else(|| {
        cannot(format!(
            "it is no program for a microcontroller, of at most {PROGRAM_MAX_BYTES} bytes; build it for one"
        ))
    })?;
    let sha256 = Sha256::digest(&bytes).into();
    Ok(Module { bytes: bytes.into(), sha256 })
}

/// What of it is loaded into flash, from the lowest address on.
fn flat(file: &[u8]) -> Option<Vec<u8>> {
    let header = FileHeader32::<Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let mut parts = Vec::new();
    for part in header.program_headers(endian, file).ok()? {
        let bytes = part.data(endian, file).ok()?;
        if part.p_type(endian) == PT_LOAD && !bytes.is_empty() {
            parts.push((usize::try_from(part.p_paddr(endian)).ok()?, bytes));
        }
    }
    let start = parts.iter().map(|(address, _)| *address).min()?;
    let mut image = Vec::new();
    for (address, bytes) in parts {
        let offset = address - start;
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= PROGRAM_MAX_BYTES)?;
        image.resize(image.len().max(end), ERASED);
        image.get_mut(offset..end)?.copy_from_slice(bytes);
    }
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these segments: physical address and bytes.
    fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut file = [ELF, &[1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 40, 0]].concat();
        file.extend(words(&[1, 0, 52, 0, 0]));
        for half in [52, 32, segments.len() as u16, 40, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = 52 + 32 * segments.len() as u32;
        for (address, bytes) in segments {
            let len = bytes.len() as u32;
            file.extend(words(&[PT_LOAD, offset, 0x3800_0000, *address, len, len, 7, 4]));
            offset += len;
        }
        file.extend(segments.iter().flat_map(|(_, bytes)| bytes.iter()));
        file
    }

    #[test]
    fn what_is_linked_is_laid_out_as_the_flash_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = |bytes: &[u8]| {
            let path = dir.path().join("node");
            std::fs::write(&path, bytes).unwrap();
            load(&path)
        };
        let linked = elf(&[(0x8000_0006, b"data"), (0x8000_0000, b"code"), (0x2000_0000, b"")]);
        assert_eq!(loaded(&linked).unwrap().bytes, &b"code\xff\xffdata"[..]);
        assert_eq!(loaded(b"flat").unwrap().bytes, &b"flat"[..]);
        for (other, needle) in
            [(&b"\0asm\x01"[..], "`eyot push`"), (b"UF2\n", "UF2"), (b":020000", "HEX"), (b"S00F", "SREC")]
        {
            assert!(loaded(other).unwrap_err().contains(needle), "{other:?}");
        }
        let far = elf(&[(0x1000_0000, b"a"), (0x3000_0000, b"b")]);
        for bad in [&far[..], b"", ELF, &linked[..60], &linked[..linked.len() - 1]] {
            assert!(loaded(bad).unwrap_err().contains("no program for a microcontroller"), "{bad:?}");
        }
    }
}
