//! The client's database: SQLite encrypted by SQLCipher, one file in a profile's directory.
//!
//! What always holds: everything that one input changes is one transaction, synced before anything of it leaves the engine; a
//! database of a newer format, a damaged one and a locked one are refused with a sentence that says what to do.

pub(crate) mod acts;
pub(crate) mod archive;
pub(crate) mod arrangements;
pub(crate) mod backed_up;
pub(crate) mod clock;
pub(crate) mod contacts;
pub(crate) mod conversations;
pub(crate) mod endings;
pub(crate) mod expiry;
pub(crate) mod heads;
pub(crate) mod held;
pub(crate) mod history;
pub(crate) mod joins;
#[cfg(not(target_family = "wasm"))]
pub(crate) mod keyfile;
pub(crate) mod leaves;
pub(crate) mod messages;
#[cfg(test)]
mod old_formats;
pub(crate) mod outbox;
pub(crate) mod outlines;
pub(crate) mod own_state;
pub(crate) mod pictures;
pub(crate) mod presence;
pub(crate) mod scheduled;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// How a database of each format becomes one of the next; what is here never changes once it is released.
const MIGRATIONS: [&[&str]; 7] = [
    &[include_str!("migrations/0001.sql"), crate::mls::storage::SCHEMA],
    &[include_str!("migrations/0002.sql")],
    &[include_str!("migrations/0003.sql")],
    &[include_str!("migrations/0004.sql")],
    &[include_str!("migrations/0005.sql")],
    &[include_str!("migrations/0006.sql")],
    &[include_str!("migrations/0007.sql")],
];
/// The format that this version writes.
const FORMAT: i64 = MIGRATIONS.len() as i64;

/// Where the database is.
pub enum Database {
    /// In a profile's directory, encrypted at rest; the key lies beside it, wrapped by the passphrase if there is one.
    #[cfg(not(target_family = "wasm"))]
    File {
        /// The profile's directory; made if it does not exist.
        directory: std::path::PathBuf,
        /// Needed if one was set.
        passphrase: Option<Zeroizing<String>>,
    },
    /// In memory under a name, for tests; lives as long as a [`MemoryHandle`] or an engine holds it.
    Memory {
        /// Shared by all connections of this process.
        name: String,
    },
}

/// Why a database can't be opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database is locked by a passphrase. The caller asks for it.
    #[error("this profile is locked with a passphrase: enter it to open the profile")]
    PassphraseNeeded,
    /// The passphrase is wrong. The person's fault.
    #[error(
        "the passphrase is wrong: try again (there is no way to recover a forgotten one, but a backup can be restored)"
    )]
    WrongPassphrase,
    /// A newer version wrote it.
    #[error(
        "this profile was written by a newer version of Transom (format {found}, this version knows {known}): use that version"
    )]
    Newer {
        /// The format in the file.
        found: i64,
        /// The format that this version writes.
        known: i64,
    },
    /// It can't be read: wrong key, or the disk damaged it. The environment's fault.
    #[error("this profile's database is damaged or belongs to another key file: restore both from the same backup")]
    Damaged,
    /// Another program has it open.
    #[error("this profile is in use by another program: close that one, or use another profile")]
    Locked,
    /// The directory or a file in it can't be read or written. The environment's fault.
    #[error("{what} can't be read or written: check the directory's permissions and free space")]
    Io {
        /// Which part.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refused. The environment's fault.
    #[error("the database refused to open: check free space, then restore it from a backup")]
    Sqlite(#[source] rusqlite::Error),
    /// What is stored contradicts itself. A defect of ours, or damage.
    #[error("this profile's database contradicts itself ({0}): restore it from a backup and report this")]
    Inconsistent(&'static str),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Self::Locked,
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => Self::Damaged,
            _ => Self::Sqlite(error),
        }
    }
}

/// Keeps a [`Database::Memory`] alive while no engine has it open: a crash of a client loses its engine, not its disk.
pub struct MemoryHandle(#[allow(dead_code, reason = "held, never used")] Connection);

impl MemoryHandle {
    /// Holds the database of this name.
    pub fn new(name: &str) -> Result<Self, OpenError> {
        Ok(Self(open_memory(name)?))
    }
}

fn open_memory(name: &str) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
    Ok(Connection::open_with_flags(format!("file:{name}?mode=memory&cache=shared"), flags)?)
}

/// Opens, and makes the tables if they are not there.
pub(crate) fn open(database: &Database, rng: &mut dyn rand_core::CryptoRng) -> Result<Connection, OpenError> {
    let _ = &rng; // only files need a key
    let db = match database {
        Database::Memory { name } => open_memory(name)?,
        #[cfg(not(target_family = "wasm"))]
        Database::File { directory, passphrase } => {
            let key = keyfile::open(directory, passphrase.as_ref().map(|p| p.as_str()), rng)?;
            let db = Connection::open(directory.join("transom.db"))?;
            let hex = Zeroizing::new(data_encoding::HEXLOWER.encode(key.as_slice()));
            // A raw key: it is random already, SQLCipher's own derivation would only cost time at each start.
            let pragma = Zeroizing::new(format!("PRAGMA key = \"x'{}'\";", hex.as_str()));
            db.execute_batch(&pragma)?;
            // SQLCipher would write to the terminal what its answers say as well.
            db.execute_batch("PRAGMA cipher_log_level = NONE;")?;
            db.execute_batch(
                "PRAGMA cipher_page_size = 4096; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; \
                 PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;",
            )?;
            if planted!(NotSynced) {
                db.execute_batch("PRAGMA synchronous = NORMAL")?;
            }
            db
        }
    };
    db.busy_timeout(std::time::Duration::ZERO)?;
    db.set_prepared_statement_cache_capacity(96);
    let format: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if !(0..=FORMAT).contains(&format) {
        return Err(OpenError::Newer { found: format, known: FORMAT });
    }
    if format < FORMAT {
        let tx = db.unchecked_transaction()?;
        for step in MIGRATIONS.iter().skip(format as usize).copied().flatten() {
            tx.execute_batch(step)?;
        }
        tx.pragma_update(None, "user_version", FORMAT)?;
        tx.commit()?;
    }
    Ok(db)
}

/// A value of the table `meta`, kept as JSON.
pub(crate) fn meta<T: DeserializeOwned>(db: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    let value: Option<Zeroizing<Vec<u8>>> = db
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get::<_, Vec<u8>>(0).map(Zeroizing::new))
        .optional()?;
    // A value that this version can't read counts as damage, which SQLite reports with this code.
    value
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error)))
}

/// Puts a value into the table `meta`.
pub(crate) fn set_meta<T: Serialize>(db: &Connection, key: &str, value: &T) -> rusqlite::Result<()> {
    let bytes = Zeroizing::new(
        serde_json::to_vec(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?,
    );
    db.prepare_cached("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value")?
        .execute(params![key, bytes.as_slice()])?;
    Ok(())
}

/// Removes a value from the table `meta`.
pub(crate) fn remove_meta(db: &Connection, key: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key])?;
    Ok(())
}

/// A blob column of a fixed length.
pub(crate) fn fixed<const N: usize>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<[u8; N]> {
    let bytes = row.get_ref(column)?.as_blob()?;
    bytes.try_into().map_err(|_| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Blob,
            "a blob has a wrong length".into(),
        )
    })
}

/// The same for a column that may be absent.
pub(crate) fn fixed_opt<const N: usize>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<[u8; N]>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => fixed(row, column).map(Some),
    }
}

/// SQLite's integers are signed; ours fit, since sequence numbers and times stay far below 2^63.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The way back.
pub(crate) fn uint(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.max(0) as u64)
}
