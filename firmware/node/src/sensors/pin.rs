//! A digital input: `{"high":true}`.

use core::fmt::Write as _;

use embedded_hal::digital::InputPin;

use crate::sample::{Sample, Sensor, SensorError};

/// Whether it is high.
pub struct Pin<P>(pub P);

impl<P: InputPin> Sensor for Pin<P> {
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        let is_high = self.0.is_high().map_err(|_| SensorError::Bus)?;
        Ok(write!(out, "{{\"high\":{is_high}}}")?)
    }
}
