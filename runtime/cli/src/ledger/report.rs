//! What came of an audit, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::audit::Stream;
use super::status::Reconciled;
use crate::error::Error;
use crate::output::{self, line, shown, BAD, GOOD};

/// Most gaps of one stream that the text lists; all are counted.
const GAPS_SHOWN_MAX: usize = 20;
/// Most gaps of one stream in the JSON; all are counted.
const GAPS_JSON_MAX: usize = 1000;
/// Space between columns.
const COLUMN_GAP: usize = 2;

/// One stream, and its account if there is a status of it.
pub struct Finding {
    pub stream: Stream,
    /// The first number that is audited.
    pub start: u64,
    pub reconciled: Option<Reconciled>,
}

impl Finding {
    /// The last number that must be there.
    fn end(&self) -> u64 {
        let numbered = self.reconciled.as_ref().map_or(0, |r| r.numbered);
        self.stream.arrived.last().unwrap_or(0).max(numbered)
    }

    fn missing(&self) -> u64 {
        self.stream.arrived.missing(self.start, self.end())
    }

    /// Numbers that are not audited: the dump begins behind them.
    fn before_start(&self) -> u64 {
        self.start.saturating_sub(1)
    }

    /// First and last number of each gap, in order.
    fn gaps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.stream.arrived.gaps(self.end()).filter(|(_, last)| *last >= self.start)
    }

    fn unexplained(&self) -> u64 {
        self.reconciled.as_ref().map_or_else(|| self.missing(), |r| r.unexplained)
    }

    fn fault(&self) -> Option<&str> {
        self.reconciled.as_ref()?.fault.as_deref()
    }

    fn name(&self) -> String {
        let key = &self.stream.key;
        let uplink = key.uplink.as_ref().map(|uplink| format!(", uplink {uplink}")).unwrap_or_default();
        format!("{}, epoch {}{uplink}", shown(key.gateway.as_bytes()), key.epoch)
    }
}

/// The whole audit.
pub struct Report<'a> {
    from: &'a Path,
    from_start: bool,
    pub lines: u64,
    pub empty_lines: u64,
    /// Records left out because they name another uplink.
    pub other_uplinks: u64,
    pub findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Document<'a> {
    from: String,
    ok: bool,
    from_start: bool,
    lines: u64,
    empty_lines: u64,
    other_uplinks: u64,
    streams: Vec<StreamView<'a>>,
}

#[derive(Serialize)]
struct StreamView<'a> {
    gateway: &'a str,
    epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uplink: Option<&'a str>,
    /// Audited from here on.
    start_seq: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    records: u64,
    distinct: u64,
    duplicates: u64,
    duplicates_without_payload: u64,
    duplicates_not_compared: u64,
    out_of_order: u64,
    missing: u64,
    missing_ranges: Vec<RangeView>,
    missing_ranges_total: u64,
    unexplained: u64,
    conflicts: u64,
    conflicts_named: Vec<ConflictView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Reconciled>,
}

#[derive(Serialize)]
struct RangeView {
    first: u64,
    last: u64,
}

#[derive(Serialize)]
struct ConflictView {
    seq: u64,
    line: u64,
}

impl<'a> From<&'a Finding> for StreamView<'a> {
    fn from(finding: &'a Finding) -> Self {
        let stream = &finding.stream;
        Self {
            gateway: &stream.key.gateway,
            epoch: stream.key.epoch,
            uplink: stream.key.uplink.as_deref(),
            start_seq: finding.start,
            first_seq: stream.arrived.first(),
            last_seq: stream.arrived.last(),
            records: stream.records,
            distinct: stream.arrived.count(),
            duplicates: stream.duplicates,
            duplicates_without_payload: stream.without_payload,
            duplicates_not_compared: stream.forgotten,
            out_of_order: stream.out_of_order,
            missing: finding.missing(),
            missing_ranges: finding.gaps().take(GAPS_JSON_MAX).map(|(first, last)| RangeView { first, last }).collect(),
            missing_ranges_total: finding.gaps().count() as u64,
            unexplained: finding.unexplained(),
            conflicts: stream.conflicts,
            conflicts_named: stream.named.iter().map(|c| ConflictView { seq: c.seq, line: c.line }).collect(),
            status: finding.reconciled.as_ref(),
        }
    }
}

