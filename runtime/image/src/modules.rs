//! Drivers: which modules of the kernel's package a board needs, in the order that they are loaded in.
//!
//! Packages have no list of what depends on what; each module says it of itself, in a string of its `.modinfo` section.

use std::collections::{BTreeMap, BTreeSet};

use crate::package::{plain, Files};
use crate::Error;

/// The string that says it, in any module, once.
const DEPENDS: &[u8] = b"\0depends=";
/// And those that say which devices it is for.
const ALIAS: &[u8] = b"\0alias=";
/// Buses whose devices say what they are, so that a module can wait for them.
const BUSES: [&str; 7] = ["acpi", "hid:", "pci:", "scsi:", "usb:", "virtio:", "vmbus:"];
/// What the name of a module's file ends with,
const PLAIN: &str = ".ko";
/// and if it is compressed. In the root file system, which is memory, all modules lie for good.
const COMPRESSED: &str = ".ko.xz";
/// How deep modules depend on each other, at most.
const DEPTH_MAX: usize = 32;

/// One module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Without an ending.
    pub name: String,
    /// [`PLAIN`] or [`COMPRESSED`].
    pub ending: &'static str,
    /// As the package has it: the kernel unpacks it, and checks its signature after that.
    pub content: Vec<u8>,
    /// Modules that it needs.
    pub needs: Vec<String>,
    /// When it is loaded.
    pub when: When,
}

/// When a module is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// At the start.
    AtStart,
    /// With a device that matches one of these patterns.
    WithDevice(Vec<String>),
    /// With a module that needs it.
    WithModule,
}

impl Module {
    /// A line of the list that the first process reads.
    pub fn line(&self) -> String {
        let (when, devices) = match &self.when {
            When::AtStart => ('+', String::new()),
            When::WithDevice(devices) => ('?', format!(" {}", devices.join(" "))),
            When::WithModule => ('-', String::new()),
        };
        format!("{when} {} {}{devices}\n", self.name, self.needs.join(","))
    }
}

/// The modules for `drivers` and `at_start` among `files`, each after those it depends on. Those for `at_start` are loaded then,
/// whatever they say that they are for. A driver without a module must be in the kernel's list of those that are built in.
///
/// # Errors
/// A module is damaged, or there is no such driver.
pub fn select(files: &Files, drivers: &[String], at_start: &[String]) -> Result<Vec<Module>, Error> {
    let mut paths = BTreeMap::new();
    for path in files.keys() {
        let file = path.rsplit('/').next().unwrap_or(path);
        if let Some(name) = file.strip_suffix(PLAIN).or_else(|| file.strip_suffix(COMPRESSED)) {
            paths.insert(canonical(name), path.as_str());
        }
    }
    let built_in = built_in(files);
    let names = |drivers: &[String]| drivers.iter().map(|driver| canonical(driver)).collect();
    let (seen, modules) = (BTreeSet::new(), Vec::new());
    let mut selection = Selection { files, paths, wanted: names(drivers), at_start: names(at_start), seen, modules };
    for driver in drivers.iter().chain(at_start) {
        let name = canonical(driver);
        if !selection.paths.contains_key(&name) && !built_in.contains(&name) {
            return Err(Error::package(format_args!("driver {driver}"), "is not in this kernel"));
        }
        selection.add(&name, 0)?;
    }
    Ok(selection.modules)
}

/// When a driver is loaded that a board asks for.
fn when(module: &[u8]) -> When {
    let devices: Vec<_> = strings(module, ALIAS).filter(|alias| alias.contains(':')).collect();
    // What is for other buses too must not wait for devices of these.
    let all_wait = devices.iter().all(|device| BUSES.iter().any(|bus| device.starts_with(bus)));
    if devices.is_empty() || !all_wait {
        return When::AtStart;
    }
    When::WithDevice(devices)
}

/// Names of the drivers that are built in.
fn built_in(files: &Files) -> BTreeSet<String> {
    let lists = files.iter().filter(|(path, _)| path.ends_with("/modules.builtin"));
    let mut names = BTreeSet::new();
    for (_, list) in lists {
        for path in String::from_utf8_lossy(list).lines() {
            let file = path.rsplit('/').next().unwrap_or(path);
            names.insert(canonical(file.trim_end_matches(".ko")));
        }
    }
    names
}

/// The kernel takes `-` and `_` for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

struct Selection<'a> {
    files: &'a Files,
    paths: BTreeMap<String, &'a str>,
    wanted: BTreeSet<String>,
    at_start: BTreeSet<String>,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Selection<'_> {
    fn add(&mut self, name: &str, depth: usize) -> Result<(), Error> {
        if depth == DEPTH_MAX {
            return Err(Error::package(name, "its modules depend on each other without end"));
        }
        let Some((path, bytes)) = self.paths.get(name).and_then(|path| Some((*path, self.files.get(*path)?))) else {
            return Ok(());
        };
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let content = plain(path, bytes)?;
        let ending = if path.ends_with(COMPRESSED) { COMPRESSED } else { PLAIN };
        let when = if self.at_start.contains(name) {
            When::AtStart
        } else if self.wanted.contains(name) {
            when(&content)
        } else {
            When::WithModule
        };
        let needs = depends(&content).ok_or_else(|| Error::package(path, "does not say what it depends on"))?;
        for needed in &needs {
            self.add(needed, depth + 1)?;
        }
        self.modules.push(Module { name: name.to_owned(), ending, content: bytes.to_vec(), needs, when });
        Ok(())
    }
}

