//! A backup's file and the recovery key that opens it.
//!
//! ```text
//! "transom backup\n"  15 bytes
//! version              1 byte
//! name of the key      8 bytes: SHA-256(input("transom v1 backup", public key)), its beginning
//! head                 length in 4 bytes, big endian; sealed to the recovery key: the archive's secret, whose it is, when it was made
//! chunk 0, 1, 2, …     length in 4 bytes; a chunk as `crate::archive` seals it. The last one says that it is the last
//! ```
//!
//! The head of a backup by the device that certifies others holds the account's key as well: file and recovery key bring the account back
//! where no device is left. A device that does not hold it makes backups that give history back to a device, and no more.
//!
//! A device keeps the public half only: it writes backups without anything being typed, and a thief of the device can't open those that
//! were made. What always holds: the clear part names neither account nor device; a file is read to its end before any of it counts;
//! bytes from outside never panic a reader. Deliberately absent: files themselves, and which rows there are (`db::archive`).

use hkdf::Hkdf;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::Sha256;
use wire::SigningKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::archive::{Chunk, ChunkError, MAX_CHUNK, Secret};
use crate::formats::{self, FormatError};
use crate::identity::{hpke_open, hpke_public, hpke_seal};
use crate::shelf::{Set, Shelf};

/// The version of files that this program writes, and the highest that it reads.
pub(crate) const VERSION: u8 = 2;
const MAGIC: &[u8; 15] = b"transom backup\n";
/// Magic, version, name of the key.
const CLEAR: usize = 24;
const CHECKSUM: usize = 3;
/// Letters of a group of a recovery key as it is written.
const GROUP: usize = 4;

/// What opens backups: 32 random bytes that only the person has.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct RecoveryKey(pub [u8; 32]);

/// What was typed is not a recovery key: a letter is wrong or missing. The person's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a recovery key")]
pub(crate) struct NotAKey;

impl RecoveryKey {
    /// A fresh one.
    pub(crate) fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut key = Self([0; 32]);
        rng.fill_bytes(&mut key.0);
        key
    }

    /// The same key.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.public() == other.public()
    }

    fn checksum(&self) -> [u8; CHECKSUM] {
        let hash = formats::hash(&wire::signing_input("transom v1 recovery key", &[&self.0]));
        [hash[0], hash[1], hash[2]]
    }

    /// Fourteen groups of four letters and digits, the checksum at the end.
    pub(crate) fn text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([self.0.as_slice(), &self.checksum()].concat());
        let text = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase());
        in_groups(&text)
    }

    /// The way back; capitals, spaces and other hyphens don't matter.
    pub(crate) fn parse(text: &str) -> Result<Self, NotAKey> {
        let letters = letters(text);
        let bytes = Zeroizing::new(data_encoding::BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| NotAKey)?);
        let (key, checksum) = bytes.split_at_checked(32).ok_or(NotAKey)?;
        let key = Self(key.try_into().map_err(|_| NotAKey)?);
        if key.checksum() == checksum { Ok(key) } else { Err(NotAKey) }
    }

    fn derive(&self, what: &str) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(b"transom v1 recovery key"), &self.0)
            .expand(&wire::signing_input(what, &[]), out.as_mut_slice())
            .expect("32 bytes are not too many");
        out
    }

    /// The seed of the key pair that backups are sealed to.
    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.derive("backup")
    }

    /// Where backups on a relay are found; opens none of them.
    pub(crate) fn shelf(&self) -> Shelf {
        Shelf(*self.derive("relay"))
    }

    /// What backups are sealed to.
    pub(crate) fn public(&self) -> Vec<u8> {
        hpke_public(self.seed().as_slice()).to_vec()
    }
}

/// A code as people read it out: groups of four letters and digits, with hyphens between.
pub(crate) fn in_groups(code: &str) -> Zeroizing<String> {
    // As long as it gets, so that no copy of it stays behind in memory.
    let mut groups = Zeroizing::new(String::with_capacity(code.len() + code.len() / GROUP));
    for (place, letter) in code.chars().enumerate() {
        if place > 0 && place.is_multiple_of(GROUP) {
            groups.push('-');
        }
        groups.push(letter);
    }
    groups
}

/// The letters of a recovery key, or of a part of one, as they are compared.
pub(crate) fn letters(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase())
}

