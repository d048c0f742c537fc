//! What an operator should know.

use std::sync::Arc;

/// Events for the log of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The spool has no room; the policy is in force from here.
    SpoolFull,
    /// There is room again, and was for ten seconds; how many messages and outputs the episode cost.
    SpoolHasRoom {
        /// Messages and outputs dropped meanwhile.
        dropped: u64,
    },
    /// An uplink's `max_backlog` is reached; its policy is in force from here.
    UplinkFull {
        /// Its name.
        uplink: String,
    },
    /// It has room again; how many outputs the episode cost.
    UplinkHasRoom {
        /// Its name.
        uplink: String,
        /// Outputs dropped meanwhile.
        dropped: u64,
    },
    /// The disk failed; nothing is acknowledged until it works again.
    StorageFailed {
        /// What failed.
        error: String,
    },
    /// The disk works again.
    StorageRecovered,
    /// A function failed on a message; one notice per function and minute, with the count since the last.
    FunctionFailed {
        /// The function's name.
        function: Arc<str>,
        /// The last failure.
        failure: String,
        /// Failures since the last notice.
        count: u64,
    },
    /// The same of a function whose manifest has `on_error = "pass"`: nothing came of its messages there.
    FunctionPassed {
        /// The function's name.
        function: Arc<str>,
        /// The last failure.
        failure: String,
        /// Failures since the last notice.
        count: u64,
    },
    /// A function failed on so many messages in a row that it is left alone, but for one message now and then; one notice
    /// per function and minute.
    FunctionQuarantined {
        /// The function's name.
        function: Arc<str>,
        /// How often since the last notice.
        count: u64,
    },
    /// It did well with one message, and is run on all of them again.
    FunctionReleased {
        /// The function's name.
        function: Arc<str>,
        /// Messages it was not run on since the last notice.
        held_back: u64,
    },
    /// A reducer failed on an output, or emitted to where the output was not going: it stays as it is. One notice per minute,
    /// with the count since the last.
    ReducerFailed {
        /// The function's name.
        function: Arc<str>,
        /// The last failure.
        failure: String,
        /// Failures since the last notice.
        count: u64,
    },
    /// A message or output was dropped; one notice per reason and minute, with the count since the last.
    Dropped {
        /// Why.
        reason: &'static str,
        /// The last topic.
        topic: String,
        /// Drops since the last notice.
        count: u64,
    },
    /// What an uplink refused was not kept as a dead letter, because the log had no room for it, or the letter's own
    /// destination; one notice per uplink and minute.
    LetterDropped {
        /// The uplink's name.
        uplink: String,
        /// Letters dropped since the last notice.
        count: u64,
    },
    /// A function emitted where it may not, beyond its limit, or to a bad topic; one notice per function and minute.
    EmitRefused {
        /// The function's name.
        function: Arc<str>,
        /// Emits refused since the last notice.
        count: u64,
    },
    /// Even the longest commit window makes the flash take more than its budget.
    WearOverBudget {
        /// What it took today.
        day_bytes: u64,
        /// What today will come to at the present rate.
        projected_bytes: u64,
        /// The budget.
        budget_bytes: u64,
    },
    /// The commit window keeps the flash within its budget again.
    WearWithinBudget,
    /// Another version of a function, or another configuration, is in force.
    Deployed {
        /// The function's name.
        function: String,
        /// Its version.
        version: String,
        /// It was not here before.
        is_new: bool,
    },
    /// A version was taken back.
    RolledBack {
        /// The function's name.
        function: String,
        /// The version that is in force now.
        version: String,
        /// Why.
        reason: String,
    },
    /// A version is on trial beside the one in force.
    OnTrial {
        /// The function's name.
        function: String,
        /// The version.
        version: String,
        /// "shadow" or "canary".
        state: &'static str,
    },
    /// It is gone, and did not come in force.
    TrialDropped {
        /// The function's name.
        function: String,
        /// The version.
        version: String,
        /// Why.
        reason: String,
    },
    /// A function was removed by a command.
    FunctionRemoved {
        /// Its name.
        function: String,
    },
    /// A push was refused.
    PushRejected {
        /// Name and version, if they are known.
        function: Option<String>,
        /// Reason and remedy.
        reason: String,
    },
    /// Pushes, parts of them or commands were turned away because too many came at once; one notice per minute.
    ControlDropped {
        /// How many since the last notice.
        count: u64,
    },
    /// A new system has come, and is left to the first process; or a node's program, which goes to it.
    UpdateVerified {
        /// Its SHA-256.
        sha256: String,
    },
    /// A new system was refused, or a program for a node.
    UpdateRejected {
        /// Reason and remedy.
        reason: String,
    },
    /// A command was refused.
    CommandRefused {
        /// Reason and remedy.
        reason: String,
    },
    /// The module of a function that was pushed cannot be loaded from the store.
    ModuleLost {
        /// The function's name.
        function: String,
        /// Reason and remedy.
        reason: String,
    },
    /// The log holds frames that do not read back.
    LogDamaged {
        /// How many.
        frames: u64,
    },
}
