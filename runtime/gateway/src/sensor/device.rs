//! A sensor of the configuration, opened when it is to be sampled, and anew after it failed: it, or an adapter between, may
//! have been unplugged.

use eyot_node::sensors::pin::Pin;
use eyot_node::sensors::{Address, Ads1115, Analog, Bme280, FullScaleRange, Sht4x, TargetAddr};
use eyot_node::{Sample, Sensor, SensorError};
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags};
use linux_embedded_hal::{CdevPin, Delay, I2cdev};

use super::w1::Thermometer;
use super::Kind;

/// What the kernel shows as the user of a pin.
const CONSUMER: &str = "eyotd";

/// A sensor that may be gone.
pub struct Device {
    sensor: super::Sensor,
    opened: Option<Box<dyn Sensor>>,
}

impl Device {
    /// Not opened yet.
    pub fn new(sensor: super::Sensor) -> Self {
        Self { sensor, opened: None }
    }
}

impl Sensor for Device {
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        let mut opened = match self.opened.take() {
            Some(opened) => opened,
            None => open(&self.sensor).ok_or(SensorError::NoBus)?,
        };
        opened.sample(out)?;
        self.opened = Some(opened);
        Ok(())
    }
}

fn open(super::Sensor { bus, kind, .. }: &super::Sensor) -> Option<Box<dyn Sensor>> {
    let i2c = || I2cdev::new(bus).ok();
    Some(match kind {
        Kind::Bme280 { address } => Box::new(Bme280::new(i2c()?, *address, Delay)),
        Kind::Sht4x { address } => {
            let address = match address {
                0x45 => Address::Address0x45,
                0x46 => Address::Address0x46,
                _ => Address::Address0x44,
            };
            Box::new(Sht4x::new(i2c()?, address, Delay))
        }
        Kind::Ads1115 { address, input, range_mv } => {
            let address = match address {
                0x49 => TargetAddr::Vdd,
                0x4a => TargetAddr::Sda,
                0x4b => TargetAddr::Scl,
                _ => TargetAddr::Gnd,
            };
            let input = match input {
                1 => Analog::A1,
                2 => Analog::A2,
                3 => Analog::A3,
                _ => Analog::A0,
            };
            Box::new(Ads1115::new(i2c()?, address, input, range(*range_mv), Delay))
        }
        Kind::Ds18b20 { address } => bus.is_dir().then(|| Box::new(Thermometer::new(bus, address)))?,
        Kind::Pin { line } => {
            let line = Chip::new(bus).and_then(|mut chip| chip.get_line(*line)).ok()?;
            let handle = line.request(LineRequestFlags::INPUT, 0, CONSUMER).ok()?;
            Box::new(Pin(CdevPin::new(handle).ok()?))
        }
    })
}

fn range(mv: u16) -> FullScaleRange {
    match mv {
        6144 => FullScaleRange::Within6_144V,
        4096 => FullScaleRange::Within4_096V,
        1024 => FullScaleRange::Within1_024V,
        512 => FullScaleRange::Within0_512V,
        256 => FullScaleRange::Within0_256V,
        _ => FullScaleRange::Within2_048V,
    }
}
