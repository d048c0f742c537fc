//! SHT40, SHT41 and SHT45 on I²C: `{"t":21.37,"rh":48.20}`.

use core::fmt::Write as _;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use sht4x::{Address, Error, Precision};

use crate::sample::{Sample, Sensor, SensorError};

/// Temperature and humidity, at high precision.
pub struct Sht4x<I, D> {
    driver: sht4x::Sht4x<I, D>,
    delay: D,
}

impl<I: I2c, D: DelayNs> Sht4x<I, D> {
    /// At its address, of which there are three; most have 0x44.
    pub fn new(i2c: I, address: Address, delay: D) -> Self {
        Self { driver: sht4x::Sht4x::new_with_address(i2c, address), delay }
    }
}

impl<I: I2c, D: DelayNs> Sensor for Sht4x<I, D> {
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        let measured = self.driver.measure(Precision::High, &mut self.delay).map_err(|error| match error {
            Error::I2c(_) => SensorError::Bus,
            _ => SensorError::Invalid,
        })?;
        let [t, rh] = [measured.temperature_milli_celsius(), measured.humidity_milli_percent()]
            .map(|thousandths| thousandths as f32 / 1000.0);
        Ok(write!(out, "{{\"t\":{t:.2},\"rh\":{rh:.2}}}")?)
    }
}
