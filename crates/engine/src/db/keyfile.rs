//! The database key: 32 random bytes in a file beside the database, wrapped by a passphrase (Argon2id, RFC 9106) if one is set.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::OpenError;

const FILE: &str = "key.json";
/// Memory in KiB, passes, lanes: RFC 9106, section 4, second recommended option.
const COST: (u32, u32, u32) = (64 * 1024, 3, 1);

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum KeyFile {
    Plain { version: u32, key: String },
    Passphrase { version: u32, memory_kib: u32, passes: u32, lanes: u32, salt: String, nonce: String, sealed: String },
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Io { what, source }
}

/// The key of the database in `directory`; a new one if there is no database yet.
pub(crate) fn open(
    directory: &Path,
    passphrase: Option<&str>,
    rng: &mut dyn rand_core::CryptoRng,
) -> Result<Zeroizing<[u8; 32]>, OpenError> {
    fs::create_dir_all(directory).map_err(io("the profile's directory"))?;
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => unlock(&Zeroizing::new(bytes), passphrase),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A database without its key can't be opened any more; never write a new key beside it.
            if directory.join("transom.db").exists() {
                return Err(OpenError::Damaged);
            }
            let mut key = Zeroizing::new([0; 32]);
            rng.fill_bytes(key.as_mut_slice());
            write(directory, &key, passphrase, rng)?;
            Ok(key)
        }
        Err(error) => Err(io("the key file")(error)),
    }
}

/// Sets, changes or removes the passphrase of a profile that no engine has open. The database itself is not rewritten.
pub fn set_passphrase(
    directory: &Path,
    old: Option<&str>,
    new: Option<&str>,
    rng: &mut dyn rand_core::CryptoRng,
) -> Result<(), OpenError> {
    let bytes = Zeroizing::new(fs::read(directory.join(FILE)).map_err(io("the key file"))?);
    let key = unlock(&bytes, old)?;
    write(directory, &key, new, rng)
}

/// Whether a passphrase protects a profile; no if there is none yet.
///
/// # Errors
/// [`OpenError::Io`], [`OpenError::Damaged`].
pub fn is_protected(directory: &Path) -> Result<bool, OpenError> {
    match fs::read(directory.join(FILE)).map(Zeroizing::new) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(KeyFile::Plain { mut key, .. }) => {
                zeroize::Zeroize::zeroize(&mut key);
                Ok(false)
            }
            Ok(KeyFile::Passphrase { .. }) => Ok(true),
            Err(_) => Err(OpenError::Damaged),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io("the key file")(error)),
    }
}

fn unlock(bytes: &[u8], passphrase: Option<&str>) -> Result<Zeroizing<[u8; 32]>, OpenError> {
    let decode = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| OpenError::Damaged);
    let file: KeyFile = serde_json::from_slice(bytes).map_err(|_| OpenError::Damaged)?;
    let key = match file {
        KeyFile::Plain { version, .. } | KeyFile::Passphrase { version, .. } if version != 1 => {
            return Err(OpenError::Newer { found: i64::from(version), known: 1 });
        }
        KeyFile::Plain { key, .. } => Zeroizing::new(decode(&Zeroizing::new(key))?),
        KeyFile::Passphrase { memory_kib, passes, lanes, salt, nonce, sealed, .. } => {
            let passphrase = passphrase.ok_or(OpenError::PassphraseNeeded)?;
            let wrap = derive(passphrase, &decode(&salt)?, (memory_kib, passes, lanes))?;
            let nonce: [u8; 24] = decode(&nonce)?.try_into().map_err(|_| OpenError::Damaged)?;
            XChaCha20Poly1305::new(&(*wrap).into())
                .decrypt(&XNonce::from(nonce), decode(&sealed)?.as_slice())
                .map(Zeroizing::new)
                .map_err(|_| OpenError::WrongPassphrase)?
        }
    };
    Ok(Zeroizing::new(key.as_slice().try_into().map_err(|_| OpenError::Damaged)?))
}

fn write(
    directory: &Path,
    key: &[u8; 32],
    passphrase: Option<&str>,
    rng: &mut dyn rand_core::CryptoRng,
) -> Result<(), OpenError> {
    let encode = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let file = match passphrase {
        None => KeyFile::Plain { version: 1, key: encode(key) },
        Some(passphrase) => {
            let (mut salt, mut nonce) = ([0; 16], [0; 24]);
            rng.fill_bytes(&mut salt);
            rng.fill_bytes(&mut nonce);
            let wrap = derive(passphrase, &salt, COST)?;
            let sealed = XChaCha20Poly1305::new(&(*wrap).into())
                .encrypt(&XNonce::from(nonce), key.as_slice())
                .map_err(|_| OpenError::Inconsistent("the key can't be wrapped"))?;
            KeyFile::Passphrase {
                version: 1,
                memory_kib: COST.0,
                passes: COST.1,
                lanes: COST.2,
                salt: encode(&salt),
                nonce: encode(&nonce),
                sealed: encode(&sealed),
            }
        }
    };
    let json = serde_json::to_vec_pretty(&file).map_err(|_| OpenError::Inconsistent("the key file"))?;
    let json = Zeroizing::new(json);
    // Written beside and renamed: a crash leaves the old file or the new one, never half of one.
    let (temporary, target) = (directory.join("key.json.new"), directory.join(FILE));
    let replace = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out = options.open(&temporary)?;
        out.write_all(&json)?;
        out.sync_all()?;
        fs::rename(&temporary, &target)?;
        fs::File::open(directory)?.sync_all()
    };
    replace().map_err(io("the key file"))
}

fn derive(passphrase: &str, salt: &[u8], cost: (u32, u32, u32)) -> Result<Zeroizing<[u8; 32]>, OpenError> {
    // Bounded: a hostile key file must not be able to eat the machine's memory.
    if cost.0 > 4 * 1024 * 1024 || cost.1 > 64 || cost.2 > 64 {
        return Err(OpenError::Damaged);
    }
    let params = argon2::Params::new(cost.0, cost.1, cost.2, Some(32)).map_err(|_| OpenError::Damaged)?;
    let mut key = Zeroizing::new([0; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice())
        .map_err(|_| OpenError::Damaged)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn a_passphrase_is_set_checked_changed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let key = open(dir.path(), None, &mut rng).unwrap();
        set_passphrase(dir.path(), None, Some("correct horse"), &mut rng).unwrap();
        assert!(matches!(open(dir.path(), None, &mut rng), Err(OpenError::PassphraseNeeded)));
        assert!(matches!(open(dir.path(), Some("wrong"), &mut rng), Err(OpenError::WrongPassphrase)));
        assert_eq!(open(dir.path(), Some("correct horse"), &mut rng).unwrap(), key);
        assert!(set_passphrase(dir.path(), Some("wrong"), None, &mut rng).is_err());
        set_passphrase(dir.path(), Some("correct horse"), None, &mut rng).unwrap();
        assert_eq!(open(dir.path(), None, &mut rng).unwrap(), key);
    }

    #[test]
    fn no_new_key_is_written_beside_a_database() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("transom.db"), b"x").unwrap();
        assert!(matches!(open(dir.path(), None, &mut ChaCha20Rng::from_seed([1; 32])), Err(OpenError::Damaged)));
    }
}
