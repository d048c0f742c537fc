//! Which gateways there are, and what they run: from what they left at the broker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::Error;
use crate::output;
use crate::remote::client::{Client, Event, Message};
use crate::remote::documents::{split, FunctionDocument, NodeDocument, Status};
use crate::remote::options::{Connection, Id};

/// Gateways that are remembered, at most.
pub const GATEWAYS_MAX: usize = 10_000;
/// Function documents of one gateway that are remembered, at most.
pub const DOCUMENTS_MAX: usize = 1_000;
/// Nodes of one gateway that are remembered, at most.
pub const NODES_MAX: usize = 256;
/// What a broker has retained is here when nothing came for so long, and for so many times as long as it took to connect.
const QUIET: Duration = Duration::from_millis(400);
const QUIET_ROUND_TRIPS: u32 = 3;

/// What one gateway said.
#[derive(Default)]
pub struct Seen {
    pub status: Option<Status>,
    /// The status as it came.
    pub document: Bytes,
    pub functions: BTreeMap<String, FunctionDocument>,
    pub nodes: BTreeMap<String, NodeDocument>,
}

impl Seen {
    pub fn is_online(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.online)
    }
}

/// All that was heard.
#[derive(Default)]
pub struct Roster {
    pub gateways: BTreeMap<String, Seen>,
    left_out: bool,
}

impl Roster {
    /// Takes in what a gateway said of itself; false if this is about something else.
    pub fn take(&mut self, message: &Message) -> bool {
        let Some((gateway, rest)) = split(&message.topic) else { return false };
        let one = |prefix| rest.strip_prefix(prefix).filter(|name: &&str| !name.contains('/'));
        let (function, node) = (one("function/"), one("node/"));
        if rest != "status" && function.is_none() && node.is_none() {
            return false;
        }
        let is_known = self.gateways.contains_key(gateway);
        if !is_known && (self.gateways.len() >= GATEWAYS_MAX || message.payload.is_empty()) {
            self.leave_out(!message.payload.is_empty());
            return true;
        }
        let seen = self.gateways.entry(gateway.to_owned()).or_default();
        if let Some(node) = node {
            match serde_json::from_slice(&message.payload) {
                Ok(document) if seen.nodes.len() < NODES_MAX || seen.nodes.contains_key(node) => {
                    drop(seen.nodes.insert(node.to_owned(), document));
                }
                _ => drop(seen.nodes.remove(node)),
            }
            return true;
        }
        match function {
            None => {
                seen.status = serde_json::from_slice(&message.payload).ok();
                seen.document = message.payload.clone();
            }
            Some(name) => match serde_json::from_slice(&message.payload) {
                Ok(document) if seen.functions.len() < DOCUMENTS_MAX || seen.functions.contains_key(name) => {
                    seen.functions.insert(name.to_owned(), document);
                }
                Ok(_) => self.leave_out(true),
                Err(_) => drop(seen.functions.remove(name)),
            },
        }
        true
    }

    fn leave_out(&mut self, is_too_much: bool) {
        if is_too_much && !std::mem::replace(&mut self.left_out, true) {
            output::warning(&format!(
                "more than {GATEWAYS_MAX} gateways, or {DOCUMENTS_MAX} functions of one, are at this broker; the rest is left out"
            ));
        }
    }

    /// The gateways that `id` means, as far as they are known.
    pub fn members<'a>(&'a self, id: &'a Id) -> impl Iterator<Item = (&'a str, &'a Seen)> + 'a {
        let all = self.gateways.iter().map(|(name, seen)| (name.as_str(), seen));
        all.filter(|(name, _)| self.is_member(id, name))
    }

    /// Whether a node behind a gateway is known not to be there.
    pub fn is_away(&self, gateway: &str, node: &str) -> bool {
        let node = self.gateways.get(gateway).and_then(|seen| seen.nodes.get(node));
        node.is_some_and(|node| !node.online)
    }

    /// Whether `id` means this gateway, as far as is known.
    pub fn is_member(&self, id: &Id, gateway: &str) -> bool {
        let Some(group) = id.group() else { return gateway == id.as_str() };
        let status = self.gateways.get(gateway).and_then(|seen| seen.status.as_ref());
        status.is_some_and(|status| status.groups.iter().any(|of| of == group))
    }
}

/// What the broker has retained, until that is all.
///
/// # Errors
/// The connection is lost and does not come back in time.
pub async fn gather(client: &mut Client, connection: &Connection) -> Result<Roster, Error> {
    gather_beside(client, connection, |_| {}).await
}

/// The same; what says nothing of a gateway is handed to `other`.
///
/// # Errors
/// As [`gather`].
pub async fn gather_beside(
    client: &mut Client,
    connection: &Connection,
    mut other: impl FnMut(&Message),
) -> Result<Roster, Error> {
    let mut roster = Roster::default();
    let quiet = QUIET.max(client.round_trip * QUIET_ROUND_TRIPS);
    let deadline = Instant::now() + connection.timeout;
    let mut is_up = true;
    loop {
        let until = if is_up { deadline.min(Instant::now() + quiet) } else { deadline };
        match client.next_before(until).await {
            None if is_up => return Ok(roster),
            None => return Err(client.unreachable("the connection is lost, and does not come back in time")),
            Some(Event::Up) => is_up = true,
            Some(Event::Down(_)) => is_up = false,
            Some(Event::Published { .. }) => {}
            Some(Event::Message(message)) => {
                let is_taken = roster.take(&message);
                // What comes of itself is no sign that there is more to come.
                if is_taken && !message.retained && is_up {
                    continue;
                }
                if !is_taken {
                    other(&message);
                }
            }
        }
        if Instant::now() >= deadline {
            return Ok(roster);
        }
    }
}

/// What the broker has retained on the one topic that is subscribed to; none if there is nothing, or nothing any more.
///
/// # Errors
/// The connection is lost and does not come back in time.
pub async fn retained(client: &mut Client, connection: &Connection) -> Result<Option<Bytes>, Error> {
    let quiet = QUIET.max(client.round_trip * QUIET_ROUND_TRIPS);
    let deadline = Instant::now() + connection.timeout;
    let mut until = deadline.min(Instant::now() + quiet);
    loop {
        match client.next_before(until).await {
            Some(Event::Message(message)) => return Ok(Some(message.payload).filter(|payload| !payload.is_empty())),
            Some(Event::Down(_)) => until = deadline,
            Some(Event::Up) => until = deadline.min(Instant::now() + quiet),
            Some(Event::Published { .. }) => {}
            None if until < deadline => return Ok(None),
            None => return Err(client.unreachable("the connection is lost, and does not come back in time")),
        }
    }
}

/// The gateway is nowhere to be seen.
pub fn unknown(id: &Id, url: &str) -> Error {
    let (thing, reason) = match id.group() {
        Some(group) => (format!("group {group}"), "no gateway at this broker says that it belongs to it"),
        None => (id.as_str().to_owned(), "no gateway of this id has ever reported at this broker"),
    };
    Error::failed(thing, reason, format!("check the name and --broker ({url}); `eyot list` shows those there are"))
}
