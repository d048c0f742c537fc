//! Which packages images are made of: name, version and SHA-256 of each, so that the same inputs make the same image.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Most bytes of a lock file.
const LOCK_MAX_BYTES: usize = 1 << 20;

/// A lock file.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Where packages come from, without a slash at the end. Plain HTTP will do: what comes is checked.
    pub mirror: String,
    /// Packages, in the order in which they were looked up.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

/// One package.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// What boards ask for: itself, or what depends on exactly this version of it.
    pub wanted: String,
    /// The release of Debian it was looked up in.
    pub suite: String,
    /// `arm64`, `armhf` or `amd64`: of the board, also if the package is for all.
    pub architecture: String,
    /// Its own name.
    pub name: String,
    /// Debian's version.
    pub version: String,
    /// Below the mirror.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of the file, in hexadecimal digits.
    pub sha256: String,
}

/// What a board asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The release of Debian.
    pub suite: String,
    /// The board's.
    pub architecture: String,
    /// The name.
    pub name: String,
}

impl Lock {
    /// Reads the text of a lock file.
    ///
    /// # Errors
    /// It is too long, or no lock file.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Error> {
        if text.len() > LOCK_MAX_BYTES {
            return Err(Error::lock(file, format_args!("is longer than {LOCK_MAX_BYTES} bytes")));
        }
        let lock: Self = toml::from_str(text).map_err(|e| Error::lock(file, e))?;
        for package in &lock.packages {
            let is_whole = package.sha256.len() == 64 && package.sha256.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_whole {
                return Err(Error::lock(file, format_args!("{}: sha256 is not 64 hexadecimal digits", package.name)));
            }
        }
        Ok(lock)
    }

    /// The packages that make up `wanted`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, wanted: &Wanted) -> Result<Vec<&Package>, Error> {
        let is_it = |package: &&Package| {
            package.wanted == wanted.name
                && package.suite == wanted.suite
                && package.architecture == wanted.architecture
        };
        let found: Vec<_> = self.packages.iter().filter(is_it).collect();
        if found.is_empty() {
            let Wanted { suite, architecture, name } = wanted;
            return Err(Error::NotLocked { wanted: format!("{name} of {suite} for {architecture}") });
        }
        Ok(found)
    }

    /// As a file.
    ///
    /// # Errors
    /// Never, as far as is known.
    pub fn text(&self) -> Result<String, Error> {
        let body = toml::to_string(self).map_err(|e| Error::lock(Path::new("lock"), e))?;
        Ok(format!("# Written by `eyot image lock`. What images are made of, so that the same command makes the same image.\n{body}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(wanted: &str, name: &str) -> Package {
        Package {
            wanted: wanted.to_owned(),
            suite: "trixie".to_owned(),
            architecture: "arm64".to_owned(),
            name: name.to_owned(),
            version: "1".to_owned(),
            path: "pool/x.deb".to_owned(),
            size: 1,
            sha256: "ab".repeat(32),
        }
    }

    fn wanted(name: &str) -> Wanted {
        Wanted { suite: "trixie".to_owned(), architecture: "arm64".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_file_reads_back_and_names_what_it_lacks() {
        let packages = vec![package("linux", "linux-1"), package("linux", "linux-modules-1"), package("box", "box")];
        let lock = Lock { mirror: "http://m".to_owned(), packages };
        let again = Lock::parse(&lock.text().unwrap(), Path::new("x.lock")).unwrap();
        assert_eq!(again, lock);
        assert_eq!(again.find(&wanted("linux")).unwrap().len(), 2);
        let error = again.find(&wanted("nano")).unwrap_err().to_string();
        assert!(error.contains("nano of trixie for arm64") && error.contains("eyot image lock"), "{error}");
    }

    #[test]
    fn a_checksum_is_never_missing() {
        let mut bad = package("a", "a");
        bad.sha256.pop();
        let text = Lock { mirror: "http://m".to_owned(), packages: vec![bad] }.text().unwrap();
        let error = Lock::parse(&text, Path::new("x.lock")).unwrap_err().to_string();
        assert!(error.contains("x.lock") && error.contains("sha256"), "{error}");
    }
}
