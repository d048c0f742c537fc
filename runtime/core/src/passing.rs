//! What of a record matters to the one stream that passes it, and which records it is to give up.

use eyot_spool::{Lsn, Reader};
use eyot_wire::record::Record;

use crate::ledger::bit;

/// A record as the ledger sees it when a stream is done with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passing {
    pub lsn: Lsn,
    /// Unix time its message arrived.
    pub received_at_ms: i64,
    /// Streams it has outputs in.
    pub mask: u32,
    /// Outputs in the stream at hand.
    pub outputs: u64,
    /// Their bytes: topics and payloads.
    pub bytes: u64,
    /// Number of the first of them, and the one after the last.
    pub first_seq: u64,
    pub end_seq: u64,
    /// It stands for a message, and that is not counted as dropped already.
    pub message_is_open: bool,
}

/// What the ledger must know of a record when `stream` passes it; none if the bytes are not a record.
pub(crate) fn survey(lsn: Lsn, body: &[u8], stream: u8) -> Option<Passing> {
    let record = Record::decode(body).ok()?;
    let mut passing = Passing {
        lsn,
        received_at_ms: record.received_at_ms,
        message_is_open: record.message_is_open(),
        ..Passing::default()
    };
    for output in record.outputs() {
        for route in output.routes() {
            passing.mask |= bit(route.stream);
            if route.stream == stream {
                if passing.outputs == 0 {
                    passing.first_seq = route.seq;
                }
                passing.outputs += 1;
                passing.bytes += output.bytes();
                passing.end_seq = route.seq + 1;
            }
        }
    }
    Some(passing)
}

/// The part of a backlog that is given up as soon as its turn comes.
pub(crate) struct Doom<F> {
    /// Records after this, and up to that.
    pub after: Lsn,
    pub until: Lsn,
    pub bytes: u64,
    pub reader: Reader<F>,
}
