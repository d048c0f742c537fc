//! `eyot image build`.

use std::fs;
use std::path::{Path, PathBuf};

use eyot_card::{SSH_KEYS, WIFI_NETWORKS};
use eyot_gateway::{functions, Config, ConfigError};
use eyot_image::build::{build, Parts};
use eyot_image::extra::Extra;
use eyot_image::fetch::{sha256_of, Cache};
use eyot_image::lock::Lock;
use eyot_image::package::Files;
use serde::Serialize;

use super::plan::Plan;
use super::progress::Bar;
use super::wifi::WifiArgs;
use super::{cache, failed};
use crate::error::Error;
use crate::output;

/// What images are made of unless told otherwise.
pub const LOCK: &str = include_str!("../../../../boards/debian.lock");
/// The one place that a gateway's data may be: the rest of its root is memory.
const DATA_DIR: &str = "/var/lib/eyot";
/// The one file that a card has where others have it.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Most bytes of a file for the card.
const FILE_MAX_BYTES: u64 = 32 << 20;
/// For whoever puts the card into a computer.
const README: &[u8] = b"This is the card of an Eyot gateway. It reads gateway.toml here, and what that names beside it, at each start.\r\n\
    The file hostname, if there is one, has its name. Changes count from the next start on.\r\n";

/// Make an image of a gateway for a memory card.
///
/// Without root, from Debian's packages in the versions of the lock file, and the same bytes each time. The programs must
/// have been built for the board's processor.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which board; `eyot boards` lists them.
    #[arg(long, value_name = "BOARD")]
    board: String,
    /// The image.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The gateway's configuration; the functions that it names go with it. It can be put on the card later as well.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file for beside gateway.toml, such as a certificate; can be repeated.
    #[arg(long = "with", value_name = "FILE", requires = "config")]
    with: Vec<PathBuf>,
    /// The gateway's host name. Without it, it is named after its network address.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Public keys, one a line, of whoever may come in over SSH, as root; without it the image has no SSH.
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    #[command(flatten)]
    wifi: WifiArgs,
    /// Directory with eyotd and eyot-init for the board; target/<target>/shipped unless given.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Which packages, instead of those this program was made with.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Where packages come from, instead of the lock file's.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Where packages are kept; ~/.cache/eyot/packages unless given.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo build --profile shipped --target aarch64-unknown-linux-musl --bin eyotd --bin eyot-init
  eyot image build --board rpi-4b --out gateway.img --config gateway.toml --with ca.pem
  eyot image build --board rpi-zero-2w --out gateway.img --wifi barn --wifi-passphrase-file barn.txt --wifi-country DE

In gateway.toml, name functions and certificates without a directory, and leave data_dir at /var/lib/eyot.";

#[derive(Serialize)]
struct Report<'a> {
    image: &'a Path,
    board: &'a str,
    bytes: u64,
    sha256: String,
    packages: Vec<String>,
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let ssh = args.ssh_key.as_ref().map(|_| Extra::Ssh);
    let extras: Vec<_> = ssh.into_iter().chain(args.wifi.is_wanted().then_some(Extra::Wifi)).collect();
    let plan = Plan::of(&args.board, &extras)?;
    let config = config_files(args)?;
    let directory = args.programs.clone().unwrap_or_else(|| Path::new("target").join(&plan.triple).join("shipped"));
    let [init, eyotd] = ["eyot-init", "eyotd"].map(|name| program(&directory, name, &plan.triple));
    let (init, eyotd) = (init?, eyotd?);
    let lock = match &args.lock {
        Some(file) => Lock::parse(&String::from_utf8_lossy(&read(file)?), file),
        None => Lock::parse(LOCK, Path::new("boards/debian.lock")),
    };
    let lock = lock.map_err(failed)?;
    let mirror = args.mirror.as_deref().unwrap_or(&lock.mirror).trim_end_matches('/');
    let cache = Cache::open(&args.cache.clone().map_or_else(cache, Ok)?).map_err(failed)?;
    let progress = Bar::default();
    let (mut packages, mut names) = (Vec::new(), Vec::new());
    for wanted in &plan.packages {
        for package in lock.find(wanted).map_err(failed)? {
            packages.push(cache.get(mirror, package, &progress).map_err(failed)?);
            names.push(format!("{} {}", package.name, package.version));
        }
    }
    let parts = Parts { board: &plan.board, packages: &packages, init: &init, eyotd: &eyotd, extras: &extras, config };
    let built = build(&parts, &args.out, &progress);
    progress.finish();
    built.map_err(failed)?;
    let sha256 = sha256_of(&args.out).map_err(failed)?;
    let bytes = fs::metadata(&args.out).map(|metadata| metadata.len()).unwrap_or_default();
    if args.json {
        let report = Report { image: &args.out, board: &plan.board.id, bytes, sha256, packages: names };
        return output::json(&report);
    }
    output::print(&format!("{}: {}, SHA-256 {sha256}\n", args.out.display(), output::size(bytes)))
}

/// A program for the board.
fn program(directory: &Path, name: &str, triple: &str) -> Result<Vec<u8>, Error> {
    let path = directory.join(name);
    let build = || {
        format!("build it with cargo build --profile shipped --target {triple} --bin eyotd --bin eyot-init, or name its directory with --programs")
    };
    let bytes = fs::read(&path).map_err(|e| Error::bad_input(path.display(), e, build()))?;
    let machine = bytes.get(18..20).map(|bytes| bytes.to_vec());
    // `e_machine` of ELF.
    let expected: u8 = match triple.split('-').next() {
        Some("aarch64") => 183,
        Some("x86_64") => 62,
        _ => 40,
    };
    if !bytes.starts_with(b"\x7fELF") || machine != Some(vec![expected, 0]) {
        return Err(Error::bad_input(path.display(), format_args!("is no program for {triple}"), build()));
    }
    Ok(bytes)
}