/// What a backup says of itself to whoever has the recovery key. Version 1 ends with `made`.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Head {
    /// The archive's.
    #[n(0)]
    pub secret: ByteVec,
    #[n(1)]
    pub address: String,
    #[n(2)]
    pub account_key: ByteVec,
    /// The device that made it.
    #[n(3)]
    pub device: ByteVec,
    #[n(4)]
    pub made: u64,
    /// The seed of the account's key (Ed25519, RFC 8032), by a device that holds it.
    #[n(5)]
    pub account_seed: Option<ByteVec>,
    /// Versions of the account's record, the oldest first, without a gap up to the newest that the device knew; beside the seed only.
    #[n(6)]
    pub records: Option<Vec<ByteVec>>,
    /// Of a backup on a relay only: its place among the others.
    #[n(7)]
    pub set: Option<Set>,
}

impl Head {
    pub(crate) fn secret(&self) -> Result<Secret, FileError> {
        Ok(Secret(formats::array(&self.secret).map_err(|_| FileError::Damaged)?))
    }

    /// The account's key, if the backup holds it. `Damaged` if it is another one than the head names.
    pub(crate) fn account(&self) -> Result<Option<SigningKey>, FileError> {
        let Some(seed) = &self.account_seed else { return Ok(None) };
        let seed = Zeroizing::new(formats::array::<32>(seed).map_err(|_| FileError::Damaged)?);
        let key = SigningKey::from_bytes(&seed);
        let is_named = key.verifying_key().to_bytes().as_slice() == self.account_key.as_slice();
        if is_named { Ok(Some(key)) } else { Err(FileError::Damaged) }
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.secret.zeroize();
        if let Some(seed) = &mut self.account_seed {
            seed.zeroize();
        }
    }
}

/// Why a file can't be restored from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// It is something else. The person's fault.
    #[error("this is not a backup")]
    NotABackup,
    /// A newer program wrote it.
    #[error("a newer version wrote this backup")]
    Newer,
    /// It was sealed to another recovery key. The person's fault.
    #[error("another recovery key opens this backup")]
    OtherKey,
    /// Its end is missing. The fault of whoever kept it.
    #[error("the end of this backup is missing")]
    Truncated,
    /// It was altered. The fault of whoever kept it.
    #[error("this backup is damaged")]
    Damaged,
}

/// A backup, opened and checked to its end.
#[derive(Clone)]
pub(crate) struct Backup {
    pub head: Head,
    pub chunks: Vec<Chunk>,
}

/// What a file begins with that is not sealed.
pub(crate) fn clear(version: u8, public: &[u8]) -> Vec<u8> {
    let name = formats::hash(&wire::signing_input("transom v1 backup", &[public]));
    [MAGIC.as_slice(), &[version], &name[..8]].concat()
}

fn head_info(clear: &[u8]) -> Vec<u8> {
    wire::signing_input("transom v1 backup", &[clear])
}

/// What a file begins with.
pub(crate) fn begin(public: &[u8], head: &Head, rng: &mut impl CryptoRng) -> Result<Vec<u8>, FormatError> {
    let clear = clear(VERSION, public);
    // Room for all of it, so that no copy of it stays behind where the vector grew.
    let records = head.records.iter().flatten().map(|record| record.len() + 16).sum::<usize>();
    let mut plain = Zeroizing::new(Vec::with_capacity(1_024 + records));
    minicbor::encode(head, &mut *plain).map_err(|_| FormatError)?;
    let sealed = hpke_seal(public, &head_info(&clear), &plain, rng)?;
    Ok([clear, framed(&sealed)].concat())
}

/// A sealed part behind its length.
pub(crate) fn framed(sealed: &[u8]) -> Vec<u8> {
    let length = u32::try_from(sealed.len()).expect("parts are far smaller than 4 GiB");
    [length.to_be_bytes().as_slice(), sealed].concat()
}

/// Reads what a file begins with; answers with what is behind it.
pub(crate) fn open_head<'f>(key: &RecoveryKey, file: &'f [u8]) -> Result<(Head, &'f [u8]), FileError> {
    let begins_as_one = file.iter().zip(MAGIC).all(|(a, b)| a == b);
    if !begins_as_one || file.is_empty() {
        return Err(FileError::NotABackup);
    }
    let version = match file.get(MAGIC.len()) {
        Some(version) if *version > VERSION => return Err(FileError::Newer),
        Some(0) => return Err(FileError::Damaged),
        Some(version) => *version,
        None => return Err(FileError::Truncated),
    };
    let (begin, mut rest) = file.split_at_checked(CLEAR).ok_or(FileError::Truncated)?;
    if begin != clear(version, &key.public()) {
        return Err(FileError::OtherKey);
    }
    let sealed = part(&mut rest)?;
    let plain = hpke_open(key.seed().as_slice(), &head_info(begin), sealed).map_err(|_| FileError::Damaged)?;
    let plain = Zeroizing::new(plain);
    let head: Head = formats::decode(&plain).map_err(|_| FileError::Damaged)?;
    Ok((head, rest))
}

