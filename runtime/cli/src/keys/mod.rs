//! `eyot keys`: keys to sign functions with, and what they are called.

mod private;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use eyot_trust::key::{PublicKey, KEY_BYTES};
use eyot_trust::limits::KEY_TEXT_MAX_BYTES;
use eyot_trust::sign::Signer;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use crate::error::Error;
use crate::file;
use crate::output::{self, line, GOOD};

/// Make keys to sign functions with, and show what a key is called.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  eyot keys new --out ada
  eyot keys show ada.pub
  eyot keys show ~/.ssh/id_ed25519.pub --json | jq -r .id";

#[derive(clap::Subcommand)]
enum Command {
    New(NewArgs),
    Show(ShowArgs),
}

/// Make a key pair: FILE for you alone, FILE.pub for gateways.
#[derive(clap::Args)]
#[command(after_help = NEW_EXAMPLES)]
struct NewArgs {
    /// Where to write the private key; it must not exist. The public one goes to FILE.pub.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// What gateways call the key in messages [default: user@host].
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

const NEW_EXAMPLES: &str = "\
Examples:
  eyot keys new --out ada
  eyot keys new --out release --comment release@example.com

The private key is not protected by a passphrase: whoever can read the file can sign. Keep it where only you can.
Both files are in OpenSSH's format: a key of ssh-keygen -t ed25519 -N '' does as well.";

/// Show a key's id, fingerprint, and the line for gateway.toml.
#[derive(clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// The public key, as OpenSSH, OpenSSL or wasmsign2 write it; or a private key, of which only the public half is shown.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  eyot keys show ada.pub
  eyot keys show ada.pub --json | jq -r .id";

#[derive(Serialize)]
struct View {
    file: String,
    id: String,
    fingerprint: String,
    comment: String,
    openssh: String,
}

impl Args {
    /// Whether standard output is JSON.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::New(args) => args.json,
            Command::Show(args) => args.json,
        }
    }
}

pub fn execute(args: &Args) -> Result<(), Error> {
    match &args.command {
        Command::New(args) => new(args),
        Command::Show(args) => show(args),
    }
}

fn new(args: &NewArgs) -> Result<(), Error> {
    let mut seed = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| Error::failed("random numbers", "the system gives none", "check /dev/urandom"))?;
    let comment = args.comment.clone().unwrap_or_else(default_comment);
    let signer = Signer::from_seed(&seed, &comment).map_err(|e| Error::failed("new key", e, "try again"))?;
    let public_file = public_file(&args.out);
    let text = private::to_openssh(&seed, signer.public())?;
    create(&args.out, text.as_bytes(), 0o600)?;
    let line = format!("{}\n", signer.public().to_openssh());
    if let Err(error) = create(&public_file, line.as_bytes(), 0o644) {
        // Half a pair is of no use; that it cannot be removed either adds nothing.
        let _ = fs::remove_file(&args.out);
        return Err(error);
    }
    report(&args.out, signer.public(), args.json, &format!("{GOOD}made{GOOD:#} {}", args.out.display()))
}

/// `ada` becomes `ada.pub`.
fn public_file(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

fn default_comment() -> String {
    let user = env::var("USER").unwrap_or_default();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}", user.trim(), host.trim()).trim_matches('@').to_owned()
}

/// Writes a file that must not exist yet.
fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|e| {
        if e.kind() == io::ErrorKind::AlreadyExists {
            return Error::bad_input(path.display(), "exists, and a key is never overwritten", "choose another --out");
        }
        Error::failed(path.display(), format_args!("cannot be written: {e}"), "check the folder and its permissions")
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| {
        let _ = fs::remove_file(path);
        Error::failed(path.display(), format_args!("cannot be written: {e}"), "check the folder's space")
    })
}

fn show(args: &ShowArgs) -> Result<(), Error> {
    let bytes = read(&args.file)?;
    let key = match private::signer(&bytes) {
        Some(signer) => {
            signer.map_err(|(reason, remedy)| Error::bad_input(args.file.display(), reason, remedy))?.public().clone()
        }
        None => PublicKey::parse_file(&bytes).map_err(|e| Error::unusable(args.file.display(), e))?,
    };
    report(&args.file, &key, args.json, &args.file.display().to_string())
}

fn report(file: &Path, key: &PublicKey, json: bool, title: &str) -> Result<(), Error> {
    let view = View {
        file: file.display().to_string(),
        id: key.id().to_string(),
        fingerprint: key.fingerprint(),
        comment: key.comment().to_owned(),
        openssh: key.to_openssh(),
    };
    if json {
        return output::json(&view);
    }
    let mut text = format!("{title}\n");
    line(&mut text, "id", &view.id);
    line(&mut text, "print", &view.fingerprint);
    line(&mut text, "public", &view.openssh);
    output::print(&text)
}

/// Reads the public key in `path`.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_public(path: &Path) -> Result<PublicKey, Error> {
    PublicKey::parse_file(&read(path)?).map_err(|e| Error::unusable(path.display(), e))
}

/// Reads the private key in `path`.
///
/// # Errors
/// It cannot be read, is none, or is protected by a passphrase.
pub fn read_signer(path: &Path) -> Result<Signer, Error> {
    let bytes = read(path)?;
    match private::signer(&bytes) {
        Some(Ok(signer)) => Ok(signer),
        Some(Err((reason, remedy))) => Err(Error::bad_input(path.display(), reason, remedy)),
        None if PublicKey::parse_file(&bytes).is_ok() => {
            Err(Error::bad_input(path.display(), "is a public key", "sign with the private one, the file without .pub"))
        }
        None => Err(Error::bad_input(path.display(), "is no ed25519 private key", "make one with `eyot keys new`")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = file::read_start(path, KEY_TEXT_MAX_BYTES + 1)?;
    if bytes.len() > KEY_TEXT_MAX_BYTES {
        return Err(Error::bad_input(
            path.display(),
            format_args!("is no key: it has more than {KEY_TEXT_MAX_BYTES} bytes"),
            "give the file that `eyot keys new` made",
        ));
    }
    Ok(bytes)
}
