//! Medians of rounds, and ratios between gateways, as Markdown or JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::gateway::Kind;
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
}

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
                shown(median.cpu_s_per_million),
                median.p50_ms,
                median.p99_ms,
                shown(median.peak_rss_kib.map(|kib| kib as f64 / 1024.0)),
                shown(median.start_ms),
                median.lost,
                median.surplus,
                median.disordered,
            );
        }
        text += "\nrumqttd sends without TCP_NODELAY: its latencies hold the kernel's delayed acknowledgements, up to 40 ms.\n";
        text += &self.ratios();
        if let Some(kib) = self.idle_rss_kib {
            let _ = writeln!(text, "\nIdle `eyotd` with three functions: {:.1} MB resident.", kib as f64 / 1024.0);
        }
        text
    }

    /// `eyotd` over its peer, where both were measured.
    fn ratios(&self) -> String {
        let mut text = String::new();
        for ours in self.rows.iter().filter(|row| row.gateway == Kind::Eyot.name()) {
            let same_case = |row: &&Row| (row.broker, row.qos) == (ours.broker, ours.qos);
            let is_peer = |row: &&Row| row.gateway == Kind::Native.name();
            let Some(peer) = self.rows.iter().filter(same_case).find(is_peer) else { continue };
            let ratio = |pick: &dyn Fn(&Figures) -> Option<f64>| {
                pick(&ours.median).zip(pick(&peer.median)).map_or("-".into(), |(a, b)| format!("{:.2}", a / b))
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                ours.broker,
                ours.qos,
                ratio(&|f| Some(f.rate)),
                ratio(&|f| f.cpu_s_per_million),
                ratio(&|f| Some(f.p50_ms)),
                ratio(&|f| Some(f.p99_ms)),
                ratio(&|f| f.peak_rss_kib.map(|kib| kib as f64)),
            );
        }
        format!(
            "\nRatios, eyotd over native:\n\n| broker | QoS | messages/s | CPU | p50 | p99 | peak RSS |\n\
             |---|---|---|---|---|---|---|\n{text}"
        )
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.1}"))
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
