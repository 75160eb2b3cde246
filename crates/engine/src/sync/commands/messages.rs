//! Messages: writing and reading them.

use api::{Event, Kind, MessageStatus, Problem, Standing};
use content::{Expiration, MessageId, MimiContent, message_id};
use wire::{Address, LogId};

use super::{State, Tried, Turn, blocked, no_conversation, unsendable};
use crate::db::conversations::{self, Conversation};
use crate::db::messages::Message;
use crate::db::{contacts, endings, outbox};
use crate::io::CommandId;
use crate::state::MAX_TIMER;
use crate::sync::bodies::{shown, stay};
use crate::sync::entries::{room_uri, sender_uri};
use crate::sync::waits::WaitFor;
use crate::sync::{Done, resolve};

/// Largest text, in bytes: what fits into a message of 64 KiB with everything around it.
pub(super) const MAX_TEXT: usize = 32 * 1024;

/// Where a message goes.
pub(in crate::sync) enum Target {
    Conversation(Box<Conversation>),
    /// Nobody has written to this account yet.
    Address(Address),
}

/// A text as its writer wants it.
pub(in crate::sync) struct Text<'a> {
    pub(in crate::sync) body: &'a str,
    pub(in crate::sync) reply_to: Option<MessageId>,
    pub(in crate::sync) preview: Option<content::Preview>,
    pub(in crate::sync) stays: Option<Expiration>,
    pub(in crate::sync) once: bool,
}

impl Text<'_> {
    /// What the others are sent.
    pub(in crate::sync) fn content(&self, turn: &mut Turn<'_>, conversation: &Conversation) -> Done<MimiContent> {
        let body = with_mentions(turn, conversation, self.body)?;
        let content = match &self.preview {
            None => content::text(turn.random(), &body, self.reply_to),
            Some(preview) => content::text_with_preview(turn.random(), &body, preview, self.reply_to),
        };
        let content = MimiContent { expires: self.stays, ..content };
        Ok(if self.once { content::view_once(content) } else { content })
    }
}

/// A message that was put on its way.
pub(in crate::sync) struct Posted {
    pub(in crate::sync) conversation: LogId,
    pub(in crate::sync) message: [u8; 32],
    /// What begins the conversation.
    pub(in crate::sync) intents: Vec<i64>,
}

