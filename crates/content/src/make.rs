//! The content of messages that this program makes itself.
//!
//! Every kind that MIMI content does not have travels beside a plain text that says the same, for programs that don't know it.

use std::collections::BTreeMap;

use crate::kinds::{self, Contact, Location, Poll, Preview};
use crate::markdown::to_gfm_mimi;
use crate::mimi::{Disposition, ExtensionKey, ExtensionValue, NestedPart, Part, PartSemantics};
use crate::own_state::CONTENT_TYPE as OWN_STATE;
use crate::receipts::{self, Receipts};
use crate::{MessageId, MimiContent};

const MARKDOWN: &str = "text/markdown;variant=GFM-MIMI";
const PLAIN: &str = "text/plain;charset=utf-8";

/// The extension that says: somebody else wrote this first. It names nobody, since nobody could check that.
const FORWARDED: &str = "transom.forwarded";

/// The extension that says: to be looked at once. A hint that honest programs follow; who has seen a message can keep it.
const VIEW_ONCE: &str = "transom.view-once";

/// A text message.
pub fn text(salt: [u8; 16], text: &str, in_reply_to: Option<MessageId>) -> MimiContent {
    content(salt, in_reply_to, markdown(text))
}

/// A text message with a preview of a link that it holds.
pub fn text_with_preview(salt: [u8; 16], text: &str, preview: &Preview, in_reply_to: Option<MessageId>) -> MimiContent {
    content(salt, in_reply_to, previewed(text, preview))
}

/// Another text for a message. The draft's edits name what the original answers as well.
pub fn edit(
    salt: [u8; 16],
    replaces: MessageId,
    text: &str,
    preview: Option<&Preview>,
    in_reply_to: Option<MessageId>,
) -> MimiContent {
    let part = preview.map_or_else(|| markdown(text), |preview| previewed(text, preview));
    MimiContent { replaces: Some(replaces), ..content(salt, in_reply_to, part) }
}

/// Takes a message back for everyone.
pub fn delete(salt: [u8; 16], replaces: MessageId, in_reply_to: Option<MessageId>) -> MimiContent {
    MimiContent { replaces: Some(replaces), ..content(salt, in_reply_to, null(Disposition::RENDER)) }
}

/// A reaction to a message.
pub fn reaction(salt: [u8; 16], to: MessageId, emoji: &str) -> MimiContent {
    content(salt, Some(to), single(Disposition::REACTION, PLAIN, emoji.as_bytes().to_vec()))
}

/// Takes a reaction back.
pub fn unreaction(salt: [u8; 16], reaction: MessageId, to: MessageId) -> MimiContent {
    MimiContent { replaces: Some(reaction), ..content(salt, Some(to), null(Disposition::REACTION)) }
}

/// A poll.
pub fn poll(salt: [u8; 16], poll: &Poll) -> MimiContent {
    content(salt, None, beside(kinds::POLL, poll.encode(), &poll.in_words()))
}

/// A vote. `in_words` names what was chosen, for programs that know no polls.
pub fn vote(salt: [u8; 16], poll: MessageId, choices: &[u32], in_words: &str) -> MimiContent {
    content(salt, Some(poll), beside(kinds::VOTE, kinds::encode_vote(choices), in_words))
}

/// The end of a poll.
pub fn poll_closed(salt: [u8; 16], poll: MessageId) -> MimiContent {
    content(salt, Some(poll), beside(kinds::POLL_CLOSED, kinds::encode_closed(), "The poll is closed."))
}

/// A pin, or the end of one.
pub fn pin(salt: [u8; 16], message: MessageId, pinned: bool) -> MimiContent {
    let in_words = if pinned { "Pinned a message." } else { "Took a pin off a message." };
    content(salt, Some(message), beside(kinds::PIN, kinds::encode_pin(pinned), in_words))
}

/// A contact card.
pub fn contact(salt: [u8; 16], contact: &Contact) -> MimiContent {
    content(salt, None, beside(kinds::CONTACT, contact.encode(), &contact.in_words()))
}

/// A location.
pub fn location(salt: [u8; 16], location: &Location) -> MimiContent {
    content(salt, None, beside(kinds::LOCATION, location.encode(), &location.in_words()))
}

/// A message that is passed on. Made anew from what was shown, so that nothing goes out under one's name that one has not seen.
pub fn forwarded(message: MimiContent) -> MimiContent {
    flagged(message, FORWARDED)
}

/// True if a message says that somebody else wrote it first.
pub fn is_forwarded(content: &MimiContent) -> bool {
    has_flag(content, FORWARDED)
}

/// A message that is to be looked at once.
pub fn view_once(message: MimiContent) -> MimiContent {
    flagged(message, VIEW_ONCE)
}

/// True if a message is to be looked at once.
pub fn is_view_once(content: &MimiContent) -> bool {
    has_flag(content, VIEW_ONCE)
}

fn flagged(mut message: MimiContent, flag: &str) -> MimiContent {
    if let Ok(value) = ExtensionValue::from_cbor(&[0xf5]) {
        message.extensions.insert(ExtensionKey::Text(flag.to_owned()), value); // true
    }
    message
}

fn has_flag(content: &MimiContent, flag: &str) -> bool {
    let value = content.extensions.get(&ExtensionKey::Text(flag.to_owned()));
    value.is_some_and(|value| value.as_cbor() == [0xf5])
}

/// A batch of receipts, which is sorted and merged (see [`Receipts::normalize`]).
pub fn receipts(salt: [u8; 16], receipts: &Receipts) -> MimiContent {
    content(salt, None, single(Disposition::UNSPECIFIED, receipts::CONTENT_TYPE, receipts.encode()))
}

/// What the own devices tell one another; at most [`MAX_OWN_STATE`] bytes are read.
pub fn own_state(salt: [u8; 16], bytes: &[u8]) -> MimiContent {
    content(salt, None, single(Disposition::UNSPECIFIED, OWN_STATE, bytes.to_vec()))
}

fn content(salt: [u8; 16], in_reply_to: Option<MessageId>, part: NestedPart) -> MimiContent {
    MimiContent {
        salt,
        replaces: None,
        topic_id: Vec::new(),
        expires: None,
        in_reply_to,
        extensions: BTreeMap::new(),
        part,
    }
}

fn markdown(text: &str) -> NestedPart {
    single(Disposition::RENDER, MARKDOWN, to_gfm_mimi(text).into_bytes())
}

fn previewed(text: &str, preview: &Preview) -> NestedPart {
    let card = single(Disposition::PREVIEW, kinds::PREVIEW, preview.encode());
    several(PartSemantics::ProcessAll, vec![markdown(text), card])
}

/// One of our kinds, and the same in words.
fn beside(content_type: &str, bytes: Vec<u8>, in_words: &str) -> NestedPart {
    let plain = single(Disposition::RENDER, PLAIN, in_words.as_bytes().to_vec());
    several(PartSemantics::ChooseOne, vec![single(Disposition::RENDER, content_type, bytes), plain])
}

fn several(semantics: PartSemantics, parts: Vec<NestedPart>) -> NestedPart {
    NestedPart { disposition: Disposition::RENDER, language: String::new(), part: Part::Multi { semantics, parts } }
}

fn single(disposition: Disposition, content_type: &str, content: Vec<u8>) -> NestedPart {
    NestedPart {
        disposition,
        language: String::new(),
        part: Part::Single { content_type: content_type.to_owned(), content },
    }
}

fn null(disposition: Disposition) -> NestedPart {
    NestedPart { disposition, language: String::new(), part: Part::Null }
}
