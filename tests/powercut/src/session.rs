//! The real log at work, with a history of all it was told and all it promised.

use std::path::Path;

use eyot_spool::{
    AppendError, Commit, CommitError, FileStorage, Lsn, Options, Reader, Replay, RewriteStep, Spool, Storage, KIND_GONE,
};

use crate::control::{Control, Lax};
use crate::history::{Acks, Form, Found, History, Read, State, STREAMS};
use crate::tape::Clock;
use crate::thinning::{content, shortened, Thinning};
use crate::Error;

/// Caller's kinds of notes begin here.
pub const NOTES: u8 = 0x40;
/// Size of what checkpoints hold beside the state.
const PADDING_BYTES_MAX: usize = 2 << 10;

/// Sizes of segments, so small that a log changes them often.
pub const SEGMENT_BYTES: [u64; 4] = [8 << 10, 16 << 10, 32 << 10, 64 << 10];

/// Sizes of a log on a small disk.
pub fn options(segment_bytes: u64) -> Options {
    Options { segment_bytes, max_bytes: Options::MAX_BYTES_MIN, frame_max_bytes: 64 << 10 }
}

/// The log in a folder, from one opening to the next.
pub struct Session {
    storage: Lax<FileStorage>,
    spool: Spool<Lax<FileStorage>>,
    options: Options,
    history: History,
    clock: Clock,
    rng: fastrand::Rng,
    flying: Option<Flying>,
    rewriting: Option<Thinning>,
    rewrite_sync: Option<Commit<<FileStorage as Storage>::File>>,
}

struct Flying {
    commit: Commit<<FileStorage as Storage>::File>,
    steps: u64,
    acks: Acks,
}

/// What a session goes by.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Sizes.
    pub options: Options,
    /// What the disk does not do.
    pub control: Control,
    /// The disk's events.
    pub clock: Clock,
    /// Decides what is done.
    pub rng: fastrand::Rng,
}

impl Session {
    /// Opens the log in `folder` and holds it to its history, in which the next life begins.
    pub fn open(folder: &Path, mut history: History, terms: Terms) -> Result<Self, Error> {
        let Terms { options, control, clock, mut rng } = terms;
        let storage = Lax::new(FileStorage::open(folder).map_err(Error::io(folder))?, control);
        let mut follower = Follower::default();
        let fresh = rng.u64(1..);
        let mut spool = Spool::open(storage.clone(), options, fresh, &mut follower)
            .map_err(|error| Error::Breach(format!("the log does not open: {error}")))?;
        if let Some(disorder) = follower.disorder {
            return Err(Error::Breach(disorder));
        }
        let acks = STREAMS.map(|stream| spool.acked(stream));
        let found = Found { state: follower.state, acks, epoch: spool.epoch() };
        history.adopt(clock.now(), &found).map_err(Error::Breach)?;
        if spool.next_lsn() != found.state.lsn + 1 {
            let text = format!("frame {} would follow frame {}", spool.next_lsn(), found.state.lsn);
            return Err(Error::Breach(text));
        }
        let mut reader = spool.reader(0);
        let frames = std::iter::from_fn(|| next_frame(&mut spool, &mut reader));
        history.check_frames(frames).map_err(Error::Breach)?;
        let damaged = spool.usage().damaged_frames;
        if damaged != 0 {
            return Err(Error::Breach(format!("{damaged} frames are damaged")));
        }
        spool.set_streams(&STREAMS);
        let session =
            Self { storage, spool, options, history, clock, rng, flying: None, rewriting: None, rewrite_sync: None };
        session.check_quota()?;
        Ok(session)
    }

    /// Does `steps` things, whatever comes to mind.
    pub fn work(&mut self, steps: u32) -> Result<(), Error> {
        for _ in 0..steps {
            match self.rng.u32(0..100) {
                0..42 => self.append()?,
                42..47 => self.note()?,
                47..55 => self.ack(),
                55..57 => self.spool.refresh_spare(),
                57..72 => self.begin()?,
                72..87 => self.end()?,
                _ => self.rewrite()?,
            }
        }
        Ok(())
    }

