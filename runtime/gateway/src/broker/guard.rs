//! What stands between clients and rumqttd 0.20, which panics
//! - on packets that only a broker sends,
//! - on a message with MQTT 5 properties for a 3.1.1 subscriber,
//! - when a client comes back after a connection that failed between its CONNECT and the CONNACK: because its id held a
//!   character that rumqttd refuses, because there were too many clients, or because it had gone already.

use std::cell::Cell;
use std::sync::{Arc, Weak};

use bytes::BytesMut;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{ConnectReturnCode, Error, Packet, PingReq, Protocol};

use super::handover::{Handover, Peer};
use super::CONNECTIONS_MAX;
use crate::mqtt::codec;

/// Types of the packets a client may send: CONNECT, PUBLISH and its acknowledgements, SUBSCRIBE, UNSUBSCRIBE, PINGREQ,
/// DISCONNECT.
const CLIENT_PACKETS: [u8; 10] = [1, 3, 4, 5, 6, 7, 8, 10, 12, 14];

/// Of the first byte of PUBLISH; all clear, and nobody acknowledges it.
const QOS_BITS: u8 = 0b110;

/// The protocol of one connection, for packets that rumqttd can take.
pub struct Guard {
    version: AnyVersion,
    /// Of all connections of the broker: each holds a weak reference from its CONNECT to its end.
    all: Arc<Handover>,
    seat: Option<Weak<Handover>>,
    peer: Peer,
    greeting: Cell<Greeting>,
}

/// Where a connection is between CONNECT and CONNACK. rumqttd writes CONNACK where failing leaves the trap, so it is held
/// back, and written with the answer to a PINGREQ of our own, where failing does no harm.
enum Greeting {
    /// CONNECT was read or is to come.
    None,
    /// The CONNACK, held back.
    Held(Box<Packet>),
    /// The PINGREQ was made up.
    Asked(Box<Packet>),
    /// Something else came first and took the CONNACK along; the answer to the PINGREQ is for nobody.
    Owed,
}

impl Guard {
    /// For the connections of one broker.
    pub fn new(all: Arc<Handover>) -> Self {
        let greeting = Cell::new(Greeting::None);
        Self { version: AnyVersion::Unknown, all, seat: None, peer: Peer::Client, greeting }
    }

    /// The next packet that is for the broker.
    fn next(&mut self, stream: &mut BytesMut, max_size: usize) -> Result<Packet, Error> {
        loop {
            if let Some(first) = stream.first().filter(|first| !CLIENT_PACKETS.contains(&(**first >> 4))) {
                return Err(Error::InvalidPacketType(*first));
            }
            match self.version.read(stream, max_size)? {
                // Its sender keeps it, and sends it again to whoever acknowledges it.
                Packet::Publish(..) if !self.all.takes_from(self.peer) => {}
                packet => return Ok(packet),
            }
        }
    }

    fn admit(&mut self, packet: &mut Packet) -> Result<(), Error> {
        let Packet::Connect(connect, ..) = packet else { return Ok(()) };
        if self.seat.is_some() || Arc::weak_count(&self.all) >= CONNECTIONS_MAX {
            return Err(Error::InvalidProtocol);
        }
        self.seat = Some(Arc::downgrade(&self.all));
        connect.client_id = plain(&connect.client_id);
        self.peer = self.all.arrive(&connect.client_id);
        Ok(())
    }
}

/// rumqttd makes one for each connection by cloning the first.
impl Clone for Guard {
    fn clone(&self) -> Self {
        Self::new(self.all.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.all.leave(self.peer);
    }
}

impl Protocol for Guard {
    fn read_mut(&mut self, stream: &mut BytesMut, max_size: usize) -> Result<Packet, Error> {
        match self.greeting.replace(Greeting::None) {
            Greeting::Held(connack) => {
                self.greeting.set(Greeting::Asked(connack));
                return Ok(Packet::PingReq(PingReq));
            }
            other => self.greeting.set(other),
        }
        let mut packet = self.next(stream, max_size)?;
        self.admit(&mut packet)?;
        if self.peer == Peer::Intake && matches!(packet, Packet::PubAck(..)) {
            self.all.answered();
        }
        Ok(packet)
    }

