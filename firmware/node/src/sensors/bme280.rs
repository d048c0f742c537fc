//! BME280 on I²C: `{"t":21.37,"rh":48.20,"p":101325}`.

use core::fmt::Write as _;

use bme280::i2c::BME280;
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::sample::{Sample, Sensor, SensorError};

/// Temperature, humidity and pressure.
pub struct Bme280<I, D> {
    driver: BME280<I>,
    delay: D,
    /// The sensor has its configuration, and the driver its calibration.
    is_ready: bool,
}

impl<I: I2c, D: DelayNs> Bme280<I, D> {
    /// At the address, 0x76 or 0x77. It is set up with its first sample, and again after one that failed: it may have been
    /// unplugged.
    pub fn new(i2c: I, address: u8, delay: D) -> Self {
        Self { driver: BME280::new(i2c, address), delay, is_ready: false }
    }

    fn measure(&mut self) -> Result<bme280::Measurements<I::Error>, bme280::Error<I::Error>> {
        if !self.is_ready {
            self.driver.init(&mut self.delay)?;
            self.is_ready = true;
        }
        self.driver.measure(&mut self.delay)
    }
}

impl<I: I2c, D: DelayNs> Sensor for Bme280<I, D> {
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        let measured = self.measure().map_err(|error| {
            self.is_ready = false;
            match error {
                bme280::Error::Bus(_) | bme280::Error::Delay => SensorError::Bus,
                _ => SensorError::Invalid,
            }
        })?;
        let (t, rh, p) = (measured.temperature, measured.humidity, measured.pressure);
        Ok(write!(out, "{{\"t\":{t:.2},\"rh\":{rh:.2},\"p\":{p:.0}}}")?)
    }
}
