//! CONNECT and SUBSCRIBE, in rumqttc's packets.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{v4, QoS as QoS4};
use rumqttc::v5::mqttbytes::{v5, QoS as QoS5};

use super::session::{Options, FILTERS_PER_SUBSCRIBE};
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
    properties.max_packet_size = u32::try_from(options.packet_max_bytes).ok();
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

/// Appends a SUBSCRIBE for each group of filters; answers how many. Their packet ids count down from 65,535, away from
/// those of publishes.
pub fn subscribe(options: &Options, out: &mut BytesMut) -> usize {
    let groups = options.filters.chunks(FILTERS_PER_SUBSCRIBE);
    let count = groups.len();
    for (packet_id, filters) in (0..=u16::MAX).rev().zip(groups) {
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
    count
}

/// The filters that a SUBSCRIBE with this packet id asked for; none if there was none.
pub fn filters_of(filters: &[String], packet_id: u16) -> &[String] {
    filters.chunks(FILTERS_PER_SUBSCRIBE).nth(usize::from(u16::MAX - packet_id)).unwrap_or_default()
}
