//! Packets to bytes and back.
//!
//! rumqttc's codec reads and writes all that happens once per connection. The packets of the hot path (PUBLISH, PUBACK and
//! the handshake of QoS 2) are done here: rumqttc allocates a string for each topic and property of them.
//!
//! Two faults of rumqttc 0.25.1 are kept away from it: it reports "need more bytes" for a frame that is complete but
//! malformed, after having eaten it (so frames are cut here, and any error on a whole frame is final); and it refuses a
//! DISCONNECT of MQTT 5 without properties, which is what brokers send.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::decimal::Decimal;
use super::wakes::{self, WAKES};
use super::{Message, Publish, Version};

/// Most bytes a packet may have after its fixed header.
pub const REMAINING_MAX_BYTES: usize = 268_435_455;
/// PINGREQ, whole.
pub const PING: [u8; 2] = [0xc0, 0];
/// DISCONNECT with success, whole, in both versions.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];
/// Reason codes of a DISCONNECT by which a broker says that it cannot take, or does not permit, what it was sent: malformed
/// packet, protocol error, not authorized, topic name invalid, packet too large, payload format invalid.
const BLAMES: [u8; 6] = [0x81, 0x82, 0x87, 0x90, 0x95, 0x99];

/// Why the bytes are no MQTT; the connection is of no more use.
#[derive(Debug, thiserror::Error)]
#[error("the broker sent {0}")]
pub struct Malformed(pub String);

impl Malformed {
    fn new(what: &str) -> Self {
        Self(what.to_owned())
    }
}

/// A packet from a broker.
#[derive(Debug)]
pub enum Incoming {
    /// Connection accepted.
    ConnAck(Accepted),
    /// Connection refused.
    Refused(String),
    /// A message.
    Publish(Message),
    /// A publish answered; the code is 0 in 3.1.1.
    PubAck {
        /// The publish's packet id.
        packet_id: u16,
        /// Reason code.
        code: u8,
    },
    /// Second step of a QoS 2 delivery.
    PubRel {
        /// The message's packet id.
        packet_id: u16,
    },
    /// A subscription answered: for each filter, why it is refused, or nothing.
    SubAck {
        /// The subscription's packet id.
        packet_id: u16,
        /// In the order of its filters.
        refusals: Vec<Option<String>>,
    },
    /// An end of subscriptions answered.
    UnsubAck {
        /// Its packet id.
        packet_id: u16,
    },
    /// Ping answered.
    PingResp,
    /// The broker closes.
    Disconnect {
        /// What it says.
        reason: String,
        /// It says that something was sent that it does not take.
        blames: bool,
    },
}

/// What the broker allows.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    /// It kept our session.
    pub session_present: bool,
    /// Most unacknowledged publishes.
    pub receive_max: u16,
    /// Largest packet.
    pub packet_max_bytes: usize,
    /// Keep alive it insists on, in seconds.
    pub keep_alive_s: Option<u16>,
}

/// Fixed header of the packet at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Packet type and flags.
    pub first: u8,
    /// Bytes of the fixed header.
    pub head_bytes: usize,
    /// Bytes of the whole packet.
    pub packet_bytes: usize,
}

/// The fixed header at the front of `input`; none while it is incomplete.
pub fn head(input: &[u8]) -> Result<Option<Head>, Malformed> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let Some((remaining, bytes)) = varint(rest)? else { return Ok(None) };
    Ok(Some(Head { first, head_bytes: 1 + bytes, packet_bytes: 1 + bytes + remaining }))
}

/// Value and size of the variable byte integer at the front.
pub(super) fn varint(input: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (index, byte) in input.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if input.len() < 4 {
        Ok(None)
    } else {
        Err(Malformed::new("a length of more than four bytes"))
    }
}

/// Takes the packet off the front of `input`, which has the whole of it.
pub fn read(version: Version, head: Head, input: &mut BytesMut) -> Result<Incoming, Malformed> {
    let mut at = head.head_bytes;
    if head.first >> 4 == 4 {
        // The most frequent of those that carry nothing on: a frame of its own would be most of what it costs.
        let frame = input.get(..head.packet_bytes).unwrap_or_default();
        let packet_id = read_u16(frame, &mut at);
        let code = frame.get(at).copied().unwrap_or(0);
        input.advance(head.packet_bytes.min(input.len()));
        return Ok(Incoming::PubAck { packet_id: packet_id?, code });
    }
    let frame = input.split_to(head.packet_bytes.min(input.len())).freeze();
    match head.first >> 4 {
        3 => read_publish(version, head, frame).map(Incoming::Publish),
        6 => Ok(Incoming::PubRel { packet_id: read_u16(&frame, &mut at)? }),
        11 => Ok(Incoming::UnsubAck { packet_id: read_u16(&frame, &mut at)? }),
        13 => Ok(Incoming::PingResp),
        14 => {
            let blames = frame.get(head.head_bytes).is_some_and(|code| BLAMES.contains(code));
            Ok(Incoming::Disconnect { reason: read_disconnect(head, frame), blames })
        }
        2 | 9 if version == Version::V4 => read_v4(head, frame),
        2 | 9 => read_v5(head, frame),
        other => Err(Malformed(format!("a packet of type {other}, which a broker does not send here"))),
    }
}

