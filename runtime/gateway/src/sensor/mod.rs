//! Sensors at the gateway itself, on its own buses: the drivers and the table of [`eyot_node`], over Linux.
//!
//! - [`device`]: a sensor of the configuration, opened.
//! - [`w1`]: thermometers by the kernel's driver.
//! - [`runner`]: the thread of a bus.
//!
//! A sample is a message at QoS 0: it wakes functions as one from the broker does, or is an output itself if there are none.
//! One that finds no room on the way to the core is dropped, and counted in the ledger as `intake_full`.
//!
//! Without the feature `sensors` the configuration can have none.

#[cfg(feature = "sensors")]
pub mod device;
#[cfg(feature = "sensors")]
pub mod runner;
#[cfg(feature = "sensors")]
pub mod w1;

use std::path::PathBuf;
use std::time::Duration;

use eyot_core::sensor::SensorReport;

#[cfg(feature = "sensors")]
pub(crate) use runner::start;

/// There are none.
#[cfg(not(feature = "sensors"))]
pub(crate) fn start(_: Vec<Sensor>, _: &crate::mqtt::link::Events, _: &flume::Receiver<()>) -> std::io::Result<()> {
    Ok(())
}

/// What `kind` may be.
pub const KINDS: [&str; 5] = ["bme280", "sht4x", "ads1115", "ds18b20", "pin"];
/// What `range` of an ADS1115 may be, with its end in millivolts.
pub const RANGES: [(&str, u16); 6] =
    [("6.144V", 6144), ("4.096V", 4096), ("2.048V", 2048), ("1.024V", 1024), ("0.512V", 512), ("0.256V", 256)];

/// `[[sensor]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensor {
    /// What its samples are messages on.
    pub topic: String,
    /// How often it is sampled.
    pub every: Duration,
    /// Device file of the bus, or the directory of the kernel's 1-Wire devices.
    pub bus: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a sensor is, and where on its bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Temperature, humidity and pressure, on I²C.
    Bme280 {
        /// 0x76 or 0x77.
        address: u8,
    },
    /// Temperature and humidity, on I²C.
    Sht4x {
        /// 0x44 to 0x46.
        address: u8,
    },
    /// A voltage, on I²C.
    Ads1115 {
        /// 0x48 to 0x4b.
        address: u8,
        /// 0 to 3.
        input: u8,
        /// End of the range; one of [`RANGES`].
        range_mv: u16,
    },
    /// Temperature, on 1-Wire.
    Ds18b20 {
        /// Family and number in hexadecimal digits, `28-0316a2794caa`.
        address: String,
    },
    /// A digital input.
    Pin {
        /// Its number on its chip.
        line: u32,
    },
}

impl Sensor {
    /// As it is before its first sample.
    pub fn report(&self) -> SensorReport {
        let bus = self.bus.display();
        let (kind, at) = match &self.kind {
            Kind::Bme280 { address } => ("bme280", format!("{bus} {address:#x}")),
            Kind::Sht4x { address } => ("sht4x", format!("{bus} {address:#x}")),
            Kind::Ads1115 { address, input, .. } => ("ads1115", format!("{bus} {address:#x} A{input}")),
            Kind::Ds18b20 { address } => ("ds18b20", format!("{bus}/{address}")),
            Kind::Pin { line } => ("pin", format!("{bus} {line}")),
        };
        SensorReport { topic: self.topic.clone(), kind, at, ..SensorReport::default() }
    }
}
