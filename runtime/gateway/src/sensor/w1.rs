//! A DS18B20 by the kernel's driver `w1_therm`: `{"t":21.375}`, in degrees Celsius.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use eyot_node::{Sample, Sensor, SensorError};

/// Two lines of nine bytes each, and a word.
const FILE_MAX_BYTES: u64 = 256;
/// What the thermometer says when it was reset between measuring and reading: 85 degrees, and 0x0c where it has 0x10 behind
/// a measurement.
const RESET_MILLIDEGREES: i32 = 85_000;
const RESET_BYTE: (usize, u8) = (6, 0x0c);

/// One thermometer.
pub struct Thermometer {
    file: PathBuf,
}

impl Thermometer {
    /// With this directory among the kernel's devices.
    pub fn new(devices: &Path, address: &str) -> Self {
        Self { file: devices.join(address).join("w1_slave") }
    }
}

impl Sensor for Thermometer {
    /// Waits for the measurement: three quarters of a second.
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        let mut text = String::new();
        let read = File::open(&self.file).and_then(|file| file.take(FILE_MAX_BYTES).read_to_string(&mut text));
        match read.map_err(|error| error.kind()) {
            Ok(_) => {}
            Err(ErrorKind::InvalidData) => return Err(SensorError::Invalid),
            Err(ErrorKind::PermissionDenied) => return Err(SensorError::NoBus),
            Err(_) => return Err(SensorError::Bus),
        }
        let millidegrees = parse(&text).ok_or(SensorError::Invalid)?;
        Ok(write!(out, "{{\"t\":{:.3}}}", f64::from(millidegrees) / 1000.0)?)
    }
}

/// The measurement in a text like
/// ```text
/// 72 01 4b 46 7f ff 0e 10 57 : crc=57 YES
/// 72 01 4b 46 7f ff 0e 10 57 t=23125
/// ```
/// None if its checksum is wrong, or it is none: a bus that is shorted reads as zeros, whose checksum is right.
fn parse(text: &str) -> Option<i32> {
    let mut lines = text.lines();
    let (bytes, verdict) = lines.next()?.split_once(" : ")?;
    let (_, millidegrees) = lines.next()?.split_once("t=")?;
    let bytes: Vec<u8> = bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>().ok()?;
    let millidegrees = millidegrees.trim().parse().ok()?;
    let is_reset = millidegrees == RESET_MILLIDEGREES && bytes.get(RESET_BYTE.0) == Some(&RESET_BYTE.1);
    let is_measured = verdict.ends_with(" YES") && bytes.iter().any(|byte| *byte != 0) && !is_reset;
    is_measured.then_some(millidegrees)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_one_whose_checksum_is_right() {
        let text =
            |verdict, t| format!("72 01 4b 46 7f ff 0e 10 57 : crc=57 {verdict}\n72 01 4b 46 7f ff 0e 10 57 t={t}\n");
        assert_eq!(parse(&text("YES", "23125")), Some(23_125));
        assert_eq!(parse(&text("YES", "-1062")), Some(-1_062));
        assert_eq!(parse(&text("NO", "23125")), None);
        for broken in ["", "\n", "x : crc=57 YES\nt=1", "72 : YES", "72 : crc=1 YES\nt=", "72 : crc=1 YES\nt=1e9"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn what_a_reset_or_a_short_circuit_leaves_is_no_measurement() {
        let text = |bytes: &str, t| format!("{bytes} : crc=1c YES\n{bytes} t={t}\n");
        assert_eq!(parse(&text("50 05 4b 46 7f ff 0c 10 1c", 85_000)), None);
        assert_eq!(parse(&text("50 05 4b 46 7f ff 10 10 1c", 85_000)), Some(85_000), "it can be so hot");
        assert_eq!(parse(&text("00 00 00 00 00 00 00 00 00", 0)), None);
        assert_eq!(parse(&text("00 00 4b 46 7f ff 10 10 1c", 0)), Some(0));
    }
}
