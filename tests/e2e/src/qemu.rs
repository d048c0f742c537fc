//! A node: the firmware of `firmware/mps2-an505` on a microcontroller that QEMU emulates, its serial line on a TCP port.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};

use crate::port::free_port;
use crate::programs::root;
use crate::wait::{wait_for, STEP};

const EMULATOR: &str = "qemu-system-arm";
const FIRMWARE: &str = "firmware/mps2-an505/target/thumbv8m.main-none-eabihf/release/eyot-mps2-an505";
/// The same for the slot of a boot loader, which is beside it, too.
const SLOT: &str = "eyot-mps2-an505-slot";
const BOOT: &str = "boot";
/// Of the memory that stands for flash, and stays over a power cut: its beginning is the slot of the program that runs.
const FLASH_BYTES: u64 = 16 << 20;
/// Longest measurement, in seconds.
const FIGURES_MAX_S: &str = "300";

/// A running node. It is switched off when dropped.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    port: u16,
    flash: Option<PathBuf>,
}

/// A boot loader, and a program for its slot, as it is linked.
#[derive(Debug)]
pub struct Bootable {
    /// The boot loader.
    pub boot: PathBuf,
    /// The program.
    pub slot: PathBuf,
}

/// As [`firmware`], for nodes whose program can be renewed.
///
/// # Panics
/// As there.
pub fn bootable(test: &str) -> Option<Bootable> {
    let firmware = firmware(test)?;
    let (boot, slot) = (firmware.with_file_name(BOOT), firmware.with_file_name(SLOT));
    assert!(boot.is_file() && slot.is_file(), "the firmware is not all there: run tests/run.sh node");
    Some(Bootable { boot, slot })
}

/// Where the firmware is, if it was built, and there is an emulator; otherwise says what is missing.
///
/// # Panics
/// When something is missing and `EYOT_REQUIRE_NODE` says that nothing may be.
pub fn firmware(test: &str) -> Option<PathBuf> {
    let path = root().join(FIRMWARE);
    let has_emulator = Command::new(EMULATOR).arg("--version").stdout(Stdio::null()).status().is_ok();
    if path.is_file() && has_emulator {
        return Some(path);
    }
    assert!(
        std::env::var_os("EYOT_REQUIRE_NODE").is_none(),
        "{test} needs {EMULATOR}, and the firmware that tests/run.sh node builds"
    );
    eprintln!(
        "SKIPPED {test}: it needs {EMULATOR}, and the firmware that tests/run.sh node builds; nothing was tested"
    );
    None
}

/// What the program beside the firmware measures: a line for each function, in heap, instructions and fuel.
///
/// # Panics
/// When the emulator does not start.
pub fn figures(firmware: &Path) -> Vec<String> {
    figures_of(&firmware.with_file_name("figures"), &["-serial", "stdio"])
}

/// The lines that a program says up to `end`, `output` being where it says them, and an instruction taking a nanosecond.
///
/// It is ended after [`FIGURES_MAX_S`].
///
/// # Panics
/// When the emulator does not start.
pub fn figures_of(program: &Path, output: &[&str]) -> Vec<String> {
    let mut child = Command::new("timeout")
        .args([FIGURES_MAX_S, EMULATOR, "-machine", "mps2-an505", "-icount", "shift=0"])
        .args(["-display", "none", "-monitor", "none"])
        .args(output)
        .arg("-kernel")
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the emulator is there");
    let output = child.stdout.take().expect("it was asked for");
    let lines = BufReader::new(output).lines().map_while(Result::ok).take_while(|line| line != "end").collect();
    // Not by SIGKILL, of which the emulator behind `timeout` would not learn.
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    let _ = child.wait();
    lines
}

impl Qemu {
    /// Switches a node on.
    ///
    /// # Panics
    /// When the emulator does not start.
    #[track_caller]
    pub fn start(firmware: &PathBuf) -> Self {
        Self::on_port(firmware, free_port(), None)
    }

    /// Switches a node on whose flash is this file, and begins with `program`.
    ///
    /// # Panics
    /// When the file cannot be written, or the emulator does not start.
    #[track_caller]
    pub fn on_flash(boot: &PathBuf, flash: PathBuf, program: &[u8]) -> Self {
        std::fs::write(&flash, program).expect("the flash can be written");
        let file = OpenOptions::new().write(true).open(&flash).expect("it was written");
        file.set_len(FLASH_BYTES).expect("it has room");
        Self::on_port(boot, free_port(), Some(flash))
    }

    #[track_caller]
    fn on_port(firmware: &PathBuf, port: u16, flash: Option<PathBuf>) -> Self {
        let memory = flash.as_ref().map(|path| {
            let path = path.display();
            format!("memory-backend-file,id=flash,size={FLASH_BYTES},mem-path={path},share=on")
        });
        let machine = format!("mps2-an505{}", if memory.is_some() { ",memory-backend=flash" } else { "" });
        // Its port may be in use for a moment still, by the node that was here before.
        let child = wait_for("the emulator to have its port", STEP, || {
            let mut child = Command::new(EMULATOR)
                .args(["-machine", &machine, "-display", "none", "-monitor", "none"])
                .args(memory.iter().flat_map(|memory| ["-object", memory]))
                .args(["-serial", &format!("tcp:127.0.0.1:{port},server=on,wait=off")])
                .arg("-kernel")
                .arg(firmware)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("the emulator is there");
            // Whoever cannot listen ends at once; to look whether it listens would be a connection.
            std::thread::sleep(std::time::Duration::from_millis(200));
            child.try_wait().expect("the child is ours").is_none().then_some(child)
        });
        Self { child, port, flash }
    }

    /// Where its serial line is.
    pub fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// `kill -9`, which is the power cut of a node, and on again on the same port.
    ///
    /// # Panics
    /// When it does not come back.
    #[track_caller]
    pub fn power_cycle(&mut self, firmware: &PathBuf) {
        self.off();
        *self = Self::on_port(firmware, self.port, self.flash.clone());
    }

    fn off(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.off();
    }
}
