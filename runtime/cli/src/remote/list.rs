//! `eyot list`: the gateways at a broker, and what each of them runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::error::Error;
use crate::output::{self, shown, BAD, GOOD, LABEL};
use crate::remote::client::Client;
use crate::remote::documents::{FunctionDocument, InForce, NodeDocument};
use crate::remote::options::{Connection, Target};
use crate::remote::roster::{gather, Seen};

/// List the gateways at a broker, and the functions of each.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Print one JSON array.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connection: Connection,
}

const EXAMPLES: &str = "\
Examples:
  eyot list
  eyot list --broker mqtts://ada@cloud.example --password-file pw
  eyot list --group barns --json | jq -r '.[] | select(.online | not) | .gateway'

It shows what gateways have left at the broker: one that is offline has what it ran last.";

/// A gateway, in the words of its own documents.
#[derive(Serialize)]
struct Row<'a> {
    gateway: &'a str,
    online: bool,
    version: &'a str,
    groups: &'a [String],
    functions: Vec<FunctionDocument>,
    nodes: Vec<&'a NodeDocument>,
}

pub fn execute(args: &Args) -> Result<(), Error> {
    super::run(async {
        let id = if args.target.is_given() { Some(args.target.id()?) } else { None };
        let from = id.as_ref().map_or("+", |id| id.from());
        let filters = ["status", "function/+", "node/+"].map(|rest| format!("eyot/{from}/{rest}")).into();
        let mut client = Client::connect(&args.connection, filters).await?;
        let roster = gather(&mut client, &args.connection).await?;
        let url = client.url.clone();
        client.close().await;
        let rows: Vec<Row<'_>> = match &id {
            Some(id) => roster.members(id).map(row).collect(),
            None => roster.gateways.iter().map(|(name, seen)| row((name, seen))).collect(),
        };
        if args.json {
            return output::json(&rows);
        }
        if rows.is_empty() {
            output::note(&format!("no gateway has reported at {url}; check --broker, and that eyotd runs"));
        }
        output::print(&rows.iter().map(text).collect::<String>())
    })
}

fn row<'a>((gateway, seen): (&'a str, &'a Seen)) -> Row<'a> {
    let status = seen.status.as_ref();
    Row {
        gateway,
        online: seen.is_online(),
        version: status.map_or("", |status| &status.version),
        groups: status.map_or(&[], |status| &status.groups),
        functions: functions(seen),
        nodes: seen.nodes.values().collect(),
    }
}

/// What a gateway runs, and what became of pushes that it does not run: their own documents say more than the status. But what
/// it does not have is not in force, whatever was left at the broker by the card that was in it before.
pub fn functions(seen: &Seen) -> Vec<FunctionDocument> {
    let mut all: BTreeMap<String, FunctionDocument> = seen.functions.clone();
    if let Some(status) = seen.status.as_ref().filter(|status| status.online) {
        all.retain(|name, document| {
            let is_there = status.functions.iter().any(|function| function.name == *name);
            document.active = document.active.take().filter(|_| is_there);
            is_there || document.state == "rejected"
        });
    }
    for function in seen.status.iter().flat_map(|status| &status.functions) {
        let active = || InForce { name: None, version: function.version.clone(), sha256: function.sha256.clone() };
        let document = all.entry(function.name.clone()).or_insert_with(|| FunctionDocument {
            name: function.name.clone(),
            version: function.version.clone(),
            sha256: function.sha256.clone(),
            state: function.state.clone(),
            reason: function.last_failure.clone().filter(|_| function.state == "quarantined"),
            active: None,
            staged: None,
        });
        if document.sha256 != function.sha256 && document.active.is_none() {
            document.active = Some(active());
        }
    }
    all.into_values().collect()
}

fn text(row: &Row<'_>) -> String {
    let online = if row.online { format!("{GOOD}online{GOOD:#}") } else { format!("{BAD}offline{BAD:#}") };
    let mut text = format!("{LABEL}{}{LABEL:#}  {online}", shown(row.gateway.as_bytes()));
    if !row.version.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(text, "  eyotd {}", shown(row.version.as_bytes()));
    }
    for group in row.groups {
        let _ = write!(text, "  @{}", shown(group.as_bytes()));
    }
    text.push('\n');
    let name = row.functions.iter().map(|function| function.name.len()).max().unwrap_or(0);
    for function in &row.functions {
        text.push_str(&format!("  {}\n", line(function, name)));
    }
    for document in &row.nodes {
        text.push_str(&format!("  node {}\n", node(document)));
    }
    text
}

