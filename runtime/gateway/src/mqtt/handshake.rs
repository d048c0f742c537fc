//! CONNECT and SUBSCRIBE, in rumqttc's packets.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{v4, QoS as QoS4};
use rumqttc::v5::mqttbytes::{v5, QoS as QoS5};

use super::session::{Options, FILTERS_PER_SUBSCRIBE, LARGE_MAX_BYTES};
use super::Version;

/// Appends CONNECT to an empty buffer. rumqttc cannot fail on what configuration admits.
pub fn connect(options: &Options, out: &mut BytesMut) {
    let written = match options.version {
        Version::V4 => connect_v4(options).write(out).is_ok(),
        Version::V5 => connect_v5(options, out),
    };
    debug_assert!(written, "CONNECT fits a packet");
}

fn connect_v4(options: &Options) -> v4::Connect {
    v4::Connect {
        protocol: rumqttc::mqttbytes::Protocol::V4,
        keep_alive: options.keep_alive_s,
        client_id: options.client_id.clone(),
        clean_session: options.clean_start,
        last_will: options.will.as_ref().map(|(topic, payload)| v4::LastWill {
            topic: topic.clone(),
            message: payload.clone(),
            qos: QoS4::AtLeastOnce,
            retain: true,
        }),
        login: options.login.as_ref().map(|(user, password)| v4::Login::new(user, password)),
    }
}

fn connect_v5(options: &Options, out: &mut BytesMut) -> bool {
    let mut properties = v5::ConnectProperties::new();
    properties.session_expiry_interval = Some(if options.clean_start { 0 } else { options.session_expiry_s });
    properties.receive_maximum = Some(options.receive_max);
    // What is larger the broker discards without a word.
    let most = if options.large.is_empty() { options.packet_max_bytes } else { LARGE_MAX_BYTES };
    properties.max_packet_size = u32::try_from(most).ok();
    properties.topic_alias_max = Some(0);
    let connect = v5::Connect {
        keep_alive: options.keep_alive_s,
        client_id: options.client_id.clone(),
        clean_start: options.clean_start,
        properties: Some(properties),
    };
    let will = options.will.as_ref().map(|(topic, payload)| v5::LastWill {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        message: payload.clone(),
        qos: QoS5::AtLeastOnce,
        retain: true,
        properties: None,
    });
    let login = options.login.as_ref().map(|(user, password)| v5::Login::new(user, password));
    v5::Packet::Connect(connect, will, login).write(out, None).is_ok()
}

/// Appends a SUBSCRIBE for each group of filters. Their packet ids count down from 65,535, away from
/// those of publishes.
pub fn subscribe(options: &Options, filters: &[String], asked: &mut Asked, out: &mut BytesMut) {
    for filters in filters.chunks(FILTERS_PER_SUBSCRIBE) {
        let packet_id = asked.add(filters);
        let written = match options.version {
            Version::V4 => {
                let filters = filters.iter().map(|f| v4::SubscribeFilter::new(f.clone(), QoS4::AtLeastOnce));
                let mut subscribe = v4::Subscribe::new_many(filters);
                subscribe.pkid = packet_id;
                subscribe.write(out).is_ok()
            }
            Version::V5 => {
                let filters = filters.iter().map(|f| v5::Filter {
                    // We subscribe on every connection; the broker need not repeat what it retains.
                    retain_forward_rule: v5::RetainForwardRule::OnNewSubscribe,
                    nolocal: options.no_local,
                    ..v5::Filter::new(f.clone(), QoS5::AtLeastOnce)
                });
                let mut subscribe = v5::Subscribe::new_many(filters, None);
                subscribe.pkid = packet_id;
                subscribe.write(out).is_ok()
            }
        };
        debug_assert!(written, "SUBSCRIBE fits a packet");
    }
}

/// Appends UNSUBSCRIBE for these filters.
pub fn unsubscribe(options: &Options, filters: &[String], asked: &mut Asked, out: &mut BytesMut) {
    for filters in filters.chunks(FILTERS_PER_SUBSCRIBE) {
        // Answered by UNSUBACK, which says nothing about them that matters.
        let packet_id = asked.add(&[]);
        let written = match options.version {
            Version::V4 => v4::Unsubscribe { pkid: packet_id, topics: filters.to_vec() }.write(out).is_ok(),
            Version::V5 => {
                let (pkid, filters, properties) = (packet_id, filters.to_vec(), None);
                v5::Unsubscribe { pkid, filters, properties }.write(out).is_ok()
            }
        };
        debug_assert!(written, "UNSUBSCRIBE fits a packet");
    }
}

/// Subscriptions, and ends of them, that are not answered, by their packet ids. These come from the end that publishes do not reach.
#[derive(Debug, Default)]
pub struct Asked {
    waiting: BTreeMap<u16, Vec<String>>,
    count: u16,
}

impl Asked {
    fn next(&mut self) -> u16 {
        // As many as there are between the largest window and the end.
        let packet_id = u16::MAX - self.count;
        self.count = (self.count + 1) % 1024;
        packet_id
    }

    fn add(&mut self, filters: &[String]) -> u16 {
        let packet_id = self.next();
        self.waiting.insert(packet_id, filters.to_vec());
        packet_id
    }

    /// The filters that a SUBSCRIBE with this packet id asked for; empty of an UNSUBSCRIBE.
    pub fn take(&mut self, packet_id: u16) -> Option<Vec<String>> {
        self.waiting.remove(&packet_id)
    }

    /// Whether all are answered.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
