//! Sealing of attachments: chunks of 64 KiB under ChaCha20-Poly1305 in the STREAM construction (Hoang, Reyhanitabar, Rogaway,
//! Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015), padded to a Padmé size.
//!
//! A sealed attachment is a version byte and the sealed chunks. Under the seal are the file's length (8 bytes, big endian), the
//! file, and zeros. Each key seals one file, once: the nonce is only the chunk's number and whether it is the last, so chunks
//! can't be left out, doubled, swapped or taken from another file. Sealing the same file again with its key gives the same bytes,
//! which is what makes an upload resumable; for another file, or a file that has changed, a fresh key is needed.
//!
//! ChaCha20-Poly1305 does not commit to its key, so the message that names the key also names the SHA-256 of the sealed bytes.

use std::fmt;

use aead_stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::aead::Payload;
use chacha20poly1305::{ChaCha20Poly1305, Key};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::padding::padme64;

/// Bytes of a chunk before it is sealed.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// The version of this format: the first byte, and the associated data of every chunk.
const VERSION: [u8; 1] = [1];
const TAG_BYTES: usize = 16;
const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
const LENGTH_BYTES: usize = 8;

/// The key of one attachment. Zeroed when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct AttachmentKey([u8; 32]);

impl AttachmentKey {
    /// A fresh key.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut key = Self([0; 32]);
        rng.fill_bytes(&mut key.0);
        key
    }

    /// A key that a message brought.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes that go into a message.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Shows nothing (I10).
impl fmt::Debug for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachmentKey(..)")
    }
}

/// Why a file can't be sealed. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More or fewer bytes came than were announced: the file has changed meanwhile. What was sealed must not be used, and
    /// neither must its key.
    #[error("the file changed while it was read; send it again")]
    Length,
    /// STREAM counts to 2^32 chunks.
    #[error("the file is larger than 256 TiB")]
    TooLarge,
}

/// Why a sealed attachment can't be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Made by a later version: the reader's program is too old.
    #[error("the attachment has version {0}, which this program does not know; a newer program can open it")]
    Version(u8),
    /// Altered, cut off, or sealed under another key. The fault of whoever stored it, or the sender's.
    #[error("the attachment is damaged or was sealed with another key")]
    Damaged,
    /// The chunks are in order, but what they hold is not. The sender's fault.
    #[error("the attachment is not what this format says")]
    Malformed,
}

/// The last bytes of a stream, and the hash of the whole of it in its sealed form.
#[derive(Clone, PartialEq, Eq)]
pub struct Finished {
    /// What is left to write.
    pub bytes: Vec<u8>,
    /// SHA-256 of the sealed bytes from the first to the last.
    pub hash: [u8; 32],
}

/// Says how long it is (I10).
impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Finished({} bytes)", self.bytes.len())
    }
}

/// Bytes under the seal for a file of `len` bytes.
fn padded_len(len: u64) -> u64 {
    padme64(len.saturating_add(LENGTH_BYTES as u64))
}

/// How many bytes a file of `len` bytes has when sealed. Saturates at `u64::MAX`, which no file reaches.
pub fn sealed_len(len: u64) -> u64 {
    let padded = padded_len(len);
    let tags = padded.div_ceil(CHUNK_BYTES as u64).saturating_mul(TAG_BYTES as u64);
    padded.saturating_add(tags).saturating_add(VERSION.len() as u64)
}

/// SHA-256 of a sealed attachment.
pub fn ciphertext_hash(sealed: &[u8]) -> [u8; 32] {
    Sha256::digest(sealed).into()
}

/// Seals a file that is in memory.
pub fn seal(key: &AttachmentKey, file: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::new(key, file.len() as u64).expect("a file in memory is smaller than 256 TiB");
    let mut sealed = sealer.update(file).expect("the length is the file's own");
    sealed.extend(sealer.finish().expect("the length is the file's own").bytes);
    sealed
}

/// Opens a sealed attachment that is in memory.
pub fn open(key: &AttachmentKey, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut opener = Opener::new(key);
    let mut file = opener.update(sealed)?;
    file.extend(opener.finish()?.bytes);
    Ok(file)
}

/// Seals a file piece by piece: [`Sealer::update`] with each piece in turn, [`Sealer::finish`] at its end; what they return, one
/// behind the other, is the sealed attachment. Holds one chunk in memory.
pub struct Sealer {
    stream: EncryptorBE32<ChaCha20Poly1305>,
    /// Less than is known to be needed for the chunk, or a whole one that may be the last.
    chunk: Zeroizing<Vec<u8>>,
    /// Bytes of the file that are still to come.
    awaited: u64,
    padding: u64,
    hash: Sha256,
    header_written: bool,
}

impl Sealer {
    /// For a file of exactly `len` bytes, with a key that has sealed nothing else.
    pub fn new(key: &AttachmentKey, len: u64) -> Result<Self, SealError> {
        let padded = padded_len(len);
        if padded.div_ceil(CHUNK_BYTES as u64) > u64::from(u32::MAX) {
            return Err(SealError::TooLarge);
        }
        let mut chunk = Zeroizing::new(Vec::with_capacity(CHUNK_BYTES));
        chunk.extend_from_slice(&len.to_be_bytes());
        Ok(Self {
            stream: EncryptorBE32::new(&Key::from(key.0), &Default::default()),
            chunk,
            awaited: len,
            padding: padded - len - LENGTH_BYTES as u64,
            hash: Sha256::new(),
            header_written: false,
        })
    }

