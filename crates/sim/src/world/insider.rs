//! Insiders: devices of members that do what nobody may do, with all keys that a member has (protocol rules 7 and 18).
//!
//! What is demanded of all others: they end in one conversation, with all who were in the ended one but the device that is named, with
//! the same roles, name, description and timer; nobody is named who has done nothing. That no message is lost, shown twice or moved the
//! model demands anyway: it knows all conversations of a line as one.

use std::collections::{BTreeMap, BTreeSet};

use api::{Command, Conversation, Event, Problem, Query, Role, Standing, View};
use engine::mutants::{self, Crime};
use wire::{EntryKind, LogId, Push, Response, ServerFrame};

use super::device::Device;
use super::model::Model;
use super::{DeviceId, Transition, World};
use crate::violation::{Violation, ensure};

/// What an insider has done.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The conversation in which the line began.
    pub line: String,
    /// The conversation that it has ended.
    pub conversation: String,
    /// Its account, and its device's id.
    by: (String, String),
    what: Crime,
    /// What devices showed of the conversation when they had found that it ended.
    seen: BTreeMap<DeviceId, Conversation>,
    /// Devices that have shown what goes on.
    went_on: Vec<DeviceId>,
}

impl Ending {
    fn names_somebody(&self) -> bool {
        !matches!(self.what, Crime::Junk | Crime::Leads)
    }
}

/// What people are told of an ending, of successors that are none, and, where nobody is left to go on with, of what can't go out any more.
pub fn tells_of_ending(problem: &Problem) -> bool {
    let is_late = problem.what == "A message that was to go out now was not sent.";
    let told = if is_late { &problem.why } else { &problem.what };
    [
        "A member has changed this conversation in a way",
        "This conversation can't go on as it is",
        "can't be followed",
        "leads you to another",
    ]
    .iter()
    .any(|what| told.contains(what))
}

impl World {
    /// From now on a device does this to a conversation, as soon as it can.
    pub(super) fn crime(&mut self, device: DeviceId, conversation: &str, crime: Crime) -> Result<(), Violation> {
        let Some(log) = log_of(conversation) else { return Ok(()) };
        // One after the other: the first one may be on its way.
        if self.devices[device].insider.is_some_and(|(other, crime)| other == log && Crime::ENDING.contains(&crime)) {
            return Ok(());
        }
        let Some(View::WhoAmI(Some(account))) = self.view(device, &Query::WhoAmI) else { return Ok(()) };
        self.model.insiders.insert(device, (account.address, account.device));
        self.devices[device].insider = Some((log, crime));
        if !Crime::ENDING.contains(&crime) {
            let line = self.model.root(conversation).to_owned();
            self.model.outlaws.insert((device, line));
            return Ok(());
        }
        let view = self.devices[device].view(&Query::Conversation { conversation: conversation.to_owned() });
        let Some(View::Conversation(shown)) = view else { return Ok(()) };
        // Any change will do: it is not what the commit makes in the end.
        self.command(device, Command::SetTimer { conversation: conversation.to_owned(), timer: shown.timer })
    }

