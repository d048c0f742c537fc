//! `eyot update push`: a new system for a gateway that was flashed, or a new program for a node behind one.
//!
//! A signed command announces it by its SHA-256. Its bytes follow, in order; the gateway says after each part how many it has,
//! and goes on from there whatever happened in between.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Subcommand;
use eyot_gateway::node::{program, Module};
use eyot_image::system::{self, System};
use eyot_wire::control::Command;
use eyot_wire::manifest::parse_size;
use eyot_wire::system::{SystemUpdate, UpdateReport, UpdateState};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::command::order::Order;
use super::command::Common;
use super::push::progress::Progress;
use crate::error::Error;
use crate::output::{self, shown, size};
use crate::remote::client::{Client, Event, Message};
use crate::remote::documents::{split, Status, UpdateStatus};

/// Bytes of a part, unless the broker takes less.
const PART_BYTES: usize = 128 << 10;
/// What a packet has besides the part, at most: its topic, and a head.
const PACKET_HEAD_BYTES: usize = 256;
/// Parts under way that the gateway has not told of.
const WINDOW_PARTS: u64 = 8;
/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);
/// A gateway that has not told of anything new for so long is sent the rest again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Of its SHA-256, in place of a program's version.
const VERSION_DIGITS: usize = 12;
/// For writing it, starting anew, and being well: a trial takes five minutes at most.
const STARTS_WITHIN: Duration = Duration::from_secs(600);

/// Update the system of gateways that were flashed, and the programs of nodes.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Push(Push),
}

/// Push the system of an image to a gateway, or a program to a node, which starts it once and keeps it if it is well.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct Push {
    /// The image, made by `eyot image build` for the gateway's board, without its configuration; for a node its program, as it
    /// is linked or as its flash is to have it.
    image: PathBuf,
    /// The node behind the gateway whose program it is.
    #[arg(long, value_name = "ID", requires = "board")]
    node: Option<String>,
    /// The board that a program is for; `eyot boards` lists them.
    #[arg(long, value_name = "ID", requires = "node")]
    board: Option<String>,
    /// Waits until it runs there and is kept, or the one before is back.
    #[arg(long, short)]
    wait: bool,
    /// Sends it in parts of this size [default: 128KiB, or what the broker takes].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    parts: Option<u64>,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  eyot image build --board rpi-4b --out gateway.img
  eyot update push gateway.img --gateway barn-7 --key ada --wait
  eyot update push node-0.2.0 --node north --board mps2-an505 --gateway barn-7 --key ada --wait

The key is one of [trust] keys, or of a [[trust.key]] with \"update\" among its roles. An update that was cut off goes on \
where it was when it is pushed again.
Exit codes: 0 sent, and with --wait it runs and is kept, 1 it does not, 2 bad usage or bad input.";

impl Args {
    /// Whether standard output is JSON.
    pub fn json(&self) -> bool {
        let Action::Push(push) = &self.action;
        push.common.json
    }
}

#[derive(Serialize)]
struct Report<'a> {
    gateway: &'a str,
    #[serde(flatten)]
    update: &'a SystemUpdate,
    /// `receiving`, `verified`, `unchanged`, `rejected`; with `--wait` `confirmed`, `returned` or a node's `rejected`.
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Of a node's document.
#[derive(Deserialize)]
struct NodeUpdate {
    update: Option<UpdateStatus>,
}

/// It, on its way to one gateway.
struct Delivery<'a> {
    gateway: &'a str,
    update: SystemUpdate,
    bytes: Bytes,
    /// What the gateway said last.
    report: Option<UpdateReport>,
    /// What the system, or the node, said of its last update.
    last: Option<UpdateStatus>,
    uptime_s: u64,
    /// The node that it is for is not there.
    is_away: bool,
    /// What it says is of this update, and not of one before: it started anew since, or says another thing.
    is_new: bool,
}

