//! Drivers: which modules the kernel needs for the hardware that is here, when it is. Those for buses whose devices say what
//! they are come with their device, also if it is plugged in later; all others are loaded at the start.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::system::finit_module;

use crate::say;

/// A line for each module, as `eyot image build` writes them: when it is loaded (`+` at the start, `?` with a device, `-` with
/// another module), its name, what it needs, each of those between commas, and patterns of devices.
const LIST: &str = "/etc/modules";
const DIRECTORY: &str = "/lib/modules";
/// What the files of modules end with, and how the kernel is told to take them: it unpacks those in xz itself
/// (`MODULE_INIT_COMPRESSED_FILE`).
const ENDINGS: [(&str, i32); 2] = [(".ko.xz", 4), (".ko", 0)];
/// Devices of a bus appear one after the other while the box starts,
const STARTING: Duration = Duration::from_secs(30);
const LOOK_AT_START_EVERY: Duration = Duration::from_millis(100);
/// and when somebody plugs one in.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// When a module is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    AtStart,
    WithDevice(Vec<String>),
    WithModule,
    Done,
}

#[derive(Debug, PartialEq, Eq)]
struct Module {
    name: String,
    needs: Vec<String>,
    when: When,
}

/// The modules of this image.
#[derive(Debug)]
pub struct Drivers {
    modules: Vec<Module>,
}

impl Drivers {
    /// Loads those that the box needs as it is, and after that, on a thread, those of what is found or plugged in. How many
    /// there are so far.
    pub fn start() -> usize {
        let mut drivers = Self { modules: read(&fs::read_to_string(LIST).unwrap_or_default()) };
        for at in 0..drivers.modules.len() {
            if drivers.modules.get(at).is_some_and(|module| module.when == When::AtStart) {
                drivers.load(at);
            }
        }
        // A controller shows what is behind it.
        while drivers.look() > 0 {}
        let loaded = drivers.modules.iter().filter(|module| module.when == When::Done).count();
        let begin = Instant::now();
        thread::spawn(move || {
            while drivers.any_waits() {
                let pause = if begin.elapsed() < STARTING { LOOK_AT_START_EVERY } else { LOOK_EVERY };
                thread::sleep(pause);
                drivers.look();
            }
        });
        loaded
    }

    /// Whether a device that is not here may still need one.
    fn any_waits(&self) -> bool {
        self.modules.iter().any(|module| matches!(module.when, When::WithDevice(_)))
    }

    /// Loads those of devices that are here; how many there were.
    fn look(&mut self) -> usize {
        let devices = devices();
        let is_here = |patterns: &[String]| patterns.iter().any(|p| devices.iter().any(|device| matches(p, device)));
        let wanted = self.modules.iter().enumerate().filter(|(_, module)| match &module.when {
            When::WithDevice(patterns) => is_here(patterns),
            _ => false,
        });
        let wanted: Vec<_> = wanted.map(|(at, _)| at).collect();
        for at in &wanted {
            self.load(*at);
        }
        wanted.len()
    }

    /// Loads a module after those that it needs. Those come before it in the list.
    fn load(&mut self, at: usize) {
        let Some(module) = self.modules.get_mut(at) else { return };
        if std::mem::replace(&mut module.when, When::Done) == When::Done {
            return;
        }
        let (name, needs) = (module.name.clone(), module.needs.clone());
        for need in needs {
            if let Some(at) = self.modules.iter().position(|module| module.name == need) {
                self.load(at);
            }
        }
        let mut files = ENDINGS.iter().map(|(ending, flags)| (format!("{DIRECTORY}/{name}{ending}"), *flags));
        let Some((path, flags)) = files.find(|(path, _)| Path::new(path).exists()) else {
            return say!("there is no {DIRECTORY}/{name}.ko");
        };
        match File::open(&path).and_then(|file| Ok(finit_module(file, c"", flags)?)) {
            Ok(()) => {}
            // Its hardware is not here.
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {}
            Err(error) => say!("{path} is not loaded: {error}"),
        }
    }
}