/// Reads a PUBLISH. The frame may be cut within the payload.
pub fn read_publish(version: Version, head: Head, mut frame: Bytes) -> Result<Message, Malformed> {
    let qos = (head.first >> 1) & 3;
    if qos == 3 {
        return Err(Malformed::new("a PUBLISH with QoS 3"));
    }
    // By offsets: to cut off a part counts up and down what the core's thread counts down, too.
    let mut at = head.head_bytes;
    let topic_bytes = usize::from(read_u16(&frame, &mut at)?);
    let topic_at = at;
    at += topic_bytes;
    let packet_id = if qos == 0 { 0 } else { read_u16(&frame, &mut at)? };
    if qos > 0 && packet_id == 0 {
        return Err(Malformed::new("a PUBLISH with packet id 0"));
    }
    let mut wakes = None;
    if version == Version::V5 {
        // No other property changes what we do: aliases are announced as unsupported, expiry is the broker's work.
        let properties = varint(frame.get(at..).unwrap_or_default())?;
        let (properties, bytes) = properties.ok_or_else(|| Malformed::new("a PUBLISH without properties"))?;
        at += bytes;
        wakes = wakes::read(frame.get(at..at + properties).unwrap_or_default());
        at += properties;
    }
    frame.get(..at).ok_or_else(|| Malformed::new("a packet shorter than it says"))?;
    frame.advance(topic_at);
    let topic = frame.split_to(topic_bytes);
    frame.advance(at - topic_at - topic_bytes);
    let (dup, retain) = (head.first & 8 != 0, head.first & 1 != 0);
    Ok(Message { packet_id, qos, dup, retain, topic, payload: frame, wakes, sampled_at: None })
}

/// The number at `at`, which is behind it then.
fn read_u16(bytes: &[u8], at: &mut usize) -> Result<u16, Malformed> {
    let found = bytes.get(*at..).and_then(|rest| rest.first_chunk());
    let number = found.ok_or_else(|| Malformed::new("a packet shorter than it says"))?;
    *at += number.len();
    Ok(u16::from_be_bytes(*number))
}

fn read_v4(head: Head, frame: Bytes) -> Result<Incoming, Malformed> {
    let packet = v4::Packet::read(&mut BytesMut::from(frame), head.packet_bytes).map_err(foreign)?;
    Ok(match packet {
        v4::Packet::ConnAck(ack) if ack.code == v4::ConnectReturnCode::Success => Incoming::ConnAck(Accepted {
            session_present: ack.session_present,
            receive_max: u16::MAX,
            packet_max_bytes: REMAINING_MAX_BYTES,
            keep_alive_s: None,
        }),
        v4::Packet::ConnAck(ack) => Incoming::Refused(refusal(&format!("{:?}", ack.code), None)),
        v4::Packet::SubAck(ack) => Incoming::SubAck {
            packet_id: ack.pkid,
            refusals: (ack.return_codes.iter())
                .map(|code| (*code == v4::SubscribeReasonCode::Failure).then(|| "refused".to_owned()))
                .collect(),
        },
        _ => return Err(Malformed::new("an unexpected packet")),
    })
}

fn read_v5(head: Head, frame: Bytes) -> Result<Incoming, Malformed> {
    // A broker that knows only 3.1.1 answers in 3.1.1: "unacceptable protocol version".
    if matches!(frame.as_ref(), [0x20, 2, _, 1]) {
        return Ok(Incoming::Refused("it does not speak MQTT 5; set protocol = 4".to_owned()));
    }
    let packet = v5::Packet::read(&mut BytesMut::from(frame), None).map_err(foreign)?;
    Ok(match packet {
        v5::Packet::ConnAck(ack) if ack.code == v5::ConnectReturnCode::Success => {
            let limits = ack.properties.as_ref();
            Incoming::ConnAck(Accepted {
                session_present: ack.session_present,
                receive_max: limits.and_then(|l| l.receive_max).unwrap_or(u16::MAX).max(1),
                packet_max_bytes: limits
                    .and_then(|l| l.max_packet_size)
                    .and_then(|bytes| usize::try_from(bytes).ok())
                    .unwrap_or(REMAINING_MAX_BYTES),
                keep_alive_s: limits.and_then(|l| l.server_keep_alive),
            })
        }
        v5::Packet::ConnAck(ack) => {
            Incoming::Refused(refusal(&format!("{:?}", ack.code), ack.properties.and_then(|p| p.reason_string)))
        }
        v5::Packet::SubAck(ack) => Incoming::SubAck {
            packet_id: ack.pkid,
            refusals: (ack.return_codes.iter())
                .map(|code| match code {
                    v5::SubscribeReasonCode::Success(_) => None,
                    refused => Some(words(&format!("{refused:?}"))),
                })
                .collect(),
        },
        _ => return Err(Malformed(format!("an unexpected packet of {} bytes", head.packet_bytes))),
    })
}

fn foreign(error: impl std::fmt::Display) -> Malformed {
    Malformed(format!("a malformed packet: {error}"))
}

