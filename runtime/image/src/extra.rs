//! What an image has only if it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::initramfs::Initramfs;
use crate::libraries;
use crate::package::{named, Files};
use crate::Error;

/// It.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// A shell over SSH, for whoever has one of the keys in [`eyot_card::SSH_KEYS`].
    Ssh,
    /// Wi-Fi, for boards that have it: with the networks in [`eyot_card::WIFI_NETWORKS`].
    Wifi,
}

/// What the Wi-Fi of a board takes.
#[derive(Clone, Debug, Default)]
pub struct Wifi {
    /// Modules of the kernel, if they are not built in.
    pub drivers: Vec<String>,
    /// What its radio runs: the name that its driver asks for, and the one it has in Debian's package.
    pub firmware: BTreeMap<String, String>,
}

/// Of Debian's, what [`Extra::Ssh`] is made of.
const SSH_PACKAGES: [&str; 7] =
    ["dropbear-bin", "libc6", "libcrypt1", "libgmp10", "libtomcrypt1", "libtommath1", "zlib1g"];
/// Of Debian's, what [`Extra::Wifi`] is made of.
const WIFI_PACKAGES: [&str; 13] = [
    "libc6",
    "libcap2",
    "libdbus-1-3",
    "libnl-3-200",
    "libnl-genl-3-200",
    "libnl-route-3-200",
    "libpcsclite1",
    "libssl3t64",
    "libsystemd0",
    "libzstd1",
    "wireless-regdb",
    "wpasupplicant",
    "zlib1g",
];
/// And what radios run.
const WIFI_FIRMWARE: &str = "firmware-brcm80211";
/// Which frequencies a country allows: Debian's file, which its kernels take, and the name that they ask for.
const RULES: [(&str, &str); 2] =
    [("regulatory.db-debian", "regulatory.db"), ("regulatory.db.p7s-debian", "regulatory.db.p7s")];
/// There is one user, whom no password lets in.
const USERS: &[u8] = b"root:*:0:0:root:/root:/bin/sh\n";

impl Extra {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Ssh, Self::Wifi];

    /// The packages that it takes, on a board with this Wi-Fi. None if the board lacks what it is for.
    pub fn packages(self, wifi: Option<&Wifi>) -> Option<Vec<&'static str>> {
        match self {
            Self::Ssh => Some(SSH_PACKAGES.to_vec()),
            Self::Wifi => {
                let firmware = (!wifi?.firmware.is_empty()).then_some(WIFI_FIRMWARE);
                Some(WIFI_PACKAGES.into_iter().chain(firmware).collect())
            }
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Ssh => "dropbear",
            Self::Wifi => "wpa_supplicant",
        }
    }
}

/// Adds programs, what they need of the system, and their libraries. `networks` is what the card has of them.
pub(crate) fn add(
    extras: &[Extra],
    wifi: Option<&Wifi>,
    networks: Option<&[u8]>,
    files: &Files,
    root: &mut Initramfs,
) -> Result<(), Error> {
    if extras.is_empty() {
        return Ok(());
    }
    let mut programs = Vec::new();
    for extra in extras {
        let name = extra.program();
        let program = named(files, name).ok_or_else(|| Error::package(name, "no package has this program"))?;
        root.program(&format!("bin/{name}"), program);
        programs.push(program);
        match extra {
            Extra::Ssh => {
                root.directories(&["root"]);
                root.link("bin/sh", "/bin/busybox");
                root.file("etc/passwd", USERS);
                root.file("etc/shells", b"/bin/sh\n");
                // Its keys are made at the first connection, and kept.
                root.link("etc/dropbear", "/var/lib/ssh");
            }
            Extra::Wifi => {
                add_firmware(wifi, files, root)?;
                check_country(networks.unwrap_or_default(), files)?;
            }
        }
    }
    // A program names the one that loads it by its path, which differs between processors.
    root.link("lib64", "/lib");
    for (name, library) in libraries::select(files, &programs)? {
        root.program(&format!("lib/{name}"), library);
    }
    Ok(())
}

/// There are rules for the country that the networks are in, if they say which one that is. The kernel would take another for
/// none, and leave frequencies out.
fn check_country(networks: &[u8], files: &Files) -> Result<(), Error> {
    let networks = String::from_utf8_lossy(networks);
    let Some(country) = networks.lines().find_map(|line| line.strip_prefix("country=")) else { return Ok(()) };
    let rules = named(files, RULES[0].0).unwrap_or_default();
    // Two words that say what it is; of each country two letters and where its rules are, up to one without letters.
    let mut countries = rules.get(8..).unwrap_or_default().chunks_exact(4).take_while(|entry| !entry.starts_with(&[0]));
    if rules.starts_with(b"RGDB") && countries.any(|entry| entry.starts_with(country.as_bytes())) {
        return Ok(());
    }
    Err(Error::NoCountry { country: country.to_owned() })
}

/// What radios run, and the rules they keep to.
fn add_firmware(wifi: Option<&Wifi>, files: &Files, root: &mut Initramfs) -> Result<(), Error> {
    let firmware = wifi.into_iter().flat_map(|wifi| &wifi.firmware).map(|(name, from)| (from.as_str(), name.as_str()));
    let all: Vec<_> = RULES.into_iter().chain(firmware).collect();
    let directories: BTreeSet<_> = all.iter().filter_map(|(_, name)| Some(name.rsplit_once('/')?.0)).collect();
    root.directories(&["lib/firmware"]);
    for directory in directories {
        root.directories(&[&format!("lib/firmware/{directory}")]);
    }
    for (from, name) in all {
        let content = named(files, from).ok_or_else(|| Error::package(from, "no package has this firmware"))?;
        root.file(&format!("lib/firmware/{name}"), content);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_without_rules_is_refused() {
        let rules = b"RGDB\0\0\0\x14DE\0\x01GB\0\x02\0\0\0\0UK\0\x03".to_vec();
        let files = Files::from([(format!("usr/lib/firmware/{}", RULES[0].0), rules)]);
        let check = |text: &str| check_country(text.as_bytes(), &files).map_err(|error| error.to_string());
        assert_eq!((check("# a\ncountry=GB\nnetwork={"), check("network={"), check("")), (Ok(()), Ok(()), Ok(())));
        let said = check("country=UK\n").unwrap_err();
        assert!(said.contains("UK") && said.contains("GB for the United Kingdom"), "{said}");
        assert!(check_country(b"country=DE\n", &Files::new()).is_err(), "no rules at all");
    }
}
