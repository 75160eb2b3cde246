//! Messages: writing and reading them.

use api::{Event, Kind, MessageKind, MessageStatus, Problem};
use content::{MessageId, message_id, text};
use wire::{Address, LogId};

use super::{State, Tried, Turn, blocked, no_conversation, unsendable};
use crate::db::conversations::{self, Conversation};
use crate::db::messages::{self, Message};
use crate::db::{contacts, outbox};
use crate::io::CommandId;
use crate::sync::entries::{room_uri, sender_uri};
use crate::sync::waits::WaitFor;
use crate::sync::{Done, resolve};

/// Largest text, in bytes: what fits into a message of 64 KiB with everything around it.
const MAX_TEXT: usize = 32 * 1024;

impl State {
    pub(super) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        body: &str,
        reply_to: Option<&str>,
    ) -> Tried {
        if body.trim().is_empty() {
            return Ok(Err(Problem::new(Kind::Usage, "There is nothing to send.", "The message is empty.", "")));
        }
        if body.len() > MAX_TEXT {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "The message is too long.",
                format!("It has {} bytes; at most {MAX_TEXT} are possible.", body.len()),
                "Send it in parts.",
            )));
        }
        let found = match resolve::conversation(turn.db, self.me_ref()?, target) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        let mut intents = Vec::new();
        let id = match found {
            Some(id) => id,
            None => {
                let address = match self.address(turn, target)? {
                    Ok(address) => address,
                    Err(_) => return Ok(Err(no_conversation(target))),
                };
                // A bare name that is nobody's yet may be a group's old one: guessing an address would hand the message to
                // whoever registers it.
                if !target.contains('@') && contacts::get(turn.db, &address)?.is_none() {
                    return Ok(Err(no_conversation(target)));
                }
                if let Some(problem) = blocked(turn, &address)? {
                    return Ok(Err(problem));
                }
                let (id, intent) = self.start_direct(turn, &address)?;
                intents.push(intent);
                id
            }
        };
        let Some(conversation) = conversations::get(turn.db, id)? else { return Ok(Err(no_conversation(target))) };
        if let Some(problem) = unsendable(&conversation) {
            return Ok(Err(problem));
        }
        if let Some(peer) = conversation.peer.as_deref().and_then(|peer| peer.parse::<Address>().ok())
            && let Some(problem) = blocked(turn, &peer)?
        {
            return Ok(Err(problem));
        }
        let reply_to = match reply_to {
            None => None,
            Some(prefix) => match find_message(turn, id, prefix)? {
                Ok(message) => Some(message.id),
                Err(problem) => return Ok(Err(problem)),
            },
        };
        let message = self.store_text(turn, &conversation, body, reply_to)?;
        let deposits = !intents.is_empty();
        self.wait(
            command,
            WaitFor { conversation: Some(id), message: Some(message), intents, deposits, ..Default::default() },
        );
        self.drive_intents(turn, id)?;
        self.pump(turn, id)?;
        Ok(Ok(()))
    }

    fn store_text(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        body: &str,
        reply_to: Option<[u8; 32]>,
    ) -> Done<[u8; 32]> {
        let address = self.me_ref()?.address.to_string();
        let content = text(turn.random(), body, reply_to.map(MessageId));
        let bytes = content.encode();
        let id = message_id(&sender_uri(&address), &room_uri(conversation), &content.salt, &bytes).0;
        // What is shown here is what the others will read.
        let shown = match content::interpret(&content) {
            content::Body::Text { text } => text,
            _ => body.to_owned(),
        };
        let message = Message {
            id,
            conversation: conversation.id,
            sender: address,
            own: true,
            sent: turn.now.0,
            time: 0,
            seq: 0,
            status: MessageStatus::Sending,
            kind: MessageKind::Text { text: shown },
            reply_to,
            content: bytes.clone(),
            evidence: Vec::new(),
        };
        messages::insert(turn.db, &message)?;
        outbox::push(turn.db, conversation.id, Some(&id), &bytes, turn.now.0, false)?;
        turn.event(Event::Message { message: Box::new(crate::view::message(&message)) });
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

fn find_message(turn: &Turn<'_>, conversation: LogId, prefix: &str) -> Done<Result<Message, Problem>> {
    let hexadecimal = prefix.len() >= 4 && prefix.bytes().all(|b| b.is_ascii_hexdigit());
    let mut found =
        if hexadecimal { messages::by_prefix(turn.db, conversation, &prefix.to_lowercase())? } else { Vec::new() };
    Ok(match (found.pop(), found.pop()) {
        (Some(message), None) => Ok(message),
        (None, _) => Err(Problem::new(
            Kind::NotFound,
            "There is no such message in this conversation.",
            "",
            "Take its id from the list of messages; the first eight characters are enough.",
        )),
        _ => Err(Problem::new(Kind::Usage, "More than one message begins with that.", "", "Give more of its id.")),
    })
}
