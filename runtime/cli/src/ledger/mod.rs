//! `eyot ledger`: an audit of what arrived in the cloud. Every output of an uplink has a number; what is missing is named.
//!
//! The dump is read once, as a stream. Memory is bounded by named limits: [`lines::LINE_MAX_BYTES`],
//! [`audit::STREAMS_MAX`], [`audit::RANGES_MAX`], and that of [`fingerprints`].
//!
//! - [`lines`]: the dump, line by line;
//! - [`record`]: a line's stamp, in each shape that dumps have;
//! - [`audit`]: numbers that arrived ([`ranges`]), and what came twice ([`fingerprints`]);
//! - [`status`]: the gateway's own ledger against it;
//! - [`report`]: what came of it, for people and for programs.

mod audit;
mod fingerprints;
mod lines;
mod ranges;
mod record;
mod report;
mod status;

use std::path::{Path, PathBuf};

use self::audit::{Audit, Full, Key, Stream, RANGES_MAX, STREAMS_MAX};
use self::lines::Lines;
use self::report::{Finding, Report};
use self::status::Status;
use crate::error::Error;

/// Audit a dump of what arrived in the cloud: name what is missing, what came twice, and why.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The dump, one record on each line; `-` is standard input.
    #[arg(long, value_name = "DUMP")]
    from: PathBuf,
    /// A gateway's status document: gaps its ledger has as pending or dropped are explained; once for each gateway.
    #[arg(long, value_name = "STATUS.json")]
    status: Vec<PathBuf>,
    /// The uplink the dump is from, with all its routes; records of another one, by a member `uplink` or by the status,
    /// are left out.
    #[arg(long, value_name = "NAME")]
    uplink: Option<String>,
    /// Name what is missing before the first record of the dump, too, from number 1 on. Without it, a receiver that came
    /// later than the gateway is audited from the first record it had.
    #[arg(long)]
    from_start: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  mosquitto_sub -V 5 -i audit -c -q 1 -t 'processed/#' -F %j > dump.ndjson
  eyot ledger --from dump.ndjson
  mosquitto_sub -t eyot/barn-7/status -C 1 > status.json
  eyot ledger --from dump.ndjson --status status.json --uplink cloud
  eyot ledger --from dump.ndjson --from-start
  zcat dump-*.gz | eyot ledger --from - --json | jq '.streams[] | select(.unexplained > 0)'

A record is a JSON object with the stamp of one output: the MQTT 5 user properties eyot-gateway, eyot-epoch and \
eyot-seq, as mosquitto_sub -F %j prints them or as members of their own, or the envelope of envelope = \"json\". Use %j: %J \
leaves out payloads that are not JSON. For each gateway and epoch outputs count from 1 without gaps; each uplink, and each \
route of one, has an epoch of its own, and the status says which. A dump that begins later is audited from there, and the \
report says so: --from-start is for one that must have all. Save the status before the dump ends: what is delivered \
after the dump ended is missing from it, and what is sent after the status can only be checked for gaps.

Exit codes: 0 nothing is missing, or all of it is pending or dropped by the gateway's ledger; 1 gaps without explanation, \
or different records under one number; 2 bad usage, or a dump that cannot be read or audited to the end.";

pub fn execute(args: &Args) -> Result<(), Error> {
    let statuses = read_statuses(args)?;
    let (streams, mut report) = read_dump(args)?;
    if streams.is_empty() && statuses.is_empty() {
        return Err(Error::bad_input(
            args.from.display(),
            "holds no record",
            "check what it was dumped from; with --status the gateway says whether there should be any",
        ));
    }
    let asked = args.uplink.as_deref();
    let (ours, others): (Vec<Stream>, Vec<Stream>) = streams
        .into_iter()
        .partition(|stream| asked.is_none_or(|asked| statuses.iter().all(|status| status.is_of(&stream.key, asked))));
    report.other_uplinks += others.iter().map(|stream| stream.records).sum::<u64>();
    report.findings = findings(ours, &statuses, args)?;
    report.print(args.json)?;
    report.verdict()
}

fn read_statuses(args: &Args) -> Result<Vec<Status>, Error> {
    let stdin = std::iter::once(&args.from).chain(&args.status).filter(|path| *path == Path::new("-")).count();
    if stdin > 1 {
        return Err(Error::bad_input("-", "is standard input, given more than once", "give the others as files"));
    }
    let mut statuses: Vec<Status> = Vec::new();
    for path in &args.status {
        let status = Status::read(path)?;
        if statuses.iter().any(|other| other.overlaps(&status)) {
            let reason = "is a second status of the same gateway and epoch";
            return Err(Error::bad_input(path.display(), reason, "give the one from about the end of the dump"));
        }
        statuses.push(status);
    }
    Ok(statuses)
}

fn read_dump(args: &Args) -> Result<(Vec<Stream>, Report<'_>), Error> {
    let mut lines = Lines::open(&args.from)?;
    let mut report = Report::of(&args.from, args.from_start);
    let mut audit = Audit::default();
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            report.empty_lines += 1;
            continue;
        }
        let mut record = record::parse(line).map_err(|malformed| lines.bad(malformed.reason, malformed.remedy))?;
        if let Some(asked) = &args.uplink {
            if record.uplink.take().is_some_and(|named| named != *asked) {
                report.other_uplinks += 1;
                continue;
            }
        }
        audit.add(record, lines.number()).map_err(|full| too_much(&lines, &full))?;
    }
    report.lines = lines.number();
    Ok((audit.finish(), report))
}

fn too_much(lines: &Lines<'_>, full: &Full) -> Error {
    match full {
        Full::Streams => lines.bad(
            format_args!("the audit ends here: more than {STREAMS_MAX} pairs of gateway and epoch, the most it keeps"),
            "audit the gateways in groups, for example with grep",
        ),
        Full::Ranges => lines.bad(
            format_args!("the audit ends here: its numbers form more than {RANGES_MAX} ranges, the most it keeps"),
            "put the dump in order first (sort by seq), or audit each gateway on its own",
        ),
    }
}

/// Each stream with what its gateway says; one that should be there and is not has a place as well.
fn findings(mut streams: Vec<Stream>, statuses: &[Status], args: &Args) -> Result<Vec<Finding>, Error> {
    for status in statuses {
        let arrived: Vec<Key> = streams.iter().map(|stream| stream.key.clone()).collect();
        let expected = status.expected(args.uplink.as_deref(), &arrived)?;
        let has = |key: &Key| arrived.iter().any(|a| a.gateway == key.gateway && a.epoch == key.epoch);
        streams.extend(expected.into_iter().filter(|key| !has(key)).map(Stream::new));
    }
    let finding = |stream: Stream| {
        let status = statuses.iter().find(|status| status.covers(&stream.key));
        // Of one that nothing arrived of, nobody knows where the dump begins.
        let start = stream.arrived.first().filter(|_| !args.from_start).unwrap_or(1);
        let reconciled = status.and_then(|status| status.reconcile(&stream, start));
        Finding { stream, start, reconciled }
    };
    Ok(streams.into_iter().map(finding).collect())
}
