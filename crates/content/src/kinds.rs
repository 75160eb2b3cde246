//! Content types of our own beside text: polls and votes, pins, contact cards, locations, previews of links.
//!
//! Each is a CBOR array that begins with a version. What always holds: a parser takes only what the writer writes (one encoding of
//! each value, texts cleaned as [`crate::text::line`] does it, every bound kept), so that members can't see different things in
//! the same bytes. MIMI content has no such kinds; they travel beside a text that says the same (`chooseOne`), for programs that
//! don't know them.

use std::fmt;

use crate::cbor::{Reader, Writer};
use crate::text::line;

/// The version of all these formats; the first item of each array.
const VERSION: u64 = 1;

/// The longest question of a poll, in bytes.
pub const MAX_QUESTION_BYTES: usize = 1024;
/// How many options a poll may have; two at least.
pub const MAX_OPTIONS: usize = 32;
/// The longest option, in bytes.
pub const MAX_OPTION_BYTES: usize = 256;
/// The longest name of a contact or a place, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// The longest address of a contact, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 320;
/// The longest link that a preview is of, in bytes.
pub const MAX_URL_BYTES: usize = 2048;
/// The longest title of a preview, in bytes.
pub const MAX_TITLE_BYTES: usize = 512;
/// The longest description of a preview, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 1024;

pub(crate) const POLL: &str = "application/vnd.transom.poll+cbor";
pub(crate) const VOTE: &str = "application/vnd.transom.vote+cbor";
pub(crate) const POLL_CLOSED: &str = "application/vnd.transom.poll-closed+cbor";
pub(crate) const PIN: &str = "application/vnd.transom.pin+cbor";
pub(crate) const CONTACT: &str = "application/vnd.transom.contact+cbor";
pub(crate) const LOCATION: &str = "application/vnd.transom.location+cbor";
pub(crate) const PREVIEW: &str = "application/vnd.transom.preview+cbor";

/// Something to vote on.
#[derive(Clone, PartialEq, Eq)]
pub struct Poll {
    /// The question, one line.
    pub question: String,
    /// The options, 2 to [`MAX_OPTIONS`], named by their places.
    pub options: Vec<String>,
    /// Several options may be chosen.
    pub multiple: bool,
}

/// A card that names an account.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// How the sender calls it; may be empty.
    pub name: String,
    /// `name@relay`, as the sender wrote it: nobody has checked that there is such an account.
    pub address: String,
}

/// A place on Earth (WGS 84).
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    /// North of the equator, in 10^-7 degrees, -900,000,000 to 900,000,000.
    pub latitude: i64,
    /// East of Greenwich, in 10^-7 degrees, -1,800,000,000 to 1,800,000,000.
    pub longitude: i64,
    /// How far off it may be, in metres; 0 if that is not said.
    pub accuracy: u32,
    /// What the sender calls it; may be empty.
    pub label: String,
}

/// What the sender's program saw behind a link. Nobody but the sender vouches for it, and nobody fetches anything to show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Preview {
    /// The link, `https` or `http`.
    pub url: String,
    /// The page's title.
    pub title: String,
    /// What the page says of itself; may be empty.
    pub description: String,
}

macro_rules! says_nothing {
    ($($kind:ident),*) => {$(
        /// Says what kind it is (I10).
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($kind), "(..)"))
            }
        }
    )*};
}
says_nothing!(Poll, Contact, Location, Preview);

fn array(items: usize) -> Writer {
    let mut writer = Writer::new();
    writer.array(items + 1);
    writer.uint(VERSION);
    writer
}

fn begin(bytes: &[u8], items: u64) -> Option<Reader<'_>> {
    let mut reader = Reader::new(bytes);
    (reader.array().ok()? == items + 1 && reader.uint().ok()? == VERSION).then_some(reader)
}

impl Poll {
    /// A poll with its texts cleaned; `None` if it has no question, an empty option, or too few or too many options.
    pub fn new(question: &str, options: &[String], multiple: bool) -> Option<Self> {
        let question = line(question, MAX_QUESTION_BYTES);
        let options: Vec<String> = options.iter().map(|option| line(option, MAX_OPTION_BYTES)).collect();
        let complete = !question.is_empty()
            && (2..=MAX_OPTIONS).contains(&options.len())
            && options.iter().all(|option| !option.is_empty());
        complete.then_some(Self { question, options, multiple })
    }

