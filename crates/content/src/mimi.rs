//! MIMI content, draft-ietf-mimi-content-08: the container of every message.
//!
//! Follows the draft's CDDL (its Appendix B), its "CBOR Data Model and Encoding Restrictions" (deterministic encoding, at most
//! four levels) and the list of nonsensical values in its "Security Considerations". What depends on the time
//! ([`Expiration::is_plausible`]) or on what came before (ids seen twice, loops of replies) is the caller's to check.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::cbor::{MAX_INTEGER_KEY, Malformed, Reader, Writer};

/// The longest content that is read: no relay takes a larger message.
pub const MAX_CONTENT_BYTES: usize = 64 * 1024;
/// How deep parts may be nested; the outermost part is level 1.
pub const MAX_DEPTH: usize = 4;
/// How many parts a message may have, nested ones included.
pub const MAX_PARTS: usize = 1024;
/// The longest topic id, in bytes.
pub const MAX_TOPIC_BYTES: usize = 4096;
/// How many extensions a message may have. The draft sets no limit; this one is ours.
pub const MAX_EXTENSIONS: usize = 256;
/// How many levels of arrays, maps and tags an extension's value may have; the map of extensions itself is the first of four.
const MAX_EXTENSION_DEPTH: usize = 3;
/// The hash algorithm of message ids: SHA-256 in IANA's "Named Information Hash Algorithm Registry".
const SHA_256: u8 = 1;

/// The extension that names the sender.
pub const SENDER_URI: ExtensionKey = ExtensionKey::Int(1);
/// The extension that names the room.
pub const ROOM_URI: ExtensionKey = ExtensionKey::Int(2);

/// Why bytes are not MIMI content. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Longer than [`MAX_CONTENT_BYTES`].
    #[error("the content is too large")]
    TooLarge,
    /// Not CBOR, or not of the shape that the draft gives.
    #[error("the content is not MIMI content")]
    Malformed,
    /// It can be read, but is not the deterministic encoding (RFC 8949, section 4.2.1), or something follows it.
    #[error("the content is not encoded deterministically")]
    NotDeterministic,
    /// A field has an impossible value.
    #[error("the content's field `{0}` has an impossible value")]
    Field(&'static str),
    /// Parts are nested deeper than [`MAX_DEPTH`].
    #[error("the content is nested too deeply")]
    TooDeep,
    /// There are more parts than [`MAX_PARTS`].
    #[error("the content has too many parts")]
    TooManyParts,
}

impl From<Malformed> for ContentError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Names a message: a hash of it, behind the number of the hash algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 32]);

/// Two bytes: enough to tell ids apart in a test, too little to name one (I10).
impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({:02x}{:02x}..)", self.0[1], self.0[2])
    }
}

/// The id of the message with these content bytes (draft, section "Message ID"). The URIs are those of the sender and of the
/// room as the conversation knows them, whatever the content's own extensions claim.
///
/// A URI longer than 65,535 bytes has no length in the draft's formula; its length is taken as the largest one. Addresses of
/// this protocol are far shorter.
pub fn message_id(sender_uri: &str, room_uri: &str, salt: &[u8; 16], content: &[u8]) -> MessageId {
    let mut hash = Sha256::new();
    for uri in [sender_uri, room_uri] {
        hash.update(u16::try_from(uri.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(uri);
    }
    hash.update(content);
    hash.update(salt);
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [SHA_256; 32];
    id[1..].copy_from_slice(&digest[..31]);
    MessageId(id)
}

/// When a message is to be deleted; a hint to the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiration {
    /// True: seconds after it was read. False: seconds since 1970-01-01 UTC.
    pub relative: bool,
    /// The seconds.
    pub seconds: u32,
}

impl Expiration {
    /// False for what the draft calls nonsensical: a year and more from `now`, in seconds since 1970-01-01 UTC.
    pub fn is_plausible(self, now: u64) -> bool {
        const YEAR: u64 = 366 * 24 * 3600;
        let seconds = u64::from(self.seconds);
        if self.relative { seconds <= YEAR } else { seconds.abs_diff(now) <= YEAR }
    }
}

/// The key of an extension. Ordered as deterministic CBOR orders map keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExtensionKey {
    /// Positive numbers are registered with IANA, negative ones are private; up to 2^53 - 1 either way, and never 0.
    Int(i64),
    /// 1 to 255 bytes, private.
    Text(String),
}

