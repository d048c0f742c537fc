//! A node's own program on its way over the line: what is said of it, and what became of it. Without I/O.

use eyot_core::node::{UpdateReport, UpdateState};
use eyot_wire::link::{Install, ToNode};

use super::Module;

/// Times it is announced without any answer, two seconds apart, before it is given up: the node cannot take it. One that has
/// a new program on trial says nothing for ten.
pub const UNANSWERED_MAX: u32 = 20;
/// Times the node may start anew meanwhile: with it, and back, and for other reasons.
pub const STARTS_MAX: u32 = 4;

/// A program, and how far it is.
#[derive(Default)]
pub struct Renewal {
    program: Option<Module>,
    report: Option<UpdateReport>,
    unanswered: u32,
    starts: u32,
}

/// What follows from an answer.
pub enum Step<'a> {
    /// It asked for this.
    Say(ToNode<'a>),
    /// It is known what became of it.
    Ended,
    /// It asked for what is not there.
    Nothing,
}

impl Renewal {
    /// From now on this one is to come, or none.
    pub fn renew(&mut self, program: Option<Module>) {
        let report = |program: &Module| UpdateReport {
            sha256: hex::encode(program.sha256),
            state: UpdateState::Receiving,
            reason: None,
        };
        *self = Self { report: program.as_ref().map(report), program, ..Self::default() };
    }

    /// How far it is.
    pub fn report(&self) -> Option<&UpdateReport> {
        self.report.as_ref()
    }

    /// That on its way, if any.
    fn program(&self) -> Option<&Module> {
        let is_on_its_way = self.report.as_ref().is_some_and(|report| report.state == UpdateState::Receiving);
        self.program.as_ref().filter(|_| is_on_its_way)
    }

    /// What is to be said to a node that is there: that it comes, until that is answered.
    pub fn begin(&mut self) -> Option<ToNode<'static>> {
        let Module { sha256, bytes } = self.program()?;
        let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let begin = ToNode::BeginProgram { sha256: *sha256, bytes };
        self.unanswered += 1;
        if self.unanswered > UNANSWERED_MAX {
            self.reject("the node says nothing to it: its program cannot be renewed over the line; use a probe");
            return None;
        }
        Some(begin)
    }

    /// The node has started anew.
    pub fn node_started(&mut self) {
        self.starts += u32::from(self.program().is_some());
        if self.starts > STARTS_MAX {
            self.reject("the node started anew again and again while it came");
        }
    }

    /// The node said something of a module, or of this; none if it was not this.
    pub fn answered(&mut self, answer: &Install<'_>) -> Option<Step<'_>> {
        let (Install::Wants { sha256, .. } | Install::Done { sha256 } | Install::Refused { sha256, .. }) = answer
        else {
            return None;
        };
        self.program().filter(|program| program.sha256 == *sha256)?;
        self.unanswered = 0;
        match answer {
            Install::Wants { offset, .. } => {
                let chunk = self.program.as_ref().and_then(|program| program.chunk(*offset));
                Some(chunk.map_or(Step::Nothing, Step::Say))
            }
            Install::Refused { reason, .. } => {
                self.reject(reason);
                Some(Step::Ended)
            }
            _ => {
                self.end(UpdateState::Confirmed, None);
                Some(Step::Ended)
            }
        }
    }

    fn reject(&mut self, reason: &str) {
        self.end(UpdateState::Rejected, Some(reason.chars().take(super::peer::TEXT_MAX_CHARS).collect()));
    }

    fn end(&mut self, state: UpdateState, reason: Option<String>) {
        // Its bytes are of no use any more.
        self.program = None;
        if let Some(report) = &mut self.report {
            (report.state, report.reason) = (state, reason);
        }
    }
}
