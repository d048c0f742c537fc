//! What is said, on every console of the kernel: a PC has a screen, and may have a serial port.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::OnceLock;

/// The kernel's list of them, in one line.
const ACTIVE: &str = "/sys/class/tty/console/active";

/// Writes a line to each. One that cannot be written to is no reason to stop.
pub fn write_line(text: &[u8]) {
    static CONSOLES: OnceLock<Vec<File>> = OnceLock::new();
    let consoles = CONSOLES.get_or_init(open);
    let line = [text, b"\n"].concat();
    for mut console in consoles {
        let _ = console.write_all(&line);
    }
    if consoles.is_empty() {
        let _ = io::stdout().write_all(&line);
    }
}

fn open() -> Vec<File> {
    let active = fs::read_to_string(ACTIVE).unwrap_or_default();
    let open = |name: &str| File::options().write(true).open(format!("/dev/{name}")).ok();
    active.split_whitespace().filter_map(open).collect()
}
