//! `file://`: batches are appended to a file, which is rotated.
//!
//! In the directory of the URL, `<gateway>-<uplink>.ndjson` is written to. When it is large or old enough it becomes
//! `<gateway>-<uplink>-<epoch>-<first seq>.ndjson`, and does not change any more. A batch is answered when `fdatasync`
//! has returned. After a crash the end of a line that was not written whole is cut off, and what is on disk already is
//! not written again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use tracing::warn;

use super::batch::Record;
use super::body::{self, Compress, Format};
use super::work::{Part, EPOCHS_MAX};
use super::{off_thread, Failure, Verdict};
use crate::file;
use crate::mqtt::Stamp;

/// Longest line that is looked into after a start: above the largest output in base64 with its topic.
const LINE_MAX_BYTES: u64 = 2 << 20;
/// How far back a start looks for what is on disk already. It is more than is written while acknowledgements wait to be
/// noted in the log, but for gateways that write megabytes a second: those may repeat some records.
const LOOK_BACK_BYTES: u64 = 8 << 20;
const CHUNK_BYTES: u64 = 64 << 10;

/// `[[uplink]]` with a file URL.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory, which exists.
    pub dir: PathBuf,
    /// A file is rotated before it grows larger. A record larger than that has a file of its own.
    pub rotate_bytes: u64,
    /// A file is rotated when it is this old.
    pub rotate_every: Duration,
    /// Rotated files kept, the oldest is removed; none: all are, until whoever collects them removes them.
    pub keep: Option<u16>,
}

/// A directory of files.
#[derive(Debug)]
pub struct FileStore {
    address: String,
    /// Locked by whoever works off the links' thread, so that a call that was cancelled ends before the next begins.
    writer: Arc<Mutex<Writer>>,
    due: Option<Instant>,
}

impl FileStore {
    /// For outputs of `gateway` on the uplink `name`.
    pub fn new(options: Options, gateway: &str, name: &str) -> Self {
        let stem = format!("{gateway}-{name}");
        let active = options.dir.join(format!("{stem}.ndjson"));
        let address = active.display().to_string();
        let writer =
            Writer { options, stem, gateway: gateway.to_owned(), active, tail: None, last: Vec::new(), suspect: false };
        Self { address, writer: Arc::new(Mutex::new(writer)), due: None }
    }

    /// The file that is written to.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Opens the file and mends its end.
    ///
    /// # Errors
    /// Why it is not writable.
    pub async fn open(&mut self) -> Result<(), Failure> {
        self.work(|writer| writer.ready().map(drop)).await
    }

    /// Appends a part of a batch and syncs it.
    ///
    /// # Errors
    /// Why it is not known to be on disk.
    pub async fn put(&mut self, part: &Part) -> Result<Verdict, Failure> {
        let part = part.clone();
        self.work(move |writer| writer.append(part.records())).await.map(|()| Verdict::Stored)
    }

    /// When the file is old enough to be rotated.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Rotates the file if it is old enough.
    ///
    /// # Errors
    /// Why it cannot be rotated.
    pub async fn tick(&mut self) -> Result<(), Failure> {
        self.work(Writer::tick).await
    }

    async fn work(&mut self, work: impl FnOnce(&mut Writer) -> io::Result<()> + Send + 'static) -> Result<(), Failure> {
        let (writer, address) = (self.writer.clone(), self.address.clone());
        self.due = off_thread(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let hint = "check that its directory exists, is writable by eyotd and has room";
            work(&mut writer).map_err(|e| io::Error::new(e.kind(), format!("cannot write {address}: {e}; {hint}")))?;
            Ok(writer.due())
        })
        .await?;
        Ok(())
    }
}

#[derive(Debug)]
struct Writer {
    options: Options,
    stem: String,
    gateway: String,
    active: PathBuf,
    /// None until the file was looked at.
    tail: Option<Tail>,
    /// The last record on disk of each route, as far as that can be told.
    last: Vec<Stamp>,
    /// A write or sync failed: what is behind `tail` may be anything, even what reads back whole but is not on disk.
    suspect: bool,
}

