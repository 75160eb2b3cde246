//! What people do to messages, and messages that are more than text. What is refused here for the person's sake every receiver
//! refuses again (`sync::bodies`).

use api::{ConversationKind, Kind, MessageKind, Problem};
use content::{MessageId, MimiContent};

use super::messages::{checked_text, find_message, unsendable_to, with_mentions};
use super::{State, Tried, Turn};
use crate::db::acts::{self, Act, ActKind};
use crate::db::conversations::Conversation;
use crate::db::messages::Message;
use crate::io::CommandId;
use crate::own_state::Change;
use crate::sync::Done;
use crate::sync::bodies::{self, MAX_EDITS, MAX_EMOJI_OF_ONE};

/// What a command comes to.
enum Do {
    /// Send this.
    Send(MimiContent),
    /// It is so already.
    Nothing,
    No(Problem),
}

impl State {
    pub(super) fn react(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        message: &str,
        emoji: &str,
        remove: bool,
    ) -> Tried {
        if !content::is_emoji(emoji) {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is not a reaction.",
                "A reaction is one emoji, or a short word without spaces.",
                "",
            )));
        }
        self.do_to(turn, command, target, message, |turn, _, message, acts| {
            let to = MessageId(message.id);
            let own: Vec<&str> = bodies::reactions(message, acts)
                .into_iter()
                .filter(|(_, by)| by.iter().any(|(_, own)| *own))
                .map(|(emoji, _)| emoji)
                .collect();
            let given = own.contains(&emoji);
            Ok(match (remove, given) {
                (false, true) => Do::Nothing,
                (false, false) if own.len() >= MAX_EMOJI_OF_ONE => Do::No(Problem::new(
                    Kind::Usage,
                    "That is one reaction too many.",
                    format!("You have {MAX_EMOJI_OF_ONE} on this message already."),
                    "Take one back first.",
                )),
                (false, false) => Do::Send(content::reaction(turn.random(), to, emoji)),
                (true, _) => {
                    let is_own = |act: &&Act| act.own && act.kind == ActKind::Reaction && act.value == emoji;
                    match acts.iter().rev().find(is_own).filter(|_| given) {
                        Some(act) => Do::Send(content::unreaction(turn.random(), MessageId(act.id), to)),
                        None => Do::No(Problem::new(
                            Kind::NotFound,
                            "You have not reacted to this message with that.",
                            "",
                            "Look at its reactions in the conversation.",
                        )),
                    }
                }
            })
        })
    }

    pub(super) fn edit(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        message: &str,
        text: &str,
        preview: Option<&api::Preview>,
    ) -> Tried {
        let preview = match checked_text(text, preview) {
            Ok(preview) => preview,
            Err(problem) => return Ok(Err(problem)),
        };
        self.do_to(turn, command, target, message, |turn, conversation, message, acts| {
            if !message.own {
                return Ok(Do::No(forbidden("You can't edit this message.", "Only who wrote a message can edit it.")));
            }
            let MessageKind::Text { text: before } = &message.kind else {
                return Ok(Do::No(Problem::new(
                    Kind::Usage,
                    "Only texts can be edited.",
                    "",
                    "Delete it and send another.",
                )));
            };
            if bodies::fold(message, acts).edits.len() >= MAX_EDITS {
                let why = format!("It was edited {MAX_EDITS} times already.");
                return Ok(Do::No(Problem::new(
                    Kind::Usage,
                    "This message can't be edited any more.",
                    why,
                    "Send another.",
                )));
            }
            let text = with_mentions(turn, conversation, text)?;
            if text == *before && preview.is_none() && message.more.preview.is_none() {
                return Ok(Do::Nothing);
            }
            let reply_to = message.reply_to.map(MessageId);
            Ok(Do::Send(content::edit(turn.random(), MessageId(message.id), &text, preview.as_ref(), reply_to)))
        })
    }

    pub(super) fn delete(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        message: &str,
        for_everyone: bool,
    ) -> Tried {
        if !for_everyone {
            let conversation = match self.conversation(turn, target)? {
                Ok(conversation) => conversation,
                Err(problem) => return Ok(Err(problem)),
            };
            let message = match find_message(turn, conversation.id, message)? {
                Ok(message) => message,
                Err(problem) => return Ok(Err(problem)),
            };
            if self.hide_message(turn, conversation.id, &message.id)? {
                self.chose(turn, &Change::Hidden(conversation.room().0.to_vec().into(), message.id.to_vec().into()))?;
            }
            self.done(turn, command, Some(conversation.id));
            return Ok(Ok(()));
        }
        let me = self.me_ref()?.address.to_string();
        self.do_to(turn, command, target, message, |turn, conversation, message, _| {
            if !message.own && !bodies::is_moderator(turn, conversation, &me)? {
                let who = match conversation.kind {
                    ConversationKind::Group => "Only who wrote it, an admin or an owner of the group can.",
                    _ => "Only who wrote it can.",
                };
                return Ok(Do::No(Problem::new(
                    Kind::Forbidden,
                    "You can't delete this message for everyone.",
                    who,
                    "Delete it for yourself instead.",
                )));
            }
            let reply_to = message.reply_to.map(MessageId);
            Ok(Do::Send(content::delete(turn.random(), MessageId(message.id), reply_to)))
        })
    }

    pub(super) fn pin(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        message: &str,
        pinned: bool,
    ) -> Tried {
        let me = self.me_ref()?.address.to_string();
        self.do_to(turn, command, target, message, |turn, conversation, message, _| {
            if conversation.kind == ConversationKind::Group && !bodies::is_moderator(turn, conversation, &me)? {
                let why = "In a group only admins and owners can.";
                return Ok(Do::No(forbidden("You can't pin messages here, or take pins off.", why)));
            }
            let is_pinned = bodies::pinned(&acts::pins(turn.db, conversation.id)?).contains(&message.id);
            if is_pinned == pinned {
                return Ok(Do::Nothing);
            }
            Ok(Do::Send(content::pin(turn.random(), MessageId(message.id), pinned)))
        })
    }

    pub(super) fn vote(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        poll: &str,
        options: &[u32],
    ) -> Tried {
        self.do_to(turn, command, target, poll, |turn, _, message, acts| {
            let MessageKind::Poll { poll } = &message.kind else { return Ok(Do::No(no_poll())) };
            let mut places = options.to_vec();
            places.sort_unstable();
            places.dedup();
            if places.len() > 1 && !poll.multiple {
                return Ok(Do::No(Problem::new(Kind::Usage, "Only one option can be chosen in this poll.", "", "")));
            }
            let mut names = Vec::new();
            for place in &places {
                match usize::try_from(*place).ok().and_then(|place| poll.options.get(place)) {
                    Some(option) => names.push(option.text.as_str()),
                    None => {
                        let why = format!("It has {}.", poll.options.len());
                        return Ok(Do::No(Problem::new(Kind::Usage, "The poll has no such option.", why, "")));
                    }
                }
            }
            if bodies::votes(message, poll, acts).closed {
                return Ok(Do::No(Problem::new(Kind::Conflict, "The poll is closed.", "", "")));
            }
            let in_words =
                if names.is_empty() { "Took the vote back.".into() } else { format!("Vote: {}", names.join(", ")) };
            Ok(Do::Send(content::vote(turn.random(), MessageId(message.id), &places, &in_words)))
        })
    }

    pub(super) fn close_poll(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, poll: &str) -> Tried {
        self.do_to(turn, command, target, poll, |turn, _, message, acts| {
            let MessageKind::Poll { poll } = &message.kind else { return Ok(Do::No(no_poll())) };
            if !message.own {
                return Ok(Do::No(forbidden("You can't close this poll.", "Only who made a poll can close it.")));
            }
            if bodies::votes(message, poll, acts).closed {
                return Ok(Do::Nothing);
            }
            Ok(Do::Send(content::poll_closed(turn.random(), MessageId(message.id))))
        })
    }

    pub(super) fn create_poll(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        (question, options, multiple): (&str, &[String], bool),
    ) -> Tried {
        let Some(poll) = content::Poll::new(question, options, multiple) else {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is not a poll.",
                format!("It needs a question and 2 to {} options, none of them empty.", content::MAX_OPTIONS),
                "",
            )));
        };
        self.post(turn, command, target, |turn, _| Ok(Ok(content::poll(turn.random(), &poll))))
    }

    pub(super) fn send_contact(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        address: &str,
        name: &str,
    ) -> Tried {
        let address = match self.address(turn, address)? {
            Ok(address) => address,
            Err(problem) => return Ok(Err(problem)),
        };
        let Some(contact) = content::Contact::new(name, address.as_str()) else {
            return Ok(Err(Problem::new(Kind::Usage, "That is not a contact.", "It has no address.", "")));
        };
        self.post(turn, command, target, |turn, _| Ok(Ok(content::contact(turn.random(), &contact))))
    }

    pub(super) fn send_location(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        location: &api::Location,
    ) -> Tried {
        let Some(location) = place(location) else {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is not a place on Earth.",
                "Latitudes go from -90 to 90 degrees, longitudes from -180 to 180.",
                "",
            )));
        };
        self.post(turn, command, target, |turn, _| Ok(Ok(content::location(turn.random(), &location))))
    }

    pub(super) fn forward(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        message: &str,
        to: &str,
    ) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let message = match find_message(turn, conversation.id, message)? {
            Ok(message) => message,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Some(problem) = gone(&message) {
            return Ok(Err(problem));
        }
        let salt = turn.random();
        let again = match &message.kind {
            MessageKind::Text { text } => match checked_text(text, message.more.preview.as_ref()) {
                Ok(Some(preview)) => Some(content::text_with_preview(salt, text, &preview, None)),
                Ok(None) => Some(content::text(salt, text, None)),
                Err(problem) => return Ok(Err(problem)),
            },
            MessageKind::Poll { poll } => {
                let options: Vec<String> = poll.options.iter().map(|option| option.text.clone()).collect();
                content::Poll::new(&poll.question, &options, poll.multiple).map(|poll| content::poll(salt, &poll))
            }
            MessageKind::Contact { contact } => {
                content::Contact::new(&contact.name, &contact.address).map(|contact| content::contact(salt, &contact))
            }
            MessageKind::Location { location } => place(location).map(|place| content::location(salt, &place)),
            MessageKind::ViewOnce { .. } => {
                return Ok(Err(Problem::new(
                    Kind::Usage,
                    "This message can't be forwarded.",
                    "Its sender wants it to be looked at once.",
                    "",
                )));
            }
            MessageKind::Unknown { .. } | MessageKind::System { .. } | MessageKind::Deleted { .. } => None,
        };
        let Some(again) = again else {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "This message can't be forwarded.",
                "This version can't show what it is.",
                "",
            )));
        };
        self.post(turn, command, to, |_, _| Ok(Ok(content::forwarded(again))))
    }

    /// Does something to a message that is there.
    fn do_to(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        message: &str,
        decide: impl FnOnce(&mut Turn<'_>, &Conversation, &Message, &[Act]) -> Done<Do>,
    ) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        let message = match find_message(turn, conversation.id, message)? {
            Ok(message) => message,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Some(problem) = unsendable_to(turn, &conversation)?.or_else(|| gone(&message)) {
            return Ok(Err(problem));
        }
        let acts = acts::of_target(turn.db, conversation.id, &message.id)?;
        let content = match decide(turn, &conversation, &message, &acts)? {
            Do::Send(content) => content,
            Do::Nothing => {
                self.done(turn, command, Some(conversation.id));
                return Ok(Ok(()));
            }
            Do::No(problem) => return Ok(Err(problem)),
        };
        let sent = self.store_own(turn, &conversation, &content)?;
        self.wait_until_sent(turn, command, conversation.id, sent, Vec::new())?;
        Ok(Ok(()))
    }
}

/// Why nothing can be done to a message, or None.
fn gone(message: &Message) -> Option<Problem> {
    if !message.deleted_by.is_empty() {
        return Some(Problem::new(Kind::Conflict, "This message was deleted.", "", ""));
    }
    let is_system = matches!(message.kind, MessageKind::System { .. });
    is_system.then(|| Problem::new(Kind::Usage, "Nobody wrote this message: it only says what happened.", "", ""))
}

fn forbidden(what: &str, why: &str) -> Problem {
    Problem::new(Kind::Forbidden, what, why, "")
}

fn no_poll() -> Problem {
    Problem::new(Kind::Usage, "This message is not a poll.", "", "Take the poll's id from the list of messages.")
}

fn place(location: &api::Location) -> Option<content::Location> {
    let api::Location { latitude_e7, longitude_e7, accuracy, label } = location;
    content::Location::new(*latitude_e7, *longitude_e7, *accuracy, label)
}
