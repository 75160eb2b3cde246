//! What people were promised, kept as plainly as it can be said: who wrote what, what they were told of it, who was in the
//! conversation then.
//!
//! What always holds: the model learns from commands, events and views alone. Where people's orders overlap (a text written while a
//! removal is under way) it demands nothing that it can't know.

use std::collections::{BTreeMap, BTreeSet};

use api::{Command, Event, Standing};

use wire::UnixMillis;

use super::transition::DeviceId;
use crate::violation::{Violation, ensure};

/// Names a command: the device and its number there.
pub type Order = (DeviceId, u64);

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet.
    Open,
    /// It has had its effect; in this step the person heard of it.
    Done(u64),
    /// It will have none; in this step the person heard of it.
    Failed(u64),
    /// The program died before it could answer.
    Unheard,
}

/// A command as it was given.
#[derive(Debug, Clone)]
pub struct Given {
    /// What.
    pub command: Command,
    /// The conversation, once it is known.
    pub conversation: Option<String>,
    /// When, by step.
    pub step: u64,
    /// What became of it.
    pub fate: Fate,
    /// Texts: the devices that must show it if they stay in the conversation, and which of their stays it was.
    pub audience: Vec<(DeviceId, u32)>,
}

/// How a device stands in a conversation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stay {
    /// Goes up whenever it begins to be active.
    pub number: u32,
    /// It is active.
    pub active: bool,
    /// It was outside after it had been inside, if only with an invitation that nobody had answered: what happened meanwhile it has
    /// not seen.
    pub interrupted: bool,
}

/// See the module's documentation.
#[derive(Default)]
pub struct Model {
    /// All commands.
    pub given: BTreeMap<Order, Given>,
    /// Which account a device belongs to.
    pub accounts: BTreeMap<DeviceId, String>,
    /// Which accounts it belonged to before it was lost.
    pub former: BTreeSet<(DeviceId, String)>,
    /// How devices stand in conversations.
    pub stays: BTreeMap<(DeviceId, String), Stay>,
    /// (who, whom): blocked at least once.
    pub blocks: BTreeSet<(String, String)>,
    /// (account, conversation): it was shown as the owner of a group at least once.
    pub owners: BTreeSet<(String, String)>,
    /// Those who asked by a link that was taken back when they did, with the conversations that they were in then.
    pub dead_joins: BTreeMap<Order, BTreeSet<String>>,
    /// All notices.
    pub notices: Vec<(DeviceId, api::Problem)>,
    /// Why commands had no effect.
    pub problems: Vec<(DeviceId, api::Problem)>,
    /// Texts that somebody wanted gone, for everyone or for himself: nobody is promised to see them.
    pub taken_back: BTreeSet<String>,
    /// Texts that are to be sent later: when, by text; and their ids on their device.
    pub later: BTreeMap<String, u64>,
    /// What waits to be sent later on a device, by its id there.
    pub waiting: BTreeMap<(DeviceId, String), String>,
    /// When somebody last said on a device of the account that they are writing in a conversation.
    pub types: BTreeMap<(String, String), UnixMillis>,
    /// Who is shown as writing on a device, in which conversation, and since when.
    pub writing: BTreeMap<(DeviceId, String, String), UnixMillis>,
    /// Devices whose person is there, or until when they were.
    pub here: BTreeMap<DeviceId, Option<UnixMillis>>,
    /// Accounts that have chosen at some time that it is told who is there.
    pub tell_presence: BTreeSet<String>,
    /// Who is shown as online on a device, and since when.
    pub online: BTreeMap<(DeviceId, String), UnixMillis>,
    /// Clocks were set: what people are told of one another's time is no longer exact.
    pub clocks_differ: bool,
    /// What opened on a device, by the message's id.
    pub opened: BTreeMap<(DeviceId, String), String>,
    /// Devices on which somebody has restored an account, with what the backup held: texts by conversation.
    pub recovered: BTreeMap<DeviceId, BTreeMap<String, BTreeSet<String>>>,
    /// Devices that have taken in a backup where their account was already, and what was in it.
    pub taken_in: Vec<(DeviceId, BTreeMap<String, BTreeSet<String>>)>,
    /// Devices that are or were away, with what they showed before.
    pub absences: BTreeMap<DeviceId, super::away::Absence>,
    /// Devices that are away now: nobody is promised that they show what is written then.
    pub away: BTreeSet<DeviceId>,
    /// The first place at which each device has shown each of its own messages: the relay had told it so.
    places: BTreeMap<(DeviceId, String), u64>,
    /// A relay was restored from an older backup. What no client holds is gone then: invitations that nobody had fetched, blobs, and
    /// logs of which everybody who read them is gone; and key packages are handed out twice until their device has replaced them.
    pub restored: bool,
    /// For successors the conversation in which their line began: by that all of a line is known here.
    pub lines: BTreeMap<String, String>,
    /// What insiders have done to conversations.
    #[cfg(feature = "mutants")]
    pub(super) endings: Vec<super::insider::Ending>,
    /// The account and the id of each device that was told to do what nobody may do.
    #[cfg(feature = "mutants")]
    pub(super) insiders: BTreeMap<DeviceId, (String, String)>,
    /// (device, line): whoever has done something there that nobody may do is promised nothing there.
    pub outlaws: BTreeSet<(DeviceId, String)>,
    /// Whom a relay shows commits otherwise than they are.
    pub lied_to: Option<DeviceId>,
}