    /// Commits everything.
    pub fn settle(&mut self) -> Result<(), Error> {
        self.end()?;
        self.begin()?;
        self.end()
    }

    /// Ends the process, as it were: nothing is committed, and what the page cache holds stays.
    pub fn end_life(self) -> (History, Terms) {
        let Self { storage, options, history, clock, rng, .. } = self;
        (history, Terms { options, control: storage.control(), clock, rng })
    }

    fn append(&mut self) -> Result<(), Error> {
        let id = self.rng.u64(..);
        let (kind, body) = content(id);
        self.make_room()?;
        let at = self.clock.now();
        let lsn = self.spool.append(kind, &body).map_err(append_failed)?;
        let after = self.history.state().after(kind, &body, Some(lsn));
        self.history.appended(at, id, after, true);
        Ok(())
    }

    fn note(&mut self) -> Result<(), Error> {
        self.make_room()?;
        self.push_note()
    }

    fn push_note(&mut self) -> Result<(), Error> {
        let id = self.rng.u64(..);
        let (kind, body) = content(id);
        let at = self.clock.now();
        self.spool.note(kind | NOTES, &body).map_err(append_failed)?;
        let after = self.history.state().after(kind | NOTES, &body, None);
        self.history.appended(at, id, after, false);
        Ok(())
    }

    fn ack(&mut self) {
        let stream = self.rng.choice(STREAMS).unwrap_or(0);
        let at = self.clock.now();
        let from = self.spool.acked(stream);
        self.spool.ack(stream, self.rng.u64(from..=self.spool.durable().max(from)));
        self.history.asked(at, self.asked());
    }

    fn asked(&self) -> Acks {
        STREAMS.map(|stream| self.spool.acked(stream))
    }

    /// Commits a batch that is full, gives up the oldest frames of a log that is, and begins a segment with a checkpoint.
    fn make_room(&mut self) -> Result<(), Error> {
        if !self.spool.batch_has_room() {
            self.settle()?;
        }
        while self.spool.is_full() {
            let lsns = self.spool.oldest_to_go();
            if lsns.is_none() && !self.spool.has_unwritten_acks() {
                return Err(Error::Breach("a full log has nothing to give up".to_owned()));
            }
            let at = self.clock.now();
            for stream in STREAMS {
                self.spool.ack(stream, lsns.as_ref().map_or(0, |lsns| *lsns.end()));
            }
            self.history.asked(at, self.asked());
            // A commit under way is not of this.
            self.end()?;
            self.checkpoint();
            self.push_note()?;
            self.settle()?;
        }
        self.checkpoint();
        Ok(())
    }