/// A node on one line.
pub fn node(document: &NodeDocument) -> String {
    let online = if document.online { format!("{GOOD}online{GOOD:#}") } else { format!("{BAD}offline{BAD:#}") };
    let function = document.deployed.as_ref().map(|function| format!("  {}", line(function, 0))).unwrap_or_default();
    format!("{}  {online}{function}", shown(document.node.as_bytes()))
}

/// A function on one line, its name padded to `name` characters. What was pushed to a node may be another than it runs.
pub fn line(function: &FunctionDocument, name: usize) -> String {
    let word = |text: &str| shown(text.as_bytes());
    // What was refused and is to come all the same is told once.
    let staged = function.staged.as_ref().filter(|build| build.sha256 != function.sha256);
    let active = function.active.iter().map(|build| (build, "active"));
    let beside: Vec<_> = active.chain(staged.map(|build| (build, "staged"))).collect();
    let other = beside.iter().find_map(|(build, _)| build.name.as_deref().filter(|name| *name != function.name));
    let mut text = format!("{:name$}  ", word(other.unwrap_or(&function.name)));
    for (build, state) in beside {
        let style = style(state);
        // Writing to a string does not fail.
        let _ = write!(text, "{} {style}{state}{style:#}; ", word(&build.version));
    }
    let pushed = other.map(|_| format!("{} ", word(&function.name))).unwrap_or_default();
    let reason = function.reason.as_ref().map(|reason| format!(": {}", word(reason))).unwrap_or_default();
    let style = style(&function.state);
    text + &format!("{pushed}{} {style}{}{style:#}{reason}", word(&function.version), word(&function.state))
}

/// How a state looks.
pub fn style(state: &str) -> clap::builder::styling::Style {
    match state {
        "active" | "unchanged" => GOOD,
        "rejected" | "rolled-back" | "quarantined" => BAD,
        _ => LABEL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: &str, documents: &[&str]) -> Vec<(String, String, bool)> {
        let mut seen = Seen { status: serde_json::from_str(status).ok(), ..Seen::default() };
        for document in documents {
            let document: FunctionDocument = serde_json::from_str(document).unwrap();
            seen.functions.insert(document.name.clone(), document);
        }
        functions(&seen).into_iter().map(|f| (f.name, f.state, f.active.is_some())).collect()
    }

    #[test]
    fn what_a_gateway_does_not_have_is_not_in_force() {
        let active = r#"{"name":"old","version":"1.0.0","sha256":"a","state":"active"}"#;
        let refused = r#"{"name":"new","version":"2.0.0","sha256":"b","state":"rejected","reason":"is not signed",
            "active":{"version":"1.0.0","sha256":"a"}}"#;
        let row = |name: &str, state: &str, active| (name.to_owned(), state.to_owned(), active);
        let empty = r#"{"online":true,"functions":[]}"#;
        assert_eq!(seen(empty, &[active, refused]), [row("new", "rejected", false)]);
        let has_it = r#"{"online":true,"functions":[{"name":"old","version":"1.0.0","sha256":"a","state":"active"}]}"#;
        assert_eq!(seen(has_it, &[active]), [row("old", "active", false)]);
        let away = r#"{"online":false}"#;
        assert_eq!(seen(away, &[active, refused]), [row("new", "rejected", true), row("old", "active", false)]);
    }

    #[test]
    fn what_a_node_runs_is_not_called_as_a_push_that_was_refused() {
        let shown = |more: &str| {
            let text = format!(r#"{{"name":"thin","version":"2.0.0","sha256":"b","state":"rejected"{more}}}"#);
            let text = line(&serde_json::from_str(&text).unwrap(), 0);
            anstream::adapter::strip_str(&text).to_string()
        };
        let trim = |version: &str| format!(r#"{{"name":"trim","version":"{version}","sha256":"{version}"}}"#);
        let both = format!(r#","active":{},"staged":{}"#, trim("1.0.0"), trim("1.1.0"));
        assert_eq!(shown(&both), "trim  1.0.0 active; 1.1.0 staged; thin 2.0.0 rejected");
        assert_eq!(shown(r#","active":{"version":"1.0.0","sha256":"a"}"#), "thin  1.0.0 active; 2.0.0 rejected");
        assert_eq!(shown(r#","staged":{"name":"thin","version":"2.0.0","sha256":"b"}"#), "thin  2.0.0 rejected");
    }
}
