//! The data directory beside the store's files: who holds it, and the relay's own secrets in `relay.json`.
//!
//! What always holds: one process holds a directory; secrets are readable by their owner only and replaced as a whole; a directory
//! that this version doesn't understand is refused and left as it is.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wire::{Incarnation, RelayName, UnixMillis};
use zeroize::Zeroizing;

/// The format of `relay.json`.
const FORMAT: u32 = 1;
/// For this long a restored relay takes only commits that clients re-post (protocol, "A relay that was restored from a backup").
const RESTORING_MS: u64 = 3600 * 1000;

/// Why a data directory can't be used; each says what to do. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another relay runs on it.
    #[error("another transomd runs on {0}: stop it first, or name another directory with --data")]
    Locked(PathBuf),
    /// The system refuses a file.
    #[error("can't use {path}: {source}; check who owns it and how much room the disk has")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A later version wrote it.
    #[error(
        "{path} has format {found}, this version knows format {FORMAT}: start the version that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format that it says it has.
        found: u32,
    },
    /// It is not what was written.
    #[error("{0} is damaged: put it back from a backup and start once with --restored")]
    Damaged(PathBuf),
    /// There is a store but no secrets.
    #[error(
        "{0} is missing although its directory holds a store: without it clients can't check what the relay stamped. \
         Put it back from a backup and start once with --restored"
    )]
    Missing(PathBuf),
    /// There are secrets but no store.
    #[error(
        "{0} is missing, which held all that this relay knows: check that its disk is mounted, or put it back from a backup, and \
         start once with --restored; with --restored and no backup the relay begins anew, and clients give back what they have"
    )]
    StoreMissing(PathBuf),
    /// The directory belongs to a relay of another name.
    #[error(
        "the data directory belongs to the relay {found}, not {name}: start with --name {found}, or use another --data"
    )]
    OtherName {
        /// The name that was asked for.
        name: String,
        /// The name it was made for.
        found: String,
    },
}

/// What the relay keeps for itself.
pub struct Secrets {
    /// Changes when the relay was restored from a backup.
    pub incarnation: Incarnation,
    /// The key of the stamps.
    pub stamp_key: Zeroizing<[u8; 32]>,
    /// Until when only re-posted commits are taken.
    pub restoring_until: Option<UnixMillis>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    format: u32,
    name: String,
    incarnation: String,
    stamp_key: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restoring_until: Option<u64>,
}

/// A data directory that this process holds.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory, making it if it is missing.
    pub fn take(path: &Path) -> Result<Self, DataError> {
        let failed = |path: &Path, source| DataError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed(path, error))?;
        let lock_path = path.join("transomd.lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(|error| failed(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(&lock_path, error)),
        }
    }

    /// The relay's secrets, made on the first start, as is the directory `store`, so that neither can be lost unseen. With `restored`
    /// the relay becomes a new incarnation, which is written down before anybody can see it.
    pub fn secrets(
        &self,
        name: &RelayName,
        store: &Path,
        restored: bool,
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
    ) -> Result<Secrets, DataError> {
        let path = self.path.join("relay.json");
        let mut secrets = match fs::read(&path).map(Zeroizing::new) {
            Ok(bytes) => parse(&path, &bytes, name)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // An empty one is left behind by a first start that was cut short here.
                if fs::read_dir(store).is_ok_and(|mut files| files.next().is_some()) {
                    return Err(DataError::Missing(path));
                }
                let made = DirBuilder::new().recursive(true).mode(0o700).create(store);
                let made = made.and_then(|()| sync_directory(store.parent().unwrap_or(&self.path)));
                made.map_err(|source| DataError::Io { path: store.to_owned(), source })?;
                let mut stamp_key = Zeroizing::new([0; 32]);
                rng.fill_bytes(stamp_key.as_mut());
                let secrets = Secrets { incarnation: Incarnation::random(rng), stamp_key, restoring_until: None };
                write(&path, name, &secrets)?;
                secrets
            }
            Err(source) => return Err(DataError::Io { path, source }),
        };
        if !store.exists() && !restored {
            return Err(DataError::StoreMissing(store.to_owned()));
        }
        if restored {
            secrets.incarnation = Incarnation::random(rng);
            secrets.restoring_until = Some(now.plus(RESTORING_MS));
            write(&path, name, &secrets)?;
        }
        secrets.restoring_until = secrets.restoring_until.filter(|until| *until > now);
        Ok(secrets)
    }
}

fn parse(path: &Path, bytes: &[u8], name: &RelayName) -> Result<Secrets, DataError> {
    #[derive(Deserialize)]
    struct OnlyFormat {
        format: u32,
    }
    let damaged = || DataError::Damaged(path.to_owned());
    let OnlyFormat { format } = serde_json::from_slice(bytes).map_err(|_| damaged())?;
    if format > FORMAT {
        return Err(DataError::Newer { path: path.to_owned(), found: format });
    }
    let on_disk: OnDisk = serde_json::from_slice(bytes).map_err(|_| damaged())?;
    if on_disk.name != name.as_str() {
        return Err(DataError::OtherName { name: name.to_string(), found: on_disk.name });
    }
    let key = Zeroizing::new(HEXLOWER.decode(on_disk.stamp_key.as_bytes()).map_err(|_| damaged())?);
    Ok(Secrets {
        incarnation: on_disk.incarnation.parse().map_err(|_| damaged())?,
        stamp_key: Zeroizing::new(key.as_slice().try_into().map_err(|_| damaged())?),
        restoring_until: on_disk.restoring_until.map(UnixMillis),
    })
}