    /// The next piece of the file, of any length.
    pub fn update(&mut self, piece: &[u8]) -> Result<Vec<u8>, SealError> {
        self.awaited = self.awaited.checked_sub(piece.len() as u64).ok_or(SealError::Length)?;
        self.push(piece)
    }

    /// The end of the file.
    pub fn finish(mut self) -> Result<Finished, SealError> {
        if self.awaited != 0 {
            return Err(SealError::Length);
        }
        let mut sealed = self.start();
        let zeros = [0; 4096];
        while self.padding > 0 {
            let most = usize::try_from(self.padding).unwrap_or(usize::MAX);
            let some = zeros.get(..most).unwrap_or(&zeros);
            self.padding -= some.len() as u64;
            sealed.extend(self.push(some)?);
        }
        let payload = Payload { msg: &self.chunk, aad: &VERSION };
        let last = self.stream.encrypt_last(payload).map_err(|_| SealError::TooLarge)?;
        self.hash.update(&last);
        sealed.extend(last);
        Ok(Finished { bytes: sealed, hash: self.hash.finalize().into() })
    }

    fn start(&mut self) -> Vec<u8> {
        if self.header_written {
            return Vec::new();
        }
        self.header_written = true;
        self.hash.update(VERSION);
        VERSION.to_vec()
    }

    fn push(&mut self, mut piece: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = self.start();
        while !piece.is_empty() {
            // A full chunk is sealed only when something follows it: the last one carries a mark.
            if self.chunk.len() == CHUNK_BYTES {
                let payload = Payload { msg: &self.chunk, aad: &VERSION };
                let next = self.stream.encrypt_next(payload).map_err(|_| SealError::TooLarge)?;
                self.hash.update(&next);
                sealed.extend(next);
                self.chunk.clear();
            }
            let (now, later) = piece.split_at(piece.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            piece = later;
        }
        Ok(sealed)
    }
}

/// Opens a sealed attachment piece by piece, as [`Sealer`] seals it. What [`Opener::update`] returns is what the sender sealed, in
/// order; that it is *all* of the file is known only when [`Opener::finish`] succeeds, and so is the hash, which the caller
/// compares with the one in the message.
pub struct Opener {
    stream: DecryptorBE32<ChaCha20Poly1305>,
    chunk: Vec<u8>,
    version: Option<u8>,
    frame: Frame,
    hash: Sha256,
    failed: Option<OpenError>,
}

impl Opener {
    /// With the key that the message brought.
    pub fn new(key: &AttachmentKey) -> Self {
        Self {
            stream: DecryptorBE32::new(&Key::from(key.0), &Default::default()),
            chunk: Vec::new(),
            version: None,
            frame: Frame { len: None, seen: 0 },
            hash: Sha256::new(),
            failed: None,
        }
    }

    /// The next piece of the sealed attachment, of any length. After an error every further call returns it again.
    pub fn update(&mut self, piece: &[u8]) -> Result<Vec<u8>, OpenError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.take(piece).inspect_err(|error| self.failed = Some(*error))
    }

    /// The end of the sealed attachment.
    pub fn finish(mut self) -> Result<Finished, OpenError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let payload = Payload { msg: &self.chunk, aad: &VERSION };
        let last = Zeroizing::new(self.stream.decrypt_last(payload).map_err(|_| OpenError::Damaged)?);
        if last.is_empty() {
            return Err(OpenError::Malformed);
        }
        let bytes = self.frame.unwrap(&last)?;
        if !self.frame.is_complete() {
            return Err(OpenError::Malformed);
        }
        Ok(Finished { bytes, hash: self.hash.finalize().into() })
    }

    fn take(&mut self, mut piece: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.hash.update(piece);
        let mut file = Vec::new();
        if self.version.is_none() {
            let Some((version, rest)) = piece.split_first() else { return Ok(file) };
            if *version != VERSION[0] {
                return Err(OpenError::Version(*version));
            }
            self.version = Some(*version);
            piece = rest;
        }
        while !piece.is_empty() {
            if self.chunk.len() == SEALED_CHUNK_BYTES {
                let payload = Payload { msg: &self.chunk, aad: &VERSION };
                let next = Zeroizing::new(self.stream.decrypt_next(payload).map_err(|_| OpenError::Damaged)?);
                file.extend(self.frame.unwrap(&next)?);
                self.chunk.clear();
            }
            let (now, later) = piece.split_at(piece.len().min(SEALED_CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            piece = later;
        }
        Ok(file)
    }
}

/// What is under the seal: the length, the file and the padding.
struct Frame {
    /// The file's length, once the first chunk has told it.
    len: Option<u64>,
    /// Bytes that there were behind the length so far.
    seen: u64,
}

impl Frame {
    /// What of an opened chunk belongs to the file; checks the padding.
    fn unwrap(&mut self, opened: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (len, rest) = match self.len {
            Some(len) => (len, opened),
            None => {
                let (len, rest) = opened.split_first_chunk().ok_or(OpenError::Malformed)?;
                (u64::from_be_bytes(*len), rest)
            }
        };
        self.len = Some(len);
        let left = usize::try_from(len.saturating_sub(self.seen)).unwrap_or(usize::MAX);
        let (file, padding) = rest.split_at(left.min(rest.len()));
        if padding.iter().any(|byte| *byte != 0) {
            return Err(OpenError::Malformed);
        }
        self.seen = self.seen.saturating_add(rest.len() as u64);
        Ok(file.to_vec())
    }

    /// True if there was as much padding as the length asks for.
    fn is_complete(&self) -> bool {
        self.len.is_some_and(|len| self.seen.checked_add(LENGTH_BYTES as u64) == Some(padded_len(len)))
    }
}