    /// A device is shown entries: the first time that a crime is among them it has happened.
    pub(super) fn sees(&mut self, frame: &ServerFrame) {
        let (of, entries) = match frame {
            ServerFrame::Push(Push::Entries { log, entries, .. }) => (Some(*log), entries),
            ServerFrame::Response { result: Ok(Response::Page { entries, .. }), .. } => (None, entries),
            _ => return,
        };
        let mut epochs = BTreeSet::new();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Commit) {
            let is_behind = !epochs.insert(entry.epoch);
            let crime = mutants::crime_by(entry.id);
            let Some(log) = crime.map(|(log, _)| log).or(of) else { continue };
            let first = self.commits.entry((log, entry.epoch)).or_insert(entry.seq);
            // Behind another commit of its epoch it is void, and nobody looks at it.
            *first = entry.seq.min(*first);
            let Some((_, what)) = crime.filter(|_| *first == entry.seq && !is_behind) else { continue };
            let does = |device: &Device| device.insider.is_some_and(|(target, crime)| target == log && crime == what);
            let Some(device) = self.devices.iter().position(does) else { continue };
            self.devices[device].insider = None;
            let Some(by) = self.model.insiders.get(&device).cloned() else { continue };
            let line = self.model.root(&log.to_string()).to_owned();
            self.trace.line(format_args!("device {device} has done {what:?} to {log:?}"));
            if what != Crime::Junk {
                self.model.outlaws.insert((device, line.clone()));
                if let Some(stay) = self.model.stays.get_mut(&(device, line.clone())) {
                    stay.active = false;
                }
            }
            self.model.endings.push(Ending {
                line,
                conversation: log.to_string(),
                by,
                what,
                seen: BTreeMap::new(),
                went_on: Vec::new(),
            });
        }
    }

    /// Somebody still waits for what goes on.
    pub fn waits_for_successor(&self) -> bool {
        self.who_waits().is_some()
    }

    fn who_waits(&self) -> Option<(DeviceId, Conversation)> {
        self.model.accounts.iter().find_map(|(device, account)| {
            let Some(View::Conversations(shown)) = self.view(*device, &Query::Conversations) else { return None };
            let waits = |c: &Conversation| {
                let line = self.model.root(&c.id).to_owned();
                let ending = self.model.endings.iter().rfind(|ending| ending.conversation == c.id)?;
                let gone = |address: &str| ending.names_somebody() && address == ending.by.0;
                let left = c.members.iter().map(|m| m.devices - u32::from(gone(&m.address))).sum::<u32>();
                let other = c.members.iter().any(|m| m.address != *account && m.devices > u32::from(gone(&m.address)));
                // What the account has revoked does not come along.
                let revokes = self.model.given.iter().any(|((by, _), given)| {
                    matches!(given.command, Command::RevokeDevice { .. })
                        && self.model.accounts.get(by) == Some(account)
                        && !matches!(given.fate, super::model::Fate::Failed(_))
                });
                let alone = left < 2 || (!other && (c.kind == api::ConversationKind::Direct || revokes));
                let is_in = c.members.iter().any(|member| member.address == *account);
                let held = c.standing == Standing::Held && is_in && !alone && self.devices[*device].is_listed();
                // Where nobody is left who has taken the invitation nobody makes anything.
                let outlaw = |device: DeviceId| self.model.outlaws.contains(&(device, line.clone()));
                // Nobody can follow what is not shown to it, or goes on by itself while the person is asked where.
                let is_asked = |device| match self.view(device, &Query::Invitations) {
                    Some(View::Invitations(asked)) => asked.iter().any(|asked| asked.conversation == c.id),
                    _ => false,
                };
                if self.model.lied_to == Some(*device) || is_asked(*device) {
                    return None;
                }
                let somebody = self.model.stays.iter().any(|((other, of), stay)| {
                    *of == line
                        && stay.active
                        && !outlaw(*other)
                        && !is_asked(*other)
                        && self.devices[*other].is_listed()
                });
                (held && somebody && !outlaw(*device)).then_some(())
            };
            shown.into_iter().find(|c| waits(c).is_some()).map(|c| (*device, c))
        })
    }

    /// Rule 18: whatever an insider has done, it has ended for nobody.
    pub(super) fn went_on(&self) -> Result<(), Violation> {
        if let Some((device, conversation)) = self.who_waits() {
            let what =
                format!("device {device} waits for what goes on for {}: {:?}", conversation.id, conversation.ended);
            return Err(Violation::new("18", what));
        }
        Ok(())
    }
}

