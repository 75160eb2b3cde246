//! Invitations from strangers, blocks, and who is who.

use api::{Kind, MessageStatus, Problem, Standing};
use wire::{Address, LogId};

use super::{State, Tried, Turn, never_seen};
use crate::db::contacts::MAX_NAME;
use crate::db::conversations::{self, Conversation};
use crate::db::{contacts, endings, messages};
use crate::io::CommandId;
use crate::own_state::Change;
use crate::sync::Done;

impl State {
    pub(super) fn accept(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str) -> Tried {
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
        if endings::is_unanswered(turn.db, conversation.id)? {
            self.accept_ended(turn, conversation.id)?;
            if let Ok(address) = conversation.inviter.parse() {
                contacts::set_known(turn.db, &address)?;
            }
            self.done(turn, command, Some(conversation.id));
            return Ok(Ok(()));
        }
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
        self.presence.joined(conversation.id, turn.now);
        self.own_devices_follow(turn, conversation.id)?;
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

    pub(super) fn decline(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str) -> Tried {
        if let Some(id) = self.waiting_invitation(turn, target)? {
            turn.db.prepare_cached("DELETE FROM invitations WHERE conversation = ?1")?.execute([id.0])?;
            self.done(turn, command, Some(id));
            return Ok(Ok(()));
        }
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        if conversation.standing != Standing::Requested && !endings::is_unanswered(turn.db, conversation.id)? {
            return Ok(Err(not_an_invitation(&conversation)));
        }
        let problem = Problem::new(Kind::Conflict, "You have declined this invitation.", "", "");
        self.end_conversation(turn, conversation.id, &problem)?;
        conversations::forget(turn.db, conversation.id)?;
        self.done(turn, command, Some(conversation.id));
        Ok(Ok(()))
    }

    pub(super) fn block(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, blocked: bool) -> Tried {
        let address = match self.address(turn, target)? {
            Ok(address) => address,
            Err(problem) => return Ok(Err(problem)),
        };
        if self.me.as_ref().is_some_and(|me| me.address == address) {
            return Ok(Err(Problem::new(Kind::Usage, "That is you.", "Nobody can block themselves.", "")));
        }
        if contacts::get(turn.db, &address)?.is_none() {
            return Ok(Err(never_seen(&address)));
        }
        self.set_blocked(turn, &address, blocked)?;
        self.chose(turn, &Change::Blocked(address.to_string(), blocked))?;
        self.done(turn, command, None);
        Ok(Ok(()))
    }

    /// Nothing of somebody who is blocked waits any more.
    pub(in crate::sync) fn set_blocked(&mut self, turn: &mut Turn<'_>, address: &Address, blocked: bool) -> Done {
        if blocked {
            self.hide_presence(turn, address)?;
        }
        if let Some(mut contact) = contacts::get(turn.db, address)? {
            contact.blocked = blocked;
            contacts::put(turn.db, &contact)?;
        }
        if !blocked {
            return Ok(());
        }
        self.forget_invitations_of(turn, address.as_str())?;
        let problem = Problem::new(Kind::Conflict, format!("You have blocked {address}."), "", "");
        for conversation in conversations::all(turn.db)? {
            let waits =
                conversation.standing == Standing::Requested || endings::is_unanswered(turn.db, conversation.id)?;
            if waits && conversation.inviter == address.as_str() {
                self.end_conversation(turn, conversation.id, &problem)?;
                conversations::forget(turn.db, conversation.id)?;
            }
        }
        Ok(())
    }

    /// What the person calls somebody.
    pub(super) fn name_contact(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str, name: &str) -> Tried {
        let address = match self.address(turn, target)? {
            Ok(address) => address,
            Err(problem) => return Ok(Err(problem)),
        };
        let Some(mut contact) = contacts::get(turn.db, &address)? else { return Ok(Err(never_seen(&address))) };
        let name = content::line(name, usize::MAX);
        if name.len() > MAX_NAME || name.contains('@') {
            let what = "That can't be what you call somebody.";
            let why =
                format!("Names have at most {MAX_NAME} bytes and no @, so that nobody takes them for an address.");
            return Ok(Err(Problem::new(Kind::Usage, what, why, "Choose another one.")));
        }
        if let Some(other) = contacts::called(turn.db, &name)?.into_iter().find(|other| other.address != address) {
            let what = format!("You call {} so already.", other.address);
            return Ok(Err(Problem::new(
                Kind::Conflict,
                what,
                "",
                "Choose another name, or take that one back first.",
            )));
        }
        contact.name = name;
        contacts::put(turn.db, &contact)?;
        self.chose(turn, &Change::Named(address.to_string(), contact.name))?;
        self.done(turn, command, None);
        Ok(Ok(()))
    }

    /// The person has looked at who can read a conversation.
    pub(super) fn look(&mut self, turn: &mut Turn<'_>, command: CommandId, target: &str) -> Tried {
        let conversation = match self.conversation(turn, target)? {
            Ok(conversation) => conversation,
            Err(problem) => return Ok(Err(problem)),
        };
        crate::who::remember(turn.db, self.me_ref()?, &conversation, turn.now.0)?;
        self.done(turn, command, Some(conversation.id));
        Ok(Ok(()))
    }

    /// The person has compared safety numbers, or goes on with another identity.
    pub(super) fn verify_contact(
        &mut self,
        turn: &mut Turn<'_>,
        command: CommandId,
        target: &str,
        accept: bool,
    ) -> Tried {
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
        contact.changed = turn.now.0;
        contacts::put(turn.db, &contact)?;
        if accept {
            self.leave_behind(turn, &contact)?;
        }
        for conversation in conversations::all(turn.db)? {
            self.pump(turn, conversation.id)?;
        }
        self.done(turn, command, None);
        Ok(Ok(()))
    }

    /// What is written to a contact goes to the identity that was accepted: 1:1 conversations with an earlier one are over. In groups it
    /// is said that the earlier one is still there: only their admins can change that, and it may be on somebody else's phone.
    fn leave_behind(&mut self, turn: &mut Turn<'_>, contact: &contacts::Contact) -> Done {
        let is_other = |member: &conversations::Member| {
            member.address == contact.address.as_str() && member.account_key != contact.account_key
        };
        for conversation in conversations::all(turn.db)? {
            let is_direct = conversation.peer.as_deref() == Some(contact.address.as_str());
            let is_over = conversation.standing == Standing::Left;
            if is_over || !conversations::members(turn.db, conversation.id)?.iter().any(is_other) {
                continue;
            }
            if !is_direct {
                let text = format!(
                    "{0} is still here with the identity of before, and whoever has that reads along. To change it, an admin removes {0} and \
                     adds it again.",
                    contact.address
                );
                self.system_message(turn, &conversation, &text)?;
                continue;
            }
            let what = format!("{} has another identity now, and goes on in a new conversation.", contact.address);
            self.system_message(turn, &conversation, &what)?;
            let problem = Problem::new(Kind::Conflict, what, "", "Send it again, if it is meant for the new one.");
            self.end_conversation(turn, conversation.id, &problem)?;
        }
        Ok(())
    }
}

fn not_an_invitation(conversation: &Conversation) -> Problem {
    let what = format!("“{}” is not an invitation that waits.", conversation.name);
    Problem::new(Kind::Conflict, what, "", "See those that wait in the list of invitations.")
}
