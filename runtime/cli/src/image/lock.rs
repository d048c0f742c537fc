//! `eyot image lock`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use eyot_image::lock::Lock;
use eyot_image::mirror::{Mirror, KEYRING};
use serde::Serialize;

use super::failed;
use super::plan::Plan;
use super::progress::Bar;
use crate::error::Error;
use crate::output;

/// Write down which packages images are made of: the newest that a mirror of Debian has.
///
/// The mirror's lists must be signed by a key of Debian's archive.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The lock file.
    #[arg(long, value_name = "FILE", default_value = "boards/debian.lock")]
    file: PathBuf,
    /// A mirror of Debian.
    #[arg(long, value_name = "URL", default_value = "http://deb.debian.org/debian")]
    mirror: String,
    /// Keys of Debian's archive.
    #[arg(long, value_name = "FILE", default_value = KEYRING)]
    keyring: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  eyot image lock
  eyot image lock --mirror http://snapshot.debian.org/archive/debian/20261128T000000Z

A mirror drops a version when Debian replaces it. Images of before can then only be made from the cache, or from
snapshot.debian.org, which keeps all.";

#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    packages: Vec<String>,
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let wanted: BTreeSet<_> = Plan::all()?.into_iter().flat_map(|plan| plan.packages).collect();
    let url = args.mirror.trim_end_matches('/');
    let progress = Bar::default();
    let mut mirror = Mirror::new(url, &args.keyring, &progress);
    let mut packages = Vec::new();
    for wanted in &wanted {
        packages.extend(mirror.look_up(wanted).map_err(failed)?);
    }
    progress.finish();
    let lock = Lock { mirror: url.to_owned(), packages };
    let text = lock.text().map_err(failed)?;
    fs::write(&args.file, text)
        .map_err(|e| Error::failed(args.file.display(), e, "name a file that can be written with --file"))?;
    let names: Vec<_> = lock.packages.iter().map(|p| format!("{} {} {}", p.name, p.version, p.architecture)).collect();
    if args.json {
        return output::json(&Report { file: &args.file, packages: names });
    }
    output::print(&format!("{}\n{}: {} packages\n", names.join("\n"), args.file.display(), names.len()))
}
