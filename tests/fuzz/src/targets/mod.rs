//! The readers, by where their bytes come from.

mod gateway;
mod log;
mod module;
mod mqtt;
mod trust;
mod wire;

use crate::Target;

/// All of them.
pub const ALL: &[Target] = &[
    Target { name: "manifest", run: wire::manifest, seeds: wire::manifest_seeds },
    Target { name: "topics", run: wire::topics, seeds: wire::topic_seeds },
    Target { name: "line", run: wire::line, seeds: wire::line_seeds },
    Target { name: "record", run: wire::record, seeds: wire::record_seeds },
    Target { name: "capture", run: wire::capture, seeds: wire::capture_seeds },
    Target { name: "module", run: module::module, seeds: module::seeds },
    Target { name: "signature", run: trust::signature, seeds: trust::signature_seeds },
    Target { name: "command", run: trust::command, seeds: trust::command_seeds },
    Target { name: "key", run: trust::key, seeds: trust::key_seeds },
    Target { name: "segments", run: log::segments, seeds: log::segment_seeds },
    Target { name: "config", run: gateway::config, seeds: gateway::config_seeds },
    Target { name: "reply", run: gateway::reply, seeds: gateway::reply_seeds },
    Target { name: "envelope", run: gateway::envelope, seeds: gateway::envelope_seeds },
    Target { name: "session", run: mqtt::session, seeds: mqtt::session_seeds },
];
