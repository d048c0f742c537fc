//! `eyot new`: a folder with a function to begin with.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use eyot_wire::manifest::{is_name, NAME_MAX_BYTES};

use crate::error::Error;
use crate::output;

/// Make a folder with a function in Rust to begin with.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the function: a-z, 0-9 and -, beginning with a letter.
    name: String,
    /// Folder to make it in [default: one of that name, here]. It must be empty or not exist.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Folder of the crate eyot-sdk [default: functions/sdk of the clone this eyot was built from, as long as that
    /// exists].
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  eyot new celsius
  eyot new celsius --path functions/celsius
  eyot new celsius --sdk ~/eyot/functions/sdk";

/// The files of the template, relative to the new folder.
const TEMPLATE: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../../../functions/template/Cargo.toml")),
    ("function.toml", include_str!("../../../functions/template/function.toml")),
    ("src/lib.rs", include_str!("../../../functions/template/src/lib.rs")),
    ("tests/doubles.json", include_str!("../../../functions/template/tests/doubles.json")),
    (".cargo/config.toml", include_str!("../../../functions/template/.cargo/config.toml")),
    (".gitignore", "/target\n/*.wasm\n"),
];
/// Stands in the template for the function's name.
const PLACEHOLDER: &str = "NAME";
/// How the template's line with the SDK begins.
const SDK_LINE: &str = "eyot-sdk = ";
/// The repository this program was built from.
const CLONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Names that are good for a function but not for a Rust crate that uses the SDK: keywords, crates of the standard
/// library, dependencies of the template.
const RESERVED: &str = "\
    abstract alloc as async await become box break const continue core crate do dyn else enum extern eyot-sdk \
    false final fn for gen if impl in let loop macro match mod move mut override panic-abort panic-unwind \
    priv proc-macro pub ref return self serde static std struct super test trait true try type typeof union \
    unsafe unsized use virtual where while yield build deps";

pub fn execute(args: &Args) -> Result<(), Error> {
    check_name(&args.name)?;
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    check_empty(&folder)?;
    let sdk = match &args.sdk {
        Some(given) => sdk_in(given)?,
        None => sdk_in(&Path::new(CLONE).join("functions/sdk"))?,
    };
    make_folder(&folder)?;
    let whole = fs::canonicalize(&folder).map_err(|e| cannot_make(&folder, &e))?;
    let dependency = dependency(&whole, &sdk);
    for (name, text) in TEMPLATE {
        let path = folder.join(name);
        let text = filled(text, &args.name, &dependency);
        path.parent().map_or(Ok(()), make_folder)?;
        fs::write(&path, text).map_err(|e| cannot_make(&path, &e))?;
    }
    output::print(&next_steps(&args.name, &folder))
}

fn check_name(name: &str) -> Result<(), Error> {
    let thing = || format!("name \"{}\"", output::shown(name.as_bytes()));
    if !is_name(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(Error::bad_input(
            thing(),
            format_args!("is not 1 to {NAME_MAX_BYTES} characters of a-z, 0-9 and -, beginning with a letter"),
            "choose another, for example \"celsius\"",
        ));
    }
    if RESERVED.split_whitespace().any(|word| word == name) {
        return Err(Error::bad_input(thing(), "means something else to Rust or Cargo", "choose another"));
    }
    Ok(())
}

fn check_empty(folder: &Path) -> Result<(), Error> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::bad_input(folder.display(), "exists and is not empty", "choose another with --path")),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::bad_input(
            folder.display(),
            format_args!("is not a folder that can be used: {e}"),
            "choose another with --path",
        )),
    }
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|e| cannot_make(folder, &e))
}

fn cannot_make(path: &Path, error: &io::Error) -> Error {
    Error::failed(path.display(), format_args!("cannot be made: {error}"), "check the path and its permissions")
}

/// The folder of the SDK, absolute.
fn sdk_in(folder: &Path) -> Result<PathBuf, Error> {
    let refuse = |reason: &str| {
        Error::bad_input(folder.display(), reason, "give the folder functions/sdk of a clone of Eyot as --sdk")
    };
    let text = fs::read_to_string(folder.join("Cargo.toml")).map_err(|_| refuse("has no Cargo.toml to read"))?;
    if !text.contains("name = \"eyot-sdk\"") {
        return Err(refuse("is not the crate eyot-sdk"));
    }
    fs::canonicalize(folder).map_err(|e| refuse(&format!("cannot be used: {e}")))
}

/// The right-hand side of the dependency on the SDK. Inside the SDK's own clone its path is relative, so that the
/// function can be committed there.
fn dependency(folder: &Path, sdk: &Path) -> String {
    let clone = sdk.parent().and_then(Path::parent);
    let path =
        if clone.is_some_and(|clone| folder.starts_with(clone)) { relative(folder, sdk) } else { sdk.to_owned() };
    // A JSON string is a TOML string too.
    format!("{{ path = {} }}", serde_json::Value::from(path.to_string_lossy()))
}

/// `to` as seen from `from`, both absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

fn filled(text: &str, name: &str, dependency: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line.starts_with(SDK_LINE) {
            out.push_str(SDK_LINE);
            out.push_str(dependency);
        } else {
            out.push_str(&line.replace(PLACEHOLDER, name));
        }
        out.push('\n');
    }
    out
}

fn next_steps(name: &str, folder: &Path) -> String {
    let shown = folder.display();
    format!(
        "made {shown}\n\
         next:\n  \
           edit {shown}/src/lib.rs and {shown}/function.toml\n  \
           cargo test --manifest-path {shown}/Cargo.toml\n  \
           eyot build {shown}\n  \
           eyot test {shown}\n  \
           eyot run {shown}/{name}.wasm --topic TOPIC --payload PAYLOAD\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_inside_a_clone_and_absolute_outside() {
        let sdk = Path::new("/home/ada/eyot/functions/sdk");
        let inside = dependency(Path::new("/home/ada/eyot/functions/celsius"), sdk);
        assert_eq!(inside, "{ path = \"../sdk\" }");
        let outside = dependency(Path::new("/home/ada/celsius"), sdk);
        assert_eq!(outside, "{ path = \"/home/ada/eyot/functions/sdk\" }");
    }

    #[test]
    fn the_template_is_filled_everywhere() {
        let cargo = TEMPLATE.iter().find(|(name, _)| *name == "Cargo.toml").unwrap().1;
        assert_eq!(cargo.lines().filter(|line| line.starts_with(SDK_LINE)).count(), 1);
        for (name, text) in TEMPLATE {
            let text = filled(text, "celsius", "\"9.9.9\"");
            assert!(!text.contains(PLACEHOLDER), "{name}: {text}");
            if name == "function.toml" {
                assert_eq!(eyot_wire::manifest::Manifest::parse(&text).unwrap().name, "celsius");
            }
        }
    }
}