/// What goes beside the boot loader: configuration, what it names, and what was given.
fn config_files(args: &Args) -> Result<Files, Error> {
    let mut files = Files::from([("README.txt".to_owned(), README.to_vec())]);
    if let Some(name) = &args.hostname {
        let is_name =
            !name.is_empty() && name.len() <= 63 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_name {
            let remedy = "use up to 63 letters, digits and hyphens";
            return Err(Error::bad_input(format_args!("--hostname {name}"), "is no host name", remedy));
        }
        files.insert("hostname".to_owned(), format!("{name}\n").into_bytes());
    }
    if let Some(path) = &args.ssh_key {
        files.insert(SSH_KEYS.to_owned(), ssh_keys(path)?);
    }
    if let Some(networks) = args.wifi.networks()? {
        files.insert(WIFI_NETWORKS.to_owned(), networks);
    }
    let Some(path) = &args.config else { return Ok(files) };
    let config = Config::load(path).map_err(|e| Error::bad_file(&e))?;
    if !config.data_dir.starts_with(DATA_DIR) {
        let reason = format!("[gateway] data_dir is {}, which is not on the card", config.data_dir.display());
        return Err(Error::bad_input(path.display(), reason, format_args!("leave it at {DATA_DIR}")));
    }
    let text = read(path)?;
    let elsewhere = named_elsewhere(&text);
    files.insert("gateway.toml".to_owned(), text);
    let base = path.parent().unwrap_or(Path::new(""));
    for function in &config.functions {
        let Some(name) = function.path.strip_prefix(base).ok().filter(|name| name.components().count() == 1) else {
            let remedy = "put it beside gateway.toml, and name it there without a directory";
            return Err(Error::bad_input(function.path.display(), "would not be on the card", remedy));
        };
        files.insert(name.to_string_lossy().into_owned(), read(&function.path)?);
    }
    if let Some(elsewhere) = elsewhere {
        let remedy = "give it with --with, and name it in gateway.toml without a directory";
        return Err(Error::bad_input(elsewhere.display(), "would not be on the card", remedy));
    }
    for path in &args.with {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| Error::bad_input(path.display(), "is no file", "name a file with --with"))?;
        files.insert(name, read(path)?);
    }
    check(&files)?;
    Ok(files)
}

/// A file of this computer that a configuration names by its whole path: a check of the card's files alone would find it.
fn named_elsewhere(config: &[u8]) -> Option<PathBuf> {
    fn find(value: &toml::Value) -> Option<PathBuf> {
        match value {
            toml::Value::String(text) => {
                let path = Path::new(text);
                (path.is_absolute() && path.is_file() && path != Path::new(AUTHORITIES)).then(|| path.to_owned())
            }
            toml::Value::Array(values) => values.iter().find_map(find),
            toml::Value::Table(table) => table.values().find_map(find),
            _ => None,
        }
    }
    find(&toml::from_str(&String::from_utf8_lossy(config)).ok()?)
}

/// Public keys; a private one, which is easily taken for them, is refused.
fn ssh_keys(path: &Path) -> Result<Vec<u8>, Error> {
    let keys = read(path)?;
    let is_key = |line: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| line.starts_with(kind));
    let text = String::from_utf8_lossy(&keys);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    if lines.peek().is_none() || !lines.all(is_key) {
        let remedy = "name the file that ends in .pub, as ssh-keygen makes it";
        return Err(Error::bad_input(path.display(), "has something else than public keys of SSH", remedy));
    }
    Ok(keys)
}

pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let remedy = "name a file that can be read";
    let bytes = fs::read(path).map_err(|e| Error::bad_input(path.display(), e, remedy))?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        let reason = format!("has {} bytes, and more than {FILE_MAX_BYTES}", bytes.len());
        return Err(Error::bad_input(path.display(), reason, "leave it out"));
    }
    Ok(bytes)
}

/// The gateway would start with `files` alone, as they will be on the card.
fn check(files: &Files) -> Result<(), Error> {
    let cannot = |e: std::io::Error| Error::failed("temporary directory", e, "free some space");
    let directory = tempfile::tempdir().map_err(cannot)?;
    for (name, content) in files {
        fs::write(directory.path().join(name), content).map_err(cannot)?;
    }
    let file = directory.path().join("gateway.toml");
    let here = format!("{}/", directory.path().display());
    let lacks = |e: &ConfigError| Error::bad_file(e).with_name(&here, "").with_hint("or add what it names with --with");
    let config = Config::load(&file).map_err(|e| lacks(&e))?;
    let problems = functions::check(config.functions, config.spool, config.run).map_err(cannot)?;
    if problems.is_empty() {
        return Ok(());
    }
    Err(lacks(&ConfigError::new(file, problems)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_here_and_would_not_be_on_the_card_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let here = file.path().display();
        let named = |config: String| named_elsewhere(config.as_bytes());
        assert_eq!(named(format!("[[uplink]]\n[uplink.tls]\nca = \"{here}\"\n")).as_deref(), Some(file.path()));
        assert_eq!(named(format!("[a]\nb = [\"x\", \"{here}\"]\n")).as_deref(), Some(file.path()));
        for fine in [AUTHORITIES, "/dev/null", "/sensors/#", "/var/lib", "ca.pem"] {
            assert_eq!(named(format!("[a]\nb = \"{fine}\"\n")), None, "{fine}");
        }
    }
}