impl Model {
    /// The conversation in which the line of this one began.
    pub fn root<'a>(&'a self, id: &'a str) -> &'a str {
        self.lines.get(id).map_or(id, String::as_str)
    }

    /// Somebody has ended a conversation of this line by something that nobody may do.
    pub fn has_ended(&self, line: &str) -> bool {
        #[cfg(feature = "mutants")]
        return self.endings.iter().any(|ending| ending.line == line);
        #[cfg(not(feature = "mutants"))]
        return line.is_empty();
    }

    /// A command was given.
    pub fn gave(
        &mut self,
        order: Order,
        command: Command,
        conversation: Option<String>,
        (step, now): (u64, UnixMillis),
    ) {
        if let (Command::Typing { typing: true, .. }, Some(conversation), Some(who)) =
            (&command, &conversation, self.accounts.get(&order.0))
        {
            self.types.insert((who.clone(), conversation.clone()), now);
        }
        if let Command::Presence { here } = &command {
            self.is_here(order.0, *here, now);
        }
        if let (Command::TellPresence { on: true }, Some(who)) = (&command, self.accounts.get(&order.0)) {
            self.tell_presence.insert(who.clone());
        }
        if let (Command::Block { address }, Some(who)) = (&command, self.accounts.get(&order.0)) {
            self.blocks.insert((who.clone(), address.clone()));
        }
        if let Command::Schedule { at, text, .. } = &command {
            self.later.insert(text.clone(), *at);
        }
        let audience = match (&command, &conversation) {
            (Command::Send { .. }, Some(conversation)) => self
                .stays
                .iter()
                .filter(|((device, id), stay)| id == conversation && stay.active && !self.away.contains(device))
                .map(|((device, _), stay)| (*device, stay.number))
                .collect(),
            _ => Vec::new(),
        };
        self.given.insert(order, Given { command, conversation, step, fate: Fate::Open, audience });
    }

    /// A person was told something.
    pub fn told(&mut self, device: DeviceId, event: &Event, step: u64, now: UnixMillis) -> Result<(), Violation> {
        match event {
            Event::Done { command, conversation, .. } => {
                self.answered(device, *command, Fate::Done(step))?;
                if let Some(given) = self.given.get_mut(&(device, *command)) {
                    let lines = &self.lines;
                    let root = |id: &String| lines.get(id).unwrap_or(id).clone();
                    given.conversation = conversation.as_ref().map(root).or(given.conversation.take());
                    if let Command::Register { address, .. } = &given.command {
                        self.accounts.insert(device, address.clone());
                    }
                }
            }
            Event::Failed { command, problem } => {
                self.problems.push((device, problem.clone()));
                self.answered(device, *command, Fate::Failed(step))?;
            }
            Event::Linked { address, .. } => {
                self.accounts.insert(device, address.clone());
            }
            Event::Conversation { conversation } => {
                self.stands(device, &conversation.id, conversation.standing);
                self.roles(conversation);
            }
            Event::Opened { message, text, .. } => {
                let before = self.opened.insert((device, message.clone()), text.clone());
                ensure!(before.is_none(), "14", "device {device} has shown “{text}” twice, which opens once");
            }
            Event::Message { message } | Event::MessageChanged { message } => {
                self.stands_at(device, message)?;
                self.not_early(message, now)?;
            }
            Event::Typing { conversation, from, typing } => {
                self.is_writing((device, conversation, from), *typing, now)?;
            }
            Event::Presence { address, online, .. } => self.is_online(device, address, *online, now)?,
            Event::Scheduled { scheduled } => {
                self.waiting.insert((device, scheduled.id.clone()), scheduled.text.clone());
            }
            Event::Notice { problem, .. } => self.notices.push((device, problem.clone())),
            _ => {}
        }
        Ok(())
    }

