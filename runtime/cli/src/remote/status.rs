//! `eyot status`: how a gateway is doing.

use std::fmt::Write as _;
use std::time::Duration;

use crate::error::Error;
use crate::output::{self, line, shown, size, BAD, GOOD, LABEL};
use crate::remote::client::Client;
use crate::remote::documents::{Canary, Ledger, Sensor, Status, SystemStatus, Uplink};
use crate::remote::list;
use crate::remote::options::{self, Connection};
use crate::remote::roster::{gather, unknown, Seen};

/// Show how a gateway is doing: its functions, its log, its uplinks and its ledger.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Id of the gateway [default: $EYOT_GATEWAY].
    #[arg(value_name = "GATEWAY")]
    gateway: Option<String>,
    /// Print the document as the gateway wrote it, which has more.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connection: Connection,
}

const EXAMPLES: &str = "\
Examples:
  eyot status barn-7
  eyot status barn-7 --json | jq .ledger

A gateway renews the document every 30 seconds (`status_interval`); this is the last one.
Exit codes: 0 it is online, 1 it is offline or unknown, 2 bad usage.";

pub fn execute(args: &Args) -> Result<(), Error> {
    super::run(async {
        let id = options::gateway(args.gateway.as_deref())?;
        let filters = ["status", "function/+", "node/+"].map(|rest| format!("eyot/{}/{rest}", id.as_str())).into();
        let mut client = Client::connect(&args.connection, filters).await?;
        let roster = gather(&mut client, &args.connection).await?;
        let url = client.url.clone();
        client.close().await;
        let Some((_, seen)) = roster.members(&id).next() else { return Err(unknown(&id, &url)) };
        let Some(status) = &seen.status else {
            let remedy = "use an eyot of the gateway's version";
            return Err(Error::failed(id.as_str(), "its status is not understood", remedy));
        };
        if args.json {
            output::print(&format!("{}\n", String::from_utf8_lossy(&seen.document)))?;
        } else {
            output::print(&describe(id.as_str(), seen, status))?;
        }
        if status.online {
            return Ok(());
        }
        let remedy = "check its power, eyotd and its network; what is here is what it left";
        Err(Error::failed(id.as_str(), "is offline", remedy).in_report())
    })
}

fn describe(id: &str, seen: &Seen, status: &Status) -> String {
    let online = if status.online { format!("{GOOD}online{GOOD:#}") } else { format!("{BAD}offline{BAD:#}") };
    let mut text = format!("{LABEL}{id}{LABEL:#}  {online}  eyotd {}\n", shown(status.version.as_bytes()));
    if !status.groups.is_empty() {
        line(&mut text, "groups", shown(status.groups.join(" ").as_bytes()));
    }
    if let Some(uptime_s) = status.uptime_s {
        line(&mut text, "up", humantime::format_duration(Duration::from_secs(uptime_s)));
    }
    if let Some(system) = &status.system {
        line(&mut text, "system", self::system(system));
    }
    if status.online && !status.has_clock() {
        line(&mut text, "clock", format_args!("{BAD}not set{BAD:#}: commands, which expire, are refused"));
    }
    if status.online && !status.subscribed {
        line(&mut text, "broker", format_args!("{BAD}not connected{BAD:#}: no sensor is heard"));
    }
    functions(&mut text, seen, status);
    for node in seen.nodes.values() {
        line(&mut text, "node", list::node(node));
    }
    for sensor in &status.sensors {
        self::sensor(&mut text, sensor);
    }
    for uplink in &status.uplinks {
        self::uplink(&mut text, uplink);
    }
    if let Some(spool) = &status.spool {
        let state = if spool.state == "ok" { GOOD } else { BAD };
        let (bytes, max) = (size(spool.bytes), size(spool.max_bytes));
        line(&mut text, "log", format_args!("{bytes} of {max}, {state}{}{state:#}", shown(spool.state.as_bytes())));
    }
    if let Some(wear) = &status.wear {
        let (day, projected) = (size(wear.day_bytes), size(wear.projected_day_bytes));
        line(&mut text, "flash", format_args!("{day} written this day, which will come to {projected}"));
    }
    if let Some(ledger) = &status.ledger {
        self::ledger(&mut text, ledger);
    }
    text
}

