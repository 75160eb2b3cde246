//! Opening a data directory: who may, whether it can be read, and whether it is whole.
//!
//! The directory holds `LOCK` (whose lock says that a process has it open), `FORMAT` (the version of what is in it), `MARK` (the
//! number of the last batch that was acknowledged), `db/` (the database) and `blobs/`. What else lies there is left alone.
//!
//! What always holds: nothing is changed in a directory that this version doesn't know, and an incomplete first start, which can't
//! have acknowledged anything, is the only thing that is ever cleared away.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::fjall::compaction::Leveled;
use ::fjall::config::CompressionPolicy;
use ::fjall::{CompressionType, Database, KeyspaceCreateOptions};

use super::read::View;

/// What this version writes and reads.
const FORMAT: u32 = 1;
const FORMAT_PREFIX: &str = "transom store ";
/// For this long a directory that is in use is asked for again.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a data directory can't be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open. The operator's doing.
    #[error("the data directory {0} is in use by another process; stop that one first, or name another directory")]
    Locked(PathBuf),
    /// A later version wrote it. The operator's doing.
    #[error(
        "the data directory {dir} has format {found}, this version knows formats up to {known}; \
         start the version that wrote it, or a later one"
    )]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// The format that it says it has.
        found: u32,
        /// The latest format that is known here.
        known: u32,
    },
    /// Something in it is missing or isn't what was written. The disk's fault, or that of whoever changed it.
    #[error("the data directory {dir} is damaged: {what}; restore it from a backup")]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Acknowledged writes are missing from it. The disk's fault.
    #[error(
        "the data directory {dir} has lost acknowledged writes (the last batch is {found}, {acknowledged} was acknowledged); \
         restore it from a backup, or delete the file MARK in it to go on with what is left"
    )]
    Lost {
        /// The data directory.
        dir: PathBuf,
        /// The last batch that is there.
        found: u64,
        /// The last batch that was acknowledged.
        acknowledged: u64,
    },
    /// The system refuses a file or a thread. The environment's fault.
    #[error("can't open {path}: check that it exists, who owns it and how much room the disk has")]
    Io {
        /// The file or the directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What an opened directory is made of.
pub(super) struct Opened {
    pub(super) view: View,
    pub(super) mark: Mark,
    /// The lock is held as long as this lives.
    pub(super) lock: Arc<File>,
}

pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Opened, OpenError> {
    fs::create_dir_all(dir).map_err(at(dir))?;
    let lock = lock(dir)?;
    let database = match format(dir)? {
        Some(found) if found > FORMAT => {
            return Err(OpenError::Newer { dir: dir.to_owned(), found, known: FORMAT });
        }
        Some(_) => recover(dir, cache_bytes)?,
        None => create(dir, cache_bytes)?,
    };
    // With less, what is written as fast as it goes is written out and merged so often that it takes a fifth of the processor and writers
    // wait for it (`make bench`, pairs).
    let entries = keyspace(dir, &database, "entries", 64 << 20)?;
    let state = keyspace(dir, &database, "state", 8 << 20)?;
    let view = View::new(database, entries, state);
    let found = view.last_batch().map_err(|error| damage(dir, error.to_string()))?;
    let mark = Mark::open(dir, found)?;
    Ok(Opened { view, mark, lock: Arc::new(lock) })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    |source| OpenError::Io { path, source }
}

fn damage(dir: &Path, what: impl Into<String>) -> OpenError {
    OpenError::Damaged { dir: dir.to_owned(), what: what.into() }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("LOCK");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // Whoever held it may be about to end; and a process that another thread has forked holds it until it runs its own program.
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(OpenError::Io { path, source }),
        }
    }
}

/// The format that the directory says it has; `None` if nothing was ever kept in it.
fn format(dir: &Path) -> Result<Option<u32>, OpenError> {
    let path = dir.join("FORMAT");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(damage(dir, "FORMAT holds no version"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let incomplete = dir.join("CREATING").exists();
            if !incomplete && (dir.join("db").exists() || dir.join("MARK").exists()) {
                return Err(damage(dir, "FORMAT is missing"));
            }
            return Ok(None);
        }
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    let version = text.trim_end().strip_prefix(FORMAT_PREFIX).and_then(|version| version.parse().ok());
    match version {
        Some(version) if version > 0 => Ok(Some(version)),
        _ => Err(damage(dir, "FORMAT holds no version")),
    }
}

/// A first start: `CREATING` lies there until all is complete, so that one that was interrupted can be told from a loss.
fn create(dir: &Path, cache_bytes: u64) -> Result<Database, OpenError> {
    let creating = dir.join("CREATING");
    File::create(&creating).and_then(|file| file.sync_all()).map_err(at(&creating))?;
    sync_dir(dir)?;
    let db = dir.join("db");
    match fs::remove_dir_all(&db) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(OpenError::Io { path: db, source }),
        _ => {}
    }
    let blobs = dir.join("blobs");
    fs::create_dir_all(&blobs).map_err(at(&blobs))?;
    let database = database(dir, cache_bytes)?;
    let path = dir.join("FORMAT");
    File::create(&path)
        .and_then(|mut file| {
            file.write_all(format!("{FORMAT_PREFIX}{FORMAT}\n").as_bytes())?;
            file.sync_all()
        })
        .map_err(at(&path))?;
    sync_dir(dir)?;
    fs::remove_file(&creating).map_err(at(&creating))?;
    sync_dir(dir)?;
    Ok(database)
}