    fn write(&self, packet: Packet, buffer: &mut BytesMut) -> Result<usize, Error> {
        if let Packet::ConnAck(connack, _) = &packet {
            if connack.code == ConnectReturnCode::Success {
                self.greeting.set(Greeting::Held(Box::new(packet)));
                return Ok(0);
            }
        }
        let answer = matches!(packet, Packet::PingResp(_));
        let message = matches!(packet, Packet::Publish(..));
        let mut written = 0;
        match self.greeting.replace(Greeting::None) {
            Greeting::None => {}
            Greeting::Held(connack) => written = self.version.write(*connack, buffer)?,
            Greeting::Asked(connack) => {
                written = self.version.write(*connack, buffer)?;
                if answer {
                    return Ok(written);
                }
                self.greeting.set(Greeting::Owed);
            }
            Greeting::Owed if answer => return Ok(0),
            Greeting::Owed => self.greeting.set(Greeting::Owed),
        }
        let start = buffer.len();
        written += self.version.write(packet, buffer)?;
        if message && self.peer == Peer::Intake && buffer.get(start).is_some_and(|first| first & QOS_BITS != 0) {
            self.all.sent();
        }
        Ok(written)
    }
}

/// A client id without the characters that rumqttd refuses; different ids stay different.
pub fn plain(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for character in id.chars() {
        match character {
            '+' | '$' | '#' | '/' | '%' => out.push_str(&format!("%{:02X}", u32::from(character))),
            other => out.push(other),
        }
    }
    out
}

/// The protocol of one connection: whichever version its CONNECT names.
#[derive(Clone, Copy)]
enum AnyVersion {
    Unknown,
    Four,
    Five,
}

impl AnyVersion {
    fn read(&mut self, stream: &mut BytesMut, max_size: usize) -> Result<Packet, Error> {
        if let Self::Unknown = self {
            *self = version_of(stream)?;
        }
        match self {
            Self::Five => V5.read_mut(stream, max_size),
            _ => V4.read_mut(stream, max_size),
        }
    }

    fn write(self, mut packet: Packet, buffer: &mut BytesMut) -> Result<usize, Error> {
        if let Self::Five = self {
            return V5.write(packet, buffer);
        }
        match &mut packet {
            Packet::Publish(_, properties) => *properties = None,
            Packet::PubAck(_, properties) => *properties = None,
            Packet::SubAck(_, properties) => *properties = None,
            Packet::PubRec(_, properties) => *properties = None,
            Packet::PubRel(_, properties) => *properties = None,
            Packet::PubComp(_, properties) => *properties = None,
            Packet::UnsubAck(_, properties) => *properties = None,
            Packet::Disconnect(_, properties) => *properties = None,
            _ => {}
        }
        V4.write(packet, buffer)
    }
}

/// The protocol level in CONNECT follows the fixed header and `0 4 M Q T T`.
fn version_of(stream: &[u8]) -> Result<AnyVersion, Error> {
    let head = codec::head(stream).map_err(|_| Error::MalformedPacket)?;
    match head.and_then(|head| stream.get(head.head_bytes + 6)) {
        Some(5) => Ok(AnyVersion::Five),
        Some(_) => Ok(AnyVersion::Four),
        None => Err(Error::InsufficientBytes(1)),
    }
}

#[cfg(test)]
mod tests {
    use rumqttd::protocol::{ConnAck, PingResp, PubAck, PubAckReason};

    use super::super::PACKET_MAX_BYTES;
    use super::*;

