//! A push on its way: sent whole or in parts, what is missing sent again, and what gateways say of it taken in.
//!
//! Answers are not retained, and one that comes while the connection is cut is gone. What the function's topic says is
//! retained; and a gateway from which nothing is heard is sent all of it again, which changes nothing where it has it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eyot_wire::control::{PushReport, PushState, MISSING_MAX, PARTS_MAX};

use super::module::Module;
use super::outcome::Outcome;
use super::progress::Progress;
use crate::error::Error;
use crate::output::{shown, size};
use crate::remote::client::{Client, Event, Message};
use crate::remote::documents::{split, FunctionDocument, Status};
use crate::remote::options::Id;
use crate::remote::roster::{Roster, Seen, GATEWAYS_MAX};

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);
/// A gateway that has said nothing for so long is sent it again; then after twice as long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// What a packet has besides topic and payload, at most.
const PACKET_HEAD_BYTES: usize = 16;
/// What the topic of a part has besides that of the whole: `/<sha256>/<n>`.
const PART_TOPIC_BYTES: usize = 1 + 64 + 1 + 4;

/// How it is sent.
#[derive(Clone, Debug)]
pub struct How {
    /// The node behind the gateway that it is for; none if it is for the gateway itself.
    pub node: Option<String>,
    pub parts_bytes: Option<u64>,
    pub retain: bool,
    pub wait: bool,
    /// It is given up when nothing goes on for so long.
    pub silence: Duration,
}

/// It.
pub struct Delivery<'a> {
    id: &'a Id,
    module: &'a Module,
    how: How,
    /// None if it is sent whole.
    part_bytes: Option<usize>,
    outcomes: BTreeMap<String, Outcome>,
    /// What the function's topics said before.
    before: BTreeMap<String, FunctionDocument>,
    /// What is retained was taken back.
    is_taken_back: bool,
}

impl<'a> Delivery<'a> {
    /// To the gateways that are known, or may come.
    ///
    /// # Errors
    /// It does not go through this broker like this.
    pub fn new(id: &'a Id, module: &'a Module, roster: &Roster, how: &How, client: &mut Client) -> Result<Self, Error> {
        let part_bytes = part_bytes(id, module, how, client.packet_max_bytes())?;
        let mut outcomes = BTreeMap::new();
        if id.group().is_none() {
            outcomes.insert(id.as_str().to_owned(), Outcome::new(id.as_str(), "offline"));
        }
        for (name, seen) in roster.members(id) {
            outcomes.insert(name.to_owned(), Outcome::new(name, if seen.is_online() { "sent" } else { "offline" }));
        }
        let name = &module.manifest.name;
        let document = |seen: &Seen| match &how.node {
            None => seen.functions.get(name).cloned(),
            Some(node) => seen.nodes.get(node).and_then(|node| node.deployed.clone()),
        };
        let known = roster.gateways.iter().filter_map(|(gw, seen)| Some((gw.clone(), document(seen)?)));
        let before = known.collect();
        Ok(Self { id, module, how: how.clone(), part_bytes, outcomes, before, is_taken_back: false })
    }

    /// How many messages it is.
    pub fn parts(&self) -> usize {
        self.part_bytes.map_or(1, |bytes| self.module.wasm.len().div_ceil(bytes))
    }

