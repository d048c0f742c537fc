//! What came of a case beside what was to come, in lines with `-` for what is missing and `+` for what is there instead.

use std::collections::BTreeMap;

use eyot_wire::capture::Outcome;

use crate::case::document::Error as Ending;
use crate::case::{level_word, Change, Expected, Payload};
use crate::output::{shown, BAD, GOOD};

/// Lines of a difference beyond this are counted, not shown.
const LINES_MAX: usize = 40;

/// Lines for people; none if all that is said came true.
pub fn differences(expected: &Expected, outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(ending) = &expected.ending {
        let got = outcome.result.as_ref().copied().map_err(Ending::from);
        let same = match (ending, &got) {
            (Ok(()), Ok(())) => true,
            (Err(expected), Err(got)) => expected.is(got),
            _ => false,
        };
        if !same {
            lines.push(format!("- {}", ended(ending)));
            lines.push(format!("+ {}", ended(&got)));
        }
    }
    if let Some(emits) = &expected.emits {
        let same = |a: &(String, Payload), b: &(String, Vec<u8>)| a.0 == b.0 && a.1.is(&b.1);
        let was = |(topic, payload): &(String, Payload)| emit(topic, &payload.shown());
        diff(emits, &outcome.emits, same, was, |(topic, payload)| emit(topic, &shown(payload)), &mut lines);
    }
    if let Some(state) = &expected.state {
        // The order in which different keys are set does not matter.
        let (was, is) = (sorted(state), sorted(&outcome.state));
        diff(&was, &is, |a, b| a == b, op, op, &mut lines);
    }
    if let Some(logs) = &expected.logs {
        let is: Vec<_> =
            outcome.logs.iter().map(|(level, text)| (level_word(*level).to_owned(), text.clone())).collect();
        let log = |(level, text): &(String, String)| format!("log    {level}: {}", shown(text.as_bytes()));
        diff(logs, &is, |a, b| a == b, log, log, &mut lines);
    }
    lines
}

fn ended(ending: &Result<(), Ending>) -> String {
    match ending {
        Ok(()) => "ends well".to_owned(),
        Err(error) => format!("fails: {}", shown(error.shown().as_bytes())),
    }
}

fn emit(topic: &str, payload: &str) -> String {
    format!("emit   {}  {payload}", shown(topic.as_bytes()))
}

fn sorted(changes: &[Change]) -> Vec<Change> {
    changes.iter().cloned().collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn op((key, value): &Change) -> String {
    match value {
        Some(value) => format!("state  set {} = {}", shown(key), shown(value)),
        None => format!("state  delete {}", shown(key)),
    }
}

/// What stands between what both begin with and what both end with.
fn diff<A, B>(
    was: &[A],
    is: &[B],
    same: impl Fn(&A, &B) -> bool,
    show_was: impl Fn(&A) -> String,
    show_is: impl Fn(&B) -> String,
    lines: &mut Vec<String>,
) {
    let start = was.iter().zip(is).take_while(|(a, b)| same(a, b)).count();
    let (was, is) = (was.get(start..).unwrap_or_default(), is.get(start..).unwrap_or_default());
    let end = was.iter().rev().zip(is.iter().rev()).take_while(|(a, b)| same(a, b)).count();
    let was = was.iter().take(was.len() - end).map(|a| format!("- {}", show_was(a)));
    let is = is.iter().take(is.len() - end).map(|b| format!("+ {}", show_is(b)));
    let all: Vec<String> = was.chain(is).collect();
    let hidden = all.len().saturating_sub(LINES_MAX);
    lines.extend(all.into_iter().take(LINES_MAX));
    if hidden > 0 {
        lines.push(format!("  {hidden} lines more"));
    }
}

/// What came of a message, for people.
pub fn effects(outcome: &Outcome) -> Vec<String> {
    let emits = outcome.emits.iter().map(|(topic, payload)| emit(topic, &shown(payload)));
    let logs =
        outcome.logs.iter().map(|(level, text)| format!("log    {}: {}", level_word(*level), shown(text.as_bytes())));
    let refused = (outcome.emits_refused > 0).then(|| format!("refused {} emits", outcome.emits_refused));
    emits.chain(outcome.state.iter().map(op)).chain(logs).chain(refused).collect()
}

/// The line in colours.
pub fn coloured(line: &str) -> String {
    match line.as_bytes().first() {
        Some(b'-') => format!("{BAD}{line}{BAD:#}"),
        Some(b'+') => format!("{GOOD}{line}{GOOD:#}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        let mut lines = Vec::new();
        let text = |n: &u8| n.to_string();
        diff(&[1u8, 2, 3, 4], &[1u8, 9, 8, 3, 4], |a, b| a == b, text, text, &mut lines);
        assert_eq!(lines, ["- 2", "+ 9", "+ 8"]);
        lines.clear();
        diff(&[1u8, 1], &[1u8, 1, 1], |a, b| a == b, text, text, &mut lines);
        assert_eq!(lines, ["+ 1"]);
        lines.clear();
        diff(&[1u8], &[1u8], |a, b| a == b, text, text, &mut lines);
        assert!(lines.is_empty());
        diff(&[0u8; 100], &[], |a: &u8, b: &u8| a == b, text, text, &mut lines);
        assert_eq!((lines.len(), lines.last().unwrap().as_str()), (LINES_MAX + 1, "  60 lines more"));
    }
}
