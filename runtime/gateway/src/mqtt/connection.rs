//! One connection of a [`Link`]: the turns it makes while it lasts.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use flume::TrySendError;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Sleep;
use tracing::{info, warn};

use super::link::*;
use super::queue::Full;
use super::session::Session;
use super::suspicion::Traffic;
use super::transport::{send, Io};
use super::{Event, Message, Publish};
use crate::envelope;

/// An event on its way into a full queue; false if nobody is left to take it.
type Held = Pin<Box<dyn Future<Output = bool> + Send>>;

/// One connection while it lasts.
pub(super) struct Connection<'a> {
    link: &'a mut Link,
    conn: u64,
    session: Session,
    input: BytesMut,
    reader: ReadHalf<Box<dyn Io>>,
    writer: WriteHalf<Box<dyn Io>>,
    /// An event that waits for room in the queue; until it is in, nothing more is read.
    held: Option<Held>,
    /// Messages on their way into the queue, for which there is room.
    messages: Vec<Message>,
    /// Answers on their way.
    answers: Vec<PublishAnswer>,
    unflushed: bool,
    /// Whether [`LinkEvent::Up`] was sent.
    pub told_up: bool,
    dropped: u64,
    /// Outputs that were answered.
    answered: u64,
    /// One output is sent at a time, until so many were answered.
    alone: Option<u64>,
    start: Instant,
    /// Set by [`Command::Finish`]: when to leave, answered or not.
    finish_by: Option<Instant>,
}