    /// For programs that know no polls.
    pub fn in_words(&self) -> String {
        let options: Vec<String> = self.options.iter().enumerate().map(|(n, o)| format!("{}. {o}", n + 1)).collect();
        format!("Poll: {}\n{}", self.question, options.join("\n"))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = array(3);
        writer.text(&self.question);
        writer.array(self.options.len());
        self.options.iter().for_each(|option| writer.text(option));
        writer.bool(self.multiple);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = begin(bytes, 3)?;
        let question = reader.text().ok()?;
        let count = reader.array().ok()?;
        if count > MAX_OPTIONS as u64 {
            return None;
        }
        let options = (0..count).map(|_| Some(reader.text().ok()?.to_owned())).collect::<Option<Vec<_>>>()?;
        let poll = Self::new(question, &options, reader.bool().ok()?)?;
        (poll.encode() == bytes).then_some(poll)
    }
}

impl Contact {
    /// A card with its texts cleaned; `None` without an address.
    pub fn new(name: &str, address: &str) -> Option<Self> {
        let contact = Self { name: line(name, MAX_NAME_BYTES), address: line(address, MAX_ADDRESS_BYTES) };
        (!contact.address.is_empty()).then_some(contact)
    }

    /// For programs that know no contact cards.
    pub fn in_words(&self) -> String {
        if self.name.is_empty() {
            format!("Contact: {}", self.address)
        } else {
            format!("Contact: {} ({})", self.name, self.address)
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = array(2);
        writer.text(&self.name);
        writer.text(&self.address);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = begin(bytes, 2)?;
        let contact = Self::new(reader.text().ok()?, reader.text().ok()?)?;
        (contact.encode() == bytes).then_some(contact)
    }
}

impl Location {
    /// A place with its label cleaned; `None` if it is not on Earth.
    pub fn new(latitude: i64, longitude: i64, accuracy: u32, label: &str) -> Option<Self> {
        let on_earth = latitude.unsigned_abs() <= 900_000_000 && longitude.unsigned_abs() <= 1_800_000_000;
        on_earth.then(|| Self { latitude, longitude, accuracy, label: line(label, MAX_NAME_BYTES) })
    }

    /// As a `geo:` URI (RFC 5870), which maps open.
    pub fn uri(&self) -> String {
        let uncertainty = if self.accuracy == 0 { String::new() } else { format!(";u={}", self.accuracy) };
        format!("geo:{},{}{uncertainty}", degrees(self.latitude), degrees(self.longitude))
    }

