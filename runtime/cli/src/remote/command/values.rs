//! What the configuration of a function is on a gateway, as that has left it at the broker: `eyot config get` shows it, and
//! `eyot config set` refuses keys that are not in it.

use std::collections::{BTreeMap, BTreeSet};

use eyot_gateway::config::meant;
use eyot_wire::control::ConfigReport;
use eyot_wire::manifest::CONFIG_ENTRIES_MAX;
use eyot_wire::module::KEY_MAX_BYTES;

use crate::error::Error;
use crate::output::{self, shown, LABEL};
use crate::remote::client::{Client, Message};
use crate::remote::documents::split;
use crate::remote::options::{self, Connection};
use crate::remote::roster::{gather_beside, retained, GATEWAYS_MAX};

use super::Common;

/// Show what the configuration of a function is on a gateway: the manifest's, and what was set there in its place.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Get {
    /// Name of the function.
    name: String,
    /// Prints only the value of this key.
    key: Option<String>,
    /// Id of the gateway [default: $EYOT_GATEWAY].
    #[arg(long, short, value_name = "ID")]
    gateway: Option<String>,
    /// Print the document as the gateway wrote it.
    #[arg(long, conflicts_with = "key")]
    pub json: bool,
    #[command(flatten)]
    connection: Connection,
}

const EXAMPLES: &str = "\
Examples:
  eyot config get greenhouse --gateway barn-7
  eyot config get greenhouse rh_max --gateway barn-7

Needs no key: whoever may read at the broker may read this, so secrets do not belong there.
Exit codes: 0 shown, 1 there is no such function or key, 2 bad usage.";

pub fn get(args: &Get) -> Result<(), Error> {
    super::super::run(async {
        let id = options::gateway(args.gateway.as_deref())?;
        let topic = format!("eyot/{}/function/{}/config", id.as_str(), args.name);
        let mut client = Client::connect(&args.connection, vec![topic]).await?;
        let document = retained(&mut client, &args.connection).await?;
        let url = client.url.clone();
        client.close().await;
        let failed = |reason: &str, remedy: String| Error::failed(&args.name, reason, remedy);
        let Some(document) = document else {
            let remedy = format!("check the name, --gateway ({}) and --broker ({url}); see `eyot list`", id.as_str());
            return Err(failed("no gateway of this id has told its configuration", remedy));
        };
        let report: ConfigReport = serde_json::from_slice(&document).map_err(|_| {
            failed("its configuration is not understood", "use an eyot of the gateway's version".into())
        })?;
        match &args.key {
            None if args.json => output::json(&report),
            None => output::print(&describe(&report)),
            Some(key) => match report.values.get(key) {
                Some(value) => output::print(&format!("{}\n", shown(value.as_bytes()))),
                None if report.left_out.contains(key) => {
                    Err(failed("has more configuration than a gateway tells", "look at its manifest".into()))
                }
                None => {
                    let keys = report.values.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let reason = format!("has no \"{}\" in its configuration", shown(key.as_bytes()));
                    Err(failed(&reason, format!("there are: {}", shown(keys.as_bytes()))))
                }
            },
        }
    })
}

fn describe(report: &ConfigReport) -> String {
    let mut text = String::new();
    for (key, value) in &report.values {
        let here = if report.set_here.contains(key) { format!("  {LABEL}set here{LABEL:#}") } else { String::new() };
        text.push_str(&format!("{}={}{here}\n", shown(key.as_bytes()), shown(value.as_bytes())));
    }
    for key in &report.left_out {
        text.push_str(&format!("{}  {LABEL}left out: too long{LABEL:#}\n", shown(key.as_bytes())));
    }
    text
}

/// Refuses keys that the function has on none of the gateways that are meant. Those that have told nothing of it answer for
/// themselves.
///
/// # Errors
/// There is such a key, or the broker cannot be reached.
pub async fn check_keys(common: &Common, name: &str, set: &BTreeMap<String, String>) -> Result<(), Error> {
    let id = common.target.id()?;
    let from = id.from();
    let filters = vec![format!("eyot/{from}/status"), format!("eyot/{from}/function/{name}/config")];
    let mut client = Client::connect(&common.connection, filters).await?;
    let mut reports: BTreeMap<String, ConfigReport> = BTreeMap::new();
    let take = |message: &Message| {
        let Some((gateway, _)) = split(&message.topic) else { return };
        if let (Ok(report), true) = (serde_json::from_slice(&message.payload), reports.len() < GATEWAYS_MAX) {
            reports.insert(gateway.to_owned(), report);
        }
    };
    let roster = gather_beside(&mut client, &common.connection, take).await;
    client.close().await;
    let roster = roster?;
    reports.retain(|gateway, _| roster.is_member(&id, gateway));
    let known: BTreeSet<&str> = reports.values().flat_map(keys).collect();
    match set.keys().find(|key| !known.contains(key.as_str())) {
        Some(key) if !reports.is_empty() => Err(unknown_key(name, key, &known)),
        _ => Ok(()),
    }
}

/// Those that can be any: to compare a longer one would take memory many times its size.
fn keys(report: &ConfigReport) -> impl Iterator<Item = &str> {
    let all = report.values.keys().chain(&report.left_out).map(String::as_str);
    all.filter(|key| key.len() <= KEY_MAX_BYTES).take(CONFIG_ENTRIES_MAX)
}

fn unknown_key(name: &str, key: &str, known: &BTreeSet<&str>) -> Error {
    let reason = format!("has no \"{}\" in its [config]", shown(key.as_bytes()));
    let there_is = match meant(known.iter().copied(), key) {
        Some(near) => format!("did you mean \"{}\"?", shown(near.as_bytes())),
        None if known.is_empty() => "it has none".to_owned(),
        None => {
            let all = known.iter().copied().collect::<Vec<_>>().join(", ");
            format!("there are: {}", shown(all.as_bytes()))
        }
    };
    Error::bad_input(name, reason, format!("{there_is} If it reads that all the same, give --new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_key_is_compared() {
        let values = (0..100).map(|n| (format!("key{n:03}"), String::new()));
        let report = ConfigReport {
            function: "f".to_owned(),
            version: "1.0.0".to_owned(),
            values: values.chain([("a".repeat(KEY_MAX_BYTES + 1), String::new())]).collect(),
            set_here: Vec::new(),
            left_out: vec!["left".to_owned()],
        };
        let known: Vec<&str> = keys(&report).collect();
        assert_eq!((known.len(), known.first()), (CONFIG_ENTRIES_MAX, Some(&"key000")));
    }
}
