//! Builds: the function as it stands in its folder, under a version that was never there before.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use eyot_trust::sign::Signer;
use eyot_wire::manifest::Manifest;
use semver::Version;
use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::version;
use crate::error::Error;
use crate::remote::push::module::{self, Module};
use crate::{build, file, sign, test};

/// Where the function is.
#[derive(Clone)]
pub struct Source {
    pub dir: PathBuf,
    wasm: Option<PathBuf>,
    runs_cases: bool,
    /// As it was at the start; its name must not change.
    pub manifest: Manifest,
}

/// A build.
pub struct Build {
    pub module: Module,
    /// What makes it differ from another build, apart from its version.
    pub content: [u8; 32],
    pub manifest: Manifest,
}

impl Source {
    /// In this folder.
    ///
    /// # Errors
    /// Its manifest cannot be read.
    pub fn new(dir: &Path, wasm: Option<&Path>, runs_cases: bool) -> Result<Self, Error> {
        let (_, manifest) = build::read_manifest(dir)?;
        Ok(Self { dir: dir.to_owned(), wasm: wasm.map(Path::to_owned), runs_cases, manifest })
    }

    /// Folders it is built from besides its own, if cargo can tell.
    pub fn path_dependencies(&self) -> Option<BTreeSet<PathBuf>> {
        if self.wasm.is_some() {
            None
        } else {
            build::path_dependencies(&self.dir)
        }
    }

    /// A topic that wakes it, for the help of its user.
    pub fn example_topic(&self) -> String {
        let filter = self.manifest.triggers.first().map_or("topic", |trigger| trigger.mqtt.as_str());
        filter.replace(['+', '#'], "1")
    }

    /// Builds it as what may follow `known`, and runs its cases; `last` is the number of the build before.
    ///
    /// # Errors
    /// It does not build, or a case does not come out.
    pub fn build(&self, known: Option<&Version>, last: &mut u64, signer: Option<&Signer>) -> Result<Build, Error> {
        let (text, manifest) = build::read_manifest(&self.dir)?;
        let toml = self.dir.join("function.toml");
        if manifest.name != self.manifest.name {
            let reason = format!("is called \"{}\" now, and was \"{}\"", manifest.name, self.manifest.name);
            return Err(Error::bad_input(toml.display(), reason, "start eyot dev again"));
        }
        let plain = build::function(&self.dir, self.wasm.as_deref(), &text, None)?;
        self.run_cases(&plain, &manifest)?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        *last = now_s.max(*last + 1);
        let version = version::of_build(&manifest.version, known, *last);
        let renamed = with_version(&text, &version)
            .ok_or_else(|| Error::failed(toml.display(), "has a version that is not found", "write it plainly"))?;
        let mut wasm = crate::module::with_manifest(&plain, &renamed)
            .map_err(|reason| Error::failed(self.dir.display(), reason, "report this as a fault of eyot"))?;
        if let Some(signer) = signer {
            wasm = sign::signed(&self.dir, &wasm, signer)?;
        }
        let content = Sha256::digest(&plain).into();
        Ok(Build { module: module::of(&self.dir, wasm)?, content, manifest })
    }

    fn run_cases(&self, wasm: &[u8], manifest: &Manifest) -> Result<(), Error> {
        let is_case = |path: &Path| path.extension().is_some_and(|ending| ending == "json" || ending == "cap");
        let entries = fs::read_dir(self.dir.join("tests")).into_iter().flatten().flatten();
        if !self.runs_cases || !entries.into_iter().any(|entry| is_case(&entry.path())) {
            return Ok(());
        }
        let folder = tempfile::tempdir().map_err(|e| {
            Error::failed("temporary directory", format_args!("cannot be made: {e}"), "check the space in $TMPDIR")
        })?;
        let path = folder.path().join(format!("{}.wasm", manifest.name));
        file::write_atomically(&path, wasm)?;
        test::execute(&test::Args::of(&self.dir, &path))
    }
}

/// The text of a manifest with another version; all else stays as it is written.
fn with_version(text: &str, version: &Version) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let Range { start, end } = table.get_ref().get("version")?.span();
    Some(format!("{}\"{version}\"{}", text.get(..start)?, text.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_changed_and_nothing_else() {
        let version = Version::new(1, 2, 3);
        let changed = |text| with_version(text, &version);
        let text = "# version = \"0\"\nname = \"f\"\nversion='1.0.0' # ours\n[config]\nversion = \"x\"\n";
        let expected = text.replace("'1.0.0'", "\"1.2.3\"");
        assert_eq!(changed(text), Some(expected));
        assert_eq!(changed("name = \"f\""), None);
    }
}
