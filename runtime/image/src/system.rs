//! The system in an image, without what makes it one gateway's: what updates are made of.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use eyot_card::{Table, SECTOR_BYTES};
use serde::{Deserialize, Serialize};

use crate::disk::{read_fat, SLOTS};
use crate::Error;

/// What a system says of itself, in its slot.
pub const FILE: &str = "system.toml";
/// Most bytes of an update in one message.
pub const PART_MAX_BYTES: usize = 1 << 20;

/// What it is.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct System {
    /// The board it is for.
    pub board: String,
    /// The version of eyot in it.
    pub version: String,
}

impl System {
    /// As a file.
    ///
    /// # Errors
    /// Never, as far as is known.
    pub fn text(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|e| Error::package(FILE, e))
    }
}

/// What the system in the image is.
///
/// # Errors
/// It is no image, or one of before there were updates.
pub fn describe(image: &Path) -> Result<System, Error> {
    let text = read_fat(image, SLOTS[0], FILE)?;
    toml::from_str(&String::from_utf8_lossy(&text)).map_err(|e| Error::package(image.display(), e))
}

/// The slot of the system in the image, up to the last of its sectors that has anything: behind that its file system has nothing
/// either.
///
/// # Errors
/// It is no image of ours.
pub fn read(image: &Path) -> Result<Vec<u8>, Error> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(image)?;
        let mut table = [0; SECTOR_BYTES as usize];
        file.read_exact(&mut table)?;
        if Table::read(table).is_none() {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        file.seek(SeekFrom::Start(SLOTS[0].start))?;
        let mut slot = Vec::new();
        file.take(SLOTS[0].size).read_to_end(&mut slot)?;
        let used = slot.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        slot.truncate(used.next_multiple_of(table.len()));
        Ok(slot)
    };
    read().map_err(|e| Error::file(image, &e, "give an image made by eyot image build"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk;
    use crate::package::Files;

    #[test]
    fn what_is_taken_from_an_image_is_its_system_and_what_it_says_of_itself() {
        let system = System { board: "qemu-virt".to_owned(), version: "0.1.0".to_owned() };
        let files = Files::from([
            (FILE.to_owned(), system.text().unwrap().into_bytes()),
            ("kernel8.img".to_owned(), vec![7; 3 << 20]),
        ]);
        let slot = disk::fat(SLOTS[0].size, *b"BOOT-A     ", &files).unwrap();
        let mut image = tempfile::NamedTempFile::new().unwrap();
        disk::write(image.as_file_mut(), disk::ConfigKind::Fat, &[(SLOTS[0], &slot)]).unwrap();
        assert_eq!(describe(image.path()).unwrap(), system);
        let taken = read(image.path()).unwrap();
        assert!((3 << 20..6 << 20).contains(&taken.len()), "{}", taken.len());
        assert!(slot.starts_with(&taken) && slot[taken.len()..].iter().all(|byte| *byte == 0));
        fs::write(image.path(), vec![0; 1 << 20]).unwrap();
        assert!(read(image.path()).unwrap_err().to_string().contains("eyot image build"));
    }
}
