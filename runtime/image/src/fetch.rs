//! Files from a mirror of Debian, and the local cache of those that were checked.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::lock::Package;
use crate::{Error, Progress};

/// Most bytes of one package.
const PACKAGE_MAX_BYTES: u64 = 1 << 30;
/// Until a mirror answers; and then, for all of a file.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const FILE_TIMEOUT: Duration = Duration::from_secs(1800);
const COPY_BYTES: usize = 64 << 10;

/// Packages that were downloaded and checked, each named by its SHA-256.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// In `directory`, which is made.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(|e| Error::file(directory, &e, "choose another with --cache"))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The file of `package`, from the cache or from `mirror`.
    ///
    /// # Errors
    /// It does not come, or is not what it should be.
    pub fn get(&self, mirror: &str, package: &Package, progress: &dyn Progress) -> Result<PathBuf, Error> {
        let at = self.directory.join(format!("{}.deb", package.sha256.to_ascii_lowercase()));
        if at.exists() {
            return Ok(at);
        }
        let url = format!("{mirror}/{}", package.path);
        progress.begin(&format!("{} {}", package.name, package.version), package.size);
        let limit = package.size.min(PACKAGE_MAX_BYTES);
        let cannot = |e: &io::Error| Error::file(&self.directory, e, "free some space, or choose another with --cache");
        let mut file = NamedTempFile::new_in(&self.directory).map_err(|e| cannot(&e))?;
        let sha256 = download(&url, limit, file.as_file_mut(), progress)?;
        if sha256 != package.sha256.to_ascii_lowercase() {
            let reason = format!("its SHA-256 is {sha256}, not {}", package.sha256);
            return Err(Error::NotIt { url, reason });
        }
        file.as_file().sync_all().map_err(|e| cannot(&e))?;
        file.persist(&at).map_err(|e| cannot(&e.error))?;
        Ok(at)
    }
}

/// Copies what is at `url` to `to`; its SHA-256.
///
/// # Errors
/// It does not come, or is longer than `limit` bytes.
pub(crate) fn download(url: &str, limit: u64, to: &mut impl Write, progress: &dyn Progress) -> Result<String, Error> {
    let failed = |reason: String| Error::Download { url: url.to_owned(), reason };
    let config =
        ureq::Agent::config_builder().timeout_connect(Some(CONNECT_TIMEOUT)).timeout_global(Some(FILE_TIMEOUT)).build();
    let mut response = match ureq::Agent::new_with_config(config).get(url).call() {
        Ok(response) => response,
        Err(ureq::Error::StatusCode(code @ (404 | 410))) => {
            return Err(Error::Gone { url: url.to_owned(), reason: format!("the server answers {code}") });
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let mut from = response.body_mut().as_reader().take(limit.saturating_add(1));
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; COPY_BYTES]);
    loop {
        let length = from.read(&mut buffer).map_err(|e| failed(e.to_string()))?;
        let Some(part) = buffer.get(..length).filter(|part| !part.is_empty()) else { break };
        bytes += length as u64;
        if bytes > limit {
            return Err(Error::NotIt { url: url.to_owned(), reason: format!("it is longer than {limit} bytes") });
        }
        hash.update(part);
        to.write_all(part).map_err(|e| failed(e.to_string()))?;
        progress.at(bytes);
    }
    Ok(hex::encode(hash.finalize()))
}

/// SHA-256 of a file.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(path: &Path) -> Result<String, Error> {
    let mut hash = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut hash))
        .map_err(|e| Error::file(path, &e, "check that it can be read"))?;
    Ok(hex::encode(hash.finalize()))
}
