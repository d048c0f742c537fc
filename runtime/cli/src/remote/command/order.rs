//! A command on its way: signed once, sent until it is answered, followed once.
//!
//! The nonce makes it safe to send again: a gateway that has followed it says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use eyot_trust::command::seal;
use eyot_trust::limits::ORDER_VALID_MAX_S;
use eyot_trust::policy::unix_s;
use eyot_wire::control::{self, OrderReport, Repeated};
use eyot_wire::manifest::is_name;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use super::Common;
use crate::error::Error;
use crate::output::{self, shown, BAD, GOOD, LABEL};
use crate::remote::client::{Client, Event, Message};
use crate::remote::documents::{split, Status};
use crate::remote::options::{self, Id};
use crate::remote::roster::{gather, unknown, Roster, GATEWAYS_MAX};

/// Random bytes in a nonce.
const NONCE_BYTES: usize = 12;
/// A gateway that has not answered for so long is sent it again; then after twice as long.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What a gateway answered.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    gateway: String,
    /// `sent`, `offline`, `waiting`, `done` or `refused`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Answer {
    fn new(gateway: &str, state: &'static str) -> Self {
        Self { gateway: gateway.to_owned(), state, reason: None }
    }

    fn is_final(&self) -> bool {
        matches!(self.state, "done" | "refused")
    }

    fn text(&self) -> String {
        let style = match self.state {
            "done" => GOOD,
            "refused" => BAD,
            _ => LABEL,
        };
        let reason = self.reason.as_ref().map(|reason| format!(": {}", shown(reason.as_bytes()))).unwrap_or_default();
        format!("{}: {style}{}{style:#}{reason}", shown(self.gateway.as_bytes()), self.state)
    }
}

/// The outcome as JSON.
#[derive(Serialize)]
pub struct Report<'a> {
    pub command: &'a str,
    pub function: &'a str,
    pub nonce: &'a str,
    pub answers: Vec<&'a Answer>,
}

/// One command, signed.
pub struct Order {
    pub id: Id,
    pub word: &'static str,
    pub function: String,
    pub nonce: String,
    text: Bytes,
    json: bool,
    answers: BTreeMap<String, Answer>,
}