    /// Packets that a client may send, and some that it may not: head, then body.
    const PACKETS: [&[u8]; 20] = [
        b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c",
        b"\x10\x1d\0\x04MQTT\x04\xc6\0\x3c\0\x01c\0\x01t\0\x01m\0\x02us\0\x02pw",
        b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c",
        b"\x10\x21\0\x04MQTT\x05\x06\0\x3c\x05\x11\0\0\0\x05\0\x01c\x07\x26\0\x01a\0\x01b\0\x01t\0\x01m",
        b"\x32\x09\0\x03a/b\0\x01hi",
        b"\x32\x0d\0\x03a/b\0\x01\x03\x23\0\x01hi",
        b"\x32\x11\0\x03a/b\0\x01\x07\x26\0\x01a\0\x01bhi",
        b"\x40\x02\0\x01",
        b"\x40\x04\0\x01\x10\0",
        b"\x50\x02\0\x01",
        b"\x62\x02\0\x01",
        b"\x70\x02\0\x01",
        b"\x82\x08\0\x01\0\x03a/#\x01",
        b"\x82\x0b\0\x01\x02\x0b\x05\0\x03a/#\x01",
        b"\xa2\x07\0\x01\0\x03a/#",
        b"\xc0\0",
        b"\xe0\0",
        b"\xe0\x02\0\0",
        b"\x20\x03\0\0\0",
        b"\xb0\x03\0\x01\0",
    ];

    fn guard() -> Guard {
        Guard::new(Arc::new(Handover::new(None)))
    }

    fn mutated(random: &mut fastrand::Rng) -> BytesMut {
        let mut packet = PACKETS[random.usize(..PACKETS.len())].to_vec();
        for _ in 0..random.usize(..4) {
            let at = random.usize(..packet.len());
            match random.u8(..4) {
                0 => packet[at] ^= 1 << random.u8(..8),
                1 => packet[at] = *random.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap_or(&0),
                2 => packet.truncate(at.max(2)),
                _ => packet.insert(at, random.u8(..)),
            }
        }
        if random.bool() {
            // Mistakes inside a packet are seen only if its length is right.
            packet[1] = (packet.len() - 2) as u8;
        }
        BytesMut::from(packet.as_slice())
    }

    #[test]
    fn nothing_a_client_sends_makes_the_broker_panic() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200_000 {
            let version = *random.choice(&[AnyVersion::Unknown, AnyVersion::Four, AnyVersion::Five]).unwrap();
            let mut guard = guard();
            guard.version = version;
            let packet = mutated(&mut random);
            let mut stream = packet.clone();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _ = guard.read_mut(&mut stream, PACKET_MAX_BYTES);
            }));
            assert!(outcome.is_ok(), "seed {seed}: {:02x?}", packet.as_ref());
        }
    }

    #[test]
    fn the_held_connack_comes_first_and_our_own_ping_is_never_answered() {
        let puback = || Packet::PubAck(PubAck { pkid: 7, reason: PubAckReason::Success }, None);
        for (answers, expected) in [
            (vec![Packet::PingResp(PingResp)], &b"\x20\x02\0\0"[..]),
            (vec![Packet::PingResp(PingResp), Packet::PingResp(PingResp)], b"\x20\x02\0\0\xd0\0"),
            (vec![puback(), Packet::PingResp(PingResp)], b"\x20\x02\0\0\x40\x02\0\x07"),
            (vec![puback(), puback()], b"\x20\x02\0\0\x40\x02\0\x07\x40\x02\0\x07"),
        ] {
            let mut guard = guard();
            let mut stream = BytesMut::from(PACKETS[0]);
            assert!(matches!(guard.read_mut(&mut stream, 100), Ok(Packet::Connect(..))));
            let mut out = BytesMut::new();
            let connack = ConnAck { session_present: false, code: ConnectReturnCode::Success };
            guard.write(Packet::ConnAck(connack, None), &mut out).unwrap();
            assert!(out.is_empty());
            assert!(matches!(guard.read_mut(&mut stream, 100), Ok(Packet::PingReq(_))));
            assert!(matches!(guard.read_mut(&mut stream, 100), Err(Error::InsufficientBytes(_))));
            for answer in answers {
                guard.write(answer, &mut out).unwrap();
            }
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn ids_stay_different() {
        assert_eq!(plain("barn-7 ü"), "barn-7 ü");
        assert_eq!(plain("a/b+$#"), "a%2Fb%2B%24%23");
        assert_ne!(plain("a%2Fb"), plain("a/b"));
    }
}