    /// Rule 19: nobody is said to be writing who has not said so within the last half minute.
    fn is_writing(
        &mut self,
        (device, conversation, from): (DeviceId, &str, &str),
        typing: bool,
        now: UnixMillis,
    ) -> Result<(), Violation> {
        let conversation = self.root(conversation).to_owned();
        let key = (device, conversation.clone(), from.to_owned());
        if !typing {
            let was = self.writing.remove(&key);
            ensure!(was.is_some(), "19", "device {device} says that {from} no longer writes, who never did");
            return Ok(());
        }
        let said = self.types.get(&(from.to_owned(), conversation));
        let lately = said.is_some_and(|said| self.clocks_differ || now.since(*said) <= 30_000);
        ensure!(lately, "19", "device {device} says at {} that {from} is writing, who said so at {said:?}", now.0);
        ensure!(self.accounts.get(&device).is_some_and(|own| own != from), "19", "device {device} hears itself");
        ensure!(self.writing.insert(key, now).is_none(), "19", "device {device} says twice that {from} is writing");
        Ok(())
    }

    fn is_here(&mut self, device: DeviceId, here: bool, now: UnixMillis) {
        if here {
            self.here.insert(device, None);
        } else if let Some(until @ None) = self.here.get_mut(&device) {
            *until = Some(now);
        }
    }

    /// Rule 19: who doesn't tell isn't told, and nobody is said to come who was not there within the last half minute.
    fn is_online(&mut self, device: DeviceId, from: &str, online: bool, now: UnixMillis) -> Result<(), Violation> {
        let key = (device, from.to_owned());
        if !online {
            ensure!(self.online.remove(&key).is_some(), "19", "device {device} says that {from} went, who never came");
            return Ok(());
        }
        let own = self.accounts.get(&device);
        for account in [own.map(String::as_str), Some(from)].into_iter().flatten() {
            let tells = self.tell_presence.contains(account);
            ensure!(
                tells,
                "19",
                "device {device} says that {from} is there, and {account} has never chosen that it is told"
            );
        }
        let devices = self.accounts.iter().filter(|(_, account)| *account == from);
        let was_there =
            |until: &Option<UnixMillis>| self.clocks_differ || until.is_none_or(|until| now.since(until) <= 30_000);
        let lately = devices.filter_map(|(device, _)| self.here.get(device)).any(was_there);
        ensure!(lately, "19", "device {device} says at {} that {from} is there, who is not", now.0);
        ensure!(own.is_some_and(|own| own != from), "19", "device {device} sees itself");
        ensure!(self.online.insert(key, now).is_none(), "19", "device {device} says twice that {from} is there");
        Ok(())
    }

    /// What is to be sent later nobody sees before its time.
    fn not_early(&self, message: &api::Message, now: UnixMillis) -> Result<(), Violation> {
        if self.clocks_differ {
            return Ok(());
        }
        let api::MessageKind::Text { text } = &message.kind else { return Ok(()) };
        let early = self.later.get(&content::in_plain(text)).is_some_and(|at| now.0 < *at);
        ensure!(!early, "later", "{text} was shown at {}, before its time", now.0);
        Ok(())
    }

    /// I1: what was acknowledged counts there, or further up, if it was sent again because an answer was lost.
    fn stands_at(&mut self, device: DeviceId, message: &api::Message) -> Result<(), Violation> {
        if !message.own || message.seq == 0 || matches!(message.kind, api::MessageKind::System { .. }) || self.restored
        {
            return Ok(());
        }
        // What was said in a successor that another one has gone before is said again there.
        if self.has_ended(self.root(&message.conversation)) {
            return Ok(());
        }
        let first = *self.places.entry((device, message.id.clone())).or_insert(message.seq);
        ensure!(
            first >= message.seq,
            "I1",
            "device {device} was told that a message of its own stands at {first} of {}; it stands at {}",
            message.conversation,
            message.seq
        );
        Ok(())
    }

    fn answered(&mut self, device: DeviceId, command: u64, fate: Fate) -> Result<(), Violation> {
        let given = self.given.get_mut(&(device, command));
        let given = given.ok_or_else(|| Violation::new("I3", "an answer to a command that was never given"))?;
        ensure!(
            given.fate == Fate::Open,
            "I3",
            "command {command} of device {device} was answered twice: {:?}",
            given.command
        );
        given.fate = fate;
        Ok(())
    }

    /// A device shows who owns a group.
    pub fn roles(&mut self, conversation: &api::Conversation) {
        let owners = conversation.members.iter().filter(|member| member.role == api::Role::Owner);
        let line = self.root(&conversation.id).to_owned();
        self.owners.extend(owners.map(|member| (member.address.clone(), line.clone())));
    }

