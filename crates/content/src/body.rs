//! From content to what a person sees.

use std::fmt;

use crate::kinds::{self, Contact, Location, Poll, Preview};
use crate::markdown::from_gfm_mimi;
use crate::mimi::{Disposition, ExternalPart, NestedPart, Part, PartSemantics};
use crate::own_state::{self, MAX_OWN_STATE};
use crate::receipts::{self, Receipts};
use crate::text::{bounded, reorders};
use crate::{MessageId, MimiContent};

/// The longest text that is shown, in bytes. What is cut ends with `…`.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// How many different reactions one message may carry.
pub const MAX_EMOJI: usize = 16;
/// The longest reaction, in bytes: the longest sequence that Unicode recommends as one emoji has 35.
const MAX_EMOJI_BYTES: usize = 64;

/// Shown for content of which nothing can be shown.
pub const UNKNOWN_CONTENT: &str = "This message is of a kind that this version can't show.";

/// What a message is: something to show, or something that is done to another message.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum Body {
    /// A text: Markdown source, or plain.
    Text {
        /// At most [`MAX_TEXT_BYTES`], without control characters other than line feed and tab.
        text: String,
        /// Of a link that the text holds.
        preview: Option<Preview>,
    },
    /// Something to vote on.
    Poll(Poll),
    /// A card that names an account.
    Contact(Contact),
    /// A place.
    Location(Location),
    /// Content of a kind that this version does not know.
    Unknown {
        /// The best text that there is for it, else [`UNKNOWN_CONTENT`]. Bounded as a text is.
        fallback: String,
    },
    /// Nothing to show: what another member has got and read.
    Receipts(Receipts),
    /// Another text for a message, or for what an earlier edit made of it.
    Edit { replaces: MessageId, text: String, preview: Option<Preview> },
    /// A message, or a reaction, is taken back.
    Delete { replaces: MessageId, in_reply_to: Option<MessageId> },
    /// Reactions to a message: at most [`MAX_EMOJI`], each once.
    Reaction { to: MessageId, emoji: Vec<String> },
    /// Which options of a poll somebody chooses, ascending; none takes an earlier vote back.
    Vote { poll: MessageId, choices: Vec<u32> },
    /// No more votes.
    PollClosed { poll: MessageId },
    /// A message is to be found quickly, or no longer.
    Pin { message: MessageId, pinned: bool },
    /// Nothing to show: what another own device tells, at most [`MAX_OWN_STATE`] bytes.
    OwnState(Vec<u8>),
}

/// Says what kind it is (I10).
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { text, .. } => write!(f, "Text({} bytes)", text.len()),
            Self::Poll(poll) => poll.fmt(f),
            Self::Contact(contact) => contact.fmt(f),
            Self::Location(location) => location.fmt(f),
            Self::Unknown { fallback } => write!(f, "Unknown({} bytes)", fallback.len()),
            Self::Receipts(receipts) => receipts.fmt(f),
            Self::Edit { text, .. } => write!(f, "Edit({} bytes)", text.len()),
            Self::Delete { .. } => f.write_str("Delete"),
            Self::Reaction { .. } => f.write_str("Reaction"),
            Self::Vote { .. } => f.write_str("Vote"),
            Self::PollClosed { .. } => f.write_str("PollClosed"),
            Self::Pin { .. } => f.write_str("Pin"),
            Self::OwnState(bytes) => write!(f, "OwnState({} bytes)", bytes.len()),
        }
    }
}

/// What a message is. Takes time and memory in proportion to the content's size.
pub fn interpret(content: &MimiContent) -> Body {
    match (content.replaces, understand(&content.part)) {
        (Some(replaces), _) if content.part.part == Part::Null => {
            Body::Delete { replaces, in_reply_to: content.in_reply_to }
        }
        // An edit shown as a message of its own would put words into somebody's mouth twice; so would another kind.
        (Some(replaces), Some(Understood::Text { text, preview })) => text_body(text, preview, Some(replaces)),
        (Some(replaces), _) => Body::Edit { replaces, text: fallback(content), preview: None },
        (None, Some(Understood::Text { text, preview })) => text_body(text, preview, None),
        (None, Some(Understood::Own(own))) => {
            own_body(own, content.in_reply_to).unwrap_or_else(|| Body::Unknown { fallback: fallback(content) })
        }
        (None, None) => Body::Unknown { fallback: fallback(content) },
    }
}

/// What programs show that don't understand it: the best text that there is, else [`UNKNOWN_CONTENT`].
pub fn fallback(content: &MimiContent) -> String {
    let best = fallback_of(&content.part).map(|(_, text)| bounded(&text)).filter(|text| !text.trim().is_empty());
    best.unwrap_or_else(|| UNKNOWN_CONTENT.to_owned())
}

