//! ADS1115 on I²C, one sensor behind each of its inputs: `{"v":1.234}`.

use core::fmt::Write as _;

use ads1x1x::channel::{SingleA0, SingleA1, SingleA2, SingleA3};
use ads1x1x::ic::{Ads1115 as Chip, Resolution16Bit};
use ads1x1x::mode::OneShot;
use ads1x1x::{Ads1x1x, Error, FullScaleRange, TargetAddr};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::sample::{Sample, Sensor, SensorError};

/// Units of the range.
const UNITS: f32 = 32768.0;
/// A conversion at 128 samples a second takes 8 ms, give or take a tenth.
const POLL_MS: u32 = 1;
const POLLS_MAX: u32 = 12;

type Driver<I> = Ads1x1x<I, Chip, Resolution16Bit, OneShot>;

/// One of its inputs, against ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Analog {
    /// Its pin AIN0.
    A0,
    /// Its pin AIN1.
    A1,
    /// Its pin AIN2.
    A2,
    /// Its pin AIN3.
    A3,
}

/// The voltage at one of its inputs.
pub struct Ads1115<I, D> {
    driver: Driver<I>,
    input: Analog,
    range: FullScaleRange,
    delay: D,
    /// The driver has its range.
    is_ready: bool,
}

impl<I: I2c, D: DelayNs> Ads1115<I, D> {
    /// At the address that its ADDR pin says: 0x48 with the pin on ground. What is beyond the range reads as its end; above
    /// the chip's supply nothing may be at the input, whatever the range.
    pub fn new(i2c: I, address: TargetAddr, input: Analog, range: FullScaleRange, delay: D) -> Self {
        Self { driver: Ads1x1x::new_ads1115(i2c, address), input, range, delay, is_ready: false }
    }

    fn units(&mut self) -> nb::Result<i16, Error<I::Error>> {
        if !self.is_ready {
            self.driver.set_full_scale_range(self.range)?;
            self.is_ready = true;
        }
        match self.input {
            Analog::A0 => self.driver.read(SingleA0),
            Analog::A1 => self.driver.read(SingleA1),
            Analog::A2 => self.driver.read(SingleA2),
            Analog::A3 => self.driver.read(SingleA3),
        }
    }
}

impl<I: I2c, D: DelayNs> Sensor for Ads1115<I, D> {
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        for _ in 0..POLLS_MAX {
            match self.units() {
                Ok(units) => {
                    let volts = f32::from(units) * full_scale_v(self.range) / UNITS;
                    return Ok(write!(out, "{{\"v\":{volts:.4}}}")?);
                }
                Err(nb::Error::WouldBlock) => self.delay.delay_ms(POLL_MS),
                Err(nb::Error::Other(_)) => return Err(SensorError::Bus),
            }
        }
        Err(SensorError::Invalid)
    }
}

fn full_scale_v(range: FullScaleRange) -> f32 {
    match range {
        FullScaleRange::Within6_144V => 6.144,
        FullScaleRange::Within4_096V => 4.096,
        FullScaleRange::Within2_048V => 2.048,
        FullScaleRange::Within1_024V => 1.024,
        FullScaleRange::Within0_512V => 0.512,
        FullScaleRange::Within0_256V => 0.256,
    }
}
