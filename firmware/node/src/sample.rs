//! What is sampled, and when: a table with one line for each sensor.

use core::fmt;

/// Largest sample, in bytes.
pub const SAMPLE_MAX_BYTES: usize = 256;
/// Longest wait before a sensor that failed is asked again, unless it is sampled more rarely than that.
pub const RETRY_MAX_MS: u64 = 60_000;
/// What a sensor writes its sample into: text, as `write!` does it.
pub type Sample = heapless::String<SAMPLE_MAX_BYTES>;

/// Why there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorError {
    /// There is no such bus, or it cannot be opened; not on nodes, which have theirs built in.
    NoBus,
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
            Self::NoBus => {
                "the bus cannot be opened; switch it on, give this user the right to it, or correct its name"
            }
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
    /// In a row.
    failures: u32,
}

impl<'a> Channel<'a> {
    /// Samples `sensor` every so many milliseconds, from the start on, and calls that a message on `topic`.
    pub fn new(topic: &'a str, every_ms: u32, sensor: &'a mut dyn Sensor) -> Self {
        Self { topic, every_ms: every_ms.max(1), sensor, due_ms: 0, failures: 0 }
    }

    /// Its topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Whether it gave no sample the last time.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// When it is to be [polled](Self::poll) next.
    pub fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// Samples it if that is due. What became due while nobody asked is not made up for. A sensor that fails is asked at the
    /// next beat, and then ever more rarely, down to once in [`RETRY_MAX_MS`], until it does well.
    pub fn poll(&mut self, now_ms: u64, out: &mut Sample) -> Option<Result<(), SensorError>> {
        if now_ms < self.due_ms {
            return None;
        }
        let beat_ms = self.due_ms;
        out.clear();
        let sampled = self.sensor.sample(out);
        self.failures = if sampled.is_ok() { 0 } else { self.failures.saturating_add(1) };
        let wait_ms = self.wait_ms();
        self.due_ms = match beat_ms + wait_ms {
            due_ms if due_ms > now_ms => due_ms,
            _ => now_ms + wait_ms,
        };
        Some(sampled)
    }

    fn wait_ms(&self) -> u64 {
        let every_ms = u64::from(self.every_ms);
        let longer_ms = every_ms << self.failures.saturating_sub(1).min(u32::BITS - 1);
        longer_ms.min(every_ms.max(RETRY_MAX_MS))
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

    struct Broken;

    impl Sensor for Broken {
        fn sample(&mut self, _: &mut Sample) -> Result<(), SensorError> {
            Err(SensorError::Bus)
        }
    }

    #[test]
    fn a_sensor_that_fails_is_asked_ever_more_rarely() {
        let (mut broken, mut sample) = (Broken, Sample::new());
        let mut waits = |every_ms, polls| {
            let mut channel = Channel::new("a", every_ms, &mut broken);
            let mut last_ms = 0;
            for _ in 0..polls {
                last_ms = channel.due_ms();
                assert_eq!(channel.poll(last_ms, &mut sample), Some(Err(SensorError::Bus)));
            }
            channel.due_ms() - last_ms
        };
        assert_eq!([1, 2, 3, 4, 8, 100].map(|polls| waits(1000, polls)), [1000, 2000, 4000, 8000, 60_000, 60_000]);
        assert_eq!([1, 100].map(|polls| waits(3_600_000, polls)), [3_600_000; 2], "no more often than it is sampled");
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