    /// What became of it, by gateway.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.values()
    }

    /// Sends it, and goes on until it is where it should be.
    ///
    /// # Errors
    /// It does not get there.
    pub async fn run(&mut self, client: &mut Client, progress: &mut Progress) -> Result<(), Error> {
        self.send(client);
        let (mut heard, mut unsent) = (Instant::now(), client.unsent_bytes());
        let (mut again_at, mut again_after) = (heard + AGAIN_AFTER, AGAIN_AFTER);
        let mut lost: Option<String> = None;
        loop {
            let left = client.unsent_bytes();
            progress.sent(self.module.bytes().saturating_sub(left as u64));
            if self.is_done(client) {
                return self.tell_rest(progress);
            }
            let mut is_news = left < unsent;
            unsent = left;
            match client.next_before(Instant::now() + TICK).await {
                None => {}
                Some(Event::Published { accepted: true }) => is_news = true,
                Some(Event::Published { accepted: false }) => return Err(self.refused(client)),
                Some(Event::Message(message)) => is_news |= self.take(&message, client, progress)?,
                Some(Event::Up) if lost.is_some() => {
                    lost = None;
                    progress.note("connected again");
                }
                Some(Event::Up) => {}
                Some(Event::Down(reason)) => {
                    if lost.is_none() {
                        progress.note(&format!("{}: {reason}; trying again", client.url));
                    }
                    lost = Some(reason);
                }
            }
            let now = Instant::now();
            if is_news {
                heard = now;
                again_at = now + again_after;
            }
            if now >= again_at && lost.is_none() && client.unacknowledged() == 0 {
                self.send(client);
                again_after *= 2;
                again_at = now + again_after;
            }
            if now.duration_since(heard) >= self.how.silence {
                return Err(lost.map_or_else(|| self.unanswered(), |reason| client.unreachable(&reason)));
            }
        }
    }

    fn topic(&self, id: &str) -> String {
        topic(id, &self.how)
    }

    fn send(&self, client: &mut Client) {
        match self.part_bytes {
            None => client.publish(self.topic(self.id.as_str()), self.module.wasm.clone(), self.how.retain),
            Some(_) => self.send_parts(client, self.id.as_str(), 0..self.parts()),
        }
    }

    fn send_parts(&self, client: &mut Client, id: &str, numbers: impl IntoIterator<Item = usize>) {
        let Some(bytes) = self.part_bytes else { return };
        let wasm = &self.module.wasm;
        for number in numbers.into_iter().filter(|number| *number < self.parts()) {
            let start = number * bytes;
            let part = wasm.slice(start..wasm.len().min(start + bytes));
            client.publish(format!("{}/{}/{number}", self.topic(id), self.module.sha256), part, false);
        }
    }

    /// Takes in what a gateway says; false if that is nothing new.
    fn take(&mut self, message: &Message, client: &mut Client, progress: &mut Progress) -> Result<bool, Error> {
        let Some((gateway, rest)) = split(&message.topic) else { return Ok(false) };
        let gateway = gateway.to_owned();
        if rest == "status" {
            return Ok(self.take_status(&gateway, message));
        }
        let about = match &self.how.node {
            None => rest.split_once('/').map(|(kind, _)| kind),
            Some(node) => match rest.strip_prefix("node/").and_then(|rest| rest.strip_prefix(node.as_str())) {
                Some("") => Some("function"),
                Some(rest) => rest.strip_prefix('/').and_then(|rest| rest.split_once('/')).map(|(kind, _)| kind),
                None => None,
            },
        };
        let is_news = match about {
            Some("push") => {
                let Ok(report) = serde_json::from_slice::<PushReport>(&message.payload) else { return Ok(false) };
                self.answer(&gateway, &report, client);
                self.outcome(&gateway).is_some_and(|outcome| outcome.take_report(&report))
            }
            Some("function") => {
                let Ok(document) = serde_json::from_slice::<FunctionDocument>(&message.payload) else {
                    return Ok(false);
                };
                // What was so before is no answer, unless it is as good as one.
                let is_old = message.retained && self.before.get(&gateway) == Some(&document);
                let is_ours = document.sha256 == self.module.sha256 && (!is_old || document.state == "active");
                is_ours && self.outcome(&gateway).is_some_and(|outcome| outcome.take_document(&document))
            }
            _ => false,
        };
        if is_news {
            // The error says so where there is no other outcome.
            let is_told = |outcome: &&Outcome| self.id.group().is_some() || outcome.is_good() || !outcome.is_final();
            let text = self.outcomes.get(&gateway).filter(is_told).map(Outcome::text);
            text.map_or(Ok(()), |text| progress.tell(&text))?;
            self.take_back(client);
        }
        Ok(is_news)
    }

    /// A gateway that answers belongs to the group, whatever its status says.
    fn outcome(&mut self, gateway: &str) -> Option<&mut Outcome> {
        let is_meant = self.id.group().is_some() || gateway == self.id.as_str();
        if !is_meant || self.outcomes.len() >= GATEWAYS_MAX && !self.outcomes.contains_key(gateway) {
            return None;
        }
        Some(self.outcomes.entry(gateway.to_owned()).or_insert_with(|| Outcome::new(gateway, "sent")))
    }

    fn take_status(&mut self, gateway: &str, message: &Message) -> bool {
        let status = serde_json::from_slice::<Status>(&message.payload).ok();
        let Some(outcome) = self.outcomes.get_mut(gateway) else { return false };
        let is_back = status.is_some_and(|status| status.online) && outcome.state == "offline";
        if is_back {
            outcome.state = "sent".to_owned();
        }
        is_back
    }

    /// Sends what a gateway misses. While parts are under way to it, it is too early to tell.
    fn answer(&self, gateway: &str, report: &PushReport, client: &mut Client) {
        if report.state != PushState::Receiving || client.unacknowledged() > 0 {
            return;
        }
        let missing = report.missing.iter().map(|number| *number as usize);
        let rest = (report.next as usize..self.parts()).take(MISSING_MAX);
        self.send_parts(client, gateway, missing.chain(rest));
    }

    /// What was left for one gateway is of no more use when that has it: it would come again after each version that
    /// follows.
    fn take_back(&mut self, client: &mut Client) {
        let is_over = self.outcomes.values().all(Outcome::is_final);
        if self.how.retain && self.how.wait && self.id.group().is_none() && is_over && !self.is_taken_back {
            self.is_taken_back = true;
            client.publish(self.topic(self.id.as_str()), Bytes::new(), true);
        }
    }

    fn is_done(&self, client: &Client) -> bool {
        if client.unacknowledged() > 0 {
            return false;
        }
        let mut online = self.outcomes.values().filter(|outcome| outcome.state != "offline");
        match (self.how.wait, self.part_bytes) {
            (true, _) if self.id.group().is_none() => self.outcomes.values().all(Outcome::is_final),
            (true, _) => online.all(Outcome::is_final),
            // Parts can be asked for again.
            (false, Some(_)) => online.all(Outcome::is_received),
            (false, None) => true,
        }
    }

    /// Says of those that have said nothing what is known.
    fn tell_rest(&self, progress: &Progress) -> Result<(), Error> {
        for outcome in self.outcomes.values() {
            let text = match outcome.state.as_str() {
                "sent" => "sent",
                "offline" => "offline; it takes it when it is back",
                _ => continue,
            };
            progress.tell(&format!("{}: {text}", shown(outcome.gateway.as_bytes())))?;
        }
        Ok(())
    }

    /// Whether it is where it should be.
    ///
    /// # Errors
    /// It is not.
    pub fn verdict(&self) -> Result<(), Error> {
        let what = format!("{} {}", self.module.manifest.name, self.module.manifest.version);
        let is_bad = |outcome: &&Outcome| outcome.is_final() && !outcome.is_good();
        let bad: Vec<&Outcome> = self.outcomes.values().filter(is_bad).collect();
        match bad.as_slice() {
            [] if self.how.wait && self.outcomes.values().all(|outcome| outcome.state == "offline") => {
                Err(Error::failed(what, "no gateway it is for is online", "they take it when they are back"))
            }
            [] => Ok(()),
            [one] if self.outcomes.len() == 1 => {
                let reason = one.reason.as_deref().unwrap_or("it does not say why; see its log");
                Err(Error::rejected(
                    shown(one.gateway.as_bytes()),
                    format_args!("{what}, {}: {}", one.state, shown(reason.as_bytes())),
                ))
            }
            bad => {
                let reason = format!("{} of {} gateways do not run it", bad.len(), self.outcomes.len());
                Err(Error::failed(what, reason, "each says above why"))
            }
        }
    }

    fn unanswered(&self) -> Error {
        let waits = |outcome: &&Outcome| !outcome.is_final();
        let names: Vec<String> = self.outcomes.values().filter(waits).map(Outcome::text).collect();
        let reason = format!("nothing has gone on for {}", humantime::format_duration(self.how.silence));
        let remedy = "they may still take it: see `eyot status`, or wait longer with --timeout";
        Error::failed(names.join(", "), reason, remedy)
    }

    fn refused(&self, client: &Client) -> Error {
        Error::failed(
            &client.url,
            format_args!("the broker refuses a message on {}", self.topic(self.id.as_str())),
            "check that this client may publish there, and use smaller --parts if the broker's limit is lower",
        )
    }
}

