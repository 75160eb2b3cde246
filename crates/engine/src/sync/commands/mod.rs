//! Commands of people and their programs.

mod arrangements;
mod content;
mod devices;
mod groups;
mod joining;
mod messages;
mod people;
mod presence;
mod scheduled;
mod typing;

use std::collections::BTreeSet;

use api::{Command, Event, Kind, Problem, Standing};
use wire::{Address, LogId};

use super::intents::Intent;
use super::receipts::READ_RECEIPTS;
use super::{Done, State, Turn};
use crate::db::conversations::{self, Conversation};
use crate::db::{self, contacts};
use crate::identity::Me;
use crate::io::CommandId;
use crate::own_state::Change;

pub(super) use devices::change_on_its_way;
pub(super) use presence::PresenceRun;
pub(crate) use presence::is_told as presence_is_told;
pub(crate) use scheduled::views as scheduled;
pub(super) use typing::TypingRun;
pub(crate) use typing::is_told as typing_is_told;

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
            Command::Restore { key, file, confirm, keep_devices } => {
                self.restore(turn, id, (&key, &file.0), (confirm, keep_devices))
            }
            Command::RestoreFromRelay { key, address, confirm, keep_devices } => {
                self.restore_from_relay(turn, id, (&key, address.as_deref()), (confirm, keep_devices))
            }
            _ if self.me.is_none() => Ok(Err(not_registered())),
            _ if self.me.as_ref().is_some_and(Me::revoked) => Ok(Err(revoked())),
            Command::InspectLink { code } => self.inspect_link(turn, id, &code, false, true),
            Command::ConfirmLink { code, no_history } => self.inspect_link(turn, id, &code, true, !no_history),
            Command::SendHistory { device } => self.send_history(turn, id, &device),
            Command::MakeRecoveryKey => self.make_recovery_key(turn, id),
            Command::KeepRecoveryKey { last } => self.keep_recovery_key(turn, id, &last),
            Command::Backup => self.begin_backup(turn, id),
            Command::BackupKept => self.backup_kept(turn, id),
            Command::BackUpToRelay => self.back_up_to_relay(turn, id),
            Command::RelayBackups { daily } => self.relay_backups(turn, id, daily),
            Command::NameDevice { device, name } => self.name_device(turn, id, &device, &name),
            Command::RevokeDevice { device } => self.revoke(turn, id, &device),
            Command::CertifyBy { device } => self.certify(turn, id, &device),
            Command::Send { conversation, text, reply_to, preview, stays, view_once } => {
                let beside = (reply_to.as_deref(), preview.as_ref(), stays, view_once);
                self.send(turn, id, &conversation, &text, beside)
            }
            Command::Schedule { at, conversation, text, reply_to, preview, stays, view_once } => {
                let beside = (reply_to.as_deref(), preview, stays, view_once);
                self.schedule(turn, id, at, (&conversation, text), beside)
            }
            Command::Typing { conversation, typing } => self.types(turn, id, &conversation, typing),
            Command::TellTyping { on } => {
                self.tell_typing(turn, on)?;
                self.done(turn, id, None);
                Ok(Ok(()))
            }
            Command::Presence { here } => {
                self.is_here(turn, here)?;
                self.done(turn, id, None);
                Ok(Ok(()))
            }
            Command::TellPresence { on } => {
                self.set_presence_told(turn, on)?;
                self.chose(turn, &Change::Presence(on))?;
                self.done(turn, id, None);
                Ok(Ok(()))
            }
            Command::Unschedule { scheduled } => self.unschedule(turn, id, &scheduled),
            Command::Open { conversation, message } => self.open_once(turn, id, &conversation, &message),
            Command::React { conversation, message, emoji, remove } => {
                self.react(turn, id, &conversation, &message, &emoji, remove)
            }
            Command::Edit { conversation, message, text, preview } => {
                self.edit(turn, id, &conversation, &message, &text, preview.as_ref())
            }
            Command::Delete { conversation, message, for_everyone } => {
                self.delete(turn, id, &conversation, &message, for_everyone)
            }
            Command::Forward { conversation, message, to } => self.forward(turn, id, &conversation, &message, &to),
            Command::Pin { conversation, message, pinned } => self.pin(turn, id, &conversation, &message, pinned),
            Command::CreatePoll { conversation, question, options, multiple } => {
                self.create_poll(turn, id, &conversation, (&question, &options, multiple))
            }
            Command::Vote { conversation, poll, options } => self.vote(turn, id, &conversation, &poll, &options),
            Command::ClosePoll { conversation, poll } => self.close_poll(turn, id, &conversation, &poll),
            Command::SendContact { conversation, address, name } => {
                self.send_contact(turn, id, &conversation, &address, &name)
            }
            Command::SendLocation { conversation, location } => self.send_location(turn, id, &conversation, &location),
            Command::MarkRead { conversation, message } => self.read(turn, id, &conversation, &message),
            Command::Mute { conversation, until } => self.mute(turn, id, &conversation, until),
            Command::Archive { conversation, archived } => self.archive(turn, id, &conversation, archived),
            Command::PinToTop { conversation, pinned } => self.pin_to_top(turn, id, &conversation, pinned),
            Command::MarkUnread { conversation } => self.mark_unread(turn, id, &conversation),
            Command::Draft { conversation, text } => self.draft(turn, id, &conversation, &text),
            Command::CreateGroup { name, members } => self.create_group(turn, id, &name, &members),
            Command::AddMembers { conversation, members } => {
                let members = match self.addresses(turn, &members)? {
                    Ok(members) => members,
                    Err(problem) => return Ok(Err(problem)),
                };
                if members.is_empty() {
                    return Ok(Err(Problem::new(Kind::Usage, "You can't add yourself.", "You are in this group.", "")));
                }
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
            Command::Rename { conversation, name } => match groups::group_name(&name) {
                Ok(name) => self.change(turn, id, &conversation, Intent::Rename { name }, false),
                Err(problem) => Ok(Err(problem)),
            },
            Command::Describe { conversation, text } => match groups::description(&text) {
                Ok(text) => self.change(turn, id, &conversation, Intent::Describe { text }, false),
                Err(problem) => Ok(Err(problem)),
            },
            Command::SetPicture { conversation, picture } => {
                self.set_picture(turn, id, &conversation, picture.as_ref().map(|picture| picture.0.as_slice()))
            }
            Command::TransferOwnership { conversation, member } => {
                let member = match self.address(turn, &member)? {
                    Ok(member) => member,
                    Err(problem) => return Ok(Err(problem)),
                };
                if self.me.as_ref().is_some_and(|me| me.address == member) {
                    let what = "You can't hand a group over to yourself.";
                    return Ok(Err(Problem::new(Kind::Usage, what, "", "Name another member.")));
                }
                self.change(turn, id, &conversation, Intent::Transfer { member: member.to_string() }, false)
            }
            Command::SetTimer { conversation, timer } => match messages::timer(timer) {
                Ok(seconds) => self.change(turn, id, &conversation, Intent::SetTimer { seconds }, false),
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
            Command::MakeLink { conversation, expires, uses, direct } => {
                self.make_link(turn, id, &conversation, (expires, uses, direct))
            }
            Command::RevokeLink { conversation, link } => self.revoke_link(turn, id, &conversation, &link),
            Command::Join { link } => self.join_by_link(turn, id, &link),
            Command::AnswerJoin { conversation, address, approve } => {
                self.answer_join(turn, id, &conversation, (&address, approve))
            }
            Command::Accept { conversation } => self.accept(turn, id, &conversation),
            Command::Decline { conversation } => self.decline(turn, id, &conversation),
            Command::Block { address } => self.block(turn, id, &address, true),
            Command::Unblock { address } => self.block(turn, id, &address, false),
            Command::NameContact { address, name } => self.name_contact(turn, id, &address, &name),
            Command::ReadReceipts { on } => {
                db::set_meta(turn.db, READ_RECEIPTS, &on)?;
                self.chose(turn, &Change::ReadReceipts(on))?;
                self.done(turn, id, None);
                Ok(Ok(()))
            }
            Command::Verify { address } => self.verify_contact(turn, id, &address, false),
            Command::Look { conversation } => self.look(turn, id, &conversation),
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

    pub(super) fn conversation(&self, turn: &Turn<'_>, text: &str) -> Done<Result<Conversation, Problem>> {
        let found = match super::resolve::conversation(turn.db, self.me_ref()?, text) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(match found {
            Some(id) => conversations::get(turn.db, id)?.ok_or_else(|| no_conversation(text)),
            None => Err(no_conversation(text)),
        })
    }
}

fn blocked(turn: &Turn<'_>, address: &Address) -> Done<Option<Problem>> {
    let blocked = contacts::get(turn.db, address)?.is_some_and(|contact| contact.blocked);
    Ok(blocked.then(|| Problem::new(Kind::Forbidden, format!("You have blocked {address}."), "", "Unblock it first.")))
}

pub(super) fn unsendable(conversation: &Conversation) -> Option<Problem> {
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

fn never_seen(address: &Address) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("This device has never seen {address}."),
        "",
        "Check the spelling; write to it first if it is somebody new.",
    )
}
