//! `eyot config get`: what the configuration of a function is on a gateway, as that has left it at the broker.

use eyot_wire::control::ConfigReport;

use crate::error::Error;
use crate::output::{self, shown, LABEL};
use crate::remote::client::Client;
use crate::remote::options::{self, Connection};
use crate::remote::roster::retained;

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