impl Ord for ExtensionKey {
    fn cmp(&self, other: &Self) -> Ordering {
        // Bytewise order of the encodings: the major type first, then the number, or the length and then the text.
        let rank = |key: &Self| match key {
            Self::Int(number @ 0..) => (0, number.unsigned_abs()),
            Self::Int(number) => (1, number.unsigned_abs()),
            Self::Text(text) => (2, text.len() as u64),
        };
        let text = |key: &Self| match key {
            Self::Int(_) => Vec::new(),
            Self::Text(text) => text.as_bytes().to_vec(),
        };
        rank(self).cmp(&rank(other)).then_with(|| text(self).cmp(&text(other)))
    }
}

impl PartialOrd for ExtensionKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The value of an extension: one deterministic CBOR item, kept as its bytes, understood or not.
#[derive(Clone, PartialEq, Eq)]
pub struct ExtensionValue(Vec<u8>);

/// Says how long it is (I10).
impl fmt::Debug for ExtensionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtensionValue({} bytes)", self.0.len())
    }
}

impl ExtensionValue {
    /// A text.
    pub fn text(text: &str) -> Self {
        let mut writer = Writer::new();
        writer.text(text);
        Self(writer.finish())
    }

    /// Any CBOR item, if it is encoded deterministically and no deeper than the draft allows.
    pub fn from_cbor(item: &[u8]) -> Result<Self, ContentError> {
        let mut reader = Reader::new(item);
        let value = Self::read(&mut reader)?;
        if reader.at_end() { Ok(value) } else { Err(ContentError::NotDeterministic) }
    }

    /// Its CBOR.
    pub fn as_cbor(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        Reader::new(&self.0).text().ok()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ContentError> {
        Ok(Self(reader.raw(MAX_EXTENSION_DEPTH).map_err(|_| ContentError::Field("mimiExtensions"))?.to_vec()))
    }
}

/// What a part is meant for. Numbers that are not known are kept and treated as [`Disposition::RENDER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Disposition(pub u8);

impl Disposition {
    /// No hint.
    pub const UNSPECIFIED: Self = Self(0);
    /// To be shown.
    pub const RENDER: Self = Self(1);
    /// A reaction to another message.
    pub const REACTION: Self = Self(2);
    /// A profile of a person or a room.
    pub const PROFILE: Self = Self(3);
    /// To be shown within another part.
    pub const INLINE: Self = Self(4);
    /// An icon.
    pub const ICON: Self = Self(5);
    /// To be downloaded.
    pub const ATTACHMENT: Self = Self(6);
    /// A call or how to join one.
    pub const SESSION: Self = Self(7);
    /// A preview made by the sender.
    pub const PREVIEW: Self = Self(8);

    /// The disposition to act on.
    #[must_use]
    pub const fn known(self) -> Self {
        if self.0 <= Self::PREVIEW.0 { self } else { Self::RENDER }
    }
}

/// How the parts of a multipart belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartSemantics {
    /// The receiver picks one.
    ChooseOne,
    /// All of them or none.
    SingleUnit,
    /// As many as the receiver can.
    ProcessAll,
}

/// A part of the body.
#[derive(Clone, PartialEq, Eq)]
pub struct NestedPart {
    /// What it is for.
    pub disposition: Disposition,
    /// Language tags (RFC 5646) with commas between, or nothing.
    pub language: String,
    /// What it is.
    pub part: Part,
}

/// What a part is.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// Nothing: deletes what the message replaces.
    Null,
    /// Content in the message itself.
    Single {
        /// An IANA media type with its parameters.
        content_type: String,
        /// The content.
        content: Vec<u8>,
    },
    /// Content elsewhere.
    External(Box<ExternalPart>),
    /// Several parts, two at least.
    Multi {
        /// How they belong together.
        semantics: PartSemantics,
        /// The parts.
        parts: Vec<NestedPart>,
    },
}

/// Says what kind of part it is (I10).
impl fmt::Debug for NestedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.part)
    }
}

/// Says what kind of part it is (I10).
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Single { content, .. } => write!(f, "Single({} bytes)", content.len()),
            Self::External(_) => f.write_str("External(..)"),
            Self::Multi { semantics, parts } => write!(f, "{semantics:?}{parts:?}"),
        }
    }
}