pub fn execute(args: &Args) -> Result<(), Error> {
    let Action::Push(args) = &args.action;
    let (update, bytes) = read(args)?;
    let mut order = Order::new(&args.common, Command::Update(update.clone()))?;
    if order.id.group().is_some() {
        return Err(Error::bad_input("--group", "a system is updated on one gateway at a time", "give --gateway"));
    }
    let gateway = order.id.as_str().to_owned();
    let mut filters = order.filters();
    filters.push(format!("eyot/{gateway}/update/{}", update.sha256));
    filters.extend(update.node.iter().map(|node| format!("eyot/{gateway}/node/{node}")));
    let mut delivery = Delivery {
        gateway: &gateway,
        update,
        bytes,
        report: None,
        last: None,
        uptime_s: 0,
        is_away: false,
        is_new: false,
    };
    if !args.common.json {
        let SystemUpdate { board, version, sha256, bytes, .. } = &delivery.update;
        output::print(&format!("{version} for {board}  {}  sha256 {sha256}\n", size(*bytes)))?;
    }
    let progress = Progress::new(delivery.update.bytes, args.common.json);
    let ended = super::run(async {
        let mut client = Client::connect(&args.common.connection, filters).await?;
        let heard = order.give(&mut client, &args.common, |message| {
            delivery.take(&message);
            Ok(())
        });
        let roster = heard.await?;
        delivery.is_away = delivery.update.node.as_ref().is_some_and(|node| roster.is_away(&gateway, node));
        delivery.run(args, &mut client, &progress).await?;
        client.close().await;
        Ok(())
    });
    progress.finish();
    if args.common.json {
        let (state, reason) = delivery.outcome();
        output::json(&Report { gateway: &gateway, update: &delivery.update, state, reason })?;
    }
    ended.map_err(|error| if args.common.json { error.in_report() } else { error })
}

/// The system in an image, or a program, and what it is.
fn read(args: &Push) -> Result<(SystemUpdate, Bytes), Error> {
    let failed = |error| Error::image(&error);
    if let (Some(node), Some(board)) = (&args.node, &args.board) {
        let Module { bytes, sha256 } = program::load(&args.image)
            .map_err(|reason| Error::bad_input("the program", reason, "give another file"))?;
        let sha256 = hex::encode(sha256);
        // What it calls itself only the node can say.
        let version = sha256.get(..VERSION_DIGITS).unwrap_or_default().to_owned();
        let (node, board) = (Some(node.clone()), board.clone());
        return Ok((SystemUpdate { node, board, version, sha256, bytes: bytes.len() as u64 }, bytes));
    }
    let System { board, version, .. } = system::describe(&args.image).map_err(failed)?;
    let bytes = system::read(&args.image).map_err(failed)?;
    let sha256 = hex::encode(Sha256::digest(&bytes));
    Ok((SystemUpdate { node: None, board, version, sha256, bytes: bytes.len() as u64 }, bytes.into()))
}