fn system(system: &SystemStatus) -> String {
    let SystemStatus { board, version, update } = system;
    let mut text = format!("{} on {}", shown(version.as_bytes()), shown(board.as_bytes()));
    if let Some(update) = update {
        let style = if update.state == "returned" { BAD } else { GOOD };
        let [version, sha256, state] =
            [&update.version, &update.sha256, &update.state].map(|text| shown(text.as_bytes()));
        let digits: String = sha256.chars().take(8).collect();
        // Writing to a string does not fail.
        let _ = write!(text, ", last update {version} ({digits}) {style}{state}{style:#}");
        if !update.reason.is_empty() {
            let _ = write!(text, ": {}", shown(update.reason.as_bytes()));
        }
    }
    text
}

fn functions(text: &mut String, seen: &Seen, status: &Status) {
    let all = list::functions(seen);
    let name = all.iter().map(|function| function.name.len()).max().unwrap_or(0);
    for function in &all {
        let mut shown = list::line(function, name);
        let counters = status.functions.iter().find(|counters| counters.name == function.name);
        if let Some(counters) = counters {
            // Writing to a string does not fail.
            let _ = write!(shown, "  {} messages, {} failed", counters.invocations, counters.failures);
            let _ = write!(shown, ", {} % of fuel", counters.share_percent);
            if counters.waiting > 0 {
                let _ = write!(shown, ", {} wait", counters.waiting);
            }
            if counters.state_bytes > 0 {
                let _ = write!(shown, ", {} of state", size(counters.state_bytes));
            }
        }
        line(text, "function", shown);
        if let Some(canary) = counters.and_then(|counters| counters.canary.as_ref()) {
            let (version, rule) = (output::shown(canary.version.as_bytes()), output::shown(canary.rule.as_bytes()));
            let Canary { invocations, failures, .. } = canary;
            line(text, "", format_args!("canary {version}: {rule}, {invocations} messages, {failures} failed"));
        }
    }
}

fn sensor(text: &mut String, sensor: &Sensor) {
    let Sensor { topic, kind, at, answers, reason, samples, errors } = sensor;
    let [topic, kind, at] = [topic, kind, at].map(|word| shown(word.as_bytes()));
    let state = match (answers, reason) {
        (Some(true), _) => format!("{GOOD}answers{GOOD:#}"),
        (Some(false), Some(reason)) => format!("{BAD}gives no sample{BAD:#}: {}", shown(reason.as_bytes())),
        (Some(false), None) => format!("{BAD}gives no sample{BAD:#}"),
        (None, _) => "was not asked yet".to_owned(),
    };
    line(text, "sensor", format_args!("{topic}  {kind} at {at}, {samples} samples, {errors} errors, {state}"));
}

fn uplink(text: &mut String, uplink: &Uplink) {
    let Uplink { name, connected, delivered, pending, dropped } = uplink;
    let link = if *connected { format!("{GOOD}connected{GOOD:#}") } else { format!("{BAD}away{BAD:#}") };
    let name = shown(name.as_bytes());
    line(text, "uplink", format_args!("{name}  {link}  {delivered} delivered, {pending} pending, {dropped} dropped"));
}

fn ledger(text: &mut String, ledger: &Ledger) {
    let Ledger { received, delivered, pending, dropped, dropped_by_reason, balanced } = ledger;
    let reasons: Vec<String> =
        dropped_by_reason.iter().map(|(reason, count)| format!("{} {count}", shown(reason.as_bytes()))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let verdict = if *balanced { format!("{GOOD}balanced{GOOD:#}") } else { format!("{BAD}does not balance{BAD:#}") };
    line(
        text,
        "ledger",
        format_args!(
            "{received} received = {delivered} delivered + {pending} pending + {dropped} dropped{reasons}, {verdict}"
        ),
    );
}
