//! Whether what arrived at the cloud is what the guarantee promises.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::stamp::Stamp;

/// One output at the cloud.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its topic; each has the messages of one input topic.
    pub topic: String,
    /// Number of the message it came from.
    pub index: u64,
    /// What it is known by.
    pub stamp: Stamp,
    /// Payload.
    pub payload: Bytes,
}

/// What a sound run consisted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Messages the broker delivered again to the gateway after a kill: they have several stamps.
    pub redelivered: usize,
    /// Outputs the uplink sent again: they have one stamp.
    pub retried: usize,
}

/// Checks the outputs of `messages` acknowledged messages, in the order they arrived.
///
/// # Errors
/// The first breach: a message lost or invented, an output that changed, a gap or disorder in the sequence numbers of
/// the uplink, or disorder within a topic.
pub fn verify(arrived: &[Arrival], messages: u64) -> Result<Summary, String> {
    let mut by_seq: HashMap<u64, &Arrival> = HashMap::new();
    let mut seqs_of: HashMap<u64, HashSet<u64>> = HashMap::new();
    let mut last_of_topic: HashMap<&str, u64> = HashMap::new();
    let mut next_seq = 1;
    for arrival in arrived {
        let Arrival { topic, index, stamp, .. } = arrival;
        if *index >= messages {
            return Err(format!("message {index} was never sent"));
        }
        if (&stamp.gateway, &stamp.epoch) != (&arrived[0].stamp.gateway, &arrived[0].stamp.epoch) {
            return Err(format!("message {index} has another gateway or epoch: {stamp:?}"));
        }
        match by_seq.get(&stamp.seq) {
            Some(before) if (before.index, &before.topic, &before.payload) != (*index, topic, &arrival.payload) => {
                return Err(format!("seq {} is two outputs, of messages {} and {index}", stamp.seq, before.index));
            }
            Some(_) => continue,
            None if stamp.seq != next_seq => return Err(format!("seq {} came where {next_seq} was due", stamp.seq)),
            None => next_seq += 1,
        }
        by_seq.insert(stamp.seq, arrival);
        let seqs = seqs_of.entry(*index).or_default();
        seqs.insert(stamp.seq);
        // Only the first of a message's outputs counts for order: what comes again may come late.
        if seqs.len() == 1 {
            let before = last_of_topic.insert(topic, *index);
            if before >= Some(*index) {
                return Err(format!("{topic}: message {index} came after {before:?}"));
            }
        }
    }
    if let Some(lost) = (0..messages).find(|index| !seqs_of.contains_key(index)) {
        return Err(format!("{} acknowledged messages are lost, first {lost}", messages - seqs_of.len() as u64));
    }
    let redelivered = seqs_of.values().filter(|seqs| seqs.len() > 1).count();
    Ok(Summary { redelivered, retried: arrived.len() - by_seq.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outputs of messages with these numbers and sequence numbers, all on one topic.
    fn run(pairs: &[(u64, u64)], messages: u64) -> Result<Summary, String> {
        let arrival = |(index, seq): &(u64, u64)| Arrival {
            topic: "cloud/s".into(),
            index: *index,
            stamp: Stamp { gateway: "g".into(), epoch: "e".into(), seq: *seq },
            payload: Bytes::from(index.to_string()),
        };
        verify(&pairs.iter().map(arrival).collect::<Vec<_>>(), messages)
    }

    #[test]
    fn what_at_least_once_allows_is_sound() {
        assert_eq!(run(&[(0, 1), (1, 2), (2, 3)], 3), Ok(Summary { redelivered: 0, retried: 0 }));
        assert_eq!(run(&[(0, 1), (1, 2), (1, 2), (2, 3)], 3), Ok(Summary { redelivered: 0, retried: 1 }));
        assert_eq!(run(&[(0, 1), (1, 2), (0, 3), (1, 4), (2, 5)], 3), Ok(Summary { redelivered: 2, retried: 0 }));
    }

    #[test]
    fn each_breach_is_found() {
        for (pairs, needle) in [
            (&[(0, 1), (2, 2)][..], "lost, first 1"),
            (&[(0, 1), (2, 2), (1, 3)], "message 1 came after"),
            (&[(0, 1), (1, 3), (2, 4)], "seq 3 came where 2 was due"),
            (&[(0, 1), (1, 1), (2, 2)], "seq 1 is two outputs"),
            (&[(0, 1), (9, 2)], "message 9 was never sent"),
        ] {
            let breach = run(pairs, 3).unwrap_err();
            assert!(breach.contains(needle), "{breach}");
        }
    }
}
