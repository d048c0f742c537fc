//! What a stream has on its way.

use bytes::Bytes;
use eyot_wire::code::DropReason;

use crate::dead::Refused;
use crate::passing::Passing;

/// A publish that waits for its answer.
pub(crate) struct InFlight {
    /// The record is done with when this is; none if more outputs of the same record follow.
    pub closes: Option<Passing>,
    pub answer: Option<Answer>,
    /// What was sent, for the dead letter if it is refused; none of a record that was not sent.
    pub output: Option<Refused>,
}

/// What became of one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    Refused,
    /// Stands for all outputs of a record, none of which was sent.
    GivenUp(DropReason),
}

/// A record that is being sent.
pub(crate) struct Sending {
    pub body: Bytes,
    pub passing: Passing,
    pub next_output: usize,
}
