//! From content to what a person sees, and the content of the messages that this program makes itself.

use std::collections::BTreeMap;
use std::fmt;

use unicode_normalization::char::is_combining_mark;

use crate::markdown::{from_gfm_mimi, to_gfm_mimi};
use crate::mimi::{Disposition, ExternalPart, NestedPart, Part, PartSemantics};
use crate::receipts::{self, Receipts};
use crate::{MessageId, MimiContent};

/// The longest text that is shown, in bytes. What is cut ends with `…`.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Shown for content of which nothing can be shown.
pub const UNKNOWN_CONTENT: &str = "This message is of a kind that this version can't show.";

/// How many combining marks in a row are shown. The Stream-Safe Text Format (UAX #15, section 13) calls 30 more than any
/// language needs; a thousand of them are an attack on whoever looks at them.
const MAX_COMBINING_RUN: usize = 30;

const MARKDOWN: &str = "text/markdown;variant=GFM-MIMI";

/// What is to be shown. More kinds come later.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// A text: Markdown source, or plain.
    Text {
        /// At most [`MAX_TEXT_BYTES`], without control characters other than line feed and tab.
        text: String,
    },
    /// Nothing to show: what another member has got and read.
    Receipts(Receipts),
    /// Content of a kind that this version does not know.
    Unknown {
        /// The best text that there is for it, else [`UNKNOWN_CONTENT`]. Bounded as a text is.
        fallback: String,
    },
}

/// Says what kind it is (I10).
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { text } => write!(f, "Text({} bytes)", text.len()),
            Self::Receipts(receipts) => receipts.fmt(f),
            Self::Unknown { fallback } => write!(f, "Unknown({} bytes)", fallback.len()),
        }
    }
}

/// A text message.
pub fn text(salt: [u8; 16], text: &str, in_reply_to: Option<MessageId>) -> MimiContent {
    single(salt, in_reply_to, Disposition::RENDER, MARKDOWN, to_gfm_mimi(text).into_bytes())
}

/// A batch of receipts, which is sorted and merged (see [`Receipts::normalize`]).
pub fn receipts(salt: [u8; 16], receipts: &Receipts) -> MimiContent {
    single(salt, None, Disposition::UNSPECIFIED, receipts::CONTENT_TYPE, receipts.encode())
}

fn single(
    salt: [u8; 16],
    in_reply_to: Option<MessageId>,
    disposition: Disposition,
    content_type: &str,
    content: Vec<u8>,
) -> MimiContent {
    MimiContent {
        salt,
        replaces: None,
        topic_id: Vec::new(),
        expires: None,
        in_reply_to,
        extensions: BTreeMap::new(),
        part: NestedPart {
            disposition,
            language: String::new(),
            part: Part::Single { content_type: content_type.to_owned(), content },
        },
    }
}

/// What to show for a message. Takes time and memory in proportion to the content's size.
pub fn interpret(content: &MimiContent) -> Body {
    // An edit or a deletion shown as a message of its own would put words into somebody's mouth twice.
    let understood = match content.replaces {
        None => understand(&content.part),
        Some(_) => None,
    };
    match understood {
        Some(Understood::Text(text)) => Body::Text { text: bounded(&text) },
        Some(Understood::Receipts(receipts)) => Body::Receipts(receipts),
        None => {
            let best = fallback(&content.part).map(|(_, text)| bounded(&text)).filter(|text| !text.trim().is_empty());
            Body::Unknown { fallback: best.unwrap_or_else(|| UNKNOWN_CONTENT.to_owned()) }
        }
    }
}

enum Understood {
    Text(String),
    Receipts(Receipts),
}

/// What this version can do with a part, all of it: None if any of what the part's semantics require is not understood.
fn understand(nested: &NestedPart) -> Option<Understood> {
    match &nested.part {
        Part::Null | Part::External(_) => None,
        Part::Single { content_type, content } => {
            let kind = MediaType::of(content_type);
            if kind == MediaType::Receipts {
                return Receipts::decode(content).map(Understood::Receipts);
            }
            let shown = matches!(
                nested.disposition.known(),
                Disposition::UNSPECIFIED | Disposition::RENDER | Disposition::INLINE
            );
            if shown { readable(kind, content).map(Understood::Text) } else { None }
        }
        // Of several that are understood the richest is taken: receipts, then Markdown, then plain text, then the first.
        Part::Multi { semantics: PartSemantics::ChooseOne, parts } => {
            let understood = parts.iter().filter_map(|part| Some((rank(part), understand(part)?)));
            understood.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, chosen)| chosen)
        }
        Part::Multi { semantics: PartSemantics::SingleUnit, parts } => {
            parts.iter().map(understand).collect::<Option<Vec<_>>>().and_then(together)
        }
        Part::Multi { semantics: PartSemantics::ProcessAll, parts } => {
            together(parts.iter().filter_map(understand).collect())
        }
    }
}

fn rank(nested: &NestedPart) -> u8 {
    match &nested.part {
        Part::Single { content_type, .. } => match MediaType::of(content_type) {
            MediaType::Receipts => 3,
            MediaType::Markdown => 2,
            _ => 1,
        },
        _ => 0,
    }
}

/// Several parts as one body: texts one below the other. Receipts beside a text are not a kind of ours.
fn together(parts: Vec<Understood>) -> Option<Understood> {
    let mut texts = Vec::new();
    for part in parts {
        match part {
            Understood::Text(text) => texts.push(text),
            Understood::Receipts(receipts) if texts.is_empty() => return Some(Understood::Receipts(receipts)),
            Understood::Receipts(_) => {}
        }
    }
    (!texts.is_empty()).then(|| Understood::Text(texts.join("\n\n")))
}

/// The best text for a part that is not understood, and how good it is: written by a person, made from HTML, a name.
fn fallback(nested: &NestedPart) -> Option<(u8, String)> {
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
            let found = parts.iter().filter_map(fallback);
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
        MediaType::Html | MediaType::Receipts | MediaType::Other => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MediaType {
    Markdown,
    Plain,
    Html,
    Receipts,
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
            receipts::CONTENT_TYPE => Self::Receipts,
            _ => Self::Other,
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

/// A text that may be shown: no longer than [`MAX_TEXT_BYTES`], no control characters (a terminal would obey them), no towers
/// of combining marks.
fn bounded(text: &str) -> String {
    const ELLIPSIS: char = '…';
    let mut out = String::new();
    let mut combining = 0;
    for character in text.chars() {
        combining = if is_combining_mark(character) { combining + 1 } else { 0 };
        if combining > MAX_COMBINING_RUN || (character.is_control() && !matches!(character, '\n' | '\t')) {
            continue;
        }
        out.push(character);
        if out.len() > MAX_TEXT_BYTES {
            while out.len() + ELLIPSIS.len_utf8() > MAX_TEXT_BYTES {
                out.pop();
            }
            out.push(ELLIPSIS);
            break;
        }
    }
    out
}
