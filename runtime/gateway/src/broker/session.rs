//! Sessions that stand before their clients come.

use rumqttd::local::{LinkBuilder, LinkError};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Filter, Packet, QoS, RetainForwardRule, Subscribe};

/// The session of a client that is still to come: from the start it collects what these filters match, at QoS 1. The client
/// finds it if it connects without a clean start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose it will be.
    pub client_id: String,
    /// Under which id the same program publishes: from there the broker takes messages [to the end](super::Embedded::hand_over).
    pub delivery_id: String,
    /// What the client will subscribe to.
    pub filters: Vec<String>,
}

/// Subscribes in the client's place, and leaves. rumqttd's router takes what it is sent in order: whoever connects later
/// finds this done.
pub(super) async fn establish(link: LinkBuilder<'_>, filters: Vec<String>) -> Result<(), LinkError> {
    let (mut link, _answers, _connack) = link.clean_session(false).build()?;
    let filters = filters.into_iter().map(|path| Filter {
        path,
        qos: QoS::AtLeastOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::OnNewSubscribe,
    });
    link.send(Packet::Subscribe(Subscribe { pkid: 1, filters: filters.collect() }, None)).await?;
    let reason_code = DisconnectReasonCode::NormalDisconnection;
    link.send(Packet::Disconnect(Disconnect { reason_code }, None)).await?;
    Ok(())
}