    /// A device shows a conversation in this standing.
    pub fn stands(&mut self, device: DeviceId, conversation: &str, standing: Standing) {
        let line = self.root(conversation).to_owned();
        // Whoever waits for what goes on has been nowhere else.
        if standing == Standing::Held && self.has_ended(&line) {
            return;
        }
        let outlaw = self.outlaws.contains(&(device, line.clone()));
        let standing = if outlaw { Standing::Left } else { standing };
        let stay = self.stays.entry((device, line)).or_default();
        let active = standing == Standing::Active;
        if active && !stay.active {
            stay.number += 1;
        }
        stay.active = active;
        stay.interrupted |= !matches!(standing, Standing::Starting | Standing::Requested | Standing::Active);
    }

    /// True if this device, or one whose history it may have got, was outside of the conversation after it had been inside.
    pub fn was_outside(&self, device: DeviceId, conversation: &str) -> bool {
        let conversation = self.root(conversation);
        let account = self.accounts.get(&device);
        let of_account = |other: &DeviceId| account.is_some() && self.accounts.get(other) == account;
        self.stays.iter().any(|((other, id), stay)| {
            id == conversation && stay.interrupted && (*other == device || of_account(other))
        })
    }

    /// A program died: what it had not answered nobody will.
    pub fn crashed(&mut self, device: DeviceId, now: UnixMillis) {
        self.is_here(device, false, now);
        self.online.retain(|(shown, _), _| *shown != device);
        self.writing.retain(|(shown, ..), _| *shown != device);
        for ((owner, _), given) in &mut self.given {
            if *owner == device && given.fate == Fate::Open {
                given.fate = Fate::Unheard;
            }
        }
    }

    /// A device is gone, with all that it had not told.
    pub fn lost(&mut self, device: DeviceId, now: UnixMillis) {
        self.crashed(device, now);
        self.former.extend(self.accounts.remove(&device).map(|account| (device, account)));
        self.recovered.remove(&device);
        self.taken_in.retain(|(taken_in, _)| *taken_in != device);
        self.stays.iter_mut().filter(|((of, _), _)| *of == device).for_each(|(_, stay)| stay.active = false);
    }

    /// Notices that say that something doesn't verify, or of a defect.
    pub fn alarms(&self) -> impl Iterator<Item = &(DeviceId, api::Problem)> {
        self.notices.iter().filter(|(_, problem)| matches!(problem.kind, api::Kind::Trust | api::Kind::Bug))
    }

    /// True if people may be told so in this run.
    pub fn may_be_told(&self, problem: &api::Problem) -> bool {
        #[cfg(feature = "mutants")]
        if !self.endings.is_empty() && super::insider::tells_of_ending(problem) {
            return true;
        }
        let told = ["can't be followed", "can't be added", "no longer knows this conversation"];
        self.restored
            && (told.iter().any(|what| problem.what.contains(what))
                // Its relay has lost the newest list of somebody's devices, who has not given it back yet.
                || problem.why.contains("The relay shows an older list"))
    }

    /// True if somebody has set a timer there, whenever; anywhere, if it is not known where.
    pub fn has_timer(&self, conversation: Option<&str>) -> bool {
        self.given.values().any(|given| {
            matches!(given.command, Command::SetTimer { timer, .. } if timer != 0)
                && (conversation.is_none()
                    || given.conversation.is_none()
                    || given.conversation.as_deref() == conversation)
        })
    }

    /// The commands that someone still waits for.
    pub fn open(&self) -> impl Iterator<Item = (&Order, &Given)> {
        self.given.iter().filter(|(_, given)| given.fate == Fate::Open)
    }

    /// True if, from `step` on, somebody may have been taking the account out of the conversation.
    pub fn may_have_gone(&self, account: &str, conversation: &str, step: u64) -> bool {
        self.given.iter().any(|((device, _), given)| {
            let over = match given.fate {
                Fate::Done(at) | Fate::Failed(at) => at < step,
                Fate::Open | Fate::Unheard => false,
            };
            let own = self.accounts.get(device).is_some_and(|own| own == account);
            let same = given.conversation.as_deref().is_none_or(|id| id == conversation);
            !over
                && match &given.command {
                    Command::RemoveMember { member, .. } => same && member == account,
                    Command::Leave { .. } | Command::Decline { .. } => same && own,
                    Command::RevokeDevice { .. } => own,
                    _ => false,
                }
        })
    }

    /// True if either of the two has blocked the other at some time.
    pub fn blocked(&self, one: &str, other: &str) -> bool {
        self.blocks.contains(&(one.to_owned(), other.to_owned()))
            || self.blocks.contains(&(other.to_owned(), one.to_owned()))
    }
}