fn recover(dir: &Path, cache_bytes: u64) -> Result<Database, OpenError> {
    for part in ["db", "blobs"] {
        if !dir.join(part).is_dir() {
            return Err(damage(dir, format!("{part} is missing")));
        }
    }
    // Without this file the database below would take the directory for an empty one.
    if !dir.join("db/version").is_file() {
        return Err(damage(dir, "db/version is missing"));
    }
    database(dir, cache_bytes)
}

fn database(dir: &Path, cache_bytes: u64) -> Result<Database, OpenError> {
    let path = dir.join("db");
    Database::builder(&path)
        .cache_size(cache_bytes)
        // The journals are what a restart reads: up to a second of it. Less than four full memtables would have them written out before
        // they are full.
        .max_journaling_size(256 << 20)
        // Bodies are ciphertext: nothing to gain.
        .journal_compression(CompressionType::None)
        // Only a batch is ever written, and each says itself when it is synced.
        .manual_journal_persist(true)
        // One: with two, fjall's first worker sends each compaction back to its own queue in a busy loop while the other works.
        .worker_threads(1)
        .open()
        .map_err(|error| below(dir, path, error))
}

fn keyspace(dir: &Path, database: &Database, name: &str, memtable_bytes: u64) -> Result<::fjall::Keyspace, OpenError> {
    let options = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(memtable_bytes)
            .manual_journal_persist(true)
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
            // Small tables: a compaction needs room for what it rewrites.
            .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(32 << 20)))
    };
    database.keyspace(name, options).map_err(|error| below(dir, dir.join("db"), error))
}

fn below(dir: &Path, path: PathBuf, error: ::fjall::Error) -> OpenError {
    match error {
        ::fjall::Error::Locked => OpenError::Locked(dir.to_owned()),
        ::fjall::Error::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => OpenError::Io { path, source },
        error => damage(dir, format!("the database in it says {error}")),
    }
}

fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

/// The number of the last acknowledged batch, in a file of its own.
///
/// A database whose journal was cut in the middle opens as if the rest had never been; comparing numbers tells. The file is written
/// after the sync of the batch and not synced itself: after a power loss it may name an earlier batch, never a later one.
pub(super) struct Mark {
    file: File,
    number: u64,
}

impl Mark {
    /// `found`: the number of the last batch that the database has.
    fn open(dir: &Path, found: u64) -> Result<Self, OpenError> {
        let path = dir.join("MARK");
        let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = options.map_err(at(&path))?;
        let mut bytes = [0; 12];
        let acknowledged = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => decode_mark(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        // A torn or a new one says nothing.
        let acknowledged = acknowledged.unwrap_or(0);
        if found < acknowledged {
            return Err(OpenError::Lost { dir: dir.to_owned(), found, acknowledged });
        }
        Ok(Self { file, number: found })
    }

    /// The number of the next batch.
    pub(super) fn next(&self) -> u64 {
        self.number + 1
    }

    /// Batch `number` is durable.
    pub(super) fn reached(&mut self, number: u64) {
        self.number = number;
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&crc32c::crc32c(&number.to_le_bytes()).to_le_bytes());
        // An older number here is only a weaker check at the next start.
        if let Err(error) = self.file.write_all_at(&bytes, 0) {
            tracing::warn!(%error, "the file MARK could not be written");
        }
    }
}

fn decode_mark(bytes: &[u8; 12]) -> Option<u64> {
    let (number, sum) = bytes.split_at(8);
    let sum: [u8; 4] = sum.try_into().ok()?;
    let right = u32::from_le_bytes(sum) == crc32c::crc32c(number);
    number.try_into().ok().map(u64::from_le_bytes).filter(|_| right)
}