/// Where it is sent as a whole, and below which in parts.
fn topic(id: &str, how: &How) -> String {
    match &how.node {
        None => format!("eyot/{id}/push"),
        Some(node) => format!("eyot/{id}/node/{node}/push"),
    }
}

/// How large parts are to be; none if it is sent whole.
fn part_bytes(id: &Id, module: &Module, how: &How, packet_max: Option<usize>) -> Result<Option<usize>, Error> {
    let packet_max = packet_max.unwrap_or(usize::MAX);
    let head = PACKET_HEAD_BYTES + topic(id.as_str(), how).len();
    let most = packet_max.saturating_sub(head + PART_TOPIC_BYTES);
    let bytes = match how.parts_bytes {
        None if module.wasm.len().saturating_add(head) <= packet_max => return Ok(None),
        None if how.retain => {
            let reason = format!("the broker takes at most {} in one message", size(packet_max as u64));
            return Err(Error::failed("--retain", reason, "only whole functions are retained; leave it out"));
        }
        None => most,
        Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX).min(module.wasm.len()),
    };
    if bytes == 0 || bytes > most {
        let reason = format!("parts of {} do not go through this broker", size(bytes as u64));
        return Err(Error::bad_input("--parts", reason, format!("give 1B to {}", size(most as u64))));
    }
    let count = module.wasm.len().div_ceil(bytes);
    if count > PARTS_MAX as usize {
        let reason = format!("{count} parts are more than {PARTS_MAX}, the most a gateway takes");
        return Err(Error::bad_input("--parts", reason, "give a larger size"));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::options::gateway;

    fn size_of_parts(bytes: usize, parts_bytes: Option<u64>, packet_max: Option<usize>) -> Option<Option<usize>> {
        let manifest = eyot_wire::manifest::Manifest::parse("name = \"f\"\nversion = \"1.0.0\"").unwrap();
        let module = Module { manifest, wasm: Bytes::from(vec![0; bytes]), sha256: "0".repeat(64) };
        let how = How { node: None, parts_bytes, retain: false, wait: false, silence: TICK };
        part_bytes(&gateway(Some("g")).unwrap(), &module, &how, packet_max).ok()
    }

    #[test]
    fn a_function_goes_whole_if_the_broker_takes_it_and_in_the_largest_parts_else() {
        assert_eq!(size_of_parts(1000, None, None), Some(None));
        assert_eq!(size_of_parts(1000, None, Some(1100)), Some(None));
        assert_eq!(size_of_parts(1000, None, Some(500)), Some(Some(500 - 27 - 70)));
        assert_eq!(size_of_parts(1000, Some(100), Some(500)), Some(Some(100)));
        assert_eq!(size_of_parts(1000, Some(5000), None), Some(Some(1000)));
        assert_eq!(size_of_parts(1000, Some(450), Some(500)), None, "too large for the broker");
        assert_eq!(size_of_parts(1000, Some(0), None), None);
        assert_eq!(size_of_parts(5000, Some(1), None), None, "too many");
        assert_eq!(size_of_parts(1000, None, Some(50)), None, "no room for anything");
    }
}
