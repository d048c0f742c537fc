//! Outputs until a gateway has acknowledged them. What finds no room is handed back, and counted by whoever tried.

use heapless::{Deque, Vec};

use eyot_wire::link::READING_MAX_BYTES;

/// An output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    sampled_ms: u64,
    topic_len: u16,
    /// Topic, then payload.
    bytes: Vec<u8, READING_MAX_BYTES>,
}

impl Output {
    /// None if topic and payload are more than [`READING_MAX_BYTES`]. `sampled_ms` is the uptime at which its sample was
    /// taken.
    pub fn new(sampled_ms: u64, topic: &str, payload: &[u8]) -> Option<Self> {
        let topic_len = u16::try_from(topic.len()).ok()?;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(topic.as_bytes()).ok()?;
        bytes.extend_from_slice(payload).ok()?;
        Some(Self { sampled_ms, topic_len, bytes })
    }

    /// When its sample was taken.
    pub fn sampled_ms(&self) -> u64 {
        self.sampled_ms
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        let topic = self.bytes.get(..usize::from(self.topic_len)).unwrap_or_default();
        core::str::from_utf8(topic).unwrap_or_default()
    }

    /// Its payload.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(usize::from(self.topic_len)..).unwrap_or_default()
    }
}

/// At most `N` outputs, numbered without gaps from 1.
pub struct Queue<const N: usize> {
    outputs: Deque<Output, N>,
    /// Number of the oldest, or of the next one.
    first: u32,
}

impl<const N: usize> Default for Queue<N> {
    fn default() -> Self {
        Self { outputs: Deque::new(), first: 1 }
    }
}

impl<const N: usize> Queue<N> {
    /// Puts an output at the end.
    ///
    /// # Errors
    /// There is no room: the output comes back.
    #[allow(clippy::result_large_err)] // The output itself, and no heap to put it on.
    pub fn push(&mut self, output: Output) -> Result<(), Output> {
        self.outputs.push_back(output)
    }

    /// Number of the oldest output, or of the next one if there is none.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.outputs.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// The one of this number, if it is here.
    pub fn get(&self, seq: u32) -> Option<&Output> {
        self.outputs.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// All up to this number are acknowledged; answers how many those are. Numbers that were never given mean nothing.
    pub fn acknowledge(&mut self, seq: u32) -> u32 {
        let Some(last) = seq.checked_sub(self.first).filter(|index| *index < self.len()) else { return 0 };
        for _ in 0..=last {
            self.outputs.pop_front();
        }
        self.first = seq.saturating_add(1);
        last + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(payload: &[u8]) -> Output {
        Output::new(5, "a/b", payload).unwrap()
    }

    #[test]
    fn a_full_queue_hands_the_output_back() {
        let mut queue = Queue::<2>::default();
        queue.push(output(b"1")).unwrap();
        queue.push(output(b"2")).unwrap();
        assert_eq!(queue.push(output(b"3")).unwrap_err().payload(), b"3");
        assert_eq!((queue.acknowledge(1), queue.first(), queue.len()), (1, 2, 1));
        queue.push(output(b"4")).unwrap();
        assert_eq!(queue.get(3).map(Output::payload), Some(&b"4"[..]), "numbers have no gaps");
    }

    #[test]
    fn acknowledgements_of_what_was_never_sent_mean_nothing() {
        let mut queue = Queue::<4>::default();
        queue.push(output(b"1")).unwrap();
        assert_eq!([0, 2, u32::MAX].map(|seq| queue.acknowledge(seq)), [0, 0, 0]);
        assert_eq!((queue.acknowledge(1), queue.acknowledge(1)), (1, 0));
        assert_eq!((queue.first(), queue.is_empty(), queue.get(1)), (2, true, None));
    }

    #[test]
    fn an_output_has_a_limit() {
        assert!(Output::new(0, "abc", &[0; READING_MAX_BYTES - 3]).is_some());
        assert!(Output::new(0, "abc", &[0; READING_MAX_BYTES - 2]).is_none());
    }
}
