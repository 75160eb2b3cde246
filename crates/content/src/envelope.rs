//! The plaintext of one MLS application message.
//!
//! A CBOR array behind which zeros follow up to a Padmé size. There is one encoding of each envelope: a parser refuses every
//! other, so that nothing can be hidden in the padding and no two byte strings mean the same message.

use std::fmt;

use crate::cbor::{Malformed, Reader, Writer};
use crate::padding::padme;

/// The version of this format; the first item of the array.
const VERSION: u64 = 1;

/// The longest envelope that is read: a relay takes no larger message, and there is room for the padding.
pub const MAX_ENVELOPE_BYTES: usize = 72 * 1024;

/// Why bytes are not an envelope. The sender's fault, except for [`EnvelopeError::Version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than [`MAX_ENVELOPE_BYTES`].
    #[error("the message is larger than any relay takes")]
    TooLarge,
    /// Not the deterministic CBOR of an envelope.
    #[error("the message's envelope can't be read")]
    Malformed,
    /// Made by a later version of this protocol: the reader's program is too old.
    #[error("the message's envelope has version {0}, which this program does not know; a newer program can read it")]
    Version(u64),
    /// A field has a wrong length.
    #[error("the message's envelope has an impossible value in `{0}`")]
    Field(&'static str),
    /// What follows the envelope is not zero, too short or too long.
    #[error("the message's padding is wrong")]
    Padding,
}

impl From<Malformed> for EnvelopeError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What a member sends beside the content, sealed together with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Encoded [`crate::MimiContent`], kept as it arrived: commitment and message id are over these bytes.
    pub content: Vec<u8>,
    /// Opens the commitment that travels beside the ciphertext ([`crate::franking`]).
    pub franking_key: [u8; 32],
    /// The device key's signature over what protocol section 5 lists.
    pub signature: [u8; 64],
    /// When it was sent, by the sender's clock, in milliseconds since 1970-01-01 UTC.
    pub sent: u64,
    /// The last entry that the sender had processed (protocol rule 8).
    pub head_seq: u64,
    /// The sender's hash head after that entry.
    pub head_hash: [u8; 32],
}

/// Says how long the content is, and nothing else (I10).
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} bytes of content)", self.content.len())
    }
}

impl Envelope {
    /// The padded bytes. Their length is a Padmé size.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(7);
        writer.uint(VERSION);
        writer.bytes(&self.content);
        writer.bytes(&self.franking_key);
        writer.bytes(&self.signature);
        writer.uint(self.sent);
        writer.uint(self.head_seq);
        writer.bytes(&self.head_hash);
        let mut bytes = writer.finish();
        bytes.resize(padme(bytes.len()), 0);
        bytes
    }

    /// Reads an envelope and checks its padding.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let items = reader.array()?;
        let version = reader.uint()?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        if items != 7 {
            return Err(EnvelopeError::Malformed);
        }
        let envelope = Self {
            content: reader.bytes()?.to_vec(),
            franking_key: fixed(&mut reader, "franking_key")?,
            signature: fixed(&mut reader, "signature")?,
            sent: reader.uint()?,
            head_seq: reader.uint()?,
            head_hash: fixed(&mut reader, "head_hash")?,
        };
        let end = reader.position();
        if bytes.len() != padme(end) || bytes.iter().skip(end).any(|byte| *byte != 0) {
            return Err(EnvelopeError::Padding);
        }
        if envelope.encode() == bytes { Ok(envelope) } else { Err(EnvelopeError::Malformed) }
    }
}

fn fixed<const N: usize>(reader: &mut Reader<'_>, field: &'static str) -> Result<[u8; N], EnvelopeError> {
    reader.bytes()?.try_into().map_err(|_| EnvelopeError::Field(field))
}
