//! What came of a run, and whether that is what is promised.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{json, Value};

use super::faults::{Count, Fault, Weather};
use super::load::{Collected, Sent};
use super::Plan;
use crate::checker::{verify, Summary};
use crate::site::{balances, Site};

/// A run that kept every promise.
#[derive(Clone, Debug)]
pub struct Report {
    plan: Plan,
    took: Duration,
    counts: BTreeMap<Fault, Count>,
    log_was_full: u64,
    sent: Sent,
    arrived: u64,
    summary: Summary,
    by_broker: u64,
    ledger: Value,
}

impl Report {
    /// Checks everything: nothing lost or invented, order per topic, gapless sequence numbers, a balanced ledger that says
    /// the same, and a cause for each duplicate.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn new(
        plan: Plan,
        took: Duration,
        weather: &Weather<'_>,
        sent: Sent,
        collected: &Collected,
        site: &Site,
    ) -> Result<Self, String> {
        let summary = verify(&collected.arrivals, sent.messages)?;
        let status = site
            .await_status("an empty backlog", |status| status["online"] == true && status["ledger"]["pending"] == 0);
        let ledger = status["ledger"].clone();
        let arrived = collected.arrivals.len() as u64;
        let (counts, log_was_full, by_broker) = (weather.counts.clone(), weather.log_was_full, collected.by_broker);
        let report = Self { plan, took, counts, log_was_full, sent, arrived, summary, by_broker, ledger };
        if !balances(&status) {
            return Err(format!("the ledger does not balance: {}", report.ledger));
        }
        if report.ledger["dropped"] != 0 || report.ledger["delivered"] != report.ledger["received"] {
            return Err(format!("the ledger tells of losses: {}", report.ledger));
        }
        // Each message has one output, so the gateway's account of messages and the cloud's of outputs are the same.
        if report.ledger["received"] != collected.outputs() {
            return Err(format!("{} outputs came, the ledger says {}", collected.outputs(), report.ledger));
        }
        report.explained()?;
        Ok(report)
    }

    /// Messages the gateway took more than once.
    fn taken_again(&self) -> u64 {
        self.ledger["received"].as_u64().unwrap_or(0).saturating_sub(self.sent.messages)
    }

    /// Outputs the uplink sent more than once.
    fn sent_again(&self) -> u64 {
        (self.summary.retried as u64).saturating_sub(self.by_broker)
    }

    fn times(&self, faults: &[Fault]) -> u64 {
        faults.iter().filter_map(|fault| self.counts.get(fault)).map(|count| count.times).sum()
    }

    fn explained(&self) -> Result<(), String> {
        let intake = self.times(&[Fault::Kill, Fault::BrokerStop]);
        let uplink = self.times(&[Fault::Kill, Fault::CloudStop, Fault::LinkCut, Fault::LinkStall]);
        for (duplicates, faults, what) in [
            (self.taken_again(), intake, "messages were taken again"),
            (self.sent_again(), uplink, "outputs were sent again"),
            (self.by_broker, self.times(&[Fault::CloudStop]), "outputs came again from the cloud's broker"),
        ] {
            if duplicates > 0 && faults == 0 {
                return Err(format!("{duplicates} {what} without a cause"));
            }
        }
        Ok(())
    }

    /// The report as a table.
    pub fn markdown(&self) -> String {
        let Self { plan, took, counts, sent, arrived, .. } = self;
        let mut text = format!(
            "Seed {}, {} messages at {}/s, {:.0} s with the healing.\n\n| fault | times | s in all |\n|---|---|---|\n",
            plan.seed,
            sent.messages,
            plan.rate_per_s,
            took.as_secs_f64()
        );
        for (fault, count) in counts {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {} | {} | {:.0} |", fault.name(), count.times, count.lasted.as_secs_f64());
        }
        if !counts.contains_key(&Fault::DiskFull) {
            let _ = writeln!(text, "| disk full | SKIPPED: no loop device | |");
        }
        for (what, count) in [
            ("messages acknowledged to the sensors", sent.messages),
            ("of these lost", 0),
            ("out of order within a topic", 0),
            ("gaps in the sequence numbers", 0),
            ("times the log was full and the broker had to keep them", self.log_was_full),
            ("sent again by sensors whose broker stopped", sent.again),
            ("taken again by the gateway, under new numbers", self.taken_again()),
            ("arrivals at the cloud", *arrived),
            ("of these sent again by the uplink, under the same number", self.sent_again()),
            ("of these delivered again by the cloud's broker", self.by_broker),
        ] {
            text += if what.starts_with("messages") { "\n| what | count |\n|---|---|\n" } else { "" };
            let _ = writeln!(text, "| {what} | {count} |");
        }
        let number = |key: &str| self.ledger[key].as_u64().unwrap_or(0);
        let (received, delivered) = (number("received"), number("delivered"));
        let (pending, dropped) = (number("pending"), number("dropped"));
        let _ = writeln!(
            text,
            "\nLedger: {received} received = {delivered} delivered + {pending} pending + {dropped} dropped."
        );
        text
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let faults: serde_json::Map<String, Value> = (self.counts.iter())
            .map(|(fault, count)| {
                let count = json!({ "times": count.times, "seconds": count.lasted.as_secs_f64() });
                (fault.name().to_owned(), count)
            })
            .collect();
        json!({
            "seed": self.plan.seed,
            "seconds": self.took.as_secs_f64(),
            "faults": faults,
            "log_was_full": self.log_was_full,
            "messages": self.sent.messages,
            "lost": 0,
            "disordered": 0,
            "sent_again_by_sensors": self.sent.again,
            "taken_again_by_gateway": self.taken_again(),
            "arrived": self.arrived,
            "sent_again_by_uplink": self.sent_again(),
            "delivered_again_by_cloud_broker": self.by_broker,
            "ledger": self.ledger,
        })
    }
}