    fn checkpoint(&mut self) {
        if self.spool.wants_checkpoint() {
            let padding_bytes = self.rng.usize(0..PADDING_BYTES_MAX);
            self.spool.checkpoint(&self.history.state().encode(padding_bytes));
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        let steps = self.history.state().steps;
        let acks = self.asked();
        if let Some(commit) = self.spool.begin_commit().map_err(commit_failed)? {
            self.flying = Some(Flying { commit, steps, acks });
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(Flying { commit, steps, acks }) = self.flying.take() else { return Ok(()) };
        let synced = self.storage.sync_data(&commit.file);
        self.spool.end_commit(commit.id, synced).map_err(commit_failed)?;
        self.history.promised(self.clock.now(), steps, acks, self.spool.epoch());
        self.check_quota()
    }

    /// Begins a rewrite of old segments, goes on with it, or ends a sync of it.
    fn rewrite(&mut self) -> Result<(), Error> {
        if let Some(commit) = self.rewrite_sync.take() {
            let may = self.clock.now();
            let synced = self.storage.sync_data(&commit.file);
            let Some(rewritten) = self.spool.end_rewrite_sync(commit.id, synced).map_err(commit_failed)? else {
                return Ok(());
            };
            let must = rewritten.is_durable.then(|| self.clock.now());
            let range = rewritten.first_lsn..=rewritten.last_lsn;
            let decided = self.rewriting.take().map(|thinning| thinning.decided).unwrap_or_default();
            for (lsn, form) in decided.into_iter().filter(|(lsn, _)| range.contains(lsn)) {
                self.history.rewritten(may, must, lsn, form);
            }
            return self.check_quota();
        }
        if self.spool.rewriting().is_none() {
            let sealed: Vec<u64> = self.spool.sealed().map(|segment| segment.id).collect();
            let Some(first) = self.rng.choice(0..sealed.len()) else { return Ok(()) };
            let last = sealed.len().min(first + self.rng.usize(1..5)) - 1;
            // Where there is no room for it, it does not begin.
            let begun = self.spool.begin_rewrite(sealed[first], sealed[last], self.rng.u64(1..3));
            self.rewriting = matches!(begun, Ok(true)).then(|| Thinning::new(self.rng.u64(..)));
            return Ok(());
        }
        let Some(mut thinning) = self.rewriting.take() else { return Ok(()) };
        for _ in 0..self.rng.u32(1..200) {
            match self.spool.step_rewrite(&mut thinning) {
                Ok(RewriteStep::More) => continue,
                Ok(RewriteStep::Sync(commit)) => self.rewrite_sync = Some(commit),
                // It is given up.
                Ok(RewriteStep::TooLong) => {}
                Err(error) if error.is_full() => {}
                Err(error) => return Err(commit_failed(error)),
            }
            break;
        }
        self.rewriting = Some(thinning);
        Ok(())
    }

    fn check_quota(&self) -> Result<(), Error> {
        let size = |name: String| self.storage.open(&name).and_then(|file| self.storage.len(&file));
        let sizes = self.storage.list().and_then(|names| names.into_iter().map(size).collect::<Result<Vec<u64>, _>>());
        let bytes: u64 = sizes.map_err(Error::io(Path::new("the log's folder")))?.iter().sum();
        if bytes > self.options.max_bytes {
            return Err(Error::Breach(format!("the log takes {bytes} of {} bytes", self.options.max_bytes)));
        }
        Ok(())
    }
}

fn append_failed(error: AppendError) -> Error {
    Error::Breach(format!("appending failed: {error}"))
}

fn commit_failed(error: CommitError) -> Error {
    Error::Breach(format!("committing failed: {error}"))
}

/// What a reader finds next, if it is what was appended or a rewrite made of it.
fn next_frame<S: Storage>(spool: &mut Spool<S>, reader: &mut Reader<S::File>) -> Option<Result<Read, String>> {
    let frame = match spool.read(reader) {
        Ok(frame) => frame?,
        Err(error) => return Some(Err(error.to_string())),
    };
    if frame.kind == KIND_GONE {
        return Some(Ok(Read::Gone(frame.first, frame.lsn)));
    }
    let id = frame.body.first_chunk().map_or(0, |name| u64::from_le_bytes(*name));
    let (kind, body) = content(id);
    let form = match frame.body {
        whole if whole == body => Form::Whole,
        short if short == shortened(&body) => Form::Short,
        _ => return Some(Err(format!("invented: frame {} holds what was never appended", frame.lsn))),
    };
    if frame.kind != kind {
        return Some(Err(format!("frame {} is of kind {}, not {kind}", frame.lsn, frame.kind)));
    }
    Some(Ok(Read::Frame(frame.lsn, id, form)))
}

/// Follows a replay.
#[derive(Default)]
struct Follower {
    state: State,
    has_begun: bool,
    disorder: Option<String>,
}

impl Replay for Follower {
    fn checkpoint(&mut self, bytes: &[u8]) {
        match State::decode(bytes) {
            Some(state) if !self.has_begun => self.state = state,
            _ => self.disorder = Some("invented: a checkpoint that is none, or comes late".to_owned()),
        }
        self.has_begun = true;
    }

    fn frame(&mut self, lsn: Lsn, kind: u8, body: &[u8]) {
        if lsn != self.state.lsn + 1 {
            self.disorder = Some(format!("frame {lsn} came after frame {}", self.state.lsn));
        }
        self.state = self.state.after(kind, body, Some(lsn));
        self.has_begun = true;
    }

    fn note(&mut self, kind: u8, body: &[u8]) {
        self.state = self.state.after(kind, body, None);
        self.has_begun = true;
    }
}
