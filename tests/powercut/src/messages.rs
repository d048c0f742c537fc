//! What sensors sent to a daemon and the cloud got from it, and when; and from that, what a cut may leave.

use eyot_test_e2e::checker::{verify, Arrival};
use eyot_test_e2e::stamp::Stamp;
use rumqttc::v5::mqttbytes::v5::Publish;
use serde::{Deserialize, Serialize};

/// What the daemon subscribes to.
pub const INPUTS: &str = "in/#";
/// What the function puts before the topic of a message.
pub const OUTPUTS: &str = "cloud/";
/// Input topics.
pub const TOPICS: usize = 3;
const BODY_BYTES_MAX: usize = 2_000;
/// A count, then what came in, which begins with its number.
const COUNT_BYTES: usize = 8;
const INDEX_BYTES: usize = 8;

/// Messages of one gateway. Message `n` is of topic `n % TOPICS`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Messages {
    /// Events before each message to the daemon was acknowledged.
    inputs: Vec<Option<usize>>,
    /// Outputs, as they arrived.
    outputs: Vec<Output>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Output {
    /// Events before it was acknowledged.
    at: usize,
    topic: String,
    payload: Vec<u8>,
    gateway: String,
    epoch: String,
    seq: u64,
}

impl Messages {
    /// More messages for the daemon.
    pub fn add(&mut self, count: usize) {
        self.inputs.resize(self.inputs.len() + count, None);
    }

    /// How many there are for the daemon.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// How many the daemon has acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.inputs.iter().flatten().count()
    }

    /// Those it has not.
    pub fn unacknowledged(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs.iter().enumerate().filter(|(_, at)| at.is_none()).map(|(index, _)| index)
    }

    /// Topic of a message.
    pub fn topic(&self, index: usize) -> String {
        format!("in/{}", index % TOPICS)
    }

    /// Payload of a message.
    pub fn payload(&self, index: usize) -> Vec<u8> {
        let mut rng = fastrand::Rng::with_seed(index as u64);
        let mut payload = vec![0; INDEX_BYTES + rng.usize(0..BODY_BYTES_MAX)];
        let (number, body) = payload.split_at_mut(INDEX_BYTES);
        number.copy_from_slice(&(index as u64).to_le_bytes());
        rng.fill(body);
        payload
    }

    /// The daemon acknowledged a message.
    pub fn acknowledge(&mut self, index: usize, at: usize) {
        if let Some(acknowledged) = self.inputs.get_mut(index) {
            acknowledged.get_or_insert(at);
        }
    }

    /// The daemon published something: an output, or its status, which must balance.
    pub fn arrived(&mut self, publish: &Publish, at: usize) -> Result<(), String> {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        if topic.starts_with(OUTPUTS) {
            let Some(Stamp { gateway, epoch, seq }) = Stamp::of(publish) else {
                return Err(format!("{topic} has no stamp"));
            };
            self.outputs.push(Output { at, topic, payload: publish.payload.to_vec(), gateway, epoch, seq });
            return Ok(());
        }
        let status: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
        let Some(ledger) = status.get("ledger") else { return Ok(()) };
        let number = |key: &str| ledger.get(key).and_then(serde_json::Value::as_u64);
        let (received, delivered, pending) = (number("received"), number("delivered"), number("pending"));
        let sum = delivered.zip(pending).map(|(delivered, pending)| delivered + pending);
        if number("dropped") != Some(0) || received.is_none() || received != sum {
            return Err(format!("the ledger does not balance, or something was dropped: {ledger}"));
        }
        Ok(())
    }

    /// Whether every message is acknowledged, and the last of each topic is at the cloud.
    pub fn has_ended(&self) -> bool {
        let has_arrived = |index: &usize| self.outputs.iter().rev().any(|output| output.index() == Some(*index as u64));
        let count = self.inputs();
        self.acknowledged() == count && (count.saturating_sub(TOPICS)..count).all(|index| has_arrived(&index))
    }

    /// In brief.
    pub fn summary(&self) -> String {
        let (acknowledged, inputs) = (self.acknowledged(), self.inputs());
        format!("{acknowledged} of {inputs} messages are acknowledged, {} outputs arrived", self.outputs.len())
    }

    /// Events before which the daemon acknowledged something.
    pub fn moments(&self) -> Vec<usize> {
        self.inputs.iter().flatten().copied().collect()
    }

    /// What had been said when the disk had seen so many events, and nothing more; then time begins anew.
    pub fn at(&self, events: usize) -> Self {
        let inputs = self.inputs.iter().map(|at| at.filter(|at| *at <= events).map(|_| 0)).collect();
        let said = self.outputs.iter().filter(|output| output.at <= events);
        Self { inputs, outputs: said.map(|output| Output { at: 0, ..output.clone() }).collect() }
    }

    /// Whether all arrived as it should: nothing is lost or invented, order holds, and the function's state went with its
    /// outputs, which it counts.
    pub fn check(&self) -> Result<(), String> {
        let arrivals: Vec<Arrival> =
            self.outputs.iter().map(|output| self.arrival(output)).collect::<Result<_, _>>()?;
        verify(&arrivals, self.inputs() as u64).map(|_| ())
    }

    fn arrival(&self, output: &Output) -> Result<Arrival, String> {
        let index = output.index().unwrap_or(u64::MAX);
        let number = usize::try_from(index).unwrap_or(usize::MAX);
        let input = (number < self.inputs()).then(|| (self.topic(number), self.payload(number)));
        let (count, body) = output.payload.split_at_checked(COUNT_BYTES).unwrap_or_default();
        let expected = input.as_ref().map(|(topic, payload)| (format!("{OUTPUTS}{topic}"), payload.as_slice()));
        if expected != Some((output.topic.clone(), body)) {
            return Err(format!("invented: seq {} on {} is of no message", output.seq, output.topic));
        }
        if count != output.seq.to_le_bytes() {
            return Err(format!("seq {} says that {count:?} messages came before: the state is another's", output.seq));
        }
        Ok(Arrival {
            topic: output.topic.clone(),
            index,
            stamp: Stamp { gateway: output.gateway.clone(), epoch: output.epoch.clone(), seq: output.seq },
            payload: output.payload.clone().into(),
        })
    }
}

