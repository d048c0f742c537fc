//! `eyot capture`: messages of a function with all that it read, from a gateway into a file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use eyot_wire::capture::{Capture, CAPTURES_MAX};
use eyot_wire::control::Command;
use serde::Serialize;

use super::order::{Order, Report};
use super::Common;
use crate::error::Error;
use crate::output::{self, size, GOOD};
use crate::remote::client::{Client, Event, Message};

/// Record the next messages of a function on a gateway, with all it reads, for `eyot replay`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the function.
    name: String,
    /// How many.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(CAPTURES_MAX)))]
    count: u32,
    /// Only those it fails on.
    #[arg(long)]
    on_error: bool,
    /// File to write them to; it must not exist.
    #[arg(long, short, value_name = "FILE.cap")]
    out: PathBuf,
    /// How long to wait for them; what came until then is in the file.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    within: Duration,
    #[command(flatten)]
    pub common: Common,
}

const EXAMPLES: &str = "\
Examples:
  eyot capture smooth --count 20 --out smooth.cap --gateway barn-7 --key ada
  eyot capture smooth -n 3 --on-error --out failures.cap --for 1h --gateway barn-7 --key ada
  eyot replay smooth.cap --with smooth.wasm

Captures are not kept anywhere else: what comes while the connection is cut is gone. After Ctrl-C the file has what came, \
and the gateway goes on to N.
Exit codes: 0 all came, 1 they did not, 2 bad usage or bad input.";

#[derive(Serialize)]
struct Captured<'a> {
    #[serde(flatten)]
    report: Report<'a>,
    out: String,
    captures: u32,
    bytes: u64,
}

/// What comes, into the file.
struct Sink {
    path: PathBuf,
    file: File,
    topic: String,
    last: Vec<u8>,
    captures: u32,
    bytes: u64,
}

impl Sink {
    fn create(args: &Args, topic: String) -> Result<Self, Error> {
        let path = args.out.clone();
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(|e| {
            Error::bad_input(path.display(), format_args!("cannot be made: {e}"), "choose another --out, or move it")
        })?;
        Ok(Self { path, file, topic, last: Vec::new(), captures: 0, bytes: 0 })
    }

    fn take(&mut self, message: &Message) -> Result<(), Error> {
        if message.topic != self.topic || self.last == message.payload {
            return Ok(());
        }
        if let Err(reason) = Capture::decode(&message.payload) {
            output::warning(&format!("{}: {reason}; it is left out", self.topic));
            return Ok(());
        }
        self.file.write_all(&message.payload).map_err(|e| {
            Error::failed(self.path.display(), format_args!("cannot be written: {e}"), "check the space on its disk")
        })?;
        self.last = message.payload.to_vec();
        self.captures += 1;
        self.bytes += message.payload.len() as u64;
        Ok(())
    }
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let Args { name, count, on_error, common, .. } = args;
    let command = |count| Command::Capture { function: name.clone(), count, on_error: *on_error };
    let mut order = Order::new(common, command(*count))?;
    if order.id.group().is_some() {
        return Err(Error::bad_input("--group", "a capture is of one gateway", "give --gateway"));
    }
    let topic = format!("eyot/{}/capture/{name}", order.id.as_str());
    let mut filters = order.filters();
    filters.push(topic.clone());
    let mut sink = Sink::create(args, topic)?;
    let result = super::super::run(async {
        let mut client = Client::connect(&common.connection, filters).await?;
        order.give(&mut client, common, |message| sink.take(&message)).await?;
        collect(args, &mut client, &mut sink).await?;
        if sink.captures < *count {
            // What nobody waits for any more is not to be captured.
            let end = Order::new(common, command(0))?;
            client.publish(format!("eyot/{}/command", end.id.as_str()), end.into_text(), false);
            let deadline = Instant::now() + common.connection.timeout;
            while client.unacknowledged() > 0 && client.next_before(deadline).await.is_some() {}
        }
        client.close().await;
        Ok(())
    });
    if sink.captures == 0 {
        // Nothing is in it; that it cannot be removed adds nothing.
        let _ = std::fs::remove_file(&sink.path);
    }
    if common.json {
        let out = sink.path.display().to_string();
        output::json(&Captured { report: order.report(), out, captures: sink.captures, bytes: sink.bytes })?;
    }
    let ended = result.and_then(|()| tell(args, &sink));
    ended.map_err(|error| if common.json { error.in_report() } else { error })
}

async fn collect(args: &Args, client: &mut Client, sink: &mut Sink) -> Result<(), Error> {
    let deadline = Instant::now() + args.within;
    let mut lost = false;
    while sink.captures < args.count {
        match client.next_before(deadline).await {
            None => return Ok(()),
            Some(Event::Message(message)) => sink.take(&message)?,
            Some(Event::Down(reason)) if !lost => {
                lost = true;
                output::warning(&format!("{}: {reason}; what is captured meanwhile is lost", client.url));
            }
            Some(Event::Up) => lost = false,
            Some(_) => {}
        }
    }
    Ok(())
}

fn tell(args: &Args, sink: &Sink) -> Result<(), Error> {
    if !args.common.json && sink.captures > 0 {
        let (path, captures, bytes) = (sink.path.display(), sink.captures, size(sink.bytes));
        output::print(&format!("{GOOD}{captures} captured{GOOD:#} in {path}, {bytes}\n"))?;
    }
    if sink.captures == args.count {
        return Ok(());
    }
    let reason = format!("{} of {} came in {}", sink.captures, args.count, humantime::format_duration(args.within));
    let remedy = "see `eyot status` whether it gets messages, and wait longer with --for";
    Err(Error::failed(&args.name, reason, remedy))
}