/// Content that is fetched from a URL.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalPart {
    /// An IANA media type with its parameters.
    pub content_type: String,
    /// Where it is.
    pub url: String,
    /// Until when, in seconds since 1970-01-01 UTC; 0 for ever.
    pub expires: u32,
    /// Its size in bytes; 0 if that is not said.
    pub size: u64,
    /// An IANA AEAD number, or 0 for "not encrypted".
    pub enc_alg: u16,
    /// The AEAD key.
    pub key: Vec<u8>,
    /// The AEAD nonce.
    pub nonce: Vec<u8>,
    /// The AEAD's additional data.
    pub aad: Vec<u8>,
    /// An IANA hash algorithm, or 0 for "no hash".
    pub hash_alg: u8,
    /// The hash of the content at the URL.
    pub content_hash: Vec<u8>,
    /// For people.
    pub description: String,
    /// The name that the sender suggests for the file. Never a path to write to without a check.
    pub filename: String,
}

/// A message.
#[derive(Clone, PartialEq, Eq)]
pub struct MimiContent {
    /// Random, fresh for each message.
    pub salt: [u8; 16],
    /// The message that this one edits or deletes.
    pub replaces: Option<MessageId>,
    /// Groups messages; empty for "no group".
    pub topic_id: Vec<u8>,
    /// When to delete it.
    pub expires: Option<Expiration>,
    /// The message that this one answers or reacts to.
    pub in_reply_to: Option<MessageId>,
    /// Extensions, those that nobody here knows included.
    pub extensions: BTreeMap<ExtensionKey, ExtensionValue>,
    /// The body.
    pub part: NestedPart,
}

/// Says what kind of message it is (I10).
impl fmt::Debug for MimiContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MimiContent({:?})", self.part)
    }
}

impl MimiContent {
    /// The deterministic encoding. What breaks the draft's limits is encoded all the same and refused by [`Self::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(7);
        writer.bytes(&self.salt);
        write_id(&mut writer, self.replaces);
        writer.bytes(&self.topic_id);
        match self.expires {
            None => writer.null(),
            Some(expires) => {
                writer.array(2);
                writer.bool(expires.relative);
                writer.uint(expires.seconds.into());
            }
        }
        write_id(&mut writer, self.in_reply_to);
        writer.map(self.extensions.len());
        for (key, value) in &self.extensions {
            match key {
                ExtensionKey::Int(number) => writer.int(*number),
                ExtensionKey::Text(text) => writer.text(text),
            }
            writer.raw(&value.0);
        }
        write_part(&mut writer, &self.part);
        writer.finish()
    }

    /// Reads content, strictly: what this accepts encodes to the same bytes again.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        if bytes.len() > MAX_CONTENT_BYTES {
            return Err(ContentError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        if reader.array()? != 7 {
            return Err(ContentError::Malformed);
        }
        let salt = reader.bytes()?.try_into().map_err(|_| ContentError::Field("salt"))?;
        let replaces = read_id(&mut reader, "replaces")?;
        let topic_id = reader.bytes()?;
        if topic_id.len() > MAX_TOPIC_BYTES {
            return Err(ContentError::Field("topicId"));
        }
        let expires = read_expiration(&mut reader)?;
        let in_reply_to = read_id(&mut reader, "inReplyTo")?;
        let extensions = read_extensions(&mut reader)?;
        let part = read_part(&mut reader, 1, &mut 0)?;
        let content = Self { salt, replaces, topic_id: topic_id.to_vec(), expires, in_reply_to, extensions, part };
        if reader.at_end() && content.encode() == bytes { Ok(content) } else { Err(ContentError::NotDeterministic) }
    }
}

fn write_id(writer: &mut Writer, id: Option<MessageId>) {
    match id {
        None => writer.null(),
        Some(id) => writer.bytes(&id.0),
    }
}

fn write_part(writer: &mut Writer, nested: &NestedPart) {
    let (items, cardinality) = match &nested.part {
        Part::Null => (3, 0),
        Part::Single { .. } => (5, 1),
        Part::External(_) => (15, 2),
        Part::Multi { .. } => (5, 3),
    };
    writer.array(items);
    writer.uint(nested.disposition.0.into());
    writer.text(&nested.language);
    writer.uint(cardinality);
    match &nested.part {
        Part::Null => {}
        Part::Single { content_type, content } => {
            writer.text(content_type);
            writer.bytes(content);
        }
        Part::External(external) => {
            writer.text(&external.content_type);
            writer.text(&external.url);
            writer.uint(external.expires.into());
            writer.uint(external.size);
            writer.uint(external.enc_alg.into());
            writer.bytes(&external.key);
            writer.bytes(&external.nonce);
            writer.bytes(&external.aad);
            writer.uint(external.hash_alg.into());
            writer.bytes(&external.content_hash);
            writer.text(&external.description);
            writer.text(&external.filename);
        }
        Part::Multi { semantics, parts } => {
            writer.uint(match semantics {
                PartSemantics::ChooseOne => 0,
                PartSemantics::SingleUnit => 1,
                PartSemantics::ProcessAll => 2,
            });
            writer.array(parts.len());
            for part in parts {
                write_part(writer, part);
            }
        }
    }
}