impl State {
    pub(super) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        body: &str,
        (reply_to, preview, stays, once): (Option<&str>, Option<&api::Preview>, u64, bool),
    ) -> Tried {
        let stays = match lifetime(stays) {
            Ok(stays) => stays,
            Err(problem) => return Ok(Err(problem)),
        };
        let preview = match checked_text(body, preview) {
            Ok(preview) => preview,
            Err(problem) => return Ok(Err(problem)),
        };
        self.post(turn, command, target, |turn, conversation| {
            let reply_to = match reply_to {
                None => None,
                Some(prefix) => match find_message(turn, conversation.id, prefix)? {
                    Ok(message) => Some(MessageId(message.id)),
                    Err(problem) => return Ok(Err(problem)),
                },
            };
            Ok(Ok(Text { body, reply_to, preview, stays, once }.content(turn, conversation)?))
        })
    }

    /// Sends a new message to a conversation; an address without a conversation starts one.
    pub(super) fn post(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        make: impl FnOnce(&mut Turn<'_>, &Conversation) -> Done<Result<MimiContent, Problem>>,
    ) -> Tried {
        let Posted { conversation: id, message, intents } = match self.put(turn, target, make)? {
            Ok(posted) => posted,
            Err(problem) => return Ok(Err(problem)),
        };
        self.looked_at(turn, id, true)?;
        self.wait_until_sent(turn, command, id, message, intents)?;
        Ok(Ok(()))
    }

    /// Answers a command once its message is in the log.
    pub(super) fn wait_until_sent(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        id: LogId,
        message: [u8; 32],
        intents: Vec<i64>,
    ) -> Done {
        let deposits = !intents.is_empty();
        self.wait(
            command,
            WaitFor { conversation: Some(id), message: Some(message), intents, deposits, ..Default::default() },
        );
        if endings::goes_on(turn.db, id)? {
            let what = "the conversation was ended; what you wrote is kept and sent where the others go on".into();
            turn.event(Event::Progress { command, what });
            return Ok(());
        }
        self.drive_intents(turn, id)?;
        self.pump(turn, id)
    }

    /// Where a message to `target` goes, or why none can go there.
    pub(in crate::sync) fn target(&self, turn: &Turn<'_>, target: &str) -> Done<Result<Target, Problem>> {
        let found = match resolve::conversation(turn.db, self.me_ref()?, target) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        let Some(id) = found else {
            let Ok(address) = self.address(turn, target)? else { return Ok(Err(no_conversation(target))) };
            // A bare name that is nobody's yet may be a group's old one: guessing an address would hand the message to
            // whoever registers it.
            if !target.contains('@') && contacts::get(turn.db, &address)?.is_none() {
                return Ok(Err(no_conversation(target)));
            }
            let problem = blocked(turn, &address)?;
            return Ok(problem.map_or(Ok(Target::Address(address)), Err));
        };
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(Err(no_conversation(target))) };
        let problem = unsendable_to(turn, &conversation)?;
        Ok(problem.map_or_else(|| Ok(Target::Conversation(Box::new(conversation))), Err))
    }

    /// Stores a new message and puts it into the outbox.
    pub(in crate::sync) fn put(
        &mut self,
        turn: &mut Turn<'_>,
        target: &str,
        make: impl FnOnce(&mut Turn<'_>, &Conversation) -> Done<Result<MimiContent, Problem>>,
    ) -> Done<Result<Posted, Problem>> {
        let mut intents = Vec::new();
        let conversation = match self.target(turn, target)? {
            Ok(Target::Conversation(conversation)) => *conversation,
            Ok(Target::Address(address)) => {
                let (id, intent) = self.start_direct(turn, &address)?;
                intents.push(intent);
                match conversations::get(turn.db, id)? {
                    Some(conversation) => conversation,
                    None => return Ok(Err(no_conversation(target))),
                }
            }
            Err(problem) => return Ok(Err(problem)),
        };
        let mut content = match make(turn, &conversation)? {
            Ok(content) => content,
            Err(problem) => return Ok(Err(problem)),
        };
        // Said in the message too, for programs that know nothing of the conversation's timer.
        if content.expires.is_none() && conversation.timer != 0 {
            content.expires = Some(Expiration { relative: true, seconds: conversation.timer });
        }
        let message = self.store_own(turn, &conversation, &content)?;
        self.typing.said(conversation.id, turn.now);
        Ok(Ok(Posted { conversation: conversation.id, message, intents }))
    }

    /// Stores and shows an own message and puts it into the outbox. Answers with its id.
    pub(super) fn store_own(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        content: &MimiContent,
    ) -> Done<[u8; 32]> {
        let address = self.me_ref()?.address.clone();
        let bytes = content.encode();
        let id = message_id(&sender_uri(address.as_str()), &room_uri(conversation), &content.salt, &bytes).0;
        // What is shown here is what the others will read.
        let body = content::interpret(content);
        match shown(content, &body, Some(&address)) {
            Some((kind, more)) => {
                let message = Message {
                    ttl: stay(content, conversation.timer, turn.now).0,
                    sender: address.to_string(),
                    own: true,
                    sent: turn.now.0,
                    status: MessageStatus::Sending,
                    reply_to: content.in_reply_to.map(|id| id.0),
                    content: bytes.clone(),
                    more,
                    ..Message::new(conversation.id, id, kind)
                };
                self.store_message(turn, &message)?;
            }
            None => self.store_own_acts(turn, conversation, &body, id, &bytes)?,
        }
        outbox::push(turn.db, conversation.id, Some(&id), &bytes, turn.now.0, false)?;
        Ok(id)
    }

    pub(super) fn read(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, message: &str) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let message = match find_message(turn, conversation.id, message)? {
            Ok(message) => message,
            Err(problem) => return Ok(Err(problem)),
        };
        self.mark_read(turn, conversation.id, message.seq)?;
        self.done(turn, command, Some(conversation.id));
        Ok(Ok(()))
    }
}

