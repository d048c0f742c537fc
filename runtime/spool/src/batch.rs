//! Frames that wait for their commit, already in the form they will have on disk.

use crate::format::{
    checked_body, encode_frame, peek_frame, FrameHeader, SegmentHeader, KIND_CHECKPOINT, KIND_CLOSING,
};
use crate::Lsn;

/// Where a batch will be written; fixed when its first frame is added, because frames are salted with the segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub segment: u64,
    pub salt: u32,
    /// Commit within the segment.
    pub batch: u32,
    /// The batch begins a new segment.
    pub opens: bool,
}

/// One commit's frames.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    target: Option<Target>,
    frames: Vec<u8>,
    checkpoint: Vec<u8>,
    has_checkpoint: bool,
    first_lsn: Option<Lsn>,
}

impl Batch {
    pub fn target(&self) -> Option<Target> {
        self.target
    }

    pub fn has_checkpoint(&self) -> bool {
        self.has_checkpoint
    }

    pub fn bytes(&self) -> usize {
        self.frames.len()
    }

    pub fn first_lsn(&self) -> Option<Lsn> {
        self.first_lsn
    }

    pub fn aim(&mut self, target: Target) {
        self.target = Some(target);
    }

    pub fn set_checkpoint(&mut self, bytes: &[u8]) {
        self.checkpoint.clear();
        self.checkpoint.extend_from_slice(bytes);
        self.has_checkpoint = true;
    }

    /// Adds a frame. Frames of the log's own kinds have the number of the frame before them.
    pub fn push(&mut self, kind: u8, lsn: Lsn, body: &[u8], numbered: bool) {
        let target = self.target.unwrap_or_default();
        encode_frame(&mut self.frames, target.salt, target.batch, kind, lsn, body);
        if numbered {
            self.first_lsn.get_or_insert(lsn);
        }
    }

    /// What is written: header and checkpoint first if the batch opens a segment.
    pub fn encode(&self, header: impl FnOnce() -> SegmentHeader, out: &mut Vec<u8>) {
        out.clear();
        let target = self.target.unwrap_or_default();
        if target.opens {
            let header = header();
            let as_of = header.base_lsn.saturating_sub(1);
            header.encode(out);
            if self.has_checkpoint {
                encode_frame(out, target.salt, target.batch, KIND_CHECKPOINT, as_of, &self.checkpoint);
            }
        }
        out.extend_from_slice(&self.frames);
    }

    /// Empties it and keeps its buffers.
    pub fn clear(&mut self) {
        self.target = None;
        self.frames.clear();
        self.has_checkpoint = false;
        self.first_lsn = None;
    }

    /// Takes back what was pushed since [`bytes`](Self::bytes) was this.
    pub fn truncate(&mut self, bytes: usize) {
        self.frames.truncate(bytes);
    }

    /// As it is, but for a new place.
    pub fn aim_anew(&mut self, target: Target) {
        let has_checkpoint = self.has_checkpoint;
        self.follow(&Self::default(), target);
        self.has_checkpoint = has_checkpoint;
    }

    /// Shows its frames.
    pub fn show(&self, visit: &mut dyn FnMut(Lsn, u8, &[u8])) {
        each(&self.frames, self.target, |header, body| visit(header.lsn, header.kind, body));
    }

    /// After a failure: puts the frames of `earlier` in front of these and aims all of them at a new place. The
    /// checkpoint is given up, because it describes a moment between the two; closing notes and acknowledgements, because
    /// they are written with every commit until one succeeds.
    pub fn follow(&mut self, earlier: &Self, target: Target) {
        let mut frames = Vec::with_capacity(earlier.frames.len() + self.frames.len());
        resalt(&earlier.frames, earlier.target, target, &mut frames);
        resalt(&self.frames, self.target, target, &mut frames);
        self.frames = frames;
        self.first_lsn = earlier.first_lsn.or(self.first_lsn);
        self.has_checkpoint = false;
        self.target = Some(target);
    }
}

fn resalt(frames: &[u8], from: Option<Target>, to: Target, out: &mut Vec<u8>) {
    each(frames, from, |header, body| {
        if header.kind < KIND_CLOSING {
            encode_frame(out, to.salt, to.batch, header.kind, header.lsn, body);
        }
    });
}

fn each(frames: &[u8], target: Option<Target>, mut visit: impl FnMut(&FrameHeader, &[u8])) {
    let Some(target) = target else { return };
    let mut rest = frames;
    while let Some(header) = peek_frame(rest, target.salt) {
        if let Some(body) = checked_body(rest, &header) {
            visit(&header, body);
        }
        rest = rest.get(header.span()..).unwrap_or_default();
    }
}
