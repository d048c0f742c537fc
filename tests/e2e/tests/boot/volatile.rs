//! A disk that forgets: what was not flushed when its power went may be there or not, each sector by itself, as the standards
//! of disks allow. QEMU reaches it by the protocol of network block devices (NBD).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use fastrand::Rng;

const SECTOR_BYTES: usize = 512;
/// Most bytes of a request; QEMU's are no longer.
const REQUEST_MAX_BYTES: usize = 32 << 20;

const HANDSHAKE: &[u8] = b"NBDMAGICIHAVEOPT";
/// In the handshake: the newer form of it, without padding.
const FIXED_NEWSTYLE_NO_ZEROES: u16 = 3;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;
/// Of the export: it can flush, and write through.
const CAN_FLUSH_AND_WRITE_THROUGH: u16 = 1 | 4 | 8;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
const WRITE_THROUGH: u16 = 1;

/// A write that no flush followed yet.
struct Unflushed {
    at: u64,
    before: Vec<u8>,
    after: Vec<u8>,
    is_durable: bool,
}

struct State {
    file: File,
    unflushed: Vec<Unflushed>,
    flushes: u64,
}

/// The disk, over a file.
pub struct Disk {
    state: Arc<Mutex<State>>,
    socket: PathBuf,
}

impl Disk {
    /// Serves `file` at a socket in `dir`, to one after the other.
    pub fn serve(file: &Path, dir: &Path) -> Self {
        let socket = dir.join("disk");
        let file = File::options().read(true).write(true).open(file).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(State { file, unflushed: Vec::new(), flushes: 0 }));
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever ends in the middle of a request was killed.
                let _ = stream.and_then(|stream| serve(stream, &served));
            }
        });
        Self { state, socket }
    }

    /// For QEMU's `-drive`.
    pub fn url(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// Flushes so far.
    pub fn flushes(&self) -> u64 {
        self.state.lock().unwrap().flushes
    }

    /// The power goes: of what was not flushed, each sector is kept with this chance. How many were not flushed.
    pub fn cut(&self, rng: &mut Rng, chance: f64) -> usize {
        let mut state = self.state.lock().unwrap();
        let writes = std::mem::take(&mut state.unflushed);
        for write in writes.iter().rev() {
            state.file.write_all_at(&write.before, write.at).unwrap();
        }
        let mut sectors = 0;
        for write in &writes {
            for (number, sector) in write.after.chunks(SECTOR_BYTES).enumerate() {
                sectors += usize::from(!write.is_durable);
                if write.is_durable || rng.f64() < chance {
                    state.file.write_all_at(sector, write.at + (number * SECTOR_BYTES) as u64).unwrap();
                }
            }
        }
        sectors
    }
}

/// One connection, until its end.
fn serve(mut stream: UnixStream, state: &Mutex<State>) -> io::Result<()> {
    let bytes = state.lock().unwrap().file.metadata()?.len();
    greet(&mut stream, bytes)?;
    let mut data = vec![0; REQUEST_MAX_BYTES];
    loop {
        let mut head = [0; 28];
        stream.read_exact(&mut head)?;
        let short = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        assert_eq!(u32::from_be_bytes(head[..4].try_into().unwrap()), REQUEST);
        let at = u64::from_be_bytes(head[16..24].try_into().unwrap());
        let length = u32::from_be_bytes(head[24..].try_into().unwrap()) as usize;
        let reply = [&REPLY.to_be_bytes()[..], &[0; 4], &head[8..16]].concat();
        match short(6) {
            0 => {
                state.lock().unwrap().file.read_exact_at(&mut data[..length], at)?;
                stream.write_all(&reply)?;
                stream.write_all(&data[..length])?;
            }
            1 => {
                stream.read_exact(&mut data[..length])?;
                state.lock().unwrap().write(at, &data[..length], short(4) & WRITE_THROUGH != 0)?;
                stream.write_all(&reply)?;
            }
            3 => {
                let mut state = state.lock().unwrap();
                state.unflushed.clear();
                state.flushes += 1;
                stream.write_all(&reply)?;
            }
            _ => return Ok(()),
        }
    }
}

impl State {
    fn write(&mut self, at: u64, after: &[u8], is_durable: bool) -> io::Result<()> {
        let mut before = vec![0; after.len()];
        self.file.read_exact_at(&mut before, at)?;
        self.file.write_all_at(after, at)?;
        self.unflushed.push(Unflushed { at, before, after: after.to_vec(), is_durable });
        Ok(())
    }
}

/// The beginning of a connection, up to where requests follow.
fn greet(stream: &mut UnixStream, bytes: u64) -> io::Result<()> {
    stream.write_all(HANDSHAKE)?;
    stream.write_all(&FIXED_NEWSTYLE_NO_ZEROES.to_be_bytes())?;
    stream.read_exact(&mut [0; 4])?;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let (option, length) = (word(8), word(12));
        io::copy(&mut (&mut *stream).take(u64::from(length)), &mut io::sink())?;
        let mut reply = |kind: u32, data: &[u8]| {
            let head = [OPTION_REPLY.to_be_bytes().as_slice(), &option.to_be_bytes(), &kind.to_be_bytes()].concat();
            stream.write_all(&[&head[..], &(data.len() as u32).to_be_bytes(), data].concat())
        };
        if option != OPTION_GO {
            reply(REPLY_UNSUPPORTED, &[])?;
            continue;
        }
        let export = [&[0, 0][..], &bytes.to_be_bytes(), &CAN_FLUSH_AND_WRITE_THROUGH.to_be_bytes()].concat();
        reply(REPLY_INFO, &export)?;
        return reply(REPLY_ACK, &[]);
    }
}

#[test]
fn what_was_flushed_stays_and_what_was_not_is_each_sectors_chance() {
    let dir = tempfile::TempDir::new().unwrap();
    let at = dir.path().join("disk.img");
    std::fs::write(&at, vec![0; 8 * SECTOR_BYTES]).unwrap();
    let disk = Disk::serve(&at, dir.path());
    let write = |sector: usize, byte: u8, is_durable: bool| {
        let at = (sector * SECTOR_BYTES) as u64;
        disk.state.lock().unwrap().write(at, &[byte; SECTOR_BYTES], is_durable).unwrap();
    };
    write(0, 1, false);
    disk.state.lock().unwrap().unflushed.clear();
    write(0, 2, false);
    write(0, 3, false);
    write(1, 4, true);
    write(2, 5, false);
    let sectors = |chance: f64| {
        let unflushed = disk.cut(&mut Rng::with_seed(1), chance);
        let content = std::fs::read(&at).unwrap();
        (unflushed, [content[0], content[SECTOR_BYTES], content[2 * SECTOR_BYTES]])
    };
    assert_eq!(sectors(0.0), (3, [1, 4, 0]));
    write(0, 6, false);
    write(2, 7, false);
    assert_eq!(sectors(1.0), (2, [6, 4, 7]));
}
