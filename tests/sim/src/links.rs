//! What goes to and fro between the gateway and its brokers.

use eyot_core::io::{Input, LinkId, Publish};

use crate::broker::{Published, DOWN};
use crate::faults::strikes;
use crate::gateway::Outside;
use crate::world::{World, BACKLOG_MAX};

/// Where the first cloud is among all that outputs go to.
const CLOUD: usize = 1;
/// Messages the edge keeps that the machine does not accept yet.
const INBOX_MAX: usize = 100;
/// Most bytes in flight on a link: small enough to be reached.
const INFLIGHT_MAX_BYTES: u64 = 512;

impl World {
    pub(crate) fn connect(&mut self) {
        let now_ms = self.ms();
        let Some(gateway) = &mut self.gateway else { return };
        if self.intake.is_none() && now_ms >= self.intake_down_until_ms {
            self.next_conn += 1;
            self.intake = Some(self.next_conn);
            // What the machine did not take in its last connection died with it.
            gateway.inbox.clear();
            let up = link_up(LinkId::INTAKE, self.next_conn);
            gateway.handle(self.now, up, 1);
        }
        for cloud in &mut self.clouds {
            if cloud.conn.is_none() && now_ms >= cloud.down_until_ms {
                self.next_conn += 1;
                cloud.conn = Some(self.next_conn);
                let up = link_up(cloud.link, self.next_conn);
                gateway.handle(self.now, up, 1);
            }
        }
    }

    pub(crate) fn deliver(&mut self) {
        if self.intake_dead_until_ms.is_some() {
            return;
        }
        for _ in 0..self.rng.u32(1..200) {
            let sync_ms = 1 + self.sync_ms();
            let (Some(gateway), Some(conn)) = (&mut self.gateway, self.intake) else { return };
            let is_full = gateway.inbox.len() >= INBOX_MAX;
            if is_full && self.broker.next_qos() != Some(0) {
                break;
            }
            let Some(message) = self.broker.deliver(conn) else { break };
            if is_full {
                gateway.handle(self.now, Input::IntakeDropped { messages: 1 }, sync_ms);
            } else {
                gateway.inbox.push_back(message);
                gateway.take_in(self.now, sync_ms);
            }
        }
    }

    /// What comes down from the cloud.
    pub(crate) fn bring_down(&mut self) {
        let now_ms = self.ms();
        if self.down.is_due(now_ms) && self.downs.backlog() < BACKLOG_MAX {
            let number = &mut self.numbers[DOWN as usize];
            *number += 1;
            self.downs.publish(Published { topic: DOWN, number: *number, qos: 1, control: None });
        }
        let cloud = &self.clouds[CLOUD];
        let (link, conn) = (cloud.link, cloud.conn.filter(|_| cloud.dead_until_ms.is_none()));
        let (Some(gateway), Some(conn)) = (&mut self.gateway, conn) else { return };
        while self.downs.backlog() > 0 && gateway.core.accepts_messages() {
            let Some(message) = self.downs.deliver(conn) else { break };
            gateway.bring_down(self.now, link, &message, 1);
        }
    }

    /// Does what the machine asked for.
    pub(crate) fn carry_out(&mut self) {
        let now_ms = self.ms();
        let asked = self.operator.asked();
        let Some(gateway) = &mut self.gateway else { return };
        let dead = self.intake_dead_until_ms.is_some();
        for outside in gateway.outside() {
            match outside {
                Outside::Ack { link: LinkId::INTAKE, conn, packet_id } if self.intake == Some(conn) && !dead => {
                    self.broker.ack(packet_id);
                }
                Outside::Ack { link, conn, packet_id } if link == self.clouds[CLOUD].link => {
                    let cloud = &self.clouds[CLOUD];
                    if cloud.conn == Some(conn) && cloud.dead_until_ms.is_none() {
                        self.downs.ack(packet_id);
                    }
                }
                Outside::Ack { .. } => {}
                Outside::Notice(notice) => {
                    self.met.noticed(&notice);
                    self.checks.noticed(&notice, asked);
                }
                Outside::Taken(message) if message.topic.starts_with(b"eyot/") => {}
                Outside::Taken(message) => self.checks.taken(&self.scenario, &message.payload, self.now),
                Outside::TakenDown => self.checks.taken_down(),
                Outside::Publish(publish) if publish.link == LinkId::INTAKE => {
                    if self.intake == Some(publish.conn) && !dead {
                        let topic = std::str::from_utf8(&publish.topic).expect("topics are text");
                        self.operator.hear(topic, &publish.payload, now_ms);
                    }
                }
                Outside::Publish(publish) => {
                    self.checks.sent(&self.scenario, &publish, self.now);
                    let at_ms = now_ms + self.latency_ms();
                    if let Some(cloud) = self.clouds.iter_mut().find(|c| c.link == publish.link) {
                        cloud.send(publish, at_ms);
                    }
                }
            }
        }
    }

    /// A publish is there.
    pub(crate) fn see(&mut self, publish: &Publish) {
        self.checks.arrive(&self.scenario, publish, &self.numbers);
    }

    /// Publishes reach their brokers, answers reach the machine.
    pub(crate) fn arrive(&mut self) {
        let now_ms = self.ms();
        for index in 0..self.clouds.len() {
            for _ in 0..self.rng.u32(1..50) {
                let Some(publish) = self.clouds[index].receive(now_ms) else { break };
                let accepted = publish.stamp.is_none() || !strikes(&mut self.rng, self.faults.refuse_ppm);
                if accepted {
                    self.see(&publish);
                } else {
                    self.checks.refuse(&publish);
                    self.met.strike("refuse");
                }
                if strikes(&mut self.rng, self.faults.lost_answer_ppm) {
                    self.cut_cloud(index, now_ms + 1, false);
                    self.met.strike("lost-answer");
                    break;
                }
                let is_double = strikes(&mut self.rng, self.faults.double_answer_ppm);
                self.met.add("double-answer", u64::from(is_double));
                let times = 1 + u32::from(is_double);
                for _ in 0..if publish.token == 0 { 0 } else { times } {
                    let at_ms = now_ms + self.latency_ms();
                    self.clouds[index].answer(publish.token, accepted, at_ms);
                }
            }
            self.answer(index, now_ms);
        }
    }

    fn answer(&mut self, index: usize, now_ms: u64) {
        while let Some(answer) = self.clouds[index].answered(now_ms) {
            let sync_ms = self.sync_ms();
            let (link, conn) = (self.clouds[index].link, self.clouds[index].conn);
            let (Some(gateway), Some(conn)) = (&mut self.gateway, conn) else { continue };
            let input = Input::Published { link, conn, token: answer.token, accepted: answer.accepted };
            gateway.handle(self.now, input, sync_ms);
        }
    }
}

fn link_up(link: LinkId, conn: u64) -> Input {
    Input::LinkUp { link, conn, inflight_max: 65_535, inflight_max_bytes: INFLIGHT_MAX_BYTES }
}