impl Model {
    /// A device tells of a conversation: where that goes on for one that an insider has ended, it is what it has to be.
    pub(super) fn goes_on(&mut self, id: DeviceId, device: &Device, event: &Event) -> Result<(), Violation> {
        if self.endings.is_empty() {
            return Ok(());
        }
        let named = match event {
            Event::Conversation { conversation } => conversation.id.clone(),
            Event::Message { message } | Event::MessageChanged { message } => message.conversation.clone(),
            Event::Typing { conversation, .. } => conversation.clone(),
            Event::Done { conversation: Some(conversation), .. } => conversation.clone(),
            _ => return Ok(()),
        };
        if !self.lines.contains_key(&named) && !self.endings.iter().any(|ending| ending.conversation == named) {
            let now_is = |ending: &&Ending| {
                let query = Query::Conversation { conversation: ending.conversation.clone() };
                matches!(device.view(&query), Some(View::Conversation(shown)) if shown.id == named)
            };
            if let Some(line) = self.endings.iter().find(now_is).map(|ending| ending.line.clone()) {
                self.lines.insert(named.clone(), line);
            }
        }
        let Event::Conversation { conversation } = event else { return Ok(()) };
        let line = self.root(&named).to_owned();
        if self.outlaws.contains(&(id, line.clone())) {
            return Ok(());
        }
        if let Some(ending) = self.endings.iter_mut().find(|ending| ending.conversation == named) {
            if let Some(ended) = conversation.ended.as_ref().filter(|_| conversation.standing == Standing::Held) {
                let by = ended.by.as_ref().map(|by| (by.address.clone(), by.device.clone()));
                let wanted = ending.names_somebody().then(|| ending.by.clone());
                // Who is shown something else of it can't tell.
                let is_lied_to = by.is_none() && self.lied_to == Some(id);
                ensure!(
                    by == wanted || is_lied_to,
                    "18",
                    "device {id} names {by:?} for what {:?} has done to {named} by {:?}",
                    ending.by,
                    ending.what
                );
                ending.seen.entry(id).or_insert_with(|| conversation.as_ref().clone());
            }
            return Ok(());
        }
        if self.lied_to == Some(id) {
            return Ok(());
        }
        // Who may have revoked a device that was still there.
        let revokes = self.given.iter().filter(|(_, given)| matches!(given.command, Command::RevokeDevice { .. }));
        let revokers: BTreeSet<String> =
            revokes.filter_map(|((device, _), _)| self.accounts.get(device).cloned()).collect();
        let there = matches!(conversation.standing, Standing::Active | Standing::Requested);
        let ending = self.endings.iter_mut().rfind(|ending| ending.line == line && !ending.went_on.contains(&id));
        let Some(ending) = ending.filter(|_| there && conversation.epoch == 1) else { return Ok(()) };
        let Some(before) = ending.seen.get(&id) else { return Ok(()) };
        ending.went_on.push(id);
        let named = ending.names_somebody().then_some(ending.by.0.as_str());
        is_the_same(before, conversation, named, &revokers).map_err(|what| {
            Violation::new("18", format!("device {id} goes on where {what}: {before:?}; {conversation:?}"))
        })
    }
}

/// What goes on is what was there, without the device of `gone` that has ended it.
fn is_the_same(
    before: &Conversation,
    after: &Conversation,
    gone: Option<&str>,
    revokers: &BTreeSet<String>,
) -> Result<(), &'static str> {
    if (before.kind, &before.name, &before.description, before.timer)
        != (after.kind, &after.name, &after.description, after.timer)
    {
        return Err("kind, name, description or timer is another one");
    }
    let devices = |c: &Conversation, without: Option<&str>| -> BTreeMap<String, u32> {
        let left = c.members.iter().map(|m| (m.address.clone(), m.devices - u32::from(without == Some(&*m.address))));
        left.filter(|(_, devices)| *devices > 0).collect()
    };
    let (mut stays, comes) = (devices(before, gone), devices(after, None));
    for address in revokers {
        match (stays.get_mut(address), comes.get(address)) {
            (Some(before), Some(after)) => *before = (*before).min(*after),
            (Some(_), None) => _ = stays.remove(address),
            (None, _) => {}
        }
    }
    if stays != comes {
        return Err("others are in it");
    }
    let roles = |c: &Conversation| -> BTreeMap<String, Role> {
        let left = c.members.iter().filter(|m| stays.contains_key(&m.address));
        left.map(|m| (m.address.clone(), m.role)).collect()
    };
    let (had, have) = (roles(before), roles(after));
    let owned = before.members.iter().any(|m| m.role == Role::Owner);
    let heirless = owned && !had.values().any(|role| *role == Role::Owner);
    let changed = had.iter().filter(|(address, role)| have.get(*address) != Some(role));
    let heirs: Vec<Option<&Role>> = changed.map(|(address, _)| have.get(address)).collect();
    match (heirless, heirs.as_slice()) {
        (false, []) | (true, [Some(Role::Owner)]) => Ok(()),
        (false, _) => Err("roles are other ones"),
        (true, _) => Err("there is not one heir"),
    }
}

fn log_of(conversation: &str) -> Option<LogId> {
    let bytes = (0..16).map(|at| u8::from_str_radix(conversation.get(2 * at..2 * at + 2)?, 16).ok());
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    bytes.try_into().ok().map(LogId)
}

impl Transition {
    /// A device does something to a conversation that nobody may do.
    pub fn crime(device: DeviceId, conversation: &str, crime: Crime) -> Self {
        Self::Crime { device, conversation: conversation.into(), crime }
    }
}