impl Order {
    /// Signs `command`.
    ///
    /// # Errors
    /// There is no key, or no gateway would take it.
    pub fn new(common: &Common, command: control::Command) -> Result<Self, Error> {
        let id = common.target.id()?;
        let (word, function) = (command.word(), command.function().to_owned());
        if !is_name(&function) && !matches!(command, control::Command::Update(_)) {
            let thing = format!("name \"{}\"", shown(function.as_bytes()));
            return Err(Error::bad_input(thing, "no function can be called so", "see `eyot list` for their names"));
        }
        let signer = options::signer(common.key.as_deref())?.ok_or_else(|| {
            Error::bad_input(word, "a command is signed, and no key is named", "give --key FILE, or set EYOT_KEY")
        })?;
        let valid_s = common.expires.as_secs();
        if !(1..=ORDER_VALID_MAX_S).contains(&valid_s) {
            return Err(Error::bad_input("--expires", "is not between 1s and 30days", "give another time"));
        }
        let mut nonce = [0; NONCE_BYTES];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| Error::failed("random numbers", "the system gives none", "check /dev/urandom"))?;
        let nonce = hex::encode(nonce);
        let expires = unix_s(SystemTime::now()).saturating_add(valid_s);
        let order = control::Order { gateway: id.as_str().to_owned(), nonce: nonce.clone(), expires, command };
        let text = seal(&signer, &order).map_err(|e| Error::unusable(word, e))?;
        Ok(Self { id, word, function, nonce, text: text.into(), json: common.json, answers: BTreeMap::new() })
    }

    /// The signed text, to be sent without waiting for an answer.
    pub fn into_text(self) -> Bytes {
        self.text
    }

    /// What has to be subscribed to.
    pub fn filters(&self) -> Vec<String> {
        let from = self.id.from();
        vec![format!("eyot/{from}/status"), format!("eyot/{from}/command/{}", self.nonce)]
    }

    /// Sends it and waits for the answers of all gateways that are online; what is no answer is handed to `other`. Who is
    /// there, as it was before.
    ///
    /// # Errors
    /// There is no such gateway, or one does not answer, or refuses it.
    pub async fn give(
        &mut self,
        client: &mut Client,
        common: &Common,
        mut other: impl FnMut(Message) -> Result<(), Error>,
    ) -> Result<Roster, Error> {
        let roster = gather(client, &common.connection).await?;
        let is_known = roster.members(&self.id).next().is_some();
        if !is_known && !client.is_refused(&format!("eyot/{}/status", self.id.from())) {
            return Err(unknown(&self.id, &client.url));
        }
        if self.id.group().is_none() {
            self.answers.insert(self.id.as_str().to_owned(), Answer::new(self.id.as_str(), "sent"));
        }
        for (name, seen) in roster.members(&self.id) {
            if seen.status.as_ref().is_some_and(|status| status.online && !status.has_clock()) {
                output::warning(&format!("{name}: its clock is not set, and commands expire: it refuses them"));
            }
            let state = if seen.is_online() { "sent" } else { "offline" };
            self.answers.insert(name.to_owned(), Answer::new(name, state));
            if !seen.is_online() {
                let valid = humantime::format_duration(common.expires);
                output::note(&format!("{name} is offline; it follows the command if it is back in {valid}"));
            }
        }
        self.wait(client, common, &mut other).await?;
        self.verdict().map(|()| roster)
    }

    async fn wait(
        &mut self,
        client: &mut Client,
        common: &Common,
        other: &mut impl FnMut(Message) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let topic = format!("eyot/{}/command", self.id.as_str());
        client.publish(topic.clone(), self.text.clone(), false);
        let deadline = Instant::now() + common.connection.timeout;
        let (mut again_after, mut again_at) = (AGAIN_AFTER, Instant::now() + AGAIN_AFTER);
        let mut lost: Option<String> = None;
        while !self.is_done(client) {
            match client.next_before(again_at.min(deadline)).await {
                Some(Event::Message(message)) => match self.take(&message)? {
                    true => {}
                    false => other(message)?,
                },
                Some(Event::Published { accepted: true }) => {}
                Some(Event::Published { accepted: false }) => {
                    let reason = format!("the broker refuses a message on {topic}");
                    return Err(Error::failed(&client.url, reason, "check that this client may publish there"));
                }
                // An answer may have come while we were away.
                Some(Event::Up) if lost.is_some() => {
                    (lost, again_at) = (None, Instant::now());
                }
                Some(Event::Up) => {}
                Some(Event::Down(reason)) => lost = Some(reason),
                None if Instant::now() >= deadline => {
                    return Err(lost.map_or_else(|| self.unanswered(common), |reason| client.unreachable(&reason)));
                }
                None => {}
            }
            if Instant::now() >= again_at && lost.is_none() {
                if client.unacknowledged() == 0 {
                    client.publish(topic.clone(), self.text.clone(), false);
                }
                again_after *= 2;
                again_at = Instant::now() + again_after;
            } else if lost.is_some() {
                again_at = deadline;
            }
        }
        Ok(())
    }

    /// Of a group, those that are offline are not waited for.
    fn is_done(&self, client: &Client) -> bool {
        let is_group = self.id.group().is_some();
        let mut awaited = self.answers.values().filter(|answer| !is_group || answer.state != "offline");
        client.unacknowledged() == 0 && awaited.all(Answer::is_final)
    }

    /// Takes in an answer; false if this is none.
    fn take(&mut self, message: &Message) -> Result<bool, Error> {
        let Some((gateway, rest)) = split(&message.topic) else { return Ok(false) };
        if rest == "status" {
            let is_online = serde_json::from_slice::<Status>(&message.payload).is_ok_and(|status| status.online);
            if let Some(answer) = self.answers.get_mut(gateway).filter(|a| is_online && a.state == "offline") {
                answer.state = "sent";
            }
            return Ok(true);
        }
        if rest.strip_prefix("command/") != Some(self.nonce.as_str()) {
            return Ok(false);
        }
        let Ok(report) = serde_json::from_slice::<OrderReport>(&message.payload) else { return Ok(true) };
        let is_meant = self.id.group().is_some() || gateway == self.id.as_str();
        if !is_meant || self.answers.len() >= GATEWAYS_MAX && !self.answers.contains_key(gateway) {
            return Ok(true);
        }
        let answer = self.answers.entry(gateway.to_owned()).or_insert_with(|| Answer::new(gateway, "sent"));
        if answer.is_final() {
            return Ok(true);
        }
        (answer.state, answer.reason) = match report.repeated {
            // We sent it again, and nobody else has this nonce.
            Some(Repeated::Done) => ("done", None),
            Some(Repeated::Waiting) => ("waiting", None),
            None if report.done => ("done", None),
            None => ("refused", report.reason),
        };
        // The error says so where there is no other answer.
        let is_told = answer.state == "done" || answer.is_final() && self.id.group().is_some();
        let text = is_told.then(|| answer.text());
        match text.filter(|_| !self.json) {
            Some(text) => output::print(&format!("{text}\n")).map(|()| true),
            None => Ok(true),
        }
    }

    /// For `--json`.
    pub fn report(&self) -> Report<'_> {
        let Self { word, function, nonce, answers, .. } = self;
        Report { command: word, function, nonce, answers: answers.values().collect() }
    }

    fn verdict(&self) -> Result<(), Error> {
        // A system, and a node's program, have no name.
        let what = [self.word, &self.function].join(" ");
        let what = what.trim_end();
        let refused: Vec<&Answer> = self.answers.values().filter(|answer| answer.state == "refused").collect();
        match refused.as_slice() {
            [] if self.answers.values().all(|answer| answer.state == "offline") => {
                Err(Error::failed(what, "no gateway it is for is online", "give it again when they are back"))
            }
            [] => Ok(()),
            [one] if self.answers.len() == 1 => {
                let reason = one.reason.as_deref().unwrap_or("it does not say why; see its log");
                Err(Error::rejected(
                    shown(one.gateway.as_bytes()),
                    format_args!("{what}: {}", shown(reason.as_bytes())),
                ))
            }
            refused => {
                let reason = format!("{} of {} gateways refuse it", refused.len(), self.answers.len());
                Err(Error::failed(what, reason, "each says above why"))
            }
        }
    }

    fn unanswered(&self, common: &Common) -> Error {
        let waits = |answer: &&Answer| !answer.is_final();
        let names: Vec<String> = self.answers.values().filter(waits).map(Answer::text).collect();
        let reason = format!("no answer in {}", humantime::format_duration(common.connection.timeout));
        let valid = humantime::format_duration(common.expires);
        let remedy = format!(
            "see `eyot status`; the command can still be followed until it expires, {valid} after it was given"
        );
        Error::failed(names.join(", "), reason, remedy)
    }
}
