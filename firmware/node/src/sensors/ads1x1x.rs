//! ADS1115 on I²C, one sensor behind each of its inputs: `{"v":1.234}`.

use core::fmt::Write as _;

use ads1x1x::channel::SingleA0;
use ads1x1x::ic::{Ads1115 as Chip, Resolution16Bit};
use ads1x1x::mode::OneShot;
use ads1x1x::{Ads1x1x, ChannelId, TargetAddr};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::sample::{Sample, Sensor, SensorError};

/// Volts for one unit, at the range of 2.048 V that the chip starts with.
const UNIT_V: f32 = 2.048 / 32768.0;
/// A conversion at 128 samples a second takes 8 ms, give or take a tenth.
const POLL_MS: u32 = 1;
const POLLS_MAX: u32 = 12;

type Driver<I> = Ads1x1x<I, Chip, Resolution16Bit, OneShot>;

/// The voltage at input A0 against ground, up to 2.048 V.
pub struct Ads1115<I, D> {
    driver: Driver<I>,
    delay: D,
}

impl<I: I2c, D: DelayNs> Ads1115<I, D>
where
    SingleA0: ChannelId<Driver<I>>,
{
    /// With its ADDR pin on ground: 0x48.
    pub fn new(i2c: I, delay: D) -> Self {
        Self { driver: Ads1x1x::new_ads1115(i2c, TargetAddr::default()), delay }
    }
}

impl<I: I2c, D: DelayNs> Sensor for Ads1115<I, D> {
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        for _ in 0..POLLS_MAX {
            match self.driver.read(SingleA0) {
                Ok(units) => return Ok(write!(out, "{{\"v\":{:.4}}}", f32::from(units) * UNIT_V)?),
                Err(nb::Error::WouldBlock) => self.delay.delay_ms(POLL_MS),
                Err(nb::Error::Other(_)) => return Err(SensorError::Bus),
            }
        }
        Err(SensorError::Invalid)
    }
}
