//! `eyot image flash`.

use std::io::{stdin, stdout, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use eyot_image::flash::{Image, Target};
use serde::Serialize;

use super::failed;
use super::progress::Bar;
use crate::error::Error;
use crate::output;

/// Write an image to a card, and read it back.
///
/// It asks before it writes. Disks that are in use, wholly or in part, are refused.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The image.
    image: PathBuf,
    /// The card's device, which lsblk shows.
    device: PathBuf,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Print one JSON object.
    #[arg(long, requires = "yes")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  lsblk -o NAME,SIZE,MODEL,MOUNTPOINTS
  sudo eyot image flash gateway.img /dev/sdX
  sudo eyot image flash gateway.img /dev/sdX --yes --json";

#[derive(Serialize)]
struct Report<'a> {
    device: &'a Path,
    bytes: u64,
    verified: bool,
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let image = Image::open(&args.image).map_err(failed)?;
    let target = Target::look(&args.device).map_err(failed)?;
    if !args.yes && !is_meant(&args.device, &target)? {
        return Err(Error::failed(args.device.display(), "you did not say yes", "nothing was written"));
    }
    let progress = Bar::default();
    let flashed = target.flash(image, &progress);
    progress.finish();
    let bytes = flashed.map_err(failed)?;
    if args.json {
        return output::json(&Report { device: &args.device, bytes, verified: true });
    }
    output::print(&format!("{}: {} written and read back\n", args.device.display(), output::size(bytes)))
}

fn is_meant(device: &Path, target: &Target) -> Result<bool, Error> {
    if !stdin().is_terminal() {
        let remedy = "say --yes if you mean it";
        return Err(Error::bad_input(device.display(), "nobody can be asked: this is no terminal", remedy));
    }
    let model = if target.model.is_empty() { "a disk" } else { &target.model };
    let size = output::size(target.bytes);
    output::print(&format!("All that is on {} ({model}, {size}) will be lost. Type yes to go on: ", device.display()))?;
    let _ = stdout().flush();
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer);
    read.map_err(|e| Error::failed("standard input", e, "say --yes if you mean it"))?;
    Ok(answer.trim() == "yes")
}
