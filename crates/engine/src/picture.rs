//! A group's picture as its state names it: where it lies, sealed, at the relay of the log.
//!
//! What always holds: names, upload secrets and the key come from one secret that only members know, so that any of them can put the same
//! bytes there again when a relay has let go of them, and the relay can't tell what they are. A name is good for some thirty days, since a
//! relay keeps a blob that is there as it is, and never makes it younger. Deliberately absent: moving blobs (`sync::pictures`).

use content::attachment::{self, AttachmentKey};
use hkdf::Hkdf;
use minicbor::{Decoder, bytes::ByteVec};
use sha2::Sha256;
use wire::{BlobId, BlobSecret};

/// The largest sealed picture, in bytes: padding adds an eighth at most.
pub(crate) const MAX_SEALED: u32 = 320 * 1024;
/// A JPEG; the one kind that this version knows.
const JPEG: u8 = 1;
/// How long a name is used, in ms.
const PERIOD_MS: u64 = 30 * 86_400_000;
/// How many names back may still be at the relay, as relays are set by default.
pub(crate) const PERIODS: u64 = 4;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Picture {
    pub secret: [u8; 32],
    /// SHA-256 of the sealed bytes.
    pub hash: [u8; 32],
    /// How many they are.
    pub size: u32,
    /// What they hold; others than [`JPEG`] are kept and not shown.
    pub kind: u8,
}

/// The number of the period that a time falls into.
pub(crate) fn period(now: u64) -> u64 {
    now / PERIOD_MS
}

impl Picture {
    /// Seals a picture under a fresh secret. The same secret and bytes give the same sealed bytes.
    pub(crate) fn seal(secret: [u8; 32], file: &[u8]) -> (Self, Vec<u8>) {
        let sealed = attachment::seal(&key(&secret), file);
        let size = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        let picture = Self { secret, hash: attachment::ciphertext_hash(&sealed), size, kind: JPEG };
        (picture, sealed)
    }

    /// What the sealed bytes hold, if they are what the state names and a picture that may be shown.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let fits = sealed.len() as u64 == u64::from(self.size) && attachment::ciphertext_hash(sealed) == self.hash;
        let file = attachment::open(&key(&self.secret), sealed).ok().filter(|_| fits && self.is_known())?;
        content::picture::check(&file).is_ok().then_some(file)
    }

    /// The sealed bytes again.
    pub(crate) fn sealed(&self, file: &[u8]) -> Vec<u8> {
        attachment::seal(&key(&self.secret), file)
    }

    /// It is of a kind that this version shows.
    pub(crate) fn is_known(&self) -> bool {
        self.kind == JPEG
    }

    /// Its name at the relay in a period.
    pub(crate) fn blob(&self, period: u64) -> BlobId {
        BlobId(derive(&self.secret, "blob", period))
    }

    /// What whoever puts it there in a period writes with.
    pub(crate) fn upload(&self, period: u64) -> BlobSecret {
        BlobSecret(derive(&self.secret, "upload", period))
    }

    /// [secret, hash, size, kind].
    pub(crate) fn parts(&self) -> (ByteVec, ByteVec, u32, u8) {
        (self.secret.to_vec().into(), self.hash.to_vec().into(), self.size, self.kind)
    }

    /// The way back; `None` for what no program writes.
    pub(crate) fn read(input: &mut Decoder<'_>) -> Result<Option<Self>, minicbor::decode::Error> {
        if input.array()? != Some(4) {
            return Ok(None);
        }
        let (secret, hash) = (input.bytes()?.try_into(), input.bytes()?.try_into());
        let (size, kind) = (input.u32()?, input.u8()?);
        let (Ok(secret), Ok(hash), 1..=MAX_SEALED, 1..) = (secret, hash, size, kind) else { return Ok(None) };
        Ok(Some(Self { secret, hash, size, kind }))
    }
}

fn derive(secret: &[u8; 32], what: &str, number: u64) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(Some(b"transom v1 picture"), secret)
        .expand(&wire::signing_input(what, &[&number.to_be_bytes()]), &mut out)
        .expect("32 bytes are not too many");
    out
}

/// What a picture of this secret is sealed under.
pub(crate) fn key(secret: &[u8; 32]) -> AttachmentKey {
    AttachmentKey::from_bytes(derive(secret, "key", 0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A JPEG by its markers, with these bytes as what is coded in it.
    pub(crate) fn jpeg(coded: &[u8]) -> Vec<u8> {
        let frame = [0xff, 0xc0, 0, 11, 8, 0, 9, 0, 9, 1, 1, 0x11, 0];
        let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
        [&[0xff, 0xd8][..], &frame, &scan, coded, &[0xff, 0xd9]].concat()
    }

    #[test]
    fn a_picture_is_what_its_state_names_and_nothing_else() {
        let file = jpeg(b"group");
        let (picture, sealed) = Picture::seal([7; 32], &file);
        assert_eq!(picture.open(&sealed), Some(file.clone()));
        assert_eq!(picture.sealed(&file), sealed);
        let mut altered = sealed.clone();
        altered[9] ^= 1;
        assert_eq!(picture.open(&altered), None);
        assert_eq!(picture.open(&sealed[..sealed.len() - 1]), None);
        // Another file under the same secret, and one that is none, though hash and size are theirs.
        let (_, other) = Picture::seal([7; 32], &jpeg(b"other"));
        assert_eq!(picture.open(&other), None);
        let (svg, sealed) = Picture::seal([7; 32], b"<svg/>");
        assert_eq!(svg.open(&sealed), None);
        let exif = [&[0xff, 0xd8, 0xff, 0xe1, 0, 8, b'E', b'x', b'i', b'f', 0, 0][..], &file[2..]].concat();
        let (camera, sealed) = Picture::seal([7; 32], &exif);
        assert_eq!(camera.open(&sealed), None);
        let (unknown, sealed) = Picture::seal([7; 32], &file);
        assert_eq!(Picture { kind: 2, ..unknown }.open(&sealed), None);
    }

    #[test]
    fn the_largest_picture_fits_when_it_is_sealed() {
        let largest = attachment::sealed_len(content::picture::MAX_PICTURE as u64);
        assert!(largest <= u64::from(MAX_SEALED), "{largest}");
    }

    #[test]
    fn names_change_with_the_period_and_tell_nothing() {
        let (picture, _) = Picture::seal([7; 32], &jpeg(b"x"));
        let month = period(20_000 * 86_400_000);
        assert_eq!(month, 666);
        assert_ne!(picture.blob(month), picture.blob(month + 1));
    }
}