pub(in crate::sync) fn find_message(
    turn: &Turn<'_>,
    conversation: LogId,
    prefix: &str,
) -> Done<Result<Message, Problem>> {
    Ok(resolve::message(turn.db, conversation, prefix)?)
}

/// A timer in whole seconds, from one in ms.
pub(super) fn timer(ms: u64) -> Result<u32, Problem> {
    match u32::try_from(ms.div_ceil(1_000)) {
        Ok(seconds) if seconds <= MAX_TIMER => Ok(seconds),
        _ => Err(Problem::new(Kind::Usage, "That is too long for a timer.", "It can be a year at most.", "")),
    }
}

/// How long a message is to stay, from a length in ms that is 0 if its writer does not say.
pub(in crate::sync) fn lifetime(stays: u64) -> Result<Option<Expiration>, Problem> {
    let seconds = timer(stays)?;
    Ok((seconds != 0).then_some(Expiration { relative: true, seconds }))
}

/// A text that can be sent, and its preview.
pub(in crate::sync) fn checked_text(
    text: &str,
    preview: Option<&api::Preview>,
) -> Result<Option<content::Preview>, Problem> {
    if text.trim().is_empty() {
        return Err(Problem::new(Kind::Usage, "There is nothing to send.", "The message is empty.", ""));
    }
    if text.len() > MAX_TEXT {
        return Err(Problem::new(
            Kind::Usage,
            "The message is too long.",
            format!("It has {} bytes; at most {MAX_TEXT} are possible.", text.len()),
            "Send it in parts.",
        ));
    }
    let Some(api::Preview { url, title, description }) = preview else { return Ok(None) };
    match content::Preview::new(url, title, description) {
        Some(preview) if text.contains(&preview.url) => Ok(Some(preview)),
        Some(_) => Err(Problem::new(
            Kind::Usage,
            "The preview is of a link that the text does not hold.",
            "",
            "Write the link into the text as well.",
        )),
        None => Err(Problem::new(
            Kind::Usage,
            "That is no preview of a link.",
            "It needs a link that begins with https:// or http:// and has no spaces, and a title.",
            "",
        )),
    }
}

/// `@name` of a member becomes a mention.
pub(super) fn with_mentions(turn: &Turn<'_>, conversation: &Conversation, text: &str) -> Done<String> {
    if !text.contains('@') {
        return Ok(text.to_owned());
    }
    let members = conversations::members(turn.db, conversation.id)?;
    let mut accounts: Vec<Address> = members.iter().filter_map(|member| member.address.parse().ok()).collect();
    if members.is_empty() {
        accounts.extend(conversation.peer.as_deref().and_then(|peer| peer.parse().ok()));
    }
    Ok(content::link_mentions(text, |name| {
        let name = name.to_lowercase();
        let mut meant = accounts.iter().filter(|address| address.as_str() == name || address.name() == name);
        match (meant.next(), meant.next()) {
            (Some(only), None) => Some((only.name().to_owned(), only.relay().to_string())),
            _ => None,
        }
    }))
}

/// Why nothing can be sent here, or None.
pub(super) fn unsendable_to(turn: &Turn<'_>, conversation: &Conversation) -> Done<Option<Problem>> {
    if let Some(problem) = unsendable(conversation) {
        // What is written behind the end of a conversation waits for what goes on for it.
        let waits = conversation.standing == Standing::Held && endings::goes_on(turn.db, conversation.id)?;
        return Ok(if waits { None } else { Some(problem) });
    }
    match conversation.peer.as_deref().and_then(|peer| peer.parse::<Address>().ok()) {
        Some(peer) => blocked(turn, &peer),
        None => Ok(None),
    }
}