fn read(list: &str) -> Vec<Module> {
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (when, name, needs) = (words.next()?, words.next()?, words.next()?);
        let when = match when.as_str() {
            "+" => When::AtStart,
            "?" => When::WithDevice(words.collect()),
            _ => When::WithModule,
        };
        Some(Module { name, needs: needs.split(',').map(str::to_owned).collect(), when })
    };
    list.lines().filter_map(line).collect()
}

/// What the devices of all buses say that they are.
fn devices() -> Vec<String> {
    let mut found = Vec::new();
    for bus in fs::read_dir("/sys/bus").into_iter().flatten().flatten() {
        for device in fs::read_dir(bus.path().join("devices")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(device.path().join("modalias")).unwrap_or_default();
            found.extend(text.lines().map(str::to_owned));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a pattern of a module, with `*`, `?` and `[…]`, is that of a device.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut in_text) = (0, 0);
    // Where the last star was, and how far into the text it goes so far.
    let mut star = None;
    while in_text < text.len() || at < pattern.len() {
        let byte = text.get(in_text);
        match (pattern.get(at), byte) {
            (Some(b'*'), _) => {
                star = Some((at, in_text));
                at += 1;
                continue;
            }
            (Some(b'['), Some(byte)) => {
                let rest = pattern.get(at + 1..).unwrap_or_default();
                let end = rest.iter().position(|b| *b == b']').unwrap_or(rest.len());
                if is_in(rest.get(..end).unwrap_or_default(), *byte) {
                    at += end + 2;
                    in_text += 1;
                    continue;
                }
            }
            (Some(wanted), Some(byte)) if *wanted == b'?' || wanted == byte => {
                at += 1;
                in_text += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((star_at, until)) if until < text.len() => {
                star = Some((star_at, until + 1));
                (at, in_text) = (star_at + 1, until + 1);
            }
            _ => return false,
        }
    }
    true
}

/// Whether a byte is one of these, among which are ranges.
fn is_in(class: &[u8], byte: u8) -> bool {
    let is_in_range = |three: &[u8]| matches!(three, [from, b'-', to] if (*from..=*to).contains(&byte));
    class.contains(&byte) || class.windows(3).any(is_in_range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_match_the_patterns_of_their_drivers() {
        let nic = "pci:v00008086d000010D3sv00001AF4sd00001100bc02sc00i00";
        assert!(matches("pci:v00008086d000010D3sv*sd*bc*sc*i*", nic));
        assert!(!matches("pci:v00008086d000010D4sv*sd*bc*sc*i*", nic));
        assert!(matches("pci:v*d*sv*sd*bc02sc00i*", nic));
        assert!(!matches("pci:v*d*sv*sd*bc01sc00i*", nic));
        assert!(matches("acpi*:VMBUS:*", "acpi:VMBUS:") && matches("scsi:t-0x00*", "scsi:t-0x00"));
        assert!(matches("usb:v0525pA4A2d0[1-3]*ic?2", "usb:v0525pA4A2d02ic02"));
        assert!(!matches("usb:v0525pA4A2d0[1-3]*", "usb:v0525pA4A2d04ic02"));
        assert!(!matches("usb:v0", "usb:v0525") && !matches("usb:v0525", "usb:v0") && matches("*", ""));
        assert!(!matches("a[", "ab") && !matches("[", ""), "a pattern that does not end");
    }

    #[test]
    fn the_list_is_read() {
        let module = |name: &str, needs: &[&str], when| Module {
            name: name.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            when,
        };
        let expected = [
            module("mbcache", &[""], When::WithModule),
            module("ext4", &["mbcache", "jbd2"], When::AtStart),
            module("igb", &[""], When::WithDevice(vec!["pci:a*".to_owned(), "pci:b*".to_owned()])),
        ];
        assert_eq!(read("- mbcache \n+ ext4 mbcache,jbd2\n? igb  pci:a* pci:b*\n"), expected);
    }
}
