//! From content to what is stored of a message.

use api::MessageKind;
use content::{Body, MimiContent};
use wire::Address;

use crate::db::messages::More;

/// What a message shows: its kind and what is beside it. `None` for what is no message but done to one.
pub(crate) fn shown(content: &MimiContent, body: &Body, me: Option<&Address>) -> Option<(MessageKind, More)> {
    let mut more = More { forwarded: content::is_forwarded(content), ..More::default() };
    let kind = match body {
        Body::Text { .. } if content::is_view_once(content) => MessageKind::ViewOnce { opened: false },
        Body::Text { text, preview } => {
            beside(&mut more, text, preview.as_ref(), me);
            MessageKind::Text { text: text.clone() }
        }
        Body::Unknown { fallback } => MessageKind::Unknown { fallback: fallback.clone() },
        Body::Poll(poll) => {
            let option = |text: &String| api::PollOption { text: text.clone(), votes: 0, own: false, by: Vec::new() };
            let (question, options) = (poll.question.clone(), poll.options.iter().map(option).collect());
            MessageKind::Poll {
                poll: api::Poll { question, options, multiple: poll.multiple, closed: false, voters: 0 },
            }
        }
        // A card whose address is none could only mislead.
        Body::Contact(contact) => match contact.address.parse::<Address>() {
            Ok(address) if address.as_str() == contact.address => MessageKind::Contact {
                contact: api::Contact { name: contact.name.clone(), address: contact.address.clone() },
            },
            _ => MessageKind::Unknown { fallback: content::fallback(content) },
        },
        Body::Location(location) => MessageKind::Location {
            location: api::Location {
                latitude_e7: location.latitude,
                longitude_e7: location.longitude,
                accuracy: location.accuracy,
                label: location.label.clone(),
            },
        },
        Body::Receipts(_)
        | Body::Edit { .. }
        | Body::Delete { .. }
        | Body::Reaction { .. }
        | Body::Vote { .. }
        | Body::PollClosed { .. }
        | Body::Pin { .. }
        | Body::OwnState(_) => return None,
    };
    Some((kind, more))
}

/// What an edit makes of a message: its text, and what is beside it now.
pub(crate) fn edited(
    content: &MimiContent,
    original: &MessageKind,
    more: &More,
    me: Option<&Address>,
) -> Option<(MessageKind, More)> {
    let Body::Edit { text, preview, .. } = content::interpret(content) else { return None };
    let mut now = More { forwarded: more.forwarded, ..More::default() };
    let kind = match original {
        MessageKind::Text { .. } => {
            beside(&mut now, &text, preview.as_ref(), me);
            MessageKind::Text { text }
        }
        MessageKind::Unknown { .. } => MessageKind::Unknown { fallback: text },
        _ => return None,
    };
    Some((kind, now))
}

fn beside(more: &mut More, text: &str, preview: Option<&content::Preview>, me: Option<&Address>) {
    more.mentions = content::mentions(text)
        .into_iter()
        .filter(|mentioned| mentioned.parse::<Address>().is_ok_and(|address| address.as_str() == mentioned))
        .collect();
    // Whoever passes words on calls nobody.
    more.mentions_me = !more.forwarded && me.is_some_and(|me| more.mentions.iter().any(|m| m == me.as_str()));
    more.preview = preview.map(|preview| api::Preview {
        url: preview.url.clone(),
        title: preview.title.clone(),
        description: preview.description.clone(),
    });
}

/// Words for a message in one line, as in a quote.
pub(crate) fn excerpt(kind: &MessageKind) -> String {
    const EXCERPT_CHARS: usize = 120;
    let words = match kind {
        MessageKind::Text { text } => content::in_plain(text),
        MessageKind::Unknown { fallback } => fallback.clone(),
        MessageKind::System { text } => text.clone(),
        MessageKind::Deleted { .. } => String::new(),
        MessageKind::ViewOnce { .. } => "Message to look at once".into(),
        MessageKind::Poll { poll } => format!("Poll: {}", poll.question),
        MessageKind::Contact { contact } if contact.name.is_empty() => format!("Contact: {}", contact.address),
        MessageKind::Contact { contact } => format!("Contact: {}", contact.name),
        MessageKind::Location { location } if location.label.is_empty() => "Location".into(),
        MessageKind::Location { location } => format!("Location: {}", location.label),
    };
    let line = content::line(&words, 8 * EXCERPT_CHARS);
    match line.char_indices().nth(EXCERPT_CHARS - 1) {
        Some((at, last)) if at + last.len_utf8() < line.len() => format!("{}…", line.get(..at).unwrap_or_default()),
        _ => line,
    }
}