impl Delivery<'_> {
    async fn run(&mut self, args: &Push, client: &mut Client, progress: &Progress) -> Result<(), Error> {
        let before = self.there().cloned();
        self.send(args, client, progress).await?;
        let (what, next) = match &self.update.node {
            Some(node) if self.is_away => (node.clone(), format!("sends it to {node} when that is back")),
            Some(node) => (node.clone(), format!("sends it to {node}")),
            None => (self.gateway.to_owned(), "starts anew with it".to_owned()),
        };
        if !args.wait {
            return progress.tell(&format!("{}: it has all of it, and {next}", self.gateway));
        }
        progress.tell(&format!("{}: it has all of it, and {next}; waiting for {what} to be well", self.gateway))?;
        let deadline = Instant::now() + STARTS_WITHIN;
        let is_unchanged = self.report.as_ref().is_some_and(|report| report.state == UpdateState::Unchanged);
        loop {
            // What was so before this push is no answer, unless it changes nothing.
            self.is_new |= is_unchanged || self.there() != before.as_ref();
            match self.there().filter(|_| self.is_new) {
                Some(update) if update.state == "confirmed" => {
                    return progress.tell(&format!("{what}: it runs {}, and keeps it", self.update.version));
                }
                Some(update) if update.state == "returned" || update.state == "rejected" => {
                    let reason = format!("what was before stays: {}", shown(update.reason.as_bytes()));
                    return Err(Error::failed(what, reason, "see its log, and push one that is well there"));
                }
                _ => {}
            }
            match client.next_before(deadline).await {
                None => {
                    let reason = format!("is not well in {}", humantime::format_duration(STARTS_WITHIN));
                    return Err(Error::failed(self.gateway, reason, "see `eyot status` later, or look at the box"));
                }
                Some(Event::Message(message)) => self.take(&message),
                Some(_) => {}
            }
        }
    }

    /// Sends it, until the gateway has verified it.
    async fn send(&mut self, args: &Push, client: &mut Client, progress: &Progress) -> Result<(), Error> {
        let part = self.part_bytes(args, client)?;
        let silence = args.common.connection.timeout;
        let (mut sent, mut told, mut lost) = (0, None, None);
        let (mut heard, mut again_at) = (Instant::now(), Instant::now() + AGAIN_AFTER);
        loop {
            match self.report.as_ref().map(|report| report.state) {
                Some(UpdateState::Verified | UpdateState::Unchanged) => return Ok(()),
                Some(UpdateState::Rejected) => return Err(self.rejected()),
                Some(UpdateState::Receiving) | None => {}
            }
            let now = Instant::now();
            let here = self.report.as_ref().map(|report| report.bytes);
            if here != told {
                (told, heard, again_at) = (here, now, now + AGAIN_AFTER);
                progress.sent(here.unwrap_or(0));
            }
            if let Some(here) = here {
                if now >= again_at && client.unacknowledged() == 0 {
                    (sent, again_at) = (here, now + AGAIN_AFTER);
                }
                sent = sent.max(here);
                while sent < self.update.bytes && sent < here + WINDOW_PARTS * part as u64 {
                    sent = self.publish(client, sent, part);
                }
            }
            if now.duration_since(heard) >= silence {
                let reason = format!("nothing has gone on for {}", humantime::format_duration(silence));
                let error = Error::failed(self.gateway, reason, "push it again, which goes on where it was");
                return Err(lost.map_or(error, |reason: String| client.unreachable(&reason)));
            }
            match client.next_before(now + TICK).await {
                Some(Event::Message(message)) => self.take(&message),
                Some(Event::Published { accepted: false }) => {
                    let remedy = "check that this client may publish there, and use smaller --parts";
                    return Err(Error::failed(&client.url, "the broker refuses a part of it", remedy));
                }
                Some(Event::Down(reason)) => lost = Some(reason),
                Some(Event::Up) => lost = None,
                Some(Event::Published { accepted: true }) | None => {}
            }
        }
    }

    /// Sends the part that begins at `offset`; where the next one begins.
    fn publish(&self, client: &mut Client, offset: u64, part: usize) -> u64 {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let end = self.bytes.len().min(start.saturating_add(part));
        let topic = format!("eyot/{}/update/{}/{offset}", self.gateway, self.update.sha256);
        client.publish(topic, self.bytes.slice(start..end), false);
        end as u64
    }

    fn part_bytes(&self, args: &Push, client: &Client) -> Result<usize, Error> {
        let most = client.packet_max_bytes().unwrap_or(usize::MAX).saturating_sub(PACKET_HEAD_BYTES);
        match args.parts.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)) {
            None if most > 0 => Ok(PART_BYTES.min(most)),
            Some(bytes) if (1..=most.min(system::PART_MAX_BYTES)).contains(&bytes) => Ok(bytes),
            _ => {
                let reason = format!("is not between 1 and {}", size(most.min(system::PART_MAX_BYTES) as u64));
                Err(Error::bad_input("--parts", reason, "give another size"))
            }
        }
    }

    fn take(&mut self, message: &Message) {
        let Some((gateway, rest)) = split(&message.topic) else { return };
        if gateway != self.gateway {
            return;
        }
        if rest == "status" && self.update.node.is_none() {
            let Ok(status) = serde_json::from_slice::<Status>(&message.payload) else { return };
            let uptime_s = status.uptime_s.unwrap_or(0);
            self.is_new |= !status.online || uptime_s < self.uptime_s;
            self.uptime_s = uptime_s;
            self.last = status.system.and_then(|system| system.update).or(self.last.take());
        } else if self.update.node.as_deref().is_some_and(|node| rest.strip_prefix("node/") == Some(node)) {
            let Ok(node) = serde_json::from_slice::<NodeUpdate>(&message.payload) else { return };
            self.last = node.update.or(self.last.take());
        } else if rest.strip_prefix("update/") == Some(self.update.sha256.as_str()) {
            self.report = serde_json::from_slice(&message.payload).ok().or(self.report.take());
        }
    }

    /// What the gateway's system, or the node, says of this update.
    fn there(&self) -> Option<&UpdateStatus> {
        self.last.as_ref().filter(|update| update.sha256 == self.update.sha256)
    }

    fn rejected(&self) -> Error {
        let reason = self.report.as_ref().and_then(|report| report.reason.as_deref());
        Error::rejected(self.gateway, shown(reason.unwrap_or("it does not say why; see its log").as_bytes()))
    }

    /// What became of it.
    fn outcome(&self) -> (&str, Option<&str>) {
        if let Some(update) = self.there().filter(|_| self.is_new) {
            return (&update.state, (!update.reason.is_empty()).then_some(update.reason.as_str()));
        }
        let reason = self.report.as_ref().and_then(|report| report.reason.as_deref());
        let state = match self.report.as_ref().map(|report| report.state) {
            None => "refused",
            Some(UpdateState::Receiving) => "receiving",
            Some(UpdateState::Verified) => "verified",
            Some(UpdateState::Unchanged) => "unchanged",
            Some(UpdateState::Rejected) => "rejected",
        };
        (state, reason)
    }
}
