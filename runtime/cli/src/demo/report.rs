//! Progress while it runs, and the account in the end.

use std::collections::BTreeMap;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::output::{self, line, BAD, GOOD};

/// A bar on a terminal, lines elsewhere, nothing with `--json` into a pipe.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
}

impl Progress {
    /// For so many messages.
    pub fn new(messages: u64, json: bool) -> Self {
        let bar = output::bar(messages, "{bar} {pos}/{len} published, {msg} in the cloud");
        Self { lines: bar.is_none() && !json, bar }
    }

    /// Something happens.
    pub fn stage(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("  {text}")),
            None if self.lines => output::note(text),
            None => {}
        }
    }

    /// How far it is.
    pub fn show(&self, published: u64, arrived: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(published);
            bar.set_message(arrived.to_string());
        }
    }

    /// It is over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The gateway's own account.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Ledger {
    pub received: u64,
    pub delivered: u64,
    pub pending: u64,
    pub dropped: u64,
    pub dropped_by_reason: BTreeMap<String, u64>,
    pub without_output: u64,
    pub balanced: bool,
}

/// What the demonstration reads in a status document.
#[derive(Deserialize)]
pub struct Status {
    pub subscribed: bool,
    pub ledger: Ledger,
}

impl Status {
    /// Reads it.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|e| Error::failed("the status document", e, "report it"))
    }
}

/// How it went.
pub struct Outcome {
    /// Of the readings.
    pub seed: u64,
    /// Messages the local broker acknowledged to the sensors.
    pub messages: u64,
    /// Times the gateway was killed.
    pub kills: u64,
    /// From the start of the gateway to the last result.
    pub seconds: f64,
    /// Readings without a result that should have one.
    pub lost: u64,
    /// Results beyond the first of a reading.
    pub duplicates: u64,
    /// Of these, results that came twice under one stamp: the cloud can tell them by it.
    pub resent: u64,
    /// Readings with a result.
    pub arrived: u64,
    /// What the gateway says.
    pub ledger: Ledger,
}

#[derive(Serialize)]
struct Document<'a> {
    messages: u64,
    received: u64,
    delivered: u64,
    pending: u64,
    dropped: u64,
    dropped_by_reason: &'a BTreeMap<String, u64>,
    without_output: u64,
    arrived: u64,
    duplicates: u64,
    resent: u64,
    lost: u64,
    balanced: bool,
    kills: u64,
    seconds: f64,
    seed: u64,
}

impl Outcome {
    /// What is wrong; none if nothing is.
    pub fn verdict(&self) -> Option<String> {
        let ledger = &self.ledger;
        let sum = ledger.delivered + ledger.pending + ledger.dropped;
        if self.lost > 0 {
            Some(format!("{} results were lost", self.lost))
        } else if !ledger.balanced || ledger.received != sum {
            Some(format!("the ledger does not balance: received {}, accounted for {sum}", ledger.received))
        } else if ledger.pending > 0 {
            Some(format!("{} messages are still pending", ledger.pending))
        } else if ledger.received < self.messages {
            Some(format!("of {} messages the gateway received {}", self.messages, ledger.received))
        } else {
            None
        }
    }

    /// Prints the account.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, json: bool) -> Result<(), Error> {
        let ledger = &self.ledger;
        if json {
            return output::json(&Document {
                messages: self.messages,
                received: ledger.received,
                delivered: ledger.delivered,
                pending: ledger.pending,
                dropped: ledger.dropped,
                dropped_by_reason: &ledger.dropped_by_reason,
                without_output: ledger.without_output,
                arrived: self.arrived,
                duplicates: self.duplicates,
                resent: self.resent,
                lost: self.lost,
                balanced: ledger.balanced,
                kills: self.kills,
                seconds: (self.seconds * 1000.0).round() / 1000.0,
                seed: self.seed,
            });
        }
        output::print(&self.text())
    }

    fn text(&self) -> String {
        let ledger = &self.ledger;
        let mut text = String::from("\nLedger of the gateway\n");
        let again = ledger.received.saturating_sub(self.messages);
        line(&mut text, "received", format!("{} ({again} of them again, after the kill)", ledger.received));
        let silent = format!("{} ({} without a result: too damp)", ledger.delivered, ledger.without_output);
        line(&mut text, "delivered", silent);
        line(&mut text, "pending", ledger.pending);
        line(&mut text, "dropped", ledger.dropped);
        text.push_str("In the cloud\n");
        line(&mut text, "arrived", format!("{} readings", self.arrived));
        line(&mut text, "twice", format!("{} ({} under the same stamp)", self.duplicates, self.resent));
        line(&mut text, "lost", self.lost);
        let (style, verdict) = match self.verdict() {
            None => (GOOD, "nothing was lost, and the ledger balances".to_owned()),
            Some(reason) => (BAD, reason),
        };
        text.push_str(&format!("{style}{verdict}{style:#} ({:.1} s)\n", self.seconds));
        text
    }
}