impl<'a> Report<'a> {
    /// Of a dump that is still to be read.
    pub fn of(from: &'a Path, from_start: bool) -> Self {
        Self { from, from_start, lines: 0, empty_lines: 0, other_uplinks: 0, findings: Vec::new() }
    }

    /// Prints it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, json: bool) -> Result<(), Error> {
        if !json {
            return output::print(&self.text());
        }
        output::json(&Document {
            from: self.from.display().to_string(),
            ok: self.verdict().is_ok(),
            from_start: self.from_start,
            lines: self.lines,
            empty_lines: self.empty_lines,
            other_uplinks: self.other_uplinks,
            streams: self.findings.iter().map(StreamView::from).collect(),
        })
    }

    /// Whether all is accounted for.
    ///
    /// # Errors
    /// Something is not, or could not be checked.
    pub fn verdict(&self) -> Result<(), Error> {
        let of = |what: fn(&Finding) -> u64| self.findings.iter().map(what).fold(0, u64::saturating_add);
        let with = |what: fn(&Finding) -> u64| self.findings.iter().filter(|f| what(f) > 0).count();
        let from = self.from.display();
        let all = self.findings.len();
        if let Some((finding, fault)) = self.findings.iter().find_map(|f| Some((f, f.fault()?))) {
            let reason = format!("the gateway's own account of {} does not balance: {fault}", finding.name());
            return Err(Error::failed(from, reason, "report it with the status document").in_report());
        }
        let conflicts = of(|f| f.stream.conflicts);
        if conflicts > 0 {
            let streams = with(|f| f.stream.conflicts);
            let reason = format!(
                "{conflicts} records differ from an earlier one of the same seq, in {streams} of {all} streams"
            );
            let remedy = "audit each uplink's dump on its own (see --uplink), and look for gateways that share an id";
            return Err(Error::failed(from, reason, remedy).in_report());
        }
        let unexplained = of(Finding::unexplained);
        if unexplained > 0 {
            let streams = with(Finding::unexplained);
            let reason =
                format!("{unexplained} records are missing without explanation, in {streams} of {all} streams");
            let error = Error::failed(from, reason, self.remedy()).in_report();
            return Err(match self.empty_lines {
                0 => error,
                _ => error.with_hint("and dump with mosquitto_sub -F %j: %J leaves an empty line for what is not JSON"),
            });
        }
        let forgotten = of(|f| f.stream.forgotten);
        if forgotten > 0 {
            let reason = format!(
                "nothing is missing, but {forgotten} duplicates came too late to be compared to their first record"
            );
            let remedy = "put the dump in order first (sort by seq), or audit each gateway on its own";
            return Err(Error::bad_input(from, reason, remedy).in_report());
        }
        Ok(())
    }

    fn remedy(&self) -> &'static str {
        if self.findings.iter().any(|f| f.unexplained() > 0 && f.reconciled.is_none()) {
            "give the status of each gateway and epoch with --status: it says what is pending or dropped"
        } else if self.from_start {
            "make sure that the dump begins with the first record and ends after the status was saved"
        } else {
            "make sure that the dump ends after the status was saved"
        }
    }

    fn text(&self) -> String {
        let mut text = self.table();
        for finding in &self.findings {
            details(finding, &mut text);
        }
        if self.other_uplinks > 0 {
            let _ = writeln!(text, "{} records of other uplinks are left out", self.other_uplinks);
        }
        if self.verdict().is_ok() {
            let is_all = self.findings.iter().all(|f| f.missing() == 0);
            let what = if is_all { "nothing is missing" } else { "all that is missing is pending or dropped" };
            let is_late = self.findings.iter().any(|f| f.before_start() > 0);
            let whence = if is_late { ", from where the dump begins" } else { "" };
            let _ = writeln!(text, "{GOOD}{what}{whence}{GOOD:#}");
        }
        text
    }

    fn table(&self) -> String {
        let heads = [
            "GATEWAY",
            "EPOCH",
            "UPLINK",
            "FIRST",
            "LAST",
            "RECORDS",
            "DISTINCT",
            "TWICE",
            "LATE",
            "MISSING",
            "CONFLICTS",
        ];
        let mut rows = vec![heads.map(str::to_owned)];
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        for finding in &self.findings {
            let stream = &finding.stream;
            let reconciled = finding.reconciled.as_ref().map(|r| r.uplink.as_str());
            let uplink = stream.key.uplink.as_deref().or(reconciled);
            rows.push([
                shown(stream.key.gateway.as_bytes()),
                stream.key.epoch.to_string(),
                shown(uplink.unwrap_or("-").as_bytes()),
                number(stream.arrived.first()),
                number(stream.arrived.last()),
                stream.records.to_string(),
                stream.arrived.count().to_string(),
                stream.duplicates.to_string(),
                stream.out_of_order.to_string(),
                finding.missing().to_string(),
                stream.conflicts.to_string(),
            ]);
        }
        aligned(&rows)
    }
}

