//! Medians of rounds, and ratios between gateways, as Markdown or JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::chart::{bars, Group};
use crate::gateway::Kind;
use crate::peers::Peer;
use crate::run::Figures;

/// One row: a gateway in a case, over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Gateway.
    pub gateway: &'static str,
    /// Broker.
    pub broker: &'static str,
    /// QoS, end to end.
    pub qos: u8,
    /// Medians; losses, surplus and disorder are sums.
    pub median: Figures,
    /// Lowest and highest rate: how far to trust the median.
    pub rate_range: (f64, f64),
}

impl Row {
    /// # Panics
    /// Without rounds.
    pub fn new(gateway: &'static str, broker: &'static str, qos: u8, rounds: &[Figures]) -> Self {
        let median = |pick: &dyn Fn(&Figures) -> Option<f64>| median(rounds.iter().filter_map(pick).collect());
        let sum = |pick: &dyn Fn(&Figures) -> u64| rounds.iter().map(pick).sum();
        let rates = || rounds.iter().map(|round| round.rate);
        Self {
            gateway,
            broker,
            qos,
            median: Figures {
                rate: median(&|f| Some(f.rate)).expect("at least one round"),
                cpu_s_per_million: median(&|f| f.cpu_s_per_million),
                p50_ms: median(&|f| Some(f.p50_ms)).expect("at least one round"),
                p99_ms: median(&|f| Some(f.p99_ms)).expect("at least one round"),
                peak_rss_kib: median(&|f| f.peak_rss_kib.map(|kib| kib as f64)).map(|kib| kib as u64),
                start_ms: median(&|f| f.start_ms),
                lost: sum(&|f| f.lost),
                surplus: sum(&|f| f.surplus),
                disordered: sum(&|f| f.disordered),
            },
            rate_range: (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max)),
        }
    }
}

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages of each run, and rounds.
    pub messages: u64,
    /// Rounds behind each median.
    pub rounds: usize,
    /// One for each gateway and case.
    pub rows: Vec<Row>,
    /// Memory of `eyotd` with three functions, idle.
    pub idle_rss_kib: Option<u64>,
    /// What could not be measured here, and why.
    pub skipped: Vec<String>,
}

/// `eyotd`'s default, in milliseconds: what a message may have to wait for others at a low rate.
const COMMIT_WINDOW_MS: f64 = 10.0;
/// What a reader must know to read the table.
const NOTES: &str = "\nOnly eyotd keeps anything: it commits every message to disk, at QoS 0 too, before its result goes out. \
                     With its log in memory it does the same work and the disk none. rumqttd sends without TCP_NODELAY: \
                     latencies hold the kernel's delayed acknowledgements, up to 40 ms, where a client does not ask for \
                     prompt ones as eyotd does.\n";