fn text_body(text: String, preview: Option<Preview>, replaces: Option<MessageId>) -> Body {
    let text = bounded(&text);
    // A preview of a link that nobody wrote would be words without an author.
    let preview = preview.filter(|preview| text.contains(&preview.url));
    match replaces {
        None => Body::Text { text, preview },
        Some(replaces) => Body::Edit { replaces, text, preview },
    }
}

/// What is done to another message must name it.
fn own_body(own: Own, in_reply_to: Option<MessageId>) -> Option<Body> {
    Some(match own {
        Own::Receipts(receipts) => Body::Receipts(receipts),
        Own::Poll(poll) => Body::Poll(poll),
        Own::Contact(contact) => Body::Contact(contact),
        Own::Location(location) => Body::Location(location),
        Own::Reaction(emoji) => Body::Reaction { to: in_reply_to?, emoji },
        Own::Vote(choices) => Body::Vote { poll: in_reply_to?, choices },
        Own::Closed => Body::PollClosed { poll: in_reply_to? },
        Own::Pin(pinned) => Body::Pin { message: in_reply_to?, pinned },
        Own::State(bytes) => Body::OwnState(bytes),
    })
}

enum Understood {
    Text { text: String, preview: Option<Preview> },
    Own(Own),
}

/// What is no text.
enum Own {
    Receipts(Receipts),
    Poll(Poll),
    Contact(Contact),
    Location(Location),
    Reaction(Vec<String>),
    Vote(Vec<u32>),
    Closed,
    Pin(bool),
    State(Vec<u8>),
}

/// What this version can do with a part, all of it: None if any of what the part's semantics require is not understood.
fn understand(nested: &NestedPart) -> Option<Understood> {
    if nested.disposition == Disposition::REACTION {
        return reactions(nested).map(|emoji| Understood::Own(Own::Reaction(emoji)));
    }
    match &nested.part {
        Part::Null | Part::External(_) => None,
        Part::Single { content_type, content } => match MediaType::of(content_type) {
            MediaType::Own(kind) => own(kind, content).map(Understood::Own),
            kind => {
                let shown = matches!(
                    nested.disposition.known(),
                    Disposition::UNSPECIFIED | Disposition::RENDER | Disposition::INLINE
                );
                let text = if shown { readable(kind, content)? } else { return None };
                Some(Understood::Text { text, preview: None })
            }
        },
        // Of several that are understood the richest is taken: our own kinds, then Markdown, then plain text, then the first.
        Part::Multi { semantics: PartSemantics::ChooseOne, parts } => {
            let understood = parts.iter().filter_map(|part| Some((rank(part), understand(part)?)));
            understood.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, chosen)| chosen)
        }
        Part::Multi { semantics: PartSemantics::SingleUnit, parts } => {
            let (previews, parts): (Vec<_>, Vec<_>) = parts.iter().partition(|part| preview(part).is_some());
            let understood = parts.into_iter().map(understand).collect::<Option<Vec<_>>>()?;
            together(understood, previews.first().and_then(|part| preview(part)))
        }
        Part::Multi { semantics: PartSemantics::ProcessAll, parts } => {
            together(parts.iter().filter_map(understand).collect(), parts.iter().find_map(preview))
        }
    }
}

fn own(kind: &str, content: &[u8]) -> Option<Own> {
    match kind {
        receipts::CONTENT_TYPE => Receipts::decode(content).map(Own::Receipts),
        kinds::POLL => Poll::decode(content).map(Own::Poll),
        kinds::CONTACT => Contact::decode(content).map(Own::Contact),
        kinds::LOCATION => Location::decode(content).map(Own::Location),
        kinds::VOTE => kinds::decode_vote(content).map(Own::Vote),
        kinds::POLL_CLOSED => kinds::is_closed(content).then_some(Own::Closed),
        kinds::PIN => kinds::decode_pin(content).map(Own::Pin),
        own_state::CONTENT_TYPE => (content.len() <= MAX_OWN_STATE).then(|| Own::State(content.to_vec())),
        _ => None,
    }
}

/// The sender's preview of a link, if that is what a part is.
fn preview(nested: &NestedPart) -> Option<Preview> {
    match &nested.part {
        Part::Single { content_type, content } if MediaType::of(content_type) == MediaType::Own(kinds::PREVIEW) => {
            Preview::decode(content)
        }
        _ => None,
    }
}