/// Rows with their columns under each other, numbers to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut padding = 0;
        for (cell, width) in row.iter().zip(widths) {
            let is_number = row.first() != Some(cell) && cell.bytes().all(|b| b.is_ascii_digit());
            let space = width - cell.chars().count();
            let (before, after) = if is_number { (space, 0) } else { (0, space) };
            let _ = write!(text, "{:1$}{cell}", "", padding + before);
            padding = after + COLUMN_GAP;
        }
        text.push('\n');
    }
    text
}

/// What the table has no room for.
fn details(finding: &Finding, text: &mut String) {
    let stream = &finding.stream;
    let uneventful = finding.missing() == 0 && stream.conflicts == 0 && stream.forgotten == 0;
    if uneventful && finding.reconciled.is_none() && finding.before_start() == 0 {
        return;
    }
    let _ = writeln!(text, "{}", finding.name());
    if finding.before_start() > 0 {
        let (start, before) = (finding.start, finding.before_start());
        let said = format!("the dump begins with seq {start}: {before} before it not audited (see --from-start)");
        line(text, "begins", said);
    }
    if finding.missing() > 0 {
        line(text, "missing", gaps(finding));
    }
    for conflict in &stream.named {
        let reason =
            format!("{BAD}line {}{BAD:#} differs from an earlier record of seq {}", conflict.line, conflict.seq);
        line(text, "conflict", reason);
    }
    let unnamed = stream.conflicts - stream.named.len() as u64;
    if unnamed > 0 {
        line(text, "conflict", format_args!("and {unnamed} more"));
    }
    if stream.forgotten > 0 {
        line(text, "unknown", format_args!("{} duplicates came too late to be compared", stream.forgotten));
    }
    match &finding.reconciled {
        Some(reconciled) => reconciliation(reconciled, text),
        None => line(text, "gateway", "no status of this gateway and epoch was given"),
    }
}

fn gaps(finding: &Finding) -> String {
    let range = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    let shown: Vec<String> = finding.gaps().take(GAPS_SHOWN_MAX).map(range).collect();
    let more = match finding.gaps().count().saturating_sub(GAPS_SHOWN_MAX) {
        0 => String::new(),
        more => format!(", and {more} more gaps"),
    };
    format!("{} in all: {}{more}", finding.missing(), shown.join(", "))
}

fn reconciliation(r: &Reconciled, text: &mut String) {
    let account = &r.account;
    let reasons: Vec<String> =
        account.dropped_by_reason.iter().map(|(reason, n)| format!("{} {n}", shown(reason.as_bytes()))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let (received, delivered, pending, dropped) =
        (account.received, account.delivered, account.pending, account.dropped);
    let uplink = shown(r.uplink.as_bytes());
    let said =
        format!("{uplink}: received {received}, delivered {delivered}, pending {pending}, dropped {dropped}{reasons}");
    line(text, "gateway", said);
    if let Some(fault) = &r.fault {
        line(text, "gateway", format_args!("{BAD}does not balance{BAD:#}: {fault}"));
    }
    let (pending, dropped) = (r.missing_pending, r.missing_dropped);
    let style = if r.unexplained > 0 { BAD } else { GOOD };
    let why = format!("{pending} are pending, {dropped} dropped, {style}{} unexplained{style:#}", r.unexplained);
    line(text, "of these", why);
    if r.arrived_unacknowledged > 0 {
        let count = r.arrived_unacknowledged;
        line(text, "arrived", format_args!("{count} that the gateway has as pending or dropped: not yet acknowledged"));
    }
    if r.after_status > 0 {
        line(text, "arrived", format_args!("{} that were sent after the status was saved", r.after_status));
    }
}