    /// For programs that know no locations.
    pub fn in_words(&self) -> String {
        if self.label.is_empty() {
            format!("Location: {}", self.uri())
        } else {
            format!("Location: {} ({})", self.label, self.uri())
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = array(4);
        writer.int(self.latitude);
        writer.int(self.longitude);
        writer.uint(self.accuracy.into());
        writer.text(&self.label);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = begin(bytes, 4)?;
        let (latitude, longitude) = (reader.int().ok()?, reader.int().ok()?);
        let accuracy = reader.uint().ok()?.try_into().ok()?;
        let location = Self::new(latitude, longitude, accuracy, reader.text().ok()?)?;
        (location.encode() == bytes).then_some(location)
    }
}

/// 10^-7 degrees as decimal degrees, without zeros at the end.
fn degrees(tenmillionths: i64) -> String {
    let (sign, value) = (if tenmillionths < 0 { "-" } else { "" }, tenmillionths.unsigned_abs());
    let text = format!("{sign}{}.{:07}", value / 10_000_000, value % 10_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Preview {
    /// A preview with its texts cleaned; `None` if the link is none, or there is no title.
    pub fn new(url: &str, title: &str, description: &str) -> Option<Self> {
        let preview = Self {
            url: url.to_owned(),
            title: line(title, MAX_TITLE_BYTES),
            description: line(description, MAX_DESCRIPTION_BYTES),
        };
        (is_link(url) && !preview.title.is_empty()).then_some(preview)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = array(3);
        writer.text(&self.url);
        writer.text(&self.title);
        writer.text(&self.description);
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = begin(bytes, 3)?;
        let preview = Self::new(reader.text().ok()?, reader.text().ok()?, reader.text().ok()?)?;
        (preview.encode() == bytes).then_some(preview)
    }
}

/// Visible ASCII behind `https://` or `http://`: what looks like one host and is another needs other letters, and those are
/// written as `xn--…` in a link.
pub(crate) fn is_link(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    url.len() <= MAX_URL_BYTES && rest.is_some_and(|rest| !rest.is_empty()) && url.bytes().all(|b| b.is_ascii_graphic())
}

/// Which options somebody chooses: places, ascending, each once; none takes the vote back.
pub(crate) fn encode_vote(choices: &[u32]) -> Vec<u8> {
    let mut writer = array(1);
    writer.array(choices.len());
    choices.iter().for_each(|choice| writer.uint((*choice).into()));
    writer.finish()
}

pub(crate) fn decode_vote(bytes: &[u8]) -> Option<Vec<u32>> {
    let mut reader = begin(bytes, 1)?;
    let count = reader.array().ok()?;
    if count > MAX_OPTIONS as u64 {
        return None;
    }
    let choices = (0..count).map(|_| u32::try_from(reader.uint().ok()?).ok()).collect::<Option<Vec<_>>>()?;
    let ascending = choices.is_sorted_by(|one, next| one < next);
    (ascending && encode_vote(&choices) == bytes).then_some(choices)
}

pub(crate) fn encode_closed() -> Vec<u8> {
    array(0).finish()
}

pub(crate) fn is_closed(bytes: &[u8]) -> bool {
    bytes == encode_closed()
}

pub(crate) fn encode_pin(pinned: bool) -> Vec<u8> {
    let mut writer = array(1);
    writer.bool(pinned);
    writer.finish()
}

pub(crate) fn decode_pin(bytes: &[u8]) -> Option<bool> {
    let pinned = begin(bytes, 1)?.bool().ok()?;
    (encode_pin(pinned) == bytes).then_some(pinned)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn degrees_are_decimal() {
        for (value, text) in
            [(482_010_000, "48.201"), (-1, "-0.0000001"), (0, "0"), (-900_000_000, "-90"), (163_695_000, "16.3695")]
        {
            assert_eq!(degrees(value), text);
        }
    }

    #[test]
    fn what_is_impossible_is_refused() {
        let options = |n: usize| vec!["x".to_owned(); n];
        assert!(Poll::new("q", &options(1), false).is_none());
        assert!(Poll::new("q", &options(MAX_OPTIONS + 1), false).is_none());
        assert!(Poll::new("\u{202e} ", &options(2), false).is_none());
        assert!(Poll::new("q", &["a".into(), " \n".into()], false).is_none());
        assert!(Location::new(900_000_001, 0, 0, "").is_none());
        assert!(Location::new(0, i64::MIN, 0, "").is_none());
        assert!(Contact::new("Bob", " ").is_none());
        for url in [
            "",
            "https://",
            "ftp://x",
            "javascript:alert(1)",
            "https://ex ample",
            "https://exämple/",
            "http://a\u{202e}b",
        ] {
            assert!(Preview::new(url, "t", "").is_none(), "{url}");
        }
        assert!(Preview::new(&format!("https://{}", "x".repeat(MAX_URL_BYTES)), "t", "").is_none());
        assert_eq!(decode_vote(&[0x82, 0x01, 0x82, 0x02, 0x01]), None, "not ascending");
        assert_eq!(decode_vote(&[0x82, 0x01, 0x82, 0x01, 0x01]), None, "twice");
        assert_eq!(decode_vote(&[0x82, 0x01, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decode_pin(&[0x82, 0x01, 0xf5, 0x00]), None, "something follows");
        // Texts that `line` would change have another encoding, so a receiver never sees other letters than the next.
        let mut writer = array(2);
        writer.text("Bo\u{202e}b");
        writer.text("bob@relay.example");
        assert!(Contact::decode(&writer.finish()).is_none());
    }

    proptest! {
        #[test]
        fn what_was_made_is_read(question in "\\PC{1,40}", options in vec("\\PC{1,20}", 2..10), multiple: bool,
            latitude in -900_000_000i64..900_000_000, longitude in -1_800_000_000i64..1_800_000_000, accuracy: u32,
            choices in proptest::collection::btree_set(0u32..40, 0..20)) {
            if let Some(poll) = Poll::new(&question, &options, multiple) {
                prop_assert!(Poll::decode(&poll.encode()) == Some(poll));
            }
            let location = Location::new(latitude, longitude, accuracy, &question).unwrap();
            prop_assert!(Location::decode(&location.encode()) == Some(location));
            if let Some(contact) = Contact::new(&question, &options[0]) {
                prop_assert!(Contact::decode(&contact.encode()) == Some(contact));
            }
            if let Some(preview) = Preview::new("https://relay.example/a?b=c", &question, &options[1]) {
                prop_assert!(Preview::decode(&preview.encode()) == Some(preview));
            }
            let choices: Vec<u32> = choices.into_iter().collect();
            prop_assert_eq!(decode_vote(&encode_vote(&choices)), Some(choices));
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
            for array in [&bytes[..], &[&[0x84, 0x01][..], &bytes].concat(), &[&[0x82, 0x01][..], &bytes].concat()] {
                if let Some(poll) = Poll::decode(array) {
                    prop_assert!(poll.encode() == array);
                }
                if let Some(location) = Location::decode(array) {
                    prop_assert!(location.encode() == array);
                }
                let _ = (Contact::decode(array), Preview::decode(array), decode_vote(array), decode_pin(array));
            }
        }
    }
}
