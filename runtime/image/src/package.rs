//! What is in a Debian package: an `ar` archive with a compressed `tar` archive of files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use lzma_rust2::XzReader;
use tar::EntryType;

use crate::Error;

/// Most bytes of one file.
const FILE_MAX_BYTES: u64 = 256 << 20;
/// Most bytes of all that is taken from one package.
const FILES_MAX_BYTES: u64 = 1 << 30;

/// Files by their path, without a slash at the beginning.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The files of the package at `path` that `is_wanted`. Links are left out.
///
/// # Errors
/// It is no package, or too large.
pub fn read(path: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Files, Error> {
    let bad = |reason: String| Error::package(path.display(), reason);
    let file = File::open(path).map_err(|e| bad(e.to_string()))?;
    let mut archive = ar::Archive::new(BufReader::new(file));
    while let Some(entry) = archive.next_entry() {
        let entry = entry.map_err(|e| bad(e.to_string()))?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        match name.strip_prefix("data.tar") {
            Some(".xz") => return files(XzReader::new(entry, true), is_wanted).map_err(bad),
            Some(".gz") => return files(flate2::read::GzDecoder::new(entry), is_wanted).map_err(bad),
            Some("") => return files(entry, is_wanted).map_err(bad),
            Some(_) => return Err(bad(format!("{name} is compressed in a way that eyot does not read"))),
            None => {}
        }
    }
    Err(bad("there is no data.tar in it".to_owned()))
}

fn files(tar: impl Read, is_wanted: impl Fn(&str) -> bool) -> Result<Files, String> {
    let (mut files, mut total) = (Files::new(), 0_u64);
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        let path = entry.path().map_err(|e| e.to_string())?.to_string_lossy().into_owned();
        let path = path.trim_start_matches("./");
        if entry.header().entry_type() != EntryType::Regular || !is_wanted(path) {
            continue;
        }
        total = total.saturating_add(entry.size());
        if entry.size() > FILE_MAX_BYTES || total > FILES_MAX_BYTES {
            return Err(format!("{path} is too large"));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|e| format!("{path}: {e}"))?;
        files.insert(path.to_owned(), content);
    }
    Ok(files)
}

/// The file of that name, in whatever directory; or whose path ends with that one.
pub fn named<'a>(files: &'a Files, name: &str) -> Option<&'a [u8]> {
    let is_it = |path: &str| path.strip_suffix(name).is_some_and(|start| start.is_empty() || start.ends_with('/'));
    files.iter().find(|(path, _)| is_it(path)).map(|(_, content)| content.as_slice())
}

/// `bytes`, decompressed if `name` says that they are compressed.
///
/// # Errors
/// They are not what the name says, or too large.
pub fn plain(name: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    if !name.ends_with(".xz") {
        return Ok(bytes.to_vec());
    }
    let mut plain = Vec::new();
    let read = XzReader::new(bytes, true).take(FILE_MAX_BYTES).read_to_end(&mut plain);
    read.map_err(|e| Error::package(name, e))?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    /// A package with `files`, in gzip.
    fn deb(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("./{name}"), *content).unwrap();
        }
        let data = tar.into_inner().unwrap().finish().unwrap();
        let mut ar = ar::Builder::new(Vec::new());
        ar.append(&ar::Header::new(b"debian-binary".to_vec(), 4), &b"2.0\n"[..]).unwrap();
        ar.append(&ar::Header::new(b"data.tar.gz".to_vec(), data.len() as u64), &data[..]).unwrap();
        ar.into_inner().unwrap()
    }

    #[test]
    fn what_is_wanted_is_taken() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&deb(&[("boot/vmlinuz-1", b"kernel"), ("usr/share/doc/x", b"doc")])).unwrap();
        let files = read(file.path(), |path| path.starts_with("boot/")).unwrap();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), [("boot/vmlinuz-1".to_owned(), b"kernel".to_vec())]);
    }

    #[test]
    fn what_is_cut_off_or_no_package_is_refused() {
        let whole = deb(&[("boot/vmlinuz-1", &[7; 50])]);
        let file = tempfile::NamedTempFile::new().unwrap();
        for length in [0, 7, 60, 100, whole.len() / 2] {
            fs::write(file.path(), &whole[..length]).unwrap();
            let error = read(file.path(), |_| true).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(&file.path().display().to_string()), "{length}: {error}");
        }
    }
}
