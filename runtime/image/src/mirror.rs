//! What a mirror of Debian has now: for writing lock files. The list of each release is signed, and the signature is checked
//! by the host's `gpgv` against the keys of Debian's archive.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use lzma_rust2::XzReader;

use crate::fetch::download;
use crate::lock::{Package, Wanted};
use crate::{Error, Progress};

/// Where Debian's packages have the archive's keys.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Parts of the archive that are looked into.
const COMPONENTS: [&str; 2] = ["main", "non-free-firmware"];
const RELEASE_MAX_BYTES: u64 = 4 << 20;
const LIST_MAX_BYTES: u64 = 64 << 20;
const PLAIN_LIST_MAX_BYTES: u64 = 512 << 20;
/// Packages that one that is wanted stands for, at most.
const PARTS_MAX: usize = 32;

/// Fields of a package in a list.
type Paragraph = BTreeMap<String, String>;

/// A mirror, and what was already asked of it.
pub struct Mirror<'a> {
    url: &'a str,
    keyring: PathBuf,
    progress: &'a dyn Progress,
    lists: BTreeMap<(String, String), BTreeMap<String, Paragraph>>,
}

impl<'a> Mirror<'a> {
    /// At `url`, its releases signed by one of the keys in `keyring`.
    pub fn new(url: &'a str, keyring: &Path, progress: &'a dyn Progress) -> Self {
        Self { url, keyring: keyring.to_owned(), progress, lists: BTreeMap::new() }
    }

    /// The packages that make up `wanted`: itself, and what it depends on in exactly its own version, as packages do that
    /// only stand for others.
    ///
    /// # Errors
    /// The mirror does not answer, is not Debian's, or has no such package.
    pub fn look_up(&mut self, wanted: &Wanted) -> Result<Vec<Package>, Error> {
        let list = self.list(&wanted.suite, &wanted.architecture)?;
        let (mut found, mut names, mut next) = (Vec::new(), vec![wanted.name.clone()], 0);
        while let Some(name) = names.get(next).cloned() {
            next += 1;
            let missing = || Error::package(&name, format_args!("is not in {}", wanted.suite));
            let paragraph = list.get(&name).ok_or_else(missing)?;
            for dependency in parts(paragraph) {
                if !names.contains(&dependency) && names.len() < PARTS_MAX {
                    names.push(dependency);
                }
            }
            found.push(package(wanted, paragraph).ok_or_else(|| Error::package(&name, "lacks fields in the list"))?);
        }
        Ok(found)
    }

    fn list(&mut self, suite: &str, architecture: &str) -> Result<&BTreeMap<String, Paragraph>, Error> {
        let key = (suite.to_owned(), architecture.to_owned());
        if !self.lists.contains_key(&key) {
            let release = self.release(suite)?;
            let mut all = BTreeMap::new();
            for component in COMPONENTS {
                let path = format!("{component}/binary-{architecture}/Packages.xz");
                let url = format!("{}/dists/{suite}/{path}", self.url);
                let Some(expected) = release.get(&path) else { continue };
                self.progress.begin(&format!("{suite} {path}"), 0);
                let mut bytes = Vec::new();
                let sha256 = download(&url, LIST_MAX_BYTES, &mut bytes, self.progress)?;
                if sha256 != *expected {
                    return Err(Error::NotIt { url, reason: format!("its SHA-256 is {sha256}, not {expected}") });
                }
                let mut text = String::new();
                let read = XzReader::new(&bytes[..], true).take(PLAIN_LIST_MAX_BYTES).read_to_string(&mut text);
                read.map_err(|e| Error::Download { url, reason: e.to_string() })?;
                all.extend(paragraphs(&text));
            }
            self.lists.insert(key.clone(), all);
        }
        self.lists.get(&key).ok_or_else(|| Error::package(suite, "has no packages"))
    }

