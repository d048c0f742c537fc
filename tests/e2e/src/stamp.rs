//! What makes an output unique, as it travels in user properties.

use rumqttc::v5::mqttbytes::v5::Publish;

/// Identity of an output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// `eyot-gateway`.
    pub gateway: String,
    /// `eyot-epoch`, as it is written.
    pub epoch: String,
    /// `eyot-seq`.
    pub seq: u64,
}

impl Stamp {
    /// The stamp of a message, if it has one that is whole.
    pub fn of(publish: &Publish) -> Option<Self> {
        let properties = &publish.properties.as_ref()?.user_properties;
        let value = |key: &str| properties.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        Some(Self {
            gateway: value("eyot-gateway")?,
            epoch: value("eyot-epoch")?,
            seq: value("eyot-seq")?.parse().ok()?,
        })
    }
}
