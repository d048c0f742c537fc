//! `gateway.data_dir`, as far as it can be judged without writing there.

use std::path::{Path, PathBuf};

use rustix::fs::{access, Access};

use super::read::Walk;
use super::section::Section;

/// Where there are no files but the kernel's own.
const KERNELS: [&str; 2] = ["/proc", "/sys"];

impl Walk<'_> {
    pub fn data_dir(&mut self, section: &mut Section<'_, '_>) {
        let r = &mut self.reader;
        let name = section.string(r, "data_dir").map_or("/var/lib/eyot", |at| at.value);
        self.data_dir = self.base.join(name);
        let (span, key) = (section.span_of("data_dir"), section.key("data_dir"));
        // Of what is not there yet, the directory that it would be made in.
        let resolved = resolved(&self.data_dir);
        let first = resolved.ancestors().find(|path| path.exists());
        let unfit = match first {
            _ if name.is_empty() => "is empty; name a directory".to_owned(),
            _ if name.contains('\0') => "holds a NUL, which no path may; remove it".to_owned(),
            Some(first) if !first.is_dir() && *first == *resolved => {
                "is no directory; name one, or a new one".to_owned()
            }
            Some(first) if !first.is_dir() => {
                format!("cannot be made, as {} is no directory; name another", first.display())
            }
            _ if KERNELS.iter().any(|kernels| resolved.starts_with(kernels)) => {
                "is the kernel's, and holds no files of others; name a directory on a disk".to_owned()
            }
            first => {
                if let Some((first, Err(error))) =
                    first.map(|first| (first, access(first, Access::WRITE_OK | Access::EXEC_OK)))
                {
                    let remedy = "run eyotd as a user who may, or name another directory";
                    let reason = format!("nothing can be written in {}: {error}; {remedy}", first.display());
                    r.warning(&span, key, reason);
                }
                return;
            }
        };
        r.problem(&span, key, format!("\"{name}\" {unfit}"));
    }
}

/// Without links and dots, as far as the path exists.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = path.ancestors().find_map(|known| Some((known.canonicalize().ok()?, path.strip_prefix(known).ok()?)));
    match known {
        // To join nothing would put a slash behind it.
        Some((known, rest)) if rest != Path::new("") => known.join(rest),
        Some((known, _)) => known,
        None => path,
    }
}