/// Writes beside, syncs and renames: a crash leaves the old file or the new one.
fn write(path: &Path, name: &RelayName, secrets: &Secrets) -> Result<(), DataError> {
    let on_disk = OnDisk {
        format: FORMAT,
        name: name.to_string(),
        incarnation: secrets.incarnation.to_string(),
        stamp_key: Zeroizing::new(HEXLOWER.encode(secrets.stamp_key.as_ref())),
        restoring_until: secrets.restoring_until.map(|until| until.0),
    };
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let bytes = serde_json::to_vec_pretty(&on_disk).map(Zeroizing::new).map_err(|error| failed(error.into()))?;
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    sync_directory(path.parent().unwrap_or(Path::new("."))).map_err(failed)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000_000_000);

    fn secrets(dir: &DataDir, restored: bool, now: UnixMillis) -> Result<Secrets, DataError> {
        let name = "relay.example".parse().unwrap();
        let mut rng = ChaCha20Rng::from_seed([u8::from(restored); 32]);
        dir.secrets(&name, &dir.path.join("store"), restored, now, &mut rng)
    }

    #[test]
    fn secrets_stay_and_a_restored_relay_is_another_incarnation_for_an_hour_at_first() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::take(&temp.path().join("data")).unwrap();
        let first = secrets(&dir, false, NOW).unwrap();
        let mode = |name: &str| fs::metadata(temp.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("data"), mode("data/relay.json")), (0o700, 0o600));

        let again = secrets(&dir, false, NOW).unwrap();
        assert_eq!((again.incarnation, *again.stamp_key), (first.incarnation, *first.stamp_key));
        assert_eq!(again.restoring_until, None);

        let restored = secrets(&dir, true, NOW).unwrap();
        assert_ne!(restored.incarnation, first.incarnation);
        assert_eq!(*restored.stamp_key, *first.stamp_key, "old stamps stay good");
        let later = secrets(&dir, false, NOW.plus(RESTORING_MS - 1)).unwrap();
        assert_eq!((later.incarnation, later.restoring_until), (restored.incarnation, Some(NOW.plus(RESTORING_MS))));
        let over = secrets(&dir, false, NOW.plus(RESTORING_MS)).unwrap();
        assert_eq!((over.incarnation, over.restoring_until), (restored.incarnation, None));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::take(temp.path()).unwrap();
        assert!(matches!(DataDir::take(temp.path()), Err(DataError::Locked(_))));
        let store = temp.path().join("store");
        fs::create_dir(&store).unwrap();
        fs::write(store.join("part"), "what a store holds").unwrap();
        assert!(matches!(secrets(&dir, false, NOW), Err(DataError::Missing(_))));
        fs::remove_file(store.join("part")).unwrap();
        let first = secrets(&dir, false, NOW).unwrap();
        fs::remove_dir(&store).unwrap();
        assert!(
            matches!(secrets(&dir, false, NOW), Err(DataError::StoreMissing(_))),
            "a lost store begins anew unseen"
        );
        assert_ne!(secrets(&dir, true, NOW).unwrap().incarnation, first.incarnation);
        fs::create_dir(&store).unwrap();
        let path = temp.path().join("relay.json");
        let good = fs::read_to_string(&path).unwrap();

        let newer = good.replace("\"format\": 1", "\"format\": 2, \"more\": true");
        fs::write(&path, &newer).unwrap();
        assert!(matches!(secrets(&dir, true, NOW), Err(DataError::Newer { found: 2, .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), newer);
        for cut in 0..good.len() - 1 {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(matches!(secrets(&dir, false, NOW), Err(DataError::Damaged(_))), "cut at {cut}");
        }
        fs::write(&path, good.replace("relay.example", "other.example")).unwrap();
        let error = secrets(&dir, false, NOW).err().unwrap().to_string();
        assert!(error.contains("--name other.example"), "{error}");
    }

    #[test]
    fn today_reads_what_format_1_was() {
        let text = r#"{ "format": 1, "name": "relay.example", "incarnation": "000102030405060708090a0b0c0d0e0f",
            "stamp_key": "0707070707070707070707070707070707070707070707070707070707070707", "restoring_until": 5 }"#;
        let secrets = parse(Path::new("x"), text.as_bytes(), &"relay.example".parse().unwrap()).unwrap();
        assert_eq!(*secrets.stamp_key, [7; 32]);
        assert_eq!(secrets.restoring_until, Some(UnixMillis(5)));
        assert_eq!(secrets.incarnation.to_string(), "000102030405060708090a0b0c0d0e0f");
    }
}
