//! What a session is told.

use bytes::Bytes;

use super::Version;

/// What a session needs to know; the same for every connection of a link.
#[derive(Clone, Debug)]
pub struct Options {
    /// Protocol version.
    pub version: Version,
    /// Client id.
    pub client_id: String,
    /// False: the broker keeps messages for us while we are away.
    pub clean_start: bool,
    /// How long it keeps them (MQTT 5).
    pub session_expiry_s: u32,
    /// Longest silence on the connection, in seconds.
    pub keep_alive_s: u16,
    /// Most messages delivered to us and not yet acknowledged (MQTT 5).
    pub receive_max: u16,
    /// Most publishes of ours in flight.
    pub inflight_max: u16,
    /// A message is cut here, so that a larger one costs no memory; the receiver sees that it is over its limit.
    pub packet_max_bytes: usize,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// Published by the broker, retained, if we vanish.
    pub will: Option<(String, Bytes)>,
    /// What to subscribe to, at QoS 1.
    pub filters: Vec<String>,
    /// Topics whose messages, and those on topics below them, may be as large as a module.
    pub large: Vec<String>,
    /// Whether what this client publishes itself is not for it, whatever the filters say (MQTT 5).
    pub no_local: bool,
    /// Gateway id, sent with stamps.
    pub gateway: String,
}