/// What a module depends on; none if it does not say.
fn depends(module: &[u8]) -> Option<Vec<String>> {
    let text = strings(module, DEPENDS).next()?;
    Some(text.split(',').filter(|name| !name.is_empty()).map(canonical).collect())
}

/// What follows `key`, each time up to a zero.
fn strings<'a>(module: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = String> + 'a {
    let starts = module.windows(key.len()).enumerate().filter(move |(_, bytes)| *bytes == key).map(|(at, _)| at);
    starts.filter_map(move |at| {
        let text = module.get(at + key.len()..)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(depends: &str) -> Vec<u8> {
        format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0").into_bytes()
    }

    fn files(modules: &[(&str, &str)]) -> Files {
        let at = |name: &str| format!("usr/lib/modules/6/kernel/{name}.ko");
        let mut files: Files = modules.iter().map(|(name, depends)| (at(name), module(depends))).collect();
        files.insert("usr/lib/modules/6/modules.builtin".to_owned(), b"kernel/drivers/gpio/gpio-pl061.ko\n".to_vec());
        files
    }

    fn names(files: &Files, drivers: &[&str]) -> Vec<String> {
        let drivers: Vec<_> = drivers.iter().map(|name| (*name).to_owned()).collect();
        select(files, &drivers, &[]).unwrap().into_iter().map(|module| module.name).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let files =
            files(&[("ext4", "mbcache,jbd2"), ("jbd2", "crc32c"), ("mbcache", ""), ("crc32c", ""), ("nfs", "")]);
        assert_eq!(names(&files, &["ext4", "jbd2"]), ["mbcache", "crc32c", "jbd2", "ext4"]);
    }

    #[test]
    fn names_are_the_kernels_and_drivers_can_be_built_in() {
        let files = files(&[("virtio-net", "net_failover"), ("net_failover", "")]);
        assert_eq!(names(&files, &["virtio_net", "gpio_pl061"]), ["net_failover", "virtio_net"]);
    }

    #[test]
    fn a_driver_that_does_not_exist_is_named() {
        let error = select(&files(&[("ext4", "")]), &["ext5".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.contains("ext5"), "{error}");
    }

    #[test]
    fn drivers_wait_for_devices_that_say_what_they_are_and_no_others() {
        let module = |aliases: &str| format!("\x7fELF\0depends=\0{aliases}").into_bytes();
        let with = |patterns: &[&str]| When::WithDevice(patterns.iter().map(|p| (*p).to_owned()).collect());
        assert_eq!(when(&module("alias=pci:v1*\0alias=pci:v2*\0")), with(&["pci:v1*", "pci:v2*"]));
        assert_eq!(when(&module("alias=acpi*:PNP0C0C:*\0")), with(&["acpi*:PNP0C0C:*"]));
        assert_eq!(when(&module("alias=fs-ext4\0")), When::AtStart);
        assert_eq!(when(&module("alias=of:N*T*Cbrcm*\0alias=pci:v1*\0")), When::AtStart);
        assert_eq!(when(&module("")), When::AtStart);
        let files = files(&[("ext4", "mbcache,jbd2"), ("jbd2", ""), ("mbcache", "")]);
        let lines: String = select(&files, &["ext4".to_owned()], &[]).unwrap().iter().map(Module::line).collect();
        assert_eq!(lines, "- mbcache \n- jbd2 \n+ ext4 mbcache,jbd2\n");
        let device = Module {
            name: "igb".into(),
            ending: PLAIN,
            content: Vec::new(),
            needs: Vec::new(),
            when: with(&["pci:a*"]),
        };
        assert_eq!(device.line(), "? igb  pci:a*\n");
    }

    #[test]
    fn what_says_nothing_or_is_a_circle_is_an_end() {
        let mut silent = files(&[("a", "")]);
        silent.insert("x/b.ko".to_owned(), b"\x7fELF".to_vec());
        assert!(select(&silent, &["b".to_owned()], &[]).unwrap_err().to_string().contains("x/b.ko"));
        assert_eq!(names(&files(&[("a", "b"), ("b", "a")]), &["a"]), ["b", "a"]);
    }

    #[test]
    fn what_is_for_the_start_waits_for_no_device() {
        let path = "usr/lib/modules/6/kernel/mac80211-hwsim.ko".to_owned();
        let files = Files::from([(path, b"\x7fELF\0depends=\0alias=virtio:d1v*\0".to_vec())]);
        let name = ["mac80211-hwsim".to_owned()];
        let when = |drivers: &[String], at_start: &[String]| select(&files, drivers, at_start).unwrap()[0].when.clone();
        assert_eq!(when(&[], &name), When::AtStart);
        assert_eq!(when(&name, &[]), When::WithDevice(vec!["virtio:d1v*".to_owned()]));
    }
}
