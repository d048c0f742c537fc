//! What is sampled, and when: a table with one line for each sensor.

use core::fmt;

/// Largest sample, in bytes.
pub const SAMPLE_MAX_BYTES: usize = 256;
/// What a sensor writes its sample into: text, as `write!` does it.
pub type Sample = heapless::String<SAMPLE_MAX_BYTES>;

/// Why there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorError {
    /// The bus failed, or the sensor does not answer.
    Bus,
    /// It answered what it cannot mean.
    Invalid,
    /// The sample is larger than [`SAMPLE_MAX_BYTES`].
    TooLarge,
}

impl SensorError {
    /// For people.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Bus => "the bus failed or the sensor does not answer; check its wiring and address",
            Self::Invalid => "the sensor answered what it cannot mean; check its supply, or replace it",
            Self::TooLarge => "the sample is larger than 256 bytes; make it smaller",
        }
    }
}

impl From<fmt::Error> for SensorError {
    /// Writing to a [`Sample`] fails when it is full.
    fn from(_: fmt::Error) -> Self {
        Self::TooLarge
    }
}

/// Something that can be sampled.
pub trait Sensor {
    /// Writes one sample, by custom a JSON object, to `out`, which is empty.
    ///
    /// # Errors
    /// There is none; what was written is discarded.
    fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError>;
}

/// One line of the table.
pub struct Channel<'a> {
    topic: &'a str,
    every_ms: u32,
    sensor: &'a mut dyn Sensor,
    due_ms: u64,
    is_failing: bool,
}

impl<'a> Channel<'a> {
    /// Samples `sensor` every so many milliseconds, from the start on, and calls that a message on `topic`.
    pub fn new(topic: &'a str, every_ms: u32, sensor: &'a mut dyn Sensor) -> Self {
        Self { topic, every_ms: every_ms.max(1), sensor, due_ms: 0, is_failing: false }
    }

    /// Its topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Whether it gave no sample the last time.
    pub fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Samples it if that is due. What became due while nobody asked is not made up for.
    pub fn poll(&mut self, now_ms: u64, out: &mut Sample) -> Option<Result<(), SensorError>> {
        if now_ms < self.due_ms {
            return None;
        }
        let every_ms = u64::from(self.every_ms);
        self.due_ms = match self.due_ms + every_ms {
            due_ms if due_ms > now_ms => due_ms,
            _ => now_ms + every_ms,
        };
        out.clear();
        let sampled = self.sensor.sample(out);
        self.is_failing = sampled.is_err();
        Some(sampled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write as _;

    struct Count(u32);

    impl Sensor for Count {
        fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
            self.0 += 1;
            Ok(write!(out, "{}", self.0)?)
        }
    }

    #[test]
    fn a_channel_keeps_its_beat_and_makes_nothing_up() {
        let mut count = Count(0);
        let mut channel = Channel::new("a", 100, &mut count);
        let mut sample = Sample::new();
        let mut at = |now_ms| channel.poll(now_ms, &mut sample).is_some();
        assert_eq!([0, 50, 99, 100, 130, 199, 200].map(&mut at), [true, false, false, true, false, false, true]);
        assert_eq!([205, 950, 1000, 1049, 1050].map(&mut at), [false, true, false, false, true]);
        assert_eq!(sample.as_str(), "5");
    }

    struct Endless;

    impl Sensor for Endless {
        fn sample(&mut self, out: &mut Sample) -> Result<(), SensorError> {
            loop {
                write!(out, "x")?;
            }
        }
    }

    #[test]
    fn a_sample_has_a_limit() {
        let mut sample = Sample::new();
        assert_eq!(Channel::new("a", 1, &mut Endless).poll(0, &mut sample), Some(Err(SensorError::TooLarge)));
    }
}