/// One reaction, or several at once (the draft's example `multipart-2`), each once.
fn reactions(nested: &NestedPart) -> Option<Vec<String>> {
    let parts = match &nested.part {
        Part::Multi { semantics: PartSemantics::ProcessAll, parts } => parts.as_slice(),
        Part::Single { .. } => std::slice::from_ref(nested),
        _ => return None,
    };
    let mut found = Vec::new();
    for part in parts {
        let Part::Single { content_type, content } = &part.part else { return None };
        let emoji = readable(MediaType::of(content_type), content)?;
        if part.disposition != Disposition::REACTION || !is_emoji(&emoji) {
            return None;
        }
        if !found.contains(&emoji) {
            found.push(emoji);
        }
    }
    (!found.is_empty() && found.len() <= MAX_EMOJI).then_some(found)
}

/// True for what may be a reaction: short, no spaces, nothing that plays with what stands beside it. Which sequences are emoji
/// changes every year, so that is not asked.
pub fn is_emoji(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_EMOJI_BYTES
        && text.chars().count() <= 16
        && !text.chars().all(unicode_normalization::char::is_combining_mark)
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || reorders(c))
}

fn rank(nested: &NestedPart) -> u8 {
    match &nested.part {
        _ if nested.disposition == Disposition::REACTION => 3,
        Part::Single { content_type, .. } => match MediaType::of(content_type) {
            MediaType::Own(_) => 3,
            MediaType::Markdown => 2,
            _ => 1,
        },
        _ => 0,
    }
}

/// Several parts as one body: texts one below the other. Another kind beside a text is not a kind of ours: what is before it wins.
fn together(parts: Vec<Understood>, preview: Option<Preview>) -> Option<Understood> {
    let mut texts = Vec::new();
    for part in parts {
        match part {
            Understood::Text { text, .. } => texts.push(text),
            Understood::Own(own) if texts.is_empty() => return Some(Understood::Own(own)),
            Understood::Own(_) => {}
        }
    }
    (!texts.is_empty()).then(|| Understood::Text { text: texts.join("\n\n"), preview })
}

/// The best text for a part that is not understood, and how good it is: written by a person, made from HTML, a name.
fn fallback_of(nested: &NestedPart) -> Option<(u8, String)> {
    match &nested.part {
        Part::Null => None,
        Part::Single { content_type, content } => match MediaType::of(content_type) {
            MediaType::Html => Some((2, without_tags(std::str::from_utf8(content).ok()?))),
            kind => readable(kind, content).map(|text| match nested.disposition {
                Disposition::REACTION => (3, format!("Reaction: {text}")),
                _ => (3, text),
            }),
        },
        Part::External(external) => name(external).map(|name| (1, name)),
        Part::Multi { parts, .. } => {
            let found = parts.iter().filter_map(fallback_of);
            found.reduce(|best, next| if next.0 > best.0 { next } else { best })
        }
    }
}

fn name(external: &ExternalPart) -> Option<String> {
    match (external.description.as_str(), external.filename.as_str()) {
        ("", "") => None,
        (only, "") | ("", only) => Some(only.to_owned()),
        (description, filename) => Some(format!("{description} ({filename})")),
    }
}

/// The content of a text part, if it is one.
fn readable(kind: MediaType, content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    match kind {
        MediaType::Markdown => Some(from_gfm_mimi(text)),
        MediaType::Plain => Some(text.to_owned()),
        MediaType::Html | MediaType::Own(_) | MediaType::Other => None,
    }
}

/// The types that are ours.
const OWN: [&str; 9] = [
    receipts::CONTENT_TYPE,
    kinds::POLL,
    kinds::VOTE,
    kinds::POLL_CLOSED,
    kinds::PIN,
    kinds::CONTACT,
    kinds::LOCATION,
    kinds::PREVIEW,
    own_state::CONTENT_TYPE,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MediaType {
    Markdown,
    Plain,
    Html,
    /// One of ours, by its name.
    Own(&'static str),
    Other,
}

impl MediaType {
    /// Types and parameter names don't care about case (RFC 2045, section 5.1). Every variant of Markdown may be shown as it is.
    fn of(content_type: &str) -> Self {
        let mut pieces = content_type.split(';').map(str::trim);
        let essence = pieces.next().unwrap_or_default().to_ascii_lowercase();
        let in_utf8 = pieces.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                let value = value.trim().trim_matches('"');
                value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("us-ascii")
            }
            _ => true,
        });
        match essence.as_str() {
            "text/markdown" if in_utf8 => Self::Markdown,
            "text/plain" if in_utf8 => Self::Plain,
            "text/html" if in_utf8 => Self::Html,
            other => OWN.into_iter().find(|own| *own == other).map_or(Self::Other, Self::Own),
        }
    }
}

/// What is left of HTML without its tags: a fallback to read, not a rendering.
fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, from_tag)) = rest.split_once('<') {
        text.push_str(before);
        rest = from_tag.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    // `&amp;` last, so that "&amp;lt;" reads "&lt;".
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " ")] {
        text = text.replace(entity, character);
    }
    text.replace("&amp;", "&").trim().to_owned()
}
