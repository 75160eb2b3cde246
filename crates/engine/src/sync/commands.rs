//! Commands of people and their programs.

use std::collections::BTreeSet;

use api::{Command, ConversationKind, Event, Kind, MessageKind, MessageStatus, Problem, Standing};
use content::{MessageId, message_id, text};
use wire::{Address, ChainHash, DeviceId, Epoch, LogId, Seq};

use super::entries::{room_uri, sender_uri};
use super::intents::Intent;
use super::waits::WaitFor;
use super::{Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::messages::{self, Message};
use crate::db::{contacts, outbox};
use crate::identity::Me;
use crate::io::CommandId;
use crate::mls::Group;
use crate::state::{ConversationState, GroupKind, MAX_NAME};

/// Largest text, in bytes: what fits into a message of 64 KiB with everything around it.
const MAX_TEXT: usize = 32 * 1024;

/// A command that can't be carried out, or one that can.
type Tried = Done<Result<(), Problem>>;

pub(super) fn not_registered() -> Problem {
    Problem::new(
        Kind::Usage,
        "This profile has no account yet.",
        "",
        "Register one (register name@relay), or link this device to an account that you have.",
    )
}

pub(super) fn revoked() -> Problem {
    Problem::new(
        Kind::Forbidden,
        "This device was taken out of your account.",
        "Another device of yours has revoked it.",
        "What it has read stays here; link it again in a new profile if that was a mistake.",
    )
}

impl State {
    pub(super) fn command(&mut self, turn: &mut Turn<'_>, id: CommandId, command: Command) -> Done {
        if let Err(problem) = self.try_command(turn, id, command)? {
            self.fail(turn, id, problem);
        }
        Ok(())
    }

    fn try_command(&mut self, turn: &mut Turn<'_>, id: CommandId, command: Command) -> Tried {
        match command {
            Command::Register { address, invite } => self.register(turn, id, &address, &invite),
            Command::BeginLink { relay } => self.begin_link(turn, id, &relay),
            _ if self.me.is_none() => Ok(Err(not_registered())),
            _ if self.me.as_ref().is_some_and(Me::revoked) => Ok(Err(revoked())),
            Command::InspectLink { code } => self.inspect_link(turn, id, &code, false),
            Command::ConfirmLink { code } => self.inspect_link(turn, id, &code, true),
            Command::RevokeDevice { device } => self.revoke(turn, id, &device),
            Command::Send { conversation, text, reply_to } => {
                self.send(turn, id, &conversation, &text, reply_to.as_deref())
            }
            Command::MarkRead { conversation, message } => self.read(turn, id, &conversation, &message),
            Command::CreateGroup { name, members } => self.create_group(turn, id, &name, &members),
            Command::AddMembers { conversation, members } => {
                let members = match self.addresses(turn, &members)? {
                    Ok(members) => members,
                    Err(problem) => return Ok(Err(problem)),
                };
                self.change(turn, id, &conversation, Intent::Add { members }, true)
            }
            Command::RemoveMember { conversation, member } => {
                let member = match self.address(turn, &member)? {
                    Ok(member) => member,
                    Err(problem) => return Ok(Err(problem)),
                };
                if self.me.as_ref().is_some_and(|me| me.address == member) {
                    return Ok(Err(Problem::new(
                        Kind::Usage,
                        "You can't remove yourself.",
                        "",
                        "Leave the group instead.",
                    )));
                }
                self.change(turn, id, &conversation, Intent::Remove { member: member.to_string() }, false)
            }
            Command::Rename { conversation, name } => match group_name(&name) {
                Ok(name) => self.change(turn, id, &conversation, Intent::Rename { name }, false),
                Err(problem) => Ok(Err(problem)),
            },
            Command::SetRole { conversation, member, role } => {
                let member = match self.address(turn, &member)? {
                    Ok(member) => member.to_string(),
                    Err(problem) => return Ok(Err(problem)),
                };
                self.change(turn, id, &conversation, Intent::SetRole { member, role }, false)
            }
            Command::Leave { conversation } => self.change(turn, id, &conversation, Intent::Leave, false),
            Command::Accept { conversation } => self.accept(turn, id, &conversation),
            Command::Decline { conversation } => self.decline(turn, id, &conversation),
            Command::Block { address } => self.block(turn, id, &address, true),
            Command::Unblock { address } => self.block(turn, id, &address, false),
            Command::Verify { address } => self.verify_contact(turn, id, &address, false),
            Command::AcceptIdentity { address } => self.verify_contact(turn, id, &address, true),
        }
    }

    fn me_ref(&self) -> Done<&Me> {
        self.me.as_ref().ok_or(crate::EngineError::Inconsistent("no account"))
    }

    fn done(&mut self, turn: &mut Turn<'_>, command: CommandId, conversation: Option<LogId>) {
        turn.event(Event::Done { command, conversation: conversation.map(|id| id.to_string()), message: None });
    }

    fn address(&self, turn: &Turn<'_>, text: &str) -> Done<Result<Address, Problem>> {
        Ok(super::resolve::contact_address(turn.db, self.me_ref()?, text))
    }

    /// Addresses of others, each once.
    fn addresses(&self, turn: &Turn<'_>, texts: &[String]) -> Done<Result<Vec<String>, Problem>> {
        let own = self.me_ref()?.address.clone();
        let mut addresses = BTreeSet::new();
        for text in texts {
            match self.address(turn, text)? {
                Ok(address) if address == own => {}
                Ok(address) => {
                    if let Some(problem) = blocked(turn, &address)? {
                        return Ok(Err(problem));
                    }
                    addresses.insert(address.to_string());
                }
                Err(problem) => return Ok(Err(problem)),
            }
        }
        Ok(Ok(addresses.into_iter().collect()))
    }

    fn conversation(&self, turn: &Turn<'_>, text: &str) -> Done<Result<Conversation, Problem>> {
        let found = match super::resolve::conversation(turn.db, self.me_ref()?, text) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(match found {
            Some(id) => conversations::get(turn.db, id)?.ok_or_else(|| no_conversation(text)),
            None => Err(no_conversation(text)),
        })
    }

    fn send(
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
        let found = match super::resolve::conversation(turn.db, self.me_ref()?, target) {
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

    /// A 1:1 conversation with an account, or the notes to oneself; its intent.
    fn start_direct(&mut self, turn: &mut Turn<'_>, address: &Address) -> Done<(LogId, i64)> {
        let own = self.me_ref()?.address == *address;
        let state = ConversationState::new(GroupKind::Direct, "", Vec::new());
        let id = self.new_conversation(turn, &state, |conversation| {
            if own {
                conversation.kind = ConversationKind::Note;
                conversation.name = "Note to self".into();
            } else {
                conversation.kind = ConversationKind::Direct;
                conversation.name = address.to_string();
                conversation.peer = Some(address.to_string());
            }
        })?;
        let members = if own { Vec::new() } else { vec![address.to_string()] };
        let intent = self.intend(turn, id, &Intent::Create { members }, 0)?;
        Ok((id, intent))
    }

    fn create_group(&mut self, turn: &mut Turn<'_>, command: CommandId, name: &str, members: &[String]) -> Tried {
        let name = match group_name(name) {
            Ok(name) => name,
            Err(problem) => return Ok(Err(problem)),
        };
        let members = match self.addresses(turn, members)? {
            Ok(members) => members,
            Err(problem) => return Ok(Err(problem)),
        };
        let owner = self.me_ref()?.account_key();
        let state = ConversationState::new(GroupKind::Group, &name, vec![owner]);
        let id = self.new_conversation(turn, &state, |conversation| {
            conversation.kind = ConversationKind::Group;
            conversation.name.clone_from(&name);
        })?;
        let intent = self.intend(turn, id, &Intent::Create { members }, 0)?;
        self.wait(
            command,
            WaitFor { conversation: Some(id), intents: vec![intent], deposits: true, ..Default::default() },
        );
        self.drive_intents(turn, id)?;
        Ok(Ok(()))
    }

    fn new_conversation(
        &mut self,
        turn: &mut Turn<'_>,
        state: &ConversationState,
        fill: impl FnOnce(&mut Conversation),
    ) -> Done<LogId> {
        let me = self.me_ref()?;
        let (signer, relay) = (me.signer.clone(), me.address.relay().clone());
        let Some(certificate) = me.certificate().cloned() else {
            return Err(crate::EngineError::Inconsistent("no certificate"));
        };
        let id = LogId(turn.random());
        let suite = self.options.suite;
        let group = Group::create(&turn.mls, &signer, &certificate, id, suite, &state.encode(), turn.now)?;
        let mut conversation = Conversation {
            id,
            relay,
            kind: ConversationKind::Group,
            name: String::new(),
            peer: None,
            standing: Standing::Starting,
            held: String::new(),
            inviter: String::new(),
            log_made: false,
            epoch: Epoch(group.epoch()),
            cursor: Seq(0),
            chain: ChainHash::default(),
            chain_known: true,
            created: turn.now.0,
            touched: turn.now.0,
            updated: turn.now.0,
            own_messages: 0,
            last_receipt: 0,
        };
        fill(&mut conversation);
        conversations::put(turn.db, &conversation)?;
        turn.touch(id);
        self.groups.insert(id, group);
        self.refresh(turn, id)?;
        Ok(id)
    }

    /// A change of a group: an intent, answered when it is in the log.
    fn change(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        intent: Intent,
        deposits: bool,
    ) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Some(problem) = unsendable(&conversation) {
            return Ok(Err(problem));
        }
        if conversation.kind != ConversationKind::Group {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "That is not a group.",
                "A conversation of two stays one of two.",
                "Make a group with the people that you want in it.",
            )));
        }
        let id = conversation.id;
        let row = self.intend(turn, id, &intent, 0)?;
        self.wait(command, WaitFor { conversation: Some(id), intents: vec![row], deposits, ..Default::default() });
        self.drive_intents(turn, id)?;
        self.pump(turn, id)?;
        Ok(Ok(()))
    }

    fn read(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, message: &str) -> Tried {
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

    fn accept(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str) -> Tried {
        if let Some(id) = self.waiting_invitation(turn, target)? {
            turn.db.prepare_cached("UPDATE invitations SET accepted = 1 WHERE conversation = ?1")?.execute([id.0])?;
            let sender: String = turn
                .db
                .prepare_cached("SELECT sender FROM invitations WHERE conversation = ?1")?
                .query_row([id.0], |row| row.get(0))?;
            if let Ok(address) = sender.parse() {
                contacts::set_known(turn.db, &address)?;
            }
            self.drive_invitations(turn)?;
            self.done(turn, command, Some(id));
            return Ok(Ok(()));
        }
        let mut conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        if conversation.standing != Standing::Requested {
            return Ok(Err(not_an_invitation(&conversation)));
        }
        conversation.standing = Standing::Active;
        conversations::put(turn.db, &conversation)?;
        // Who is in it counts from now on, and programs are told.
        self.refresh(turn, conversation.id)?;
        if let Ok(address) = conversation.inviter.parse() {
            contacts::set_known(turn.db, &address)?;
        }
        let arrived = messages::page(turn.db, conversation.id, None, u32::MAX >> 1)?;
        for message in arrived.iter().filter(|m| !m.own && m.status == MessageStatus::Received) {
            messages::owe_receipt(turn.db, conversation.id, message.seq, 1)?;
        }
        self.drive_receipts(turn)?;
        self.done(turn, command, Some(conversation.id));
        Ok(Ok(()))
    }

    /// An invitation that has not been followed yet, by the conversation's id or by who sent it.
    fn waiting_invitation(&self, turn: &Turn<'_>, target: &str) -> Done<Option<LogId>> {
        let rows: Vec<(LogId, String)> = turn
            .db
            .prepare_cached("SELECT conversation, sender FROM invitations WHERE accepted = 0")?
            .query_map([], |row| Ok((LogId(crate::db::fixed(row, 0)?), row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let fits = |(id, sender): &&(LogId, String)| {
            (target.len() >= 4 && id.to_string().starts_with(target))
                || sender == target
                || sender.split('@').next() == Some(target)
        };
        let mut fitting = rows.iter().filter(fits);
        Ok(match (fitting.next(), fitting.next()) {
            (Some((id, _)), None) => Some(*id),
            _ => None,
        })
    }

    fn decline(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str) -> Tried {
        if let Some(id) = self.waiting_invitation(turn, target)? {
            turn.db.prepare_cached("DELETE FROM invitations WHERE conversation = ?1")?.execute([id.0])?;
            self.done(turn, command, Some(id));
            return Ok(Ok(()));
        }
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        if conversation.standing != Standing::Requested {
            return Ok(Err(not_an_invitation(&conversation)));
        }
        let problem = Problem::new(Kind::Conflict, "You have declined this invitation.", "", "");
        self.end_conversation(turn, conversation.id, &problem)?;
        conversations::forget(turn.db, conversation.id)?;
        self.done(turn, command, Some(conversation.id));
        Ok(Ok(()))
    }

    fn block(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, blocked: bool) -> Tried {
        let address = match self.address(turn, target)? {
            Ok(address) => address,
            Err(problem) => return Ok(Err(problem)),
        };
        let Some(mut contact) = contacts::get(turn.db, &address)? else { return Ok(Err(never_seen(&address))) };
        contact.blocked = blocked;
        contacts::put(turn.db, &contact)?;
        if blocked {
            turn.db.prepare_cached("DELETE FROM invitations WHERE sender = ?1")?.execute([address.as_str()])?;
            let problem = Problem::new(Kind::Conflict, format!("You have blocked {address}."), "", "");
            for conversation in conversations::all(turn.db)? {
                if conversation.standing == Standing::Requested && conversation.inviter == address.as_str() {
                    self.end_conversation(turn, conversation.id, &problem)?;
                    conversations::forget(turn.db, conversation.id)?;
                }
            }
        }
        self.done(turn, command, None);
        Ok(Ok(()))
    }

    /// The person has compared safety numbers, or goes on with another identity.
    fn verify_contact(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, accept: bool) -> Tried {
        let address = match self.address(turn, target)? {
            Ok(address) => address,
            Err(problem) => return Ok(Err(problem)),
        };
        let Some(mut contact) = contacts::get(turn.db, &address)? else { return Ok(Err(never_seen(&address))) };
        match (accept, contact.other_key.take()) {
            (true, Some(key)) => {
                contact.account_key = key;
                contact.record = None;
                contact.version = 0;
                contact.confirmation = api::Confirmation::NotConfirmedYet;
            }
            (true, None) => {
                let what = format!("The identity of {address} has not changed.");
                return Ok(Err(Problem::new(Kind::Conflict, what, "", "")));
            }
            (false, None) => contact.confirmation = api::Confirmation::Verified,
            (false, Some(_)) => {
                return Ok(Err(Problem::new(
                    Kind::Trust,
                    format!("{address} appears with two different identities."),
                    "",
                    "Accept the new identity first, then compare safety numbers.",
                )));
            }
        }
        contacts::put(turn.db, &contact)?;
        for conversation in conversations::all(turn.db)? {
            self.pump(turn, conversation.id)?;
        }
        self.done(turn, command, None);
        Ok(Ok(()))
    }

    fn revoke(&mut self, turn: &mut Turn<'_>, command: CommandId, prefix: &str) -> Tried {
        let now = turn.now;
        let me = self.me.as_mut().ok_or(crate::EngineError::Inconsistent("no account"))?;
        let fitting: Vec<DeviceId> = me
            .record
            .active()
            .map(|device| device.certificate.device)
            .filter(|device| prefix.len() >= 4 && device.to_string().starts_with(prefix))
            .collect();
        if !me.published() {
            return Ok(Err(change_on_its_way()));
        }
        let [device] = fitting.as_slice() else {
            return Ok(Err(Problem::new(
                Kind::NotFound,
                format!("“{}” names no single device of yours.", prefix.chars().take(40).collect::<String>()),
                "",
                "Take its id from the list of devices.",
            )));
        };
        if *device == me.device() {
            return Ok(Err(Problem::new(
                Kind::Usage,
                "A device can't revoke itself.",
                "",
                "Do it on another device of yours.",
            )));
        }
        if me.revoke_device(*device, now).is_none() {
            return Ok(Err(Problem::new(
                Kind::Forbidden,
                "This device can't revoke others.",
                "Only the device that made the account does.",
                "Do it there.",
            )));
        }
        me.save(turn.db)?;
        self.account.publishing.push(command);
        self.wait(command, WaitFor { by_hand: true, ..Default::default() });
        self.publish_record(turn);
        Ok(Ok(()))
    }
}

/// The relay takes one version of the own record after the other: the next one is not made before it has the last one.
pub(super) fn change_on_its_way() -> Problem {
    Problem::new(
        Kind::Conflict,
        "The last change of your devices has not reached your relay yet.",
        "",
        "Try again once this device is connected.",
    )
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

fn group_name(name: &str) -> Result<String, Problem> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Problem::new(
            Kind::Usage,
            "That can't be a group's name.",
            format!("A name has 1 to {MAX_NAME} bytes."),
            "",
        ));
    }
    Ok(name)
}

fn blocked(turn: &Turn<'_>, address: &Address) -> Done<Option<Problem>> {
    let blocked = contacts::get(turn.db, address)?.is_some_and(|contact| contact.blocked);
    Ok(blocked.then(|| Problem::new(Kind::Forbidden, format!("You have blocked {address}."), "", "Unblock it first.")))
}

fn unsendable(conversation: &Conversation) -> Option<Problem> {
    let name = &conversation.name;
    match conversation.standing {
        Standing::Starting | Standing::Active => None,
        Standing::Requested => Some(Problem::new(
            Kind::Forbidden,
            format!("“{name}” is an invitation that you have not taken."),
            "",
            "Accept it first.",
        )),
        Standing::Held => Some(Problem::new(Kind::Trust, "Nothing can be sent here.", conversation.held.clone(), "")),
        Standing::Left => Some(Problem::new(
            Kind::Forbidden,
            format!("You are no longer in “{name}”."),
            "",
            "Ask to be invited again.",
        )),
    }
}

fn no_conversation(text: &str) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("There is no conversation “{}”.", text.chars().take(80).collect::<String>()),
        "",
        "Give an address (name@relay) to start one, or take a name from the list of conversations.",
    )
}

fn not_an_invitation(conversation: &Conversation) -> Problem {
    Problem::new(Kind::Conflict, format!("“{}” is not an invitation that waits.", conversation.name), "", "")
}

fn never_seen(address: &Address) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("This device has never seen {address}."),
        "",
        "Check the spelling; write to it first if it is somebody new.",
    )
}
