//! Updates of the system, from what eyotd has left to the start that confirms them or takes them back.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use crate::card::Card;
use crate::trial::{other, State, Step, Trial, Update, Verdict};
use crate::{say, slot, Message};

/// The two systems of this card.
#[derive(Debug)]
pub struct Systems {
    card: Card,
    last: Option<Update>,
    trial: Option<Trial>,
    is_installing: bool,
    /// The box is to start anew, with the other one.
    is_over: bool,
}

impl Systems {
    /// Looks at which one was started. None if it is the wrong one: the box is to start anew.
    pub fn begin(card: Card, now: Duration) -> Option<Self> {
        let mut systems = Self { card, last: slot::last_update(), trial: None, is_installing: false, is_over: false };
        let started = slot::started();
        if let Some(last) = &mut systems.last {
            let before = last.state.clone();
            let step = last.begin(started, slot::is_tried_once());
            if last.state != before {
                keep(last);
            }
            match step {
                Step::Run => {}
                Step::Try => {
                    say!("system {} is on trial", last.version);
                    systems.trial = Some(Trial::new(now));
                }
                Step::Switch(slot) if switch(slot) => return None,
                Step::Switch(_) => {}
            }
        }
        slot::tell(systems.last.as_ref());
        Some(systems)
    }

    /// eyotd says whether it is connected.
    pub fn connected(&mut self, now: Duration, is_connected: bool) {
        if let Some(trial) = &mut self.trial {
            trial.connected(now, is_connected);
        }
    }

    /// eyotd has ended, as it should not.
    pub fn daemon_ended(&mut self, how: &str) {
        if self.trial.is_some() {
            self.take_back(format!("eyotd ended: {how}"));
        }
    }

    /// There may be a new system; it is written on a thread of its own, and [`installed`](Self::installed) is for what comes.
    pub fn install(&mut self, messages: &Sender<Message>) {
        // On trial, the slot that is not in use has the way back.
        if self.is_installing || self.trial.is_some() || !slot::is_staged() {
            return;
        }
        self.is_installing = true;
        say!("a new system is written to partition {}", other(slot::started()));
        let (card, messages) = (self.card.clone(), messages.clone());
        thread::spawn(move || messages.send(Message::Installed(slot::install(&card))));
    }

    /// It is written, or not.
    pub fn installed(&mut self, result: io::Result<Update>) {
        self.is_installing = false;
        match result {
            Ok(update) => {
                match &update.state {
                    State::Returned(reason) => say!("system {} is not started: {reason}", update.version),
                    _ => say!("system {} is started next", update.version),
                }
                self.is_over = update.state == State::Written;
                self.last = Some(update);
                slot::tell(self.last.as_ref());
            }
            Err(error) => say!("the new system cannot be read: {error}"),
        }
    }

    /// Whether the box is to start anew.
    pub fn look(&mut self, now: Duration) -> bool {
        match self.trial.and_then(|trial| trial.verdict(now)) {
            Some(Verdict::Well) => self.confirm(),
            Some(Verdict::Unwell(reason)) => self.take_back(reason.to_owned()),
            None => {}
        }
        std::mem::take(&mut self.is_over)
    }

    /// When to look again, if something is awaited.
    pub fn deadline(&self) -> Option<Duration> {
        self.trial.map(|trial| trial.deadline())
    }

    fn confirm(&mut self) {
        self.trial = None;
        let Some(last) = &mut self.last else { return };
        // The boot loader first: who lost power in between was well all the same.
        if let Err(error) = slot::switch(last.slot) {
            return self.take_back(format!("it could not be made the one that is started: {error}"));
        }
        last.state = State::Confirmed;
        keep(last);
        say!("system {} is well, and stays", last.version);
        slot::tell(self.last.as_ref());
    }

    fn take_back(&mut self, reason: String) {
        self.trial = None;
        let Some(last) = &mut self.last else { return };
        say!("system {} is taken back: {reason}", last.version);
        last.state = State::Returned(reason);
        keep(last);
        self.is_over = switch(other(last.slot));
    }
}

fn keep(update: &Update) {
    if let Err(error) = slot::keep(update) {
        say!("what becomes of the new system is not kept: {error}");
    }
}

/// Whether it is done.
fn switch(slot: u8) -> bool {
    match slot::switch(slot) {
        Ok(()) => {
            say!("the system on partition {slot} is started next");
            true
        }
        Err(error) => {
            say!("the system on partition {slot} cannot be started: {error}");
            false
        }
    }
}
