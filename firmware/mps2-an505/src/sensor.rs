//! A sensor that is simulated: what it gives is a function of how often it was asked.

use core::fmt::Write as _;

use eyot_node::{Sample, Sensor, SensorError};

/// Temperature and humidity of a greenhouse with odd weather.
#[derive(Default)]
pub struct Simulated {
    count: u32,
}

impl Sensor for Simulated {
    /// `ts` counts the samples, from 1: whoever tests the way of the readings can see what is missing.
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
        self.count = self.count.wrapping_add(1);
        let t_hundredths = 1500 + self.count.wrapping_mul(37) % 1700;
        let rh_tenths = 400 + self.count.wrapping_mul(13) % 500;
        let (t, rh) = ((t_hundredths / 100, t_hundredths % 100), (rh_tenths / 10, rh_tenths % 10));
        Ok(write!(
            out,
            r#"{{"device":"mps2-an505","t":{}.{:02},"rh":{}.{},"ts":{}}}"#,
            t.0, t.1, rh.0, rh.1, self.count
        )?)
    }
}
