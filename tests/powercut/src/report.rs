//! What came out, as a table or as JSON.

use std::fmt::Write as _;

use serde_json::{json, Value};

use crate::control::Control;
use crate::cut::Kind;
use crate::sweep::{Stage, Tally};

/// One sweep.
#[derive(Clone, Debug)]
pub struct Part {
    /// Who was cut.
    pub subject: &'static str,
    /// What was left undone.
    pub control: Control,
    /// What came of it.
    pub tally: Tally,
}

impl Part {
    /// Whether nothing failed; of a control, whether something did.
    pub fn holds(&self) -> bool {
        (self.control == Control::Sound) == (self.tally.failed() == 0)
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        Stage::ALL.into_iter().map(move |stage| Row { part: self, stage })
    }

    fn json(&self) -> Value {
        let stage = |row: Row<'_>| {
            let kinds = Kind::ALL.into_iter().map(|kind| (kind.name().to_owned(), json!(row.cuts(kind))));
            let kinds: serde_json::Map<String, Value> = kinds.collect();
            json!({"stage": row.stage.name(), "cuts": row.all(), "kinds": kinds, "failures": row.failures()})
        };
        json!({
            "subject": self.subject,
            "control": self.control.name(),
            "holds": self.holds(),
            "tapes": self.tally.tapes,
            "events": self.tally.events,
            "cuts": self.tally.total(),
            "failures": self.tally.failed(),
            "stages": self.rows().map(stage).collect::<Vec<_>>(),
        })
    }
}

/// One sweep in one stage.
struct Row<'p> {
    part: &'p Part,
    stage: Stage,
}

impl Row<'_> {
    fn cuts(&self, kind: Kind) -> u64 {
        self.part.tally.cuts.get(&(self.stage, kind)).copied().unwrap_or(0)
    }

    fn all(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.cuts(kind)).sum()
    }

    fn failures(&self) -> u64 {
        self.part.tally.failures.get(&self.stage).copied().unwrap_or(0)
    }
}

/// All of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it began with.
    pub seed: u64,
    /// How long it took.
    pub seconds: u64,
    /// Sweeps, in order.
    pub parts: Vec<Part>,
}

impl Report {
    /// Whether nothing was lost, and everything unsound was caught.
    pub fn holds(&self) -> bool {
        self.parts.iter().all(Part::holds)
    }

    fn sound(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.control == Control::Sound)
    }

    fn cuts(&self) -> u64 {
        self.sound().map(|part| part.tally.total()).sum()
    }

    fn failures(&self) -> u64 {
        self.sound().map(|part| part.tally.failed()).sum()
    }

    /// One object.
    pub fn json(&self) -> Value {
        json!({
            "seed": self.seed,
            "seconds": self.seconds,
            "holds": self.holds(),
            "cuts": self.cuts(),
            "failures": self.failures(),
            "sweeps": self.parts.iter().map(Part::json).collect::<Vec<_>>(),
        })
    }

    /// Tables in Markdown, and the verdict.
    pub fn text(&self) -> String {
        let kinds: String = Kind::ALL.iter().map(|kind| format!(" {} |", kind.name())).collect();
        let mut text = format!("| cut |{kinds} all | failures |\n|---|{}---|---|\n", "---|".repeat(Kind::ALL.len()));
        // Writing to a String cannot fail.
        for row in self.sound().flat_map(Part::rows) {
            let _ = write!(text, "| {} {} |", row.part.subject, row.stage.name());
            for kind in Kind::ALL {
                let _ = write!(text, " {} |", row.cuts(kind));
            }
            let _ = writeln!(text, " {} | {} |", row.all(), row.failures());
        }
        text += "\n| control: must fail | cuts | failures |\n|---|---|---|\n";
        for part in self.parts.iter().filter(|part| part.control != Control::Sound) {
            let (name, tally) = (part.control.name(), &part.tally);
            let _ = writeln!(text, "| {}, {name} | {} | {} |", part.subject, tally.total(), tally.failed());
        }
        let verdict = if self.holds() { "it holds" } else { "IT DOES NOT HOLD" };
        let (cuts, failures, seconds) = (self.cuts(), self.failures(), self.seconds);
        let events: u64 = self.sound().map(|part| part.tally.events).sum();
        let _ = write!(
            text,
            "\n{verdict}: {cuts} cuts in {events} recorded writes and flushes, {failures} failures; {seconds} s, seed {}",
            self.seed
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(control: Control, failures: u64) -> Part {
        let mut tally = Tally { tapes: 1, events: 9, ..Tally::default() };
        tally.cuts.insert((Stage::Work, Kind::Torn), 5);
        tally.cuts.insert((Stage::Recovery, Kind::Lost), 2);
        tally.failures.insert(Stage::Work, failures);
        Part { subject: "log", control, tally }
    }

    #[test]
    fn it_holds_if_nothing_fails_but_the_controls() {
        let holds = |parts: &[(Control, u64)]| {
            let parts = parts.iter().map(|(control, failures)| part(*control, *failures)).collect();
            Report { seed: 1, seconds: 2, parts }.holds()
        };
        assert!(holds(&[(Control::Sound, 0), (Control::NoSyncData, 1)]));
        assert!(!holds(&[(Control::Sound, 1), (Control::NoSyncData, 1)]));
        assert!(!holds(&[(Control::Sound, 0), (Control::NoSyncData, 0)]));
    }

    #[test]
    fn tables_and_json_say_the_same() {
        let report = Report { seed: 1, seconds: 2, parts: vec![part(Control::Sound, 0), part(Control::NoSyncDir, 3)] };
        let text = report.text();
        assert!(text.contains("| log at work | 0 | 0 | 0 | 0 | 5 | 5 | 0 |"), "{text}");
        assert!(text.contains("| log in recovery | 0 | 2 | 0 | 0 | 0 | 2 | 0 |"), "{text}");
        assert!(text.contains("| log, no fsync of the directory | 7 | 3 |"), "{text}");
        let json = report.json();
        assert_eq!((&json["cuts"], &json["failures"], &json["holds"]), (&json!(7), &json!(0), &json!(true)));
        assert_eq!(json["sweeps"][0]["stages"][0]["kinds"]["torn"], 5);
        assert_eq!(json["sweeps"][1]["failures"], 3);
    }
}