impl<'a> Connection<'a> {
    /// `alone` is how many outputs are to be sent one at a time, if any.
    pub fn new(link: &'a mut Link, conn: u64, io: Box<dyn Io>, alone: Option<u64>) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let mut session = Session::new(link.options.clone(), 0);
        let filters = link.filters();
        session.subscribe(&filters);
        if let Some(subscriptions) = &mut link.subscriptions {
            session.forget(subscriptions.begin(&filters));
        }
        Self {
            link,
            conn,
            session,
            input: BytesMut::new(),
            reader,
            writer,
            held: None,
            messages: Vec::new(),
            answers: Vec::new(),
            unflushed: false,
            told_up: false,
            dropped: 0,
            answered: 0,
            alone,
            start: Instant::now(),
            finish_by: None,
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub async fn run(&mut self, told: &mut String) -> Stop {
        let alarm = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(alarm);
        loop {
            let turn = self.turn(told, alarm.as_mut()).await;
            if let Err(stop) = turn {
                return stop;
            }
        }
    }

    /// Everything that can be done now, then one wait.
    async fn turn(&mut self, told: &mut String, mut alarm: Pin<&mut Sleep>) -> Result<(), Stop> {
        if self.link.reset.swap(false, Ordering::Relaxed) {
            return Err(Failure::Reset.into());
        }
        while self.session.output().len() < OUT_MAX_BYTES {
            match self.link.commands.try_recv() {
                Ok(command) => self.obey(command)?,
                Err(_) => break,
            }
        }
        self.pump(told)?;
        if self.alone.is_some_and(|outputs| self.answered >= outputs) {
            return Err(Failure::Cleared.into());
        }
        self.session.tick(self.now_us(), self.held.is_none())?;
        if self.has_left() {
            self.session.disconnect();
            // The goodbye is a courtesy; whoever does not take it finds the connection closed.
            let _ = tokio::time::timeout(FINISH_TIMEOUT, self.say_goodbye()).await;
            return Err(Stop::Finished);
        }
        self.arm(alarm.as_mut());
        self.wait(alarm).await
    }

    /// What was answered, and what was not.
    pub fn traffic(&self) -> Traffic {
        let unanswered = self.session.unanswered().count() as u64;
        Traffic { answered: self.answered, unanswered, first: self.session.unanswered().next() }
    }

    fn has_left(&self) -> bool {
        self.finish_by.is_some_and(|by| !self.session.is_up() || self.session.is_idle() || Instant::now() >= by)
    }

    async fn say_goodbye(&mut self) -> io::Result<()> {
        self.writer.write_all_buf(self.session.output()).await?;
        self.writer.shutdown().await
    }

    /// Moves the alarm only when it would come too late: an early alarm costs one idle turn, moving it on every turn
    /// costs more.
    fn arm(&self, mut alarm: Pin<&mut Sleep>) {
        let session = self.session.deadline_us().map(|us| self.start + Duration::from_micros(us));
        let report = (self.dropped > 0).then(|| Instant::now() + DROPPED_REPORT);
        if let Some(next) = [session, self.finish_by, report].into_iter().flatten().min() {
            let next = tokio::time::Instant::from_std(next);
            if alarm.is_elapsed() || next < alarm.deadline() {
                alarm.as_mut().reset(next);
            }
        }
    }

    async fn wait(&mut self, alarm: Pin<&mut Sleep>) -> Result<(), Stop> {
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        let reading = self.held.is_none();
        let out = self.session.output();
        // After the last command its sender may be gone, which is no reason to leave without a goodbye.
        let taking = out.len() < OUT_MAX_BYTES && self.finish_by.is_none();
        let pending = !out.is_empty();
        let mut ended = false;
        tokio::select! {
            written = send(&mut self.writer, out), if pending || self.unflushed => {
                written?;
                if out.is_empty() && out.capacity() > OUT_KEPT_BYTES {
                    *out = BytesMut::new();
                }
                self.unflushed = pending;
                if pending {
                    let now_us = self.now_us();
                    self.session.sent(now_us);
                }
            }
            read = self.reader.read_buf(&mut self.input), if reading => ended = read? == 0,
            taken = async { match self.held.as_mut() { Some(held) => held.await, None => true } }, if !reading => {
                self.held = None;
                if !taken {
                    return Err(Stop::Finished);
                }
                (self.link.events.wake)();
            }
            command = self.link.commands.recv(), if taking => match command {
                Some(command) => self.obey(command)?,
                None => return Err(Stop::Finished),
            },
            () = alarm => {}
        }
        if ended {
            return Err(self.eof().into());
        }
        Ok(())
    }

    fn eof(&self) -> Failure {
        Failure::Eof(if self.session.is_connecting() {
            ", before it answered CONNECT; it may not speak this protocol version or refuse this client"
        } else {
            ""
        })
    }

    fn obey(&mut self, command: Command) -> Result<(), Stop> {
        match command {
            Command::Ack { conn, packet_ids } if conn == self.conn => {
                packet_ids.into_iter().for_each(|packet_id| self.session.ack(packet_id));
            }
            // A broker may close on a control message, too, and then it would not be told which of the two it was.
            Command::Publish { publish, .. } if publish.token == 0 && self.alone.is_some() => {}
            Command::Publish { conn, mut publish } if conn == self.conn => {
                if let (true, Some(stamp)) = (self.link.envelope, publish.stamp) {
                    let gateway = &self.link.options.gateway;
                    publish.payload = envelope::wrap(gateway, stamp, &publish.topic, &publish.payload);
                }
                self.session.publish(publish)?;
            }
            Command::Ack { .. } | Command::Publish { .. } => {}
            Command::Subscribe => {
                let filters = self.link.filters();
                if let Some(subscriptions) = &mut self.link.subscriptions {
                    subscriptions.begin(&filters);
                }
                self.session.subscribe(&filters);
            }
            Command::Batch(commands) => {
                for command in commands {
                    self.obey(command)?;
                }
            }
            Command::Finish => {
                self.finish_by = Some(Instant::now() + FINISH_TIMEOUT);
                if let (true, Some((topic, payload))) = (self.session.is_up(), &self.link.options.will) {
                    let topic = Bytes::copy_from_slice(topic.as_bytes());
                    let payload = payload.clone();
                    let (token, retain, stamp, received_at_ms, wakes) = (0, true, None, 0, None);
                    self.session.publish(Publish { token, topic, payload, retain, stamp, received_at_ms, wakes })?;
                }
            }
        }
        Ok(())
    }

    /// Passes on events until one must wait or there are none.
    fn pump(&mut self, told: &mut String) -> Result<(), Stop> {
        let taken = self.take_events(told);
        // Also what came before an error.
        let passed = self.pass_gathered();
        let any = taken? | passed?;
        let reported = self.report_dropped();
        if any || reported {
            (self.link.events.wake)();
        }
        let refused = self.session.take_dropped();
        if refused > 0 {
            let link = &self.link.name;
            warn!(
                link,
                count = refused,
                "control messages dropped: the broker is slow to answer, or they are too large"
            );
        }
        Ok(())
    }

    /// Takes events out of what was read; messages and answers gather. True if others were passed on.
    fn take_events(&mut self, told: &mut String) -> Result<bool, Stop> {
        let now_us = self.now_us();
        let mut any = false;
        while self.held.is_none() {
            let Some(event) = self.session.next_event(now_us, &mut self.input)? else { break };
            match self.translate(event, told) {
                Passed::Message(message) => self.gather_message(message)?,
                Passed::Answer(answer) => {
                    self.answered += 1;
                    self.answers.push(answer);
                }
                Passed::Control(event) => {
                    any = true;
                    self.pass_control(event)?;
                }
                Passed::Nothing => {}
            }
        }
        Ok(any)
    }

    /// Passes on what has gathered, at most what was read at once; true if that was anything.
    fn pass_gathered(&mut self) -> Result<bool, Stop> {
        let mut any = false;
        if self.held.is_none() && !self.answers.is_empty() {
            any = true;
            let answers = std::mem::take(&mut self.answers);
            self.pass_control(LinkEvent::Published { conn: self.conn, answers })?;
        }
        Ok(self.pass_messages()? || any)
    }

    fn pass_messages(&mut self) -> Result<bool, Stop> {
        if self.messages.is_empty() {
            return Ok(false);
        }
        let next = Vec::with_capacity(self.messages.len());
        let messages = std::mem::replace(&mut self.messages, next);
        match self.link.events.messages.send(self.link.id, self.conn, messages) {
            true => Ok(true),
            false => Err(Stop::Finished),
        }
    }

    fn report_dropped(&mut self) -> bool {
        let report = (self.link.id, LinkEvent::Dropped { messages: self.dropped });
        let reported = self.dropped > 0 && self.link.events.control.try_send(report).is_ok();
        if reported {
            self.dropped = 0;
        }
        reported
    }

    fn gather_message(&mut self, message: Message) -> Result<(), Stop> {
        match self.link.events.messages.take_room(&message) {
            Ok(()) => self.messages.push(message),
            Err(Full) if message.qos == 0 => self.dropped += 1,
            Err(Full) => {
                // The room may depend on the answers before it.
                self.pass_gathered()?;
                let before = self.held.take();
                let (queue, link, conn) = (self.link.events.messages.clone(), self.link.id, self.conn);
                self.held = Some(Box::pin(async move {
                    let passed = match before {
                        Some(before) => before.await,
                        None => true,
                    };
                    passed && queue.await_room(&message).await && queue.send(link, conn, vec![message])
                }));
            }
        }
        Ok(())
    }

    fn pass_control(&mut self, event: LinkEvent) -> Result<(), Stop> {
        let queue = &self.link.events.control;
        match queue.try_send((self.link.id, event)) {
            Ok(()) => {}
            Err(TrySendError::Full(event)) => {
                let sending = queue.clone().into_send_async(event);
                self.held = Some(Box::pin(async { sending.await.is_ok() }));
            }
            Err(TrySendError::Disconnected(_)) => return Err(Stop::Finished),
        }
        Ok(())
    }

    fn translate(&mut self, event: Event, told: &mut String) -> Passed {
        let conn = self.conn;
        match event {
            Event::Up { session_present, inflight_max } => {
                let address = self.link.endpoint.address();
                info!(link = self.link.name, %address, session_present, "connected");
                told.clear();
                self.told_up = true;
                let inflight_max = if self.alone.is_some() { 1 } else { inflight_max };
                if let Some(subscriptions) = &mut self.link.subscriptions {
                    subscriptions.settle(self.session.filters());
                }
                Passed::Control(LinkEvent::Up { conn, inflight_max, inflight_max_bytes: INFLIGHT_MAX_BYTES })
            }
            Event::FilterRefused { filter, reason } => {
                let link = &self.link.name;
                warn!(link, %filter, %reason, "the broker refuses a subscription; allow this client to read it");
                Passed::Nothing
            }
            Event::Message(message) => Passed::Message(message),
            Event::Published { token, accepted } => Passed::Answer(PublishAnswer { token, accepted }),
        }
    }
}

/// Where an event goes.
enum Passed {
    Message(Message),
    Answer(PublishAnswer),
    Control(LinkEvent),
    Nothing,
}