impl Output {
    fn index(&self) -> Option<u64> {
        self.payload.get(COUNT_BYTES..).and_then(|body| body.first_chunk()).map(|number| u64::from_le_bytes(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages 0 to 2, acknowledged before events 5, 6 and 7, and at the cloud before events 6, 7 and 9.
    fn messages() -> Messages {
        let mut messages = Messages::default();
        messages.add(3);
        for (index, (acknowledged, arrived)) in [(5, 6), (6, 7), (7, 9)].into_iter().enumerate() {
            messages.acknowledge(index, acknowledged);
            messages.outputs.push(output(&messages, index, index as u64 + 1, arrived));
        }
        messages
    }

    fn output(messages: &Messages, index: usize, seq: u64, at: usize) -> Output {
        let payload = [seq.to_le_bytes().to_vec(), messages.payload(index)].concat();
        let topic = format!("{OUTPUTS}{}", messages.topic(index));
        Output { at, topic, payload, gateway: "g".to_owned(), epoch: "e".to_owned(), seq }
    }

    #[test]
    fn what_was_said_later_is_unsaid() {
        let messages = messages();
        assert!(messages.has_ended() && messages.check().is_ok());
        let earlier = messages.at(6);
        assert_eq!((earlier.acknowledged(), earlier.outputs.len()), (2, 1));
        assert!(!earlier.has_ended());
        assert_eq!(earlier.unacknowledged().collect::<Vec<_>>(), [2]);
        assert_eq!(earlier.moments(), [0, 0]);
    }

    #[test]
    fn each_breach_is_found() {
        for (change, needle) in [
            ((|messages: &mut Messages| drop(messages.outputs.remove(2))) as fn(&mut Messages), "lost, first 2"),
            (|messages| messages.outputs[1].payload[9] ^= 1, "invented"),
            (|messages| messages.outputs[1].topic.push('x'), "invented"),
            (|messages| messages.outputs[1].payload[0] = 7, "the state is another's"),
            (|messages| messages.outputs[1] = output(&messages.clone(), 1, 3, 7), "seq 3 came where 2 was due"),
        ] {
            let mut messages = messages();
            change(&mut messages);
            let breach = messages.check().unwrap_err();
            assert!(breach.contains(needle), "{breach}");
        }
    }

    #[test]
    fn a_status_must_balance() {
        let say = |ledger: &str| {
            let payload = format!(r#"{{"ledger":{ledger}}}"#);
            let publish = Publish { topic: "eyot/g/status".into(), payload: payload.into(), ..Publish::default() };
            Messages::default().arrived(&publish, 0)
        };
        assert_eq!(say(r#"{"received":3,"delivered":2,"pending":1,"dropped":0}"#), Ok(()));
        assert!(say(r#"{"received":3,"delivered":2,"pending":0,"dropped":1}"#).is_err());
        assert!(say(r#"{"received":3,"delivered":2,"pending":0,"dropped":0}"#).is_err());
        assert!(say("{}").is_err());
    }
}
