//! What the core and the functions have to say, into the daemon's log.

// Long because all notices stand in one match, each with its level and words.

use eyot_core::io::Notice;
use eyot_engine::Level;
use tracing::{debug, error, info, trace, warn};

/// Target of function logs, for filters: `--log-level info,function=debug`.
const FUNCTION: &str = "function";
/// Target of what nodes have to say.
const NODE: &str = "node";

/// Logs a line of a function.
pub fn function_log(function: &str, level: Level, line: &str) {
    match level {
        Level::Error => error!(target: FUNCTION, function, "{line}"),
        Level::Warn => warn!(target: FUNCTION, function, "{line}"),
        Level::Info => info!(target: FUNCTION, function, "{line}"),
        Level::Debug => debug!(target: FUNCTION, function, "{line}"),
        Level::Trace => trace!(target: FUNCTION, function, "{line}"),
    }
}

/// Logs a line of the function of a node, or of the node itself; levels are those of [`Level`].
pub fn node_log(node: &str, level: u8, line: &str) {
    match Level::from_number(i32::from(level)) {
        Level::Error => error!(target: NODE, node, "{line}"),
        Level::Warn => warn!(target: NODE, node, "{line}"),
        Level::Info => info!(target: NODE, node, "{line}"),
        Level::Debug => debug!(target: NODE, node, "{line}"),
        Level::Trace => trace!(target: NODE, node, "{line}"),
    }
}

/// Logs a notice.
pub fn notice(notice: &Notice) {
    match notice {
        Notice::SpoolFull => {
            warn!("the spool is full; when_full is in force. Check the uplinks and the space on the disk of data_dir, or raise [spool] max_bytes");
        }
        Notice::SpoolHasRoom { dropped } => info!(dropped, "the spool has room again"),
        Notice::UplinkFull { uplink } => {
            warn!(uplink, "max_backlog is reached; when_full is in force. Check the uplink, or raise its max_backlog");
        }
        Notice::UplinkHasRoom { uplink, dropped } => info!(uplink, dropped, "the backlog has room again"),
        Notice::StorageFailed { error } => {
            error!(%error, "the disk fails; messages wait at the broker until it works. Check the disk under data_dir");
        }
        Notice::StorageRecovered => info!("the disk works again"),
        Notice::FunctionFailed { function, failure, count } => {
            warn!(%function, %failure, count, "a function failed; its messages went to dead/{function} of this gateway");
        }
        Notice::FunctionPassed { function, failure, count } => {
            warn!(%function, %failure, count, "a function failed; its messages pass without it, as on_error in its function.toml says");
        }
        Notice::FunctionQuarantined { function, count } => {
            warn!(%function, count, "a function failed on one message after another and is left alone, but for a trial now and then");
        }
        Notice::FunctionReleased { function, held_back } => {
            info!(%function, held_back, "a function is run on all messages again");
        }
        Notice::ReducerFailed { function, failure, count } => {
            warn!(%function, %failure, count, "the reducer failed; the outputs it failed on stay as they are");
        }
        Notice::Dropped { reason, topic, count } => {
            // What was dropped unseen has none.
            let topic = (!topic.is_empty()).then_some(topic.as_str());
            warn!(reason, topic, count, "dropped");
        }
        Notice::LetterDropped { uplink, count } => {
            warn!(
                uplink,
                count, "refused outputs were dropped without a dead letter: the log had no room, or its uplink"
            );
        }
        Notice::EmitRefused { function, count } => {
            warn!(%function, count, "a function emitted what it may not; see [allow] and [limits] in its function.toml");
        }
        Notice::WearOverBudget { day_bytes, projected_bytes, budget_bytes } => {
            warn!(
                day_bytes,
                projected_bytes,
                budget_bytes,
                "the flash takes more than [spool] wear_budget even with commit_window_max; nothing is held back. Raise \
                 one of them, or the broker's max_inflight_messages so that more messages share a commit"
            );
        }
        Notice::WearWithinBudget => info!("the flash takes no more than [spool] wear_budget again"),
        Notice::Deployed { function, version, is_new } => {
            info!(%function, %version, is_new, "a version is in force");
        }
        Notice::RolledBack { function, version, reason } => {
            warn!(%function, %version, %reason, "the version after it was taken back");
        }
        Notice::OnTrial { function, version, state } => info!(%function, %version, "a version runs as a {state}"),
        Notice::TrialDropped { function, version, reason } => {
            warn!(%function, %version, %reason, "a version that was on trial is gone");
        }
        Notice::FunctionRemoved { function } => info!(%function, "removed by a command"),
        Notice::UpdateVerified { sha256 } => info!(%sha256, "an update has come, and is started next"),
        Notice::UpdateRejected { reason } => warn!(%reason, "an update was refused"),
        Notice::PushRejected { function, reason } => warn!(function, %reason, "a push was refused"),
        Notice::ControlDropped { count } => {
            warn!(count, "busy: more pushes and commands came than the store can take; parts are asked for again, send the rest again");
        }
        Notice::CommandRefused { reason } => warn!(%reason, "a command was refused"),
        Notice::ModuleLost { function, reason } => {
            error!(%function, %reason, "a function that was pushed cannot be loaded; push it again");
        }
        Notice::LogDamaged { frames } => {
            error!(frames, "the log holds damaged frames; they are counted as dropped. Check the disk under data_dir");
        }
    }
}
