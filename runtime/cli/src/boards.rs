//! `eyot boards`: the boards that gateways and nodes run on, as `boards/` describes them.

use std::collections::BTreeMap;

use eyot_gateway::board::{Mcu, FILES};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::output;

/// List the boards for gateways and nodes, with what they have.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  eyot boards
  eyot boards --json | jq '.boards[] | select(.board.kind == \"mcu\")'

Gateways are built for the target that is named; of nodes, those with a firmware can be built here.";

/// One file of `boards/`. A gateway has `kernel`, `boot`, `console`, `storage`, `net` and `limits`; a node has `mcu`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub board: Board,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console: Option<Console>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<Storage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<Net>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    io: Option<Io>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watchdog: Option<Watchdog>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mcu: Option<Mcu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qemu: Option<Qemu>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The file's name.
    pub id: String,
    name: String,
    kind: Kind,
    /// Rust target.
    pub triple: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Gateway,
    Mcu,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Of Debian.
    pub package: String,
    /// The release of Debian, if not the one that all images are made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtb: Option<String>,
    /// Modules that an image has, beside those they need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    pub method: BootMethod,
    /// Of Raspberry Pis: the number in their name that their boot loader goes by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u8>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    RpiAutoboot,
    Uboot,
    Uefi,
    /// Something outside of the card starts the kernel, as QEMU does.
    Direct,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    pub tty: String,
    pub baud: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Storage {
    disk: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// Driver of its Ethernet.
    #[serde(skip_serializing_if = "Option::is_none")]
    wired: Option<String>,
    wifi: bool,
    /// Modules for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wifi_drivers: Vec<String>,
    /// What its radio runs: the name that the driver asks for, and the one in Debian's package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wifi_firmware: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Of its smallest variant.
    ram_mib: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Io {
    /// GPIO chips are told apart by their label: their numbers change.
    gpio_label: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Watchdog {
    driver: String,
    max_s: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Qemu {
    /// Of `qemu-system-<system>`.
    system: String,
    machine: String,
}

#[derive(Serialize)]
struct Report {
    boards: Vec<Description>,
}

/// All boards.
///
/// # Errors
/// A file is wrong.
pub fn all() -> Result<Vec<Description>, Error> {
    let read = |text: &&str| {
        toml::from_str(text).map_err(|e| Error::failed("a board's file", e, "this is a bug in eyot, report it"))
    };
    FILES.iter().map(read).collect()
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let boards = all()?;
    if args.json {
        return output::json(&Report { boards });
    }
    output::print(&boards.iter().map(line).collect::<String>())
}

fn line(description: &Description) -> String {
    let Board { id, name, kind, triple } = &description.board;
    let (kind, memory) = match (kind, &description.mcu, &description.limits) {
        (Kind::Mcu, Some(mcu), _) => {
            let firmware = mcu.firmware.as_deref().unwrap_or("no firmware yet");
            ("node", format!("{} KiB RAM, {} KiB flash; {firmware}", mcu.ram_kib, mcu.flash_kib))
        }
        (_, _, Some(limits)) => ("gateway", format!("{} MiB RAM", limits.ram_mib)),
        _ => ("gateway", String::new()),
    };
    format!("{id:17} {kind:8} {name:30} {triple:31} {memory}\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_listed_valid_and_whole() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let there: BTreeSet<String> = fs::read_dir(root.join("boards"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        let boards = all().unwrap();
        assert_eq!(boards.iter().map(|b| b.board.id.clone()).collect::<BTreeSet<_>>(), there);
        for description in &boards {
            let id = &description.board.id;
            let Description { kernel, boot, console, storage, net, limits, mcu, .. } = description;
            let is_whole = match description.board.kind {
                Kind::Gateway => [kernel.is_some(), boot.is_some(), console.is_some(), storage.is_some()]
                    .into_iter()
                    .chain([net.is_some(), limits.is_some(), mcu.is_none()])
                    .all(|is| is),
                Kind::Mcu => mcu.is_some() && kernel.is_none() && limits.is_none(),
            };
            assert!(is_whole, "{id}");
            if let Some(Mcu { firmware: Some(folder), function, ram_kib, stack_kib, .. }) = mcu {
                assert!(root.join(folder).join("Cargo.toml").is_file(), "{id}: {folder}");
                let stack_kib = stack_kib.unwrap_or_default();
                assert!(stack_kib > 0 && function.is_some_and(|f| f.heap_kib + stack_kib < *ram_kib), "{id}");
            }
        }
    }
}