    /// SHA-256 of each list of a release, which is signed.
    fn release(&self, suite: &str) -> Result<BTreeMap<String, String>, Error> {
        let url = format!("{}/dists/{suite}/InRelease", self.url);
        self.progress.begin(&format!("{suite} InRelease"), 0);
        let mut signed = Vec::new();
        download(&url, RELEASE_MAX_BYTES, &mut signed, self.progress)?;
        let program = |reason: String| Error::Program { program: "gpgv", reason, package: "gpgv" };
        let directory = tempfile::tempdir().map_err(|e| program(e.to_string()))?;
        let at = directory.path().join("InRelease");
        fs::write(&at, &signed).map_err(|e| Error::file(&at, &e, "free some space"))?;
        if !self.keyring.is_file() {
            return Err(Error::File {
                path: self.keyring.display().to_string(),
                reason: "is not there".to_owned(),
                remedy: "install debian-archive-keyring, or name the keys with --keyring",
            });
        }
        let done = Command::new("gpgv").arg("--keyring").arg(&self.keyring).args(["--output", "-"]).arg(&at).output();
        let done = done.map_err(|e| program(e.to_string()))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let reason = format!("its signature is not good: {}", said.lines().last().unwrap_or_default());
            return Err(Error::NotIt { url, reason });
        }
        Ok(checksums(&String::from_utf8_lossy(&done.stdout)))
    }
}

/// The SHA-256 table of a release.
fn checksums(release: &str) -> BTreeMap<String, String> {
    let table = release.lines().skip_while(|line| *line != "SHA256:").skip(1).take_while(|line| line.starts_with(' '));
    table
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (sha256, path) = (words.next()?, words.nth(1)?);
            Some((path.to_owned(), sha256.to_owned()))
        })
        .collect()
}

/// Packages of a list by name; of two versions the one that is later in it.
fn paragraphs(list: &str) -> impl Iterator<Item = (String, Paragraph)> + '_ {
    list.split("\n\n").filter_map(|text| {
        let fields = text.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(": "));
        let paragraph: Paragraph = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some((paragraph.get("Package")?.clone(), paragraph))
    })
}

/// Names of what a package depends on in exactly its own version.
fn parts(paragraph: &Paragraph) -> Vec<String> {
    let field = |name: &str| paragraph.get(name).map(String::as_str).unwrap_or_default();
    let own = format!("(= {})", field("Version"));
    field("Depends")
        .split(',')
        .filter(|dependency| dependency.contains(&own) && !dependency.contains('|'))
        .filter_map(|dependency| dependency.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn package(wanted: &Wanted, paragraph: &Paragraph) -> Option<Package> {
    let field = |name: &str| paragraph.get(name).cloned();
    Some(Package {
        wanted: wanted.name.clone(),
        suite: wanted.suite.clone(),
        architecture: wanted.architecture.clone(),
        name: field("Package")?,
        version: field("Version")?,
        path: field("Filename")?,
        size: field("Size")?.parse().ok()?,
        sha256: field("SHA256")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
Package: linux-image-arm64
Version: 6.12.1
Depends: linux-image-6.12-arm64 (= 6.12.1), kmod
Description: a kernel
 with a long text: and a colon
Filename: pool/meta.deb
Size: 1444
SHA256: aa

Package: linux-image-6.12-arm64
Version: 6.12.1
Depends: kmod (>= 1), dracut | initramfs-tools (= 6.12.1), linux-base (= 4.12.1)
Filename: pool/real.deb
Size: 93443312
SHA256: bb
";

    #[test]
    fn lists_are_read() {
        let list: BTreeMap<_, _> = paragraphs(LIST).collect();
        assert_eq!(parts(&list["linux-image-arm64"]), ["linux-image-6.12-arm64"]);
        assert!(parts(&list["linux-image-6.12-arm64"]).is_empty());
        let wanted = Wanted { suite: "trixie".into(), architecture: "arm64".into(), name: "linux-image-arm64".into() };
        let found = package(&wanted, &list["linux-image-6.12-arm64"]).unwrap();
        assert_eq!((found.size, found.sha256.as_str(), found.wanted.as_str()), (93_443_312, "bb", "linux-image-arm64"));
    }

    #[test]
    fn the_table_of_a_release_is_read() {
        let release =
            "Origin: Debian\nMD5Sum:\n 11 5 main/x\nSHA256:\n aa  123 main/x\n bb  4 main/y\nSHA512:\n cc 1 main/x\n";
        let table = checksums(release);
        assert_eq!(table.len(), 2);
        assert_eq!((table["main/x"].as_str(), table["main/y"].as_str()), ("aa", "bb"));
    }
}
