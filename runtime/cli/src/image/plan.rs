//! What a board's image is made of, as its file in `boards/` says.

use std::collections::BTreeSet;

use eyot_image::build::Board;
use eyot_image::extra::{Extra, Wifi};
use eyot_image::loader::Loader;
use eyot_image::lock::Wanted;

use crate::boards::{self, BootMethod, Description};
use crate::error::Error;

/// In every image: a DHCP client, and whom TLS trusts.
const COMMON: [&str; 2] = ["busybox-static", "ca-certificates"];
/// The boot loader of Raspberry Pis.
const FIRMWARE: [&str; 1] = ["raspi-firmware"];
/// That of PCs.
const GRUB: [&str; 2] = ["grub-efi-amd64-signed", "shim-signed"];
/// The release of Debian that images are made of, where a board does not need a later kernel.
const SUITE: &str = "trixie";

/// It.
pub struct Plan {
    /// Rust target of its programs.
    pub triple: String,
    pub board: Board,
    pub packages: Vec<Wanted>,
}

impl Plan {
    /// For the board `id`, with these extras.
    ///
    /// # Errors
    /// There is no such board, or no images for it.
    pub fn of(id: &str, extras: &[Extra]) -> Result<Self, Error> {
        let boards = boards::all()?;
        let with_images: Vec<_> =
            boards.iter().filter_map(|board| Self::new(board, &[]).map(|plan| plan.board.id)).collect();
        let Some(description) = boards.iter().find(|board| board.board.id == id) else {
            let remedy = format!("use one of {}", with_images.join(", "));
            return Err(Error::bad_input(format_args!("--board {id}"), "there is no such board", remedy));
        };
        let none = || {
            let remedy = format!("boards with images are {}", with_images.join(", "));
            Error::bad_input(format_args!("--board {id}"), "there are no images for it", remedy)
        };
        let plan = Self::new(description, extras).ok_or_else(none)?;
        if extras.contains(&Extra::Wifi) && plan.board.wifi.is_none() {
            let remedy = "leave out --wifi, or connect it by cable";
            return Err(Error::bad_input(format_args!("--board {id}"), "has no Wi-Fi that images know", remedy));
        }
        Ok(plan)
    }

    /// Of all boards that have images, with all extras.
    ///
    /// # Errors
    /// A board's file is wrong.
    pub fn all() -> Result<Vec<Self>, Error> {
        Ok(boards::all()?.iter().filter_map(|board| Self::new(board, &Extra::ALL)).collect())
    }

    /// None if there are no images for it.
    fn new(description: &Description, extras: &[Extra]) -> Option<Self> {
        let (kernel, boot) = (description.kernel.as_ref()?, description.boot.as_ref()?);
        let loader = match (&boot.method, boot.generation) {
            (BootMethod::RpiAutoboot, Some(3)) => Loader::RaspberryPi3,
            (BootMethod::RpiAutoboot, Some(4)) => Loader::RaspberryPi4,
            (BootMethod::RpiAutoboot, Some(5)) => Loader::RaspberryPi5,
            (BootMethod::Uefi, _) => Loader::Uefi,
            (BootMethod::Direct, _) => Loader::Direct,
            _ => return None,
        };
        let triple = description.board.triple.clone();
        let architecture = match triple.split('-').next()? {
            "aarch64" => "arm64",
            "armv7" => "armhf",
            "x86_64" => "amd64",
            _ => return None,
        };
        let wanted = |name: &str, suite: &str| Wanted {
            suite: suite.to_owned(),
            architecture: architecture.to_owned(),
            name: name.to_owned(),
        };
        let mut packages = vec![wanted(&kernel.package, kernel.suite.as_deref().unwrap_or(SUITE))];
        packages.extend(COMMON.map(|name| wanted(name, SUITE)));
        let of_loader: &[&str] = match loader {
            Loader::Direct => &[],
            Loader::Uefi => &GRUB,
            Loader::RaspberryPi3 | Loader::RaspberryPi4 | Loader::RaspberryPi5 => &FIRMWARE,
        };
        let net = description.net.as_ref().filter(|net| !net.wifi_drivers.is_empty());
        let wifi = net.map(|net| Wifi { drivers: net.wifi_drivers.clone(), firmware: net.wifi_firmware.clone() });
        let of_extras = extras.iter().filter_map(|extra| extra.packages(wifi.as_ref())).flatten();
        packages.extend(of_loader.iter().copied().chain(of_extras).map(|name| wanted(name, SUITE)));
        // Several may want the same.
        let mut seen = BTreeSet::new();
        packages.retain(|wanted| seen.insert(wanted.clone()));
        let console = description.console.as_ref()?;
        let board = Board {
            id: description.board.id.clone(),
            drivers: kernel.drivers.clone(),
            device_tree: kernel.dtb.clone(),
            console: format!("{},{}", console.tty, console.baud),
            loader,
            wifi,
        };
        Some(Self { triple, board, packages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyot_image::lock::Lock;

    #[test]
    fn what_boards_ask_for_is_in_the_lock_file() {
        let lock = Lock::parse(super::super::build::LOCK, "boards/debian.lock".as_ref()).unwrap();
        let plans = Plan::all().unwrap();
        assert!(plans.len() >= 7);
        for plan in plans {
            for wanted in &plan.packages {
                assert!(!lock.find(wanted).unwrap().is_empty(), "{}: {}", plan.board.id, wanted.name);
            }
        }
    }

    #[test]
    fn boards_without_images_are_said_and_others_named() {
        let said = |id| Plan::of(id, &[]).err().map(|error| format!("{error:?}")).unwrap_or_default();
        assert!(said("pico-2").contains("no images") && said("pico-2").contains("rpi-4b"), "{}", said("pico-2"));
        assert!(said("rpi-9").contains("no such board"), "{}", said("rpi-9"));
    }
}