fn read_disconnect(head: Head, mut frame: Bytes) -> String {
    if head.packet_bytes - head.head_bytes > 1 {
        if let Ok(v5::Packet::Disconnect(bye)) = v5::Packet::read(&mut BytesMut::from(frame), None) {
            return refusal(&format!("{:?}", bye.reason_code), bye.properties.and_then(|p| p.reason_string));
        }
        return "the broker disconnected".to_owned();
    }
    frame.advance(head.head_bytes);
    match frame.first().map(|code| (*code, v5::DisconnectReasonCode::try_from(*code))) {
        None => "the broker disconnected".to_owned(),
        Some((_, Ok(reason))) => refusal(&format!("{reason:?}"), None),
        Some((code, Err(_))) => format!("reason code {code:#04x}"),
    }
}

/// A reason with what to do about it, where that is known.
fn refusal(name: &str, text: Option<String>) -> String {
    let mut reason = words(name);
    if let Some(text) = text {
        reason.push_str(": ");
        reason.extend(text.chars().filter(|c| !c.is_control()).take(200));
    }
    reason.push_str(match name {
        "BadUserNamePassword" | "NotAuthorized" => "; check username and password_file, and the broker's access rules",
        "SessionTakenOver" => "; another client uses this client id: give this gateway its own id or client_id",
        "RefusedProtocolVersion" | "UnsupportedProtocolVersion" => "; try the other protocol, 4 or 5",
        "BadClientId" | "ClientIdentifierNotValid" => "; set client_id to one the broker takes",
        _ => "",
    });
    reason
}

/// `NotAuthorized` to `not authorized`.
fn words(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Bytes of a v5 user property with these lengths.
const fn property_bytes(key: usize, value: usize) -> usize {
    5 + key + value
}

const EPOCH: &[u8] = b"eyot-epoch";
const SEQ: &[u8] = b"eyot-seq";
pub(super) const GATEWAY: &[u8] = b"eyot-gateway";

/// A PUBLISH measured and ready to be written.
pub struct Outgoing<'a> {
    publish: &'a Publish,
    gateway: &'a [u8],
    epoch: Decimal,
    seq: Decimal,
    wakes: Option<Decimal>,
    properties: Option<usize>,
    remaining: usize,
}

impl<'a> Outgoing<'a> {
    /// Measures; `gateway` is the id that goes with a stamp.
    pub fn new(version: Version, publish: &'a Publish, gateway: &'a [u8]) -> Self {
        let (epoch, seq) = publish.stamp.map_or((0, 0), |s| (s.epoch, s.seq));
        let (epoch, seq) = (Decimal::new(epoch), Decimal::new(seq));
        let wakes = publish.stamp.and(publish.wakes).map(|wakes| Decimal::new(wakes.into()));
        let properties = (version == Version::V5).then(|| match publish.stamp {
            None => 0,
            Some(_) => {
                property_bytes(GATEWAY.len(), gateway.len())
                    + property_bytes(EPOCH.len(), epoch.as_bytes().len())
                    + property_bytes(SEQ.len(), seq.as_bytes().len())
                    + wakes.as_ref().map_or(0, |wakes| property_bytes(WAKES.len(), wakes.as_bytes().len()))
            }
        });
        let head = 2 + publish.topic.len() + 2 + properties.map_or(0, |bytes| varint_bytes(bytes) + bytes);
        Self { publish, gateway, epoch, seq, wakes, properties, remaining: head + publish.payload.len() }
    }

    /// Bytes of the whole packet; none if MQTT cannot carry it.
    pub fn packet_bytes(&self) -> Option<usize> {
        let fits = self.remaining <= REMAINING_MAX_BYTES && self.publish.topic.len() <= usize::from(u16::MAX);
        fits.then(|| 1 + varint_bytes(self.remaining) + self.remaining)
    }

    /// Appends the packet at QoS 1. Only for what has [`packet_bytes`](Self::packet_bytes).
    pub fn write(&self, packet_id: u16, out: &mut BytesMut) {
        out.put_u8(0x32 | u8::from(self.publish.retain));
        put_varint(out, self.remaining);
        put_string(out, &self.publish.topic);
        out.put_u16(packet_id);
        if let Some(bytes) = self.properties {
            put_varint(out, bytes);
            if bytes > 0 {
                let stamp = [(GATEWAY, self.gateway), (EPOCH, self.epoch.as_bytes()), (SEQ, self.seq.as_bytes())];
                for (key, value) in stamp.into_iter().chain(self.wakes.iter().map(|wakes| (WAKES, wakes.as_bytes()))) {
                    out.put_u8(0x26);
                    put_string(out, key);
                    put_string(out, value);
                }
            }
        }
        out.put_slice(&self.publish.payload);
    }
}

/// Appends a four-byte acknowledgement: PUBACK (0x40), PUBREC (0x50) or PUBCOMP (0x70).
pub fn put_ack(out: &mut BytesMut, first: u8, packet_id: u16) {
    out.put_slice(&[first, 2]);
    out.put_u16(packet_id);
}

fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.put_slice(bytes);
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value > 0x7f {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

const fn varint_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}