/// Reads a file to its end.
pub(crate) fn open(key: &RecoveryKey, file: &[u8]) -> Result<Backup, FileError> {
    let (head, mut rest) = open_head(key, file)?;
    let secret = head.secret()?;
    let mut chunks = Vec::new();
    loop {
        let sealed = part(&mut rest)?;
        let chunk = secret.open(chunks.len() as u64, sealed).map_err(|error| match error {
            ChunkError::Damaged => FileError::Damaged,
            ChunkError::Newer(_) => FileError::Newer,
        })?;
        let is_last = chunk.last;
        chunks.push(chunk);
        if is_last {
            break;
        }
    }
    if rest.is_empty() { Ok(Backup { head, chunks }) } else { Err(FileError::Damaged) }
}

fn part<'f>(rest: &mut &'f [u8]) -> Result<&'f [u8], FileError> {
    let (length, behind) = rest.split_at_checked(4).ok_or(FileError::Truncated)?;
    let length = u32::from_be_bytes(length.try_into().map_err(|_| FileError::Damaged)?);
    if u64::from(length) > MAX_CHUNK {
        return Err(FileError::Damaged);
    }
    let (part, behind) = behind.split_at_checked(length as usize).ok_or(FileError::Truncated)?;
    *rest = behind;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::archive::{self, Item};
    use crate::shelf::{Before, ByteVec32, Slot};

    fn key() -> RecoveryKey {
        RecoveryKey([7; 32])
    }

    fn chunk(number: u64, last: bool) -> Chunk {
        let items = vec![Item::Hidden(vec![1; 16].into(), vec![2; 32].into())];
        Chunk { version: archive::VERSION, number, last, total: 0, items }
    }

    fn file(chunks: &[Chunk]) -> Vec<u8> {
        let head = Head {
            secret: vec![9; 32].into(),
            address: "alice@a.example".into(),
            account_key: vec![3; 32].into(),
            device: vec![4; 16].into(),
            made: 5,
            account_seed: None,
            records: None,
            set: None,
        };
        file_of(&head, chunks)
    }

    fn file_of(head: &Head, chunks: &[Chunk]) -> Vec<u8> {
        let mut file = begin(&key().public(), head, &mut ChaCha20Rng::from_seed([1; 32])).expect("a key of ours");
        for chunk in chunks {
            file.extend(framed(&Secret([9; 32]).seal(chunk)));
        }
        file
    }

    fn refused(key: &RecoveryKey, file: &[u8]) -> FileError {
        open(key, file).err().expect("it must be refused")
    }

    #[test]
    fn a_recovery_key_is_written_and_read_back() {
        let text = key().text();
        assert_eq!(text.as_str(), TEXT);
        assert!(RecoveryKey::parse(&text).is_ok_and(|parsed| parsed.0 == key().0));
        let shouted = text.to_uppercase().replace('-', " ");
        assert!(RecoveryKey::parse(&shouted).is_ok_and(|parsed| parsed.0 == key().0));
        // One letter changed anywhere, one missing, one more, none.
        for (at, c) in text.char_indices().filter(|(_, c)| *c != '-') {
            let mut typed = text.to_string();
            typed.replace_range(at..=at, if c == 'b' { "c" } else { "b" });
            assert!(RecoveryKey::parse(&typed).is_err(), "{typed}");
        }
        for typed in [&text[1..], &format!("{}a", text.as_str()), "", "-", "ä", "0189"] {
            assert!(RecoveryKey::parse(typed).is_err(), "{typed}");
        }
    }

    const TEXT: &str = "a4dq-obyh-a4dq-obyh-a4dq-obyh-a4dq-obyh-a4dq-obyh-a4dq-obyh-a4d7-6wxt";

    #[test]
    fn a_file_opens_with_its_key_only_and_says_whose_it_is_inside_only() {
        let file = file(&[chunk(0, false), chunk(1, true)]);
        let opened = open(&key(), &file).expect("it is whole");
        assert_eq!((opened.head.address.as_str(), opened.head.made, opened.chunks.len()), ("alice@a.example", 5, 2));
        assert_eq!(refused(&RecoveryKey([8; 32]), &file), FileError::OtherKey);
        assert!(!file.windows(5).any(|window| window == b"alice"));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused() {
        let file = file(&[chunk(0, false), chunk(1, true)]);
        for length in 1..file.len() {
            assert_eq!(refused(&key(), &file[..length]), FileError::Truncated, "{length}");
        }
        assert_eq!(refused(&key(), b""), FileError::NotABackup);
        assert_eq!(refused(&key(), b"a letter to somebody"), FileError::NotABackup);
    }

    #[test]
    fn a_file_that_was_altered_anywhere_is_refused() {
        let file = file(&[chunk(0, false), chunk(1, true)]);
        for at in (0..file.len()).step_by(7) {
            let mut altered = file.clone();
            altered[at] ^= 1;
            assert!(open(&key(), &altered).is_err(), "{at}");
        }
        assert_eq!(refused(&key(), &[file.as_slice(), b"x"].concat()), FileError::Damaged);
        let swapped = self::file(&[chunk(1, true), chunk(0, false)]);
        assert_eq!(refused(&key(), &swapped), FileError::Damaged);
        let mut huge = file.clone();
        huge[CLEAR..CLEAR + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(refused(&key(), &huge), FileError::Damaged);
    }

    #[test]
    fn a_head_has_these_bytes_and_those_of_version_1_still_read() {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let mut head = Head {
            secret: vec![9; 4].into(),
            address: "a@b".into(),
            account_key: vec![3; 4].into(),
            device: vec![4; 4].into(),
            made: 5,
            account_seed: Some(vec![6; 4].into()),
            records: Some(vec![vec![7; 2].into()]),
            set: None,
        };
        let bytes = formats::encode(&head);
        assert_eq!(
            hex(&bytes),
            "a70044090909090163614062024403030303034404040404040505440606060606814 20707".replace(' ', "")
        );
        // At a relay it ends with its place: day 9, number 1, of 3 chunks, behind number 0 of that day.
        let slot = |number| Slot { day: 9, number };
        let before = Some(Before { slot: slot(0), hash: ByteVec32([8; 32]) });
        head.set = Some(Set { slot: slot(1), chunks: 3, before });
        let at_relay = format!("07a3 00a200090101 0103 02a200a200090100 015820{}", "08".repeat(32)).replace(' ', "");
        assert_eq!(hex(&formats::encode(&head)), format!("a8{}{at_relay}", &hex(&bytes)[2..]));
        (head.account_seed, head.records, head.set) = (None, None, None);
        let first = "a50044090909090163614062024403030303034404040404 0405".replace(' ', "");
        let old: Head =
            formats::decode(&data_encoding::HEXLOWER.decode(first.as_bytes()).expect("hex")).expect("reads");
        assert!(old.made == 5 && old.account_seed.is_none() && old.account() == Ok(None));
    }

    #[test]
    fn the_accounts_key_comes_back_and_another_one_than_the_head_names_is_refused() {
        let seed = [6; 32];
        let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let head = |account_key: [u8; 32], account_seed: &[u8]| Head {
            secret: vec![9; 32].into(),
            address: "alice@a.example".into(),
            account_key: account_key.to_vec().into(),
            device: vec![4; 16].into(),
            made: 5,
            account_seed: Some(account_seed.to_vec().into()),
            records: None,
            set: None,
        };
        let opened = open(&key(), &file_of(&head(public, &seed), &[chunk(0, true)])).expect("it is whole");
        assert!(opened.head.account().is_ok_and(|key| key.is_some_and(|key| key.to_bytes() == seed)));
        assert!(head([1; 32], &seed).account() == Err(FileError::Damaged));
        assert!(head(public, &seed[1..]).account() == Err(FileError::Damaged));
    }

    #[test]
    fn a_newer_file_is_told_from_a_damaged_one() {
        let mut newer = file(&[chunk(0, true)]);
        newer[MAGIC.len()] = VERSION + 1;
        assert_eq!(refused(&key(), &newer), FileError::Newer);
        let inside = file(&[Chunk { version: archive::VERSION + 1, ..chunk(0, true) }]);
        assert_eq!(refused(&key(), &inside), FileError::Newer);
    }
}