fn read_id(reader: &mut Reader<'_>, field: &'static str) -> Result<Option<MessageId>, ContentError> {
    if reader.take_null() {
        return Ok(None);
    }
    let id: [u8; 32] = reader.bytes()?.try_into().map_err(|_| ContentError::Field(field))?;
    if id[0] == SHA_256 { Ok(Some(MessageId(id))) } else { Err(ContentError::Field(field)) }
}

fn read_expiration(reader: &mut Reader<'_>) -> Result<Option<Expiration>, ContentError> {
    if reader.take_null() {
        return Ok(None);
    }
    if reader.array()? != 2 {
        return Err(ContentError::Field("expires"));
    }
    Ok(Some(Expiration { relative: reader.bool()?, seconds: number(reader, "expires")? }))
}

fn read_extensions(reader: &mut Reader<'_>) -> Result<BTreeMap<ExtensionKey, ExtensionValue>, ContentError> {
    let wrong = ContentError::Field("mimiExtensions");
    let count = reader.map()?;
    if count > MAX_EXTENSIONS as u64 {
        return Err(wrong);
    }
    let mut extensions = BTreeMap::new();
    for _ in 0..count {
        let key = if reader.next_is_text() {
            let text = reader.text()?;
            if text.is_empty() || text.len() > 255 {
                return Err(wrong);
            }
            ExtensionKey::Text(text.to_owned())
        } else {
            let number = reader.int()?;
            if number == 0 || number.unsigned_abs() > MAX_INTEGER_KEY {
                return Err(wrong);
            }
            ExtensionKey::Int(number)
        };
        let value = ExtensionValue::read(reader)?;
        if (key == SENDER_URI || key == ROOM_URI) && value.as_text().is_none() {
            return Err(wrong);
        }
        if extensions.insert(key, value).is_some() {
            return Err(wrong);
        }
    }
    Ok(extensions)
}

fn read_part(reader: &mut Reader<'_>, level: usize, parts_seen: &mut usize) -> Result<NestedPart, ContentError> {
    if level > MAX_DEPTH {
        return Err(ContentError::TooDeep);
    }
    *parts_seen += 1;
    if *parts_seen > MAX_PARTS {
        return Err(ContentError::TooManyParts);
    }
    let items = reader.array()?;
    let disposition = Disposition(number(reader, "disposition")?);
    let language = reader.text()?.to_owned();
    let part = match (reader.uint()?, items) {
        (0, 3) => Part::Null,
        (1, 5) => Part::Single { content_type: reader.text()?.to_owned(), content: reader.bytes()?.to_vec() },
        (2, 15) => Part::External(Box::new(ExternalPart {
            content_type: reader.text()?.to_owned(),
            url: reader.text()?.to_owned(),
            expires: number(reader, "expires")?,
            size: reader.uint()?,
            enc_alg: number(reader, "encAlg")?,
            key: reader.bytes()?.to_vec(),
            nonce: reader.bytes()?.to_vec(),
            aad: reader.bytes()?.to_vec(),
            hash_alg: number(reader, "hashAlg")?,
            content_hash: reader.bytes()?.to_vec(),
            description: reader.text()?.to_owned(),
            filename: reader.text()?.to_owned(),
        })),
        (3, 5) => {
            let semantics = match reader.uint()? {
                0 => PartSemantics::ChooseOne,
                1 => PartSemantics::SingleUnit,
                2 => PartSemantics::ProcessAll,
                _ => return Err(ContentError::Field("partSemantics")),
            };
            let count = reader.array()?;
            if count < 2 {
                return Err(ContentError::Field("parts"));
            }
            let mut parts = Vec::new();
            for _ in 0..count {
                parts.push(read_part(reader, level + 1, parts_seen)?);
            }
            Part::Multi { semantics, parts }
        }
        _ => return Err(ContentError::Field("cardinality")),
    };
    Ok(NestedPart { disposition, language, part })
}

fn number<T: TryFrom<u64>>(reader: &mut Reader<'_>, field: &'static str) -> Result<T, ContentError> {
    T::try_from(reader.uint()?).map_err(|_| ContentError::Field(field))
}