/// What is known of the active file.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// Synced bytes, all of them whole lines.
    len: u64,
    /// The first record; none if there is none, or it is not ours.
    first: Option<Stamp>,
    since: Instant,
}

impl Writer {
    /// The active file, open, its end as `tail` says.
    fn ready(&mut self) -> io::Result<(File, Tail)> {
        if self.active.exists() {
            file::regular(&self.active)?;
        }
        let file = OpenOptions::new().create(true).append(true).read(true).open(&self.active)?;
        let len = file.metadata()?.len();
        let tail = match self.tail {
            Some(tail) if len == tail.len && !self.suspect => tail,
            Some(tail) if len >= tail.len && self.suspect => {
                file.set_len(tail.len)?;
                tail
            }
            // The first look, or somebody else moved, cut or wrote to the file.
            _ => self.recover(&file)?,
        };
        if len == 0 {
            self.sync_dir()?;
        }
        (self.tail, self.suspect) = (Some(tail), false);
        Ok((file, tail))
    }

    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        self.ready()?;
        let fresh = records.iter().position(|record| !self.is_stored(record.stamp)).unwrap_or(records.len());
        let mut fresh = records.get(fresh..).unwrap_or_default();
        let body = body::encode(&self.gateway, fresh, Format::Ndjson, Compress::None)?;
        let mut rest = body.as_slice();
        while !fresh.is_empty() {
            let (count, bytes) = self.fitting(rest);
            let (now, later) = fresh.split_at_checked(count).unwrap_or((fresh, &[]));
            let (lines, behind) = rest.split_at_checked(bytes).unwrap_or((rest, &[]));
            self.write(now, lines)?;
            (fresh, rest) = (later, behind);
        }
        Ok(())
    }

    /// How many lines of `body` go into one file, and their bytes: all, if a file can hold them. At least one.
    fn fitting(&self, body: &[u8]) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for line in body.split_inclusive(|byte| *byte == b'\n') {
            if count > 0 && (bytes + line.len()) as u64 > self.options.rotate_bytes {
                break;
            }
            (count, bytes) = (count + 1, bytes + line.len());
        }
        (count, bytes)
    }

    /// Writes and syncs records that go into one file, a new one if it must be.
    fn write(&mut self, records: &[Record], lines: &[u8]) -> io::Result<()> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let (mut file, mut tail) = self.ready()?;
        let size = lines.len() as u64;
        let full = tail.len + size > self.options.rotate_bytes;
        if tail.len > 0 && (full || self.is_old(&tail)) {
            self.rotate(&tail)?;
            (file, tail) = self.ready()?;
        }
        if tail.len == 0 {
            (tail.first, tail.since) = (Some(first.stamp), Instant::now());
        }
        self.suspect = true;
        file.write_all(lines)?;
        file.sync_data()?;
        self.suspect = false;
        self.tail = Some(Tail { len: tail.len + size, ..tail });
        self.stored(last.stamp);
        Ok(())
    }

    fn is_stored(&self, stamp: Stamp) -> bool {
        self.last.iter().any(|last| last.epoch == stamp.epoch && stamp.seq <= last.seq)
    }

    fn stored(&mut self, stamp: Stamp) {
        match self.last.iter().position(|last| last.epoch == stamp.epoch) {
            Some(index) => drop(self.last.remove(index)),
            None if self.last.len() >= EPOCHS_MAX => drop(self.last.remove(0)),
            None => {}
        }
        self.last.push(stamp);
    }

    fn is_old(&self, tail: &Tail) -> bool {
        tail.since.elapsed() >= self.options.rotate_every
    }

    fn due(&self) -> Option<Instant> {
        self.tail.filter(|tail| tail.len > 0).map(|tail| tail.since + self.options.rotate_every)
    }

    fn tick(&mut self) -> io::Result<()> {
        let (_, tail) = self.ready()?;
        if tail.len > 0 && self.is_old(&tail) {
            self.rotate(&tail)?;
        }
        Ok(())
    }

    fn rotate(&mut self, tail: &Tail) -> io::Result<()> {
        let Stamp { epoch, seq } = tail.first.unwrap_or(Stamp { epoch: 0, seq: 0 });
        let name = format!("{}-{epoch}-{seq:020}", self.stem);
        let mut target = self.options.dir.join(format!("{name}.ndjson"));
        // Nothing is ever replaced, whoever put it there.
        let mut copy = 1;
        while target.try_exists()? {
            copy += 1;
            target = self.options.dir.join(format!("{name}.{copy}.ndjson"));
        }
        fs::rename(&self.active, &target)?;
        self.tail = Some(Tail { len: 0, first: None, ..*tail });
        self.sync_dir()?;
        let Some(keep) = self.options.keep else { return Ok(()) };
        let rotated = self.rotated()?;
        for (_, oldest) in rotated.iter().take(rotated.len().saturating_sub(usize::from(keep))) {
            fs::remove_file(oldest)?;
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.options.dir)?.sync_all()
    }

    /// Rotated files, the oldest first.
    fn rotated(&self) -> io::Result<Vec<(SystemTime, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.options.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_file() && name.to_str().is_some_and(|name| is_rotated(name, &self.stem)) {
                found.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Cuts off a line that was not written whole, and sees what is there.
    fn recover(&mut self, file: &File) -> io::Result<Tail> {
        let whole = file.metadata()?.len();
        let len = line_start(file, whole)?;
        if len < whole {
            let (file_name, bytes) = (self.active.display(), whole - len);
            warn!(file = %file_name, bytes, "cut off a line that was not written whole; its record is written again");
            file.set_len(len)?;
        }
        // What reads back is trusted from here on, so it has to be on disk.
        file.sync_all()?;
        if len < LOOK_BACK_BYTES {
            if let Some((_, newest)) = self.rotated()?.last() {
                let newest = File::open(newest)?;
                self.look_back(&newest, newest.metadata()?.len())?;
            }
        }
        self.look_back(file, len)?;
        let age = file.metadata()?.created().ok().and_then(|created| created.elapsed().ok()).unwrap_or_default();
        let now = Instant::now();
        let since = now.checked_sub(age.min(self.options.rotate_every)).unwrap_or(now);
        Ok(Tail { len, first: stamps(file, 0, len.min(LINE_MAX_BYTES))?.next().flatten(), since })
    }

    /// Notes which records stand at the end of a file.
    fn look_back(&mut self, file: &File, len: u64) -> io::Result<()> {
        let from = len.saturating_sub(LOOK_BACK_BYTES);
        for stamp in stamps(file, from, len - from)?.flatten() {
            self.stored(stamp);
        }
        Ok(())
    }
}

/// Whether a file is `<stem>-<epoch>-<seq>….ndjson`.
fn is_rotated(name: &str, stem: &str) -> bool {
    let middle = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".ndjson"));
    middle
        .is_some_and(|middle| middle.contains('-') && middle.bytes().all(|b| b.is_ascii_digit() || b"-.".contains(&b)))
}

/// Where the line that goes on to `end` begins: behind the last line break before it, or at 0.
fn line_start(file: &File, end: u64) -> io::Result<u64> {
    let (mut at, mut chunk) = (end, Vec::new());
    while at > 0 {
        let from = at.saturating_sub(CHUNK_BYTES);
        chunk.resize(usize::try_from(at - from).unwrap_or_default(), 0);
        file.read_exact_at(&mut chunk, from)?;
        if let Some(found) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + found as u64 + 1);
        }
        at = from;
    }
    Ok(at)
}

/// The stamps in `bytes` bytes of [`envelope`](crate::envelope) lines; none for a line that is something else.
fn stamps(mut file: &File, from: u64, bytes: u64) -> io::Result<impl Iterator<Item = Option<Stamp>> + '_> {
    #[derive(Deserialize)]
    struct Head {
        epoch: u64,
        seq: u64,
    }
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file.take(bytes));
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line);
        if read.ok()? == 0 {
            return None;
        }
        Some(serde_json::from_slice(&line).ok().map(|Head { epoch, seq }| Stamp { epoch, seq }))
    }))
}
