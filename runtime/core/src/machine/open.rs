//! Opening: from an old log, or none, to a machine ready to run.

use eyot_spool::{Lsn, OpenError as SpoolError, Options, Spool, Storage};

use super::*;
use crate::ledger::{Account, StreamAccount, STREAMS_MAX};
use crate::pace::Pace;
use crate::recover::Recovery;

/// Name of the stream to the local broker.
const LOCAL: &str = "local";

/// Why the machine does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log does not open.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// More uplinks, over the life of this data directory, than the log can number.
    #[error("uplink \"{0}\" is one more than the {STREAMS_MAX} this data directory can number; uplinks removed from the configuration keep their number until their backlog is gone: wait for that, or remove an uplink")]
    TooManyStreams(String),
    /// Two functions of one name.
    #[error("two functions are called \"{0}\"; names must differ, rename one in its function.toml")]
    DuplicateFunction(String),
}

impl<S: Storage> Core<S> {
    /// Opens the log in `storage` and takes up where it ends.
    ///
    /// `seed` feeds the machine's only source of randomness; give it something unpredictable outside of tests.
    pub fn open(
        config: Config,
        spool: Options,
        storage: S,
        loaded: Vec<Loaded>,
        now: Now,
        seed: u64,
    ) -> Result<Self, OpenError> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut recovery = Recovery::default();
        let max_bytes = spool.max_bytes;
        // An epoch fits a JSON number (53 bits) and never is 0.
        let fresh = rng.u64(1..1 << 53);
        let mut spool = Spool::open(storage, spool, fresh, &mut recovery)?;
        let Recovery { mut ledger, mut states, malformed } = recovery;

        let numbers = number_streams(&config, &mut ledger, spool.next_lsn().saturating_sub(1))?;
        let mut functions = Functions::new(loaded);
        adopt_states(&mut functions, &mut states)?;

        let mut forwarders = Vec::new();
        for account in &ledger.streams {
            let link = numbers.iter().position(|n| *n == account.stream).map(|i| LinkId(i as u8 + 1));
            spool.ack(account.stream, account.passed);
            let uplink = numbers.iter().skip(1).position(|n| *n == account.stream).and_then(|i| config.uplinks.get(i));
            let pace = uplink.map_or_else(Pace::default, Pace::new);
            forwarders.push(Forwarder::new(account.stream, link, pace, &ledger, &spool));
        }
        spool.set_streams(&ledger.streams.iter().map(|s| s.stream).collect::<Vec<_>>());

        let mut notices = Notices::default();
        let damaged = spool.usage().damaged_frames + malformed;
        if damaged > 0 {
            notices.push(Notice::LogDamaged { frames: damaged });
        }
        let uplinks = numbers.iter().skip(1).copied().zip(config.uplinks.iter().cloned()).collect();
        Ok(Self {
            max_bytes,
            uplinks,
            local_stream: numbers.first().copied().unwrap_or(0),
            committer: Committer::new(spool, config.commit_window_us, config.ack_flush_us),
            ledger,
            functions,
            orphans: states,
            intake: Intake::new(config.receive_max),
            intake_conn: None,
            forwarders,
            record: Builder::default(),
            rng,
            now,
            started_us: now.mono_us,
            sync_since_us: now.mono_us,
            status_due_us: now.mono_us,
            notices,
            notices_due_us: now.mono_us + NOTICE_INTERVAL_US,
            effects: VecDeque::new(),
            publishes: VecDeque::new(),
            room: Room::Yes,
            full_since_dropped: None,
            more: true,
            draining: false,
            drained: false,
            config,
        })
    }
}

/// Finds or gives a number to the local stream and every configured uplink, in this order. A new stream begins at the
/// `end` of the log: what stands there under a number used before is not for it.
fn number_streams(config: &Config, ledger: &mut Ledger, end: Lsn) -> Result<Vec<u8>, OpenError> {
    let names = std::iter::once(LOCAL).chain(config.uplinks.iter().map(|u| u.name.as_str()));
    let names: Vec<&str> = names.collect();
    ledger.streams.retain(|s| names.contains(&s.name.as_str()) || s.outputs.pending > 0);
    let mut numbers = Vec::new();
    for name in names {
        if let Some(known) = ledger.streams.iter().find(|s| s.name == name) {
            numbers.push(known.stream);
            continue;
        }
        let free = (0..STREAMS_MAX).find(|n| ledger.stream(*n).is_none());
        let stream = free.ok_or_else(|| OpenError::TooManyStreams(name.to_owned()))?;
        ledger.streams.push(StreamAccount {
            stream,
            name: name.to_owned(),
            passed: end,
            next_seq: 1,
            outputs: Account::default(),
        });
        numbers.push(stream);
    }
    Ok(numbers)
}

/// Hands each function the state recovery found for it.
fn adopt_states(functions: &mut Functions, states: &mut States) -> Result<(), OpenError> {
    let mut last: Option<String> = None;
    for active in functions.iter_mut() {
        if last.as_deref() == Some(&*active.name) {
            return Err(OpenError::DuplicateFunction(active.name.to_string()));
        }
        last = Some(active.name.to_string());
        for (key, value) in states.remove(&*active.name).unwrap_or_default() {
            active.function.state_mut().set(&key, &value);
        }
    }
    Ok(())
}
