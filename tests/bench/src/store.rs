//! The stores whose wear is compared: each makes a group of records durable at a time.

use std::error::Error;
use std::path::Path;

use eyot_spool::{FileStorage, Lsn, Options, Replay, Spool, Storage};
use redb::{Database, TableDefinition};
use rusqlite::Connection;

/// What may go wrong in any of them.
pub type Failure = Box<dyn Error>;

/// The default of `[spool] max_bytes`.
const QUOTA_BYTES: u64 = 512 << 20;
const CHECKPOINT_BYTES: usize = 1024;
const STREAM: u8 = 0;
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// A store under test.
pub trait Store {
    /// Makes `count` copies of `record` durable.
    ///
    /// # Errors
    /// The store's own.
    fn commit(&mut self, record: &[u8], count: usize) -> Result<(), Failure>;

    /// What the store itself believes the device has taken, if it keeps account.
    fn estimated_bytes(&self) -> Option<u64> {
        None
    }
}

struct Ignore;

impl Replay for Ignore {
    fn checkpoint(&mut self, _bytes: &[u8]) {}
    fn frame(&mut self, _lsn: Lsn, _kind: u8, _body: &[u8]) {}
    fn note(&mut self, _kind: u8, _body: &[u8]) {}
}

/// Our log.
pub struct Eyot {
    storage: FileStorage,
    spool: Spool<FileStorage>,
    /// Whether an uplink takes the records at once; otherwise they pile up.
    drained: bool,
}

impl Eyot {
    /// # Errors
    /// The log does not open.
    pub fn open(dir: &Path, drained: bool) -> Result<Self, Failure> {
        let storage = FileStorage::open(dir)?;
        let mut spool = Spool::open(storage.clone(), Options::for_quota(QUOTA_BYTES), 1, &mut Ignore)?;
        spool.set_streams(&[STREAM]);
        Ok(Self { storage, spool, drained })
    }
}

impl Store for Eyot {
    fn commit(&mut self, record: &[u8], count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            if self.spool.wants_checkpoint() {
                self.spool.checkpoint(&[0; CHECKPOINT_BYTES]);
            }
            self.spool.append(1, record)?;
        }
        if self.drained {
            self.spool.ack(STREAM, self.spool.durable());
        }
        if let Some(commit) = self.spool.begin_commit()? {
            self.spool.end_commit(commit.id, self.storage.sync_data(&commit.file))?;
        }
        Ok(())
    }

    fn estimated_bytes(&self) -> Option<u64> {
        Some(self.spool.usage().device_bytes)
    }
}

/// SQLite with a write-ahead log, each commit synced.
pub struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// # Errors
    /// The database does not open.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let connection = Connection::open(dir.join("records.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, body BLOB NOT NULL)", [])?;
        Ok(Self { connection })
    }
}

impl Store for Sqlite {
    fn commit(&mut self, record: &[u8], count: usize) -> Result<(), Failure> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO records (body) VALUES (?1)")?;
            for _ in 0..count {
                insert.execute([record])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

/// redb with its default durability.
pub struct Redb {
    database: Database,
    next: u64,
}

impl Redb {
    /// # Errors
    /// The database does not open.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        Ok(Self { database: Database::create(dir.join("records.redb"))?, next: 0 })
    }
}

impl Store for Redb {
    fn commit(&mut self, record: &[u8], count: usize) -> Result<(), Failure> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for _ in 0..count {
                table.insert(self.next, record)?;
                self.next += 1;
            }
        }
        Ok(transaction.commit()?)
    }
}