impl Report {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "Medians of {} rounds of {} messages, 1,000 in flight; latency at 1,000 messages/s. CPU and memory are the \
             gateway process's.\n\n\
             | broker | QoS | gateway | messages/s (range) | CPU-s per million | p50 / p99 ms | peak RSS MB | start to \
             first result ms | lost / surplus / disordered |\n|---|---|---|---|---|---|---|---|---|\n",
            self.rounds, self.messages
        );
        for Row { gateway, broker, qos, median, rate_range } in &self.rows {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {broker} | {qos} | {gateway} | {:.0} ({:.0}-{:.0}) | {} | {:.2} / {:.2} | {} | {} | {} / {} / {} |",
                median.rate,
                rate_range.0,
                rate_range.1,
                shown(median.cpu_s_per_million, 1),
                median.p50_ms,
                median.p99_ms,
                shown(median.peak_rss_kib.map(|kib| kib as f64 / 1024.0), 1),
                shown(median.start_ms, 1),
                median.lost,
                median.surplus,
                median.disordered,
            );
        }
        text += NOTES;
        text += &self.ratios();
        text += &self.goals();
        for reason in &self.skipped {
            let _ = writeln!(text, "\n{reason}.");
        }
        if let Some(kib) = self.idle_rss_kib {
            let _ = writeln!(text, "\nIdle `eyotd` with three functions: {:.1} MB resident.", kib as f64 / 1024.0);
        }
        text
    }

    /// Each gateway over the native one, where both were measured.
    fn ratios(&self) -> String {
        let mut text = String::new();
        for row in self.rows.iter().filter(|row| ![Kind::Native.name(), Kind::None.name()].contains(&row.gateway)) {
            let ratio = |pick: &dyn Fn(&Figures) -> Option<f64>| shown(self.ratio(row, Kind::Native.name(), pick), 2);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                row.broker,
                row.qos,
                row.gateway,
                ratio(&|f| Some(f.rate)),
                ratio(&|f| f.cpu_s_per_million),
                ratio(&|f| Some(f.p50_ms)),
                ratio(&|f| Some(f.p99_ms)),
                ratio(&|f| f.peak_rss_kib.map(|kib| kib as f64)),
            );
        }
        format!(
            "\nRatios, each over native:\n\n| broker | QoS | gateway | messages/s | CPU | p50 | p99 | peak RSS |\n\
             |---|---|---|---|---|---|---|---|\n{text}"
        )
    }

    /// A figure of `row` over that of `peer` in the same case.
    fn ratio(&self, row: &Row, peer: &str, pick: &dyn Fn(&Figures) -> Option<f64>) -> Option<f64> {
        let peer = self.row(row.broker, row.qos, peer)?;
        pick(&row.median).zip(pick(&peer.median)).map(|(ours, theirs)| ours / theirs)
    }

    fn row(&self, broker: &str, qos: u8, gateway: &str) -> Option<&Row> {
        self.rows.iter().find(|row| (row.broker, row.qos, row.gateway) == (broker, qos, gateway))
    }

    /// What `eyotd` is to reach, and whether it did.
    fn goals(&self) -> String {
        let mut text = String::new();
        for ours in self.rows.iter().filter(|row| row.gateway == Kind::Eyot.name()) {
            let ratio = |peer: Kind, pick: &dyn Fn(&Figures) -> Option<f64>| self.ratio(ours, peer.name(), pick);
            let native = self.row(ours.broker, ours.qos, Kind::Native.name());
            let mut goal = |what: &str, value: Option<f64>, holds: &dyn Fn(f64) -> bool| {
                let Some(value) = value else { return };
                let verdict = if holds(value) { "met" } else { "missed" };
                let _ = writeln!(text, "| {} | {} | {what} | {value:.2} | {verdict} |", ours.broker, ours.qos);
            };
            if (ours.broker, ours.qos) == ("rumqttd", 1) {
                goal("messages/s over native: 0.8", ratio(Kind::Native, &|f| Some(f.rate)), &|v| v >= 0.8);
                goal("CPU per message over native: 1.5", ratio(Kind::Native, &|f| f.cpu_s_per_million), &|v| v <= 1.5);
                let node_red = ratio(Kind::Peer(Peer::NodeRed), &|f| Some(f.rate));
                goal("messages/s over Node-RED: 5", node_red, &|v| v >= 5.0);
            }
            let above_native = native.map(|native| ours.median.p99_ms - native.median.p99_ms);
            goal("p99 above native: the commit window, 10 ms", above_native, &|v| v <= COMMIT_WINDOW_MS);
            let peak = ours.median.peak_rss_kib.map(|kib| kib as f64 / 1024.0);
            goal("peak RSS: below 10 MB", peak, &|v| v < 10.0);
        }
        format!("\nGoals of eyotd:\n\n| broker | QoS | goal | reached | |\n|---|---|---|---|---|\n{text}")
    }

    /// Charts by file name.
    pub fn charts(&self) -> [(&'static str, String); 3] {
        let groups = |pick: &dyn Fn(&Figures) -> Option<f64>| -> Vec<Group> {
            let mut groups: Vec<Group> = Vec::new();
            for row in self.rows.iter().filter(|row| row.gateway != Kind::None.name()) {
                let label = format!("{}, QoS {}", row.broker, row.qos);
                let Some(value) = pick(&row.median) else { continue };
                let bar = (row.gateway.to_owned(), value);
                match groups.last_mut().filter(|group| group.label == label) {
                    Some(group) => group.bars.push(bar),
                    None => groups.push(Group { label, bars: vec![bar] }),
                }
            }
            groups
        };
        let draw = |title, groups: &[Group], digits: usize| bars(title, groups, "eyotd", |v| format!("{v:.digits$}"));
        [
            ("throughput.svg", draw("Messages per second", &groups(&|f| Some(f.rate)), 0)),
            ("cpu.svg", draw("CPU seconds per million messages", &groups(&|f| f.cpu_s_per_million), 1)),
            ("memory.svg", draw("Peak memory, MB", &groups(&|f| f.peak_rss_kib.map(|kib| kib as f64 / 1024.0)), 1)),
        ]
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values.get(middle).copied()
    } else {
        values.get(middle.checked_sub(1)?..=middle).map(|two| two.iter().sum::<f64>() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
