//! `eyot logs`: what functions log, as it comes.

use std::time::Instant;

use clap::builder::styling::{AnsiColor, Style};
use eyot_engine::Level;
use serde::Serialize;

use crate::error::Error;
use crate::output::{self, shown, BAD, LABEL};
use crate::remote::client::{Client, Event, Message};
use crate::remote::documents::{split, DeadLetter, LogLine};
use crate::remote::options::{Connection, Target};

/// Show what functions log on a gateway, and which messages they fail on.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the function [default: all].
    name: Option<String>,
    /// Goes on until Ctrl-C; without it, for the time of --timeout.
    #[arg(long, short)]
    follow: bool,
    /// Least severe level that is shown: error, warn, info, debug or trace.
    #[arg(long, short, value_name = "LEVEL", default_value = "trace", value_parser = level)]
    level: Level,
    #[command(flatten)]
    target: Target,
    /// Print one JSON object for each line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    connection: Connection,
}

const EXAMPLES: &str = "\
Examples:
  eyot logs greenhouse -f --gateway barn-7
  eyot logs -f --level warn --group barns
  eyot logs greenhouse --timeout 5m --json > log.ndjson

A gateway keeps no lines: what is shown is what comes from now on. Of a function it passes on 50 lines a second.";

/// A line, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    gateway: &'a str,
    function: &'a str,
    /// As the function logged it, or `failed`.
    level: &'a str,
    line: &'a str,
    unix_ms: i64,
}

fn level(text: &str) -> Result<Level, String> {
    let all = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
    all.into_iter().find(|level| level.word() == text).ok_or_else(|| "is none of them".to_owned())
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let id = args.target.id()?;
    let name = args.name.as_deref().unwrap_or("+");
    let mut filters = vec![format!("eyot/{}/log/{name}", id.from()), format!("eyot/{}/dead/{name}", id.from())];
    // Who belongs to the group is known by the status.
    filters.extend(id.group().map(|_| "eyot/+/status".to_owned()));
    super::run(async {
        let mut client = Client::connect(&args.connection, filters).await?;
        let mut roster = super::roster::Roster::default();
        let deadline = Instant::now() + args.connection.timeout;
        let mut lost = false;
        loop {
            let event = match args.follow {
                true => Some(client.next().await),
                false => client.next_before(deadline).await,
            };
            match event {
                None => break,
                Some(Event::Message(message)) => {
                    let gateway = split(&message.topic).map_or("", |(gateway, _)| gateway);
                    if !roster.take(&message) && (id.group().is_none() || roster.is_member(&id, gateway)) {
                        show(args, &id, &message)?;
                    }
                }
                Some(Event::Down(reason)) if !lost => {
                    lost = true;
                    output::warning(&format!("{}: {reason}; what is logged meanwhile is lost", client.url));
                }
                Some(Event::Up) if lost => {
                    lost = false;
                    output::note("connected again");
                }
                Some(_) => {}
            }
        }
        client.close().await;
        Ok(())
    })
}

fn show(args: &Args, id: &super::options::Id, message: &Message) -> Result<(), Error> {
    let Some((gateway, rest)) = split(&message.topic) else { return Ok(()) };
    let Some(line) = read(rest, message) else { return Ok(()) };
    if is_below(&line.level, args.level) {
        return Ok(());
    }
    if args.json {
        let Entry { function, level, text, unix_ms } = &line;
        return output::json(&Line { gateway, function, level, line: text, unix_ms: *unix_ms });
    }
    let whose = if id.group().is_some() { format!("{} ", shown(gateway.as_bytes())) } else { String::new() };
    output::print(&format!("{whose}{}\n", line.shown()))
}

/// Whether a line is less severe than what is asked for.
fn is_below(level: &str, least: Level) -> bool {
    self::level(level).is_ok_and(|level| level > least)
}

/// A line of a function, or a message it failed on.
pub struct Entry {
    pub function: String,
    pub level: String,
    pub text: String,
    pub unix_ms: i64,
}

/// Reads a message on `eyot/<gateway>/<rest>`.
pub fn read(rest: &str, message: &Message) -> Option<Entry> {
    let (kind, function) = rest.split_once('/')?;
    let function = function.to_owned();
    match kind {
        "log" => {
            let LogLine { level, line, unix_ms } = serde_json::from_slice(&message.payload).ok()?;
            Some(Entry { function, level, text: line, unix_ms })
        }
        "dead" => {
            let letter: DeadLetter = serde_json::from_slice(&message.payload).ok()?;
            let DeadLetter { reason, detail, topic, received_at_ms } = letter;
            let text = format!("{reason} on {topic}: {detail}");
            Some(Entry { function, level: "failed".to_owned(), text, unix_ms: received_at_ms })
        }
        _ => None,
    }
}

impl Entry {
    /// For people.
    pub fn shown(&self) -> String {
        let Self { function, level, text, unix_ms } = self;
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(*unix_ms).unwrap_or(0));
        let at = humantime::format_rfc3339_millis(at);
        let style = style(level);
        format!(
            "{at} {style}{:<6}{style:#} {LABEL}{}{LABEL:#} {}",
            shown(level.as_bytes()),
            shown(function.as_bytes()),
            shown(text.as_bytes())
        )
    }
}

fn style(level: &str) -> Style {
    match level {
        "error" | "failed" => BAD,
        "warn" => AnsiColor::Yellow.on_default().bold(),
        "info" => AnsiColor::Green.on_default(),
        _ => AnsiColor::BrightBlack.on_default(),
    }
}
