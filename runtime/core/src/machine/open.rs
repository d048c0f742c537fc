//! Opening: from an old log, or none, to a machine ready to run.

use std::ops::Range;

use eyot_spool::{OpenError as SpoolError, Options, Spool, Storage};
use eyot_wire::control::ids;

use super::*;
use crate::config::REDUCER_FUEL_MAX;
use crate::deploy::registry::Registry;
use crate::deploy::staging::Staging;
use crate::ledger::STREAMS_MAX;
use crate::pace::Pace;
use crate::recover::Recovery;
use crate::streams::TooMany;

/// An epoch fits a JSON number (53 bits) and never is 0.
pub(super) const EPOCHS: Range<u64> = 1..1 << 53;

/// Why the machine does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log does not open.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// More uplinks and routes, over the life of this data directory, than the log can number.
    #[error("uplink or route \"{0}\" is one more than the {STREAMS_MAX} this data directory can number; those removed from the configuration keep their number until their backlog is gone: wait for that, or remove one")]
    TooManyStreams(String),
    /// Two functions of one name.
    #[error("two functions are called \"{0}\"; names must differ, rename one in its function.toml")]
    DuplicateFunction(String),
    /// The reducer is not among the functions.
    #[error("[spool.reduce] names \"{0}\", and no function is called that; add its module as a [[function]]")]
    NoReducer(String),
    /// The reducer is to be woken by messages too.
    #[error("[spool.reduce] names \"{0}\", which has triggers, and no message wakes a reducer; remove [[trigger]] from its function.toml")]
    ReducerWithTriggers(String),
    /// The reducer may keep messages waiting for too long.
    #[error("[spool.reduce] names \"{0}\", whose [limits] fuel is {1}, and messages wait while a reducer runs; lower it to {REDUCER_FUEL_MAX} or less in its function.toml")]
    ReducerFuel(String, u64),
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
        let (mut rng, mut recovery) = (fastrand::Rng::with_seed(seed), Recovery::default());
        let (max_bytes, fresh) = (spool.max_bytes, rng.u64(EPOCHS));
        let mut spool = Spool::open(storage, spool, fresh, &mut recovery)?;
        let damaged = spool.usage().damaged_frames + recovery.malformed;
        let Recovery { mut ledger, mut states, toll, registry, audits, .. } = recovery;
        toll.iter().for_each(|toll| ledger.pay(toll));

        let end = spool.next_lsn().saturating_sub(1);
        let streams = Streams::open(&config.uplinks, &mut ledger, end, || rng.u64(EPOCHS))
            .map_err(|TooMany(name)| OpenError::TooManyStreams(name))?;
        let mut functions = Functions::new(loaded, config.workers);
        let reducer = take_reducer(&config, &mut functions)?;
        adopt_states(&mut functions, &mut states)?;

        ledger.streams.iter().for_each(|account| spool.ack(account.stream, account.passed));
        let quotas = Quotas::new(&config.uplinks, config.when_full, &streams, &ledger);
        let lanes = lanes(&config, &streams, &ledger, &spool);
        spool.set_streams(&ledger.streams.iter().map(|s| s.stream).collect::<Vec<_>>());

        Ok(Self {
            max_bytes,
            streams,
            quotas,
            committer: Committer::new(spool, config.commit_window_us, config.ack_flush_us),
            wear: Wear::new(&config, ledger.wear, now),
            ledger,
            functions,
            reducer,
            thinner: Thinner::default(),
            orphans: states,
            deployer: Deployer { audits, ..deployer(&config, registry) },
            durable: 0,
            flight: Flight::default(),
            intake: Intake::new(config.receive_max),
            intake_conn: None,
            downlinks: downlinks(&config),
            nodes: Node::all(&config),
            sensors: config.sensors.clone(),
            node_changes: VecDeque::new(),
            lanes,
            successions: Vec::new(),
            retirements: Vec::new(),
            record: Builder::default(),
            rng,
            now,
            started_us: now.mono_us,
            sync_since_us: now.mono_us,
            status_due_us: now.mono_us,
            notices: first_notices(damaged),
            notices_due_us: now.mono_us + NOTICE_INTERVAL_US,
            effects: VecDeque::new(),
            publishes: VecDeque::new(),
            room: Room::Yes,
            full: None,
            eviction: Eviction::default(),
            more: true,
            draining: false,
            grace_until_us: None,
            drained: false,
            config,
        })
    }
}

/// With the changes of before, and none under way.
fn deployer(config: &Config, registry: Registry) -> Deployer {
    let staging = Staging::new(config.staging_max_bytes, config.parts_ttl_us, config.vain_day_bytes);
    Deployer::new(ids(&config.gateway_id, &config.groups), registry, staging)
}

/// A line of acknowledgements for each uplink, and for each node behind them.
fn downlinks(config: &Config) -> Vec<Downlink> {
    let uplinks = (0..).map(LinkId::uplink).zip(&config.uplinks);
    let nodes = Node::all(config);
    let uplinks = uplinks.map(|(link, uplink)| Downlink::new(link, &uplink.down));
    uplinks.chain(nodes.iter().map(|node| Downlink::new(node.link, &[]))).collect()
}

/// A lane for each link, and one for what has lost its link.
fn lanes<S: Storage>(config: &Config, streams: &Streams, ledger: &Ledger, spool: &Spool<S>) -> Vec<Lane<S::File>> {
    let uplinks = (0..).map(LinkId::uplink).map(Some).zip(config.uplinks.iter().map(Some));
    let links = [(Some(LinkId::LOCAL), None), (None, None)].into_iter().chain(uplinks);
    let lane = |(link, uplink): (Option<LinkId>, Option<&crate::config::Uplink>)| {
        let streams = streams.iter().filter(|s| s.link == link);
        let forwarders = streams.map(|s| Forwarder::new(s, ledger, spool)).collect();
        let (rate, batch_max) = uplink.map_or((None, None), |u| (u.rate_max_per_s, u.batch_max));
        let mut lane = Lane::new(link, Pace::new(rate), batch_max, forwarders);
        lane.proven_by_answer = uplink.is_some_and(|u| u.proven_by_answer);
        lane
    };
    links.map(lane).collect()
}

fn first_notices(damaged_frames: u64) -> Notices {
    let mut notices = Notices::default();
    if damaged_frames > 0 {
        notices.push(Notice::LogDamaged { frames: damaged_frames });
    }
    notices
}

/// The function that makes less of the backlog, if there is to be one.
fn take_reducer(config: &Config, functions: &mut Functions) -> Result<Option<Active>, OpenError> {
    let Some(reduce) = &config.reduce else { return Ok(None) };
    let name = &reduce.function;
    let reducer = functions.take(name).ok_or_else(|| OpenError::NoReducer(name.clone()))?;
    if !reducer.manifest.triggers.is_empty() {
        return Err(OpenError::ReducerWithTriggers(name.clone()));
    }
    let fuel = reducer.manifest.limits.fuel;
    if fuel > REDUCER_FUEL_MAX {
        return Err(OpenError::ReducerFuel(name.clone(), fuel));
    }
    Ok(Some(reducer))
}

/// Hands each function the state recovery found for it.
fn adopt_states(functions: &mut Functions, states: &mut States) -> Result<(), OpenError> {
    let mut last: Option<String> = None;
    for active in functions.iter_mut() {
        if last.as_deref() == Some(&*active.name) {
            return Err(OpenError::DuplicateFunction(active.name.to_string()));
        }
        last = Some(active.name.to_string());
        if let Some(entries) = states.remove(&*active.name) {
            active.instances.set_state(entries.into());
        }
    }
    Ok(())
}
