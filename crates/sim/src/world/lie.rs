//! A relay that shows one device another log than it shows the others: one message is missing, or one commit is not what it was.

use std::collections::BTreeSet;

use wire::{ClientFrame, Entry, EntryId, EntryKind, EpochKey, LogId, Push, Request, Response, Seq, ServerFrame};

use super::transition::DeviceId;
use crate::net::LinkId;

/// What a relay shows otherwise of a commit: each part of an entry that its author has not sealed, and the sealed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alteration {
    /// Another id.
    Id,
    /// Another key for the next epoch.
    Next,
    /// Another commitment.
    Commitment,
    /// Another time.
    Time,
    /// Another body.
    Body,
}

impl Alteration {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Id, Self::Next, Self::Commitment, Self::Time, Self::Body];

    fn of(self, entry: &mut Entry) {
        match self {
            Self::Id => entry.id = EntryId([9; 16]),
            Self::Next => entry.next = Some(EpochKey::from_seed(&[9; 32]).public()),
            Self::Commitment => entry.commitment = [9; 32],
            Self::Time => entry.time = entry.time.plus(1),
            Self::Body => {
                let mut body = entry.body.to_vec();
                body.iter_mut().rev().take(1).for_each(|last| *last ^= 1);
                entry.body = body.into();
            }
        }
    }
}

/// What is kept from whom, and what has to be remembered to keep it up.
pub(super) struct Lie {
    /// Who is lied to.
    pub device: DeviceId,
    log: LogId,
    renumber: bool,
    /// No message is missing: the next commit is shown otherwise.
    alters: Option<Alteration>,
    /// That commit.
    altered: Option<EntryId>,
    /// The missing message, and the place before it.
    hidden: Option<(Seq, Seq)>,
    /// What the device wrote itself: it would notice.
    own: BTreeSet<EntryId>,
    /// Questions about the log, whose answers speak of places in it.
    asked: BTreeSet<(LinkId, u64)>,
}

impl Lie {
    /// The next message is missing.
    pub fn withhold(device: DeviceId, log: LogId, renumber: bool) -> Self {
        let (own, asked) = (BTreeSet::new(), BTreeSet::new());
        Self { device, log, renumber, alters: None, altered: None, hidden: None, own, asked }
    }

    /// The next commit is another one.
    pub fn alter(device: DeviceId, log: LogId, how: Alteration) -> Self {
        Self { alters: Some(how), ..Self::withhold(device, log, false) }
    }

    /// A question of the device, with the places that the log has.
    pub fn up(&mut self, link: LinkId, mut frame: ClientFrame) -> ClientFrame {
        match &mut frame.request {
            Request::Append { log, id, .. } | Request::Commit { log, id, .. } if *log == self.log => {
                self.own.insert(*id);
                self.asked.insert((link, frame.id));
            }
            Request::Read { log, from, .. } if *log == self.log => {
                *from = self.real(*from);
                self.asked.insert((link, frame.id));
            }
            Request::Subscribe { logs } => {
                for subscription in logs.iter_mut().filter(|subscription| subscription.log == self.log) {
                    subscription.from = self.real(subscription.from);
                }
            }
            _ => {}
        }
        frame
    }

    /// What the device gets to see.
    pub fn down(&mut self, link: LinkId, frame: &mut ServerFrame) {
        match frame {
            ServerFrame::Push(Push::Entries { log, entries, head }) if *log == self.log => {
                self.show(entries);
                *head = self.shown(*head);
            }
            ServerFrame::Push(Push::Lagged { log, seq }) if *log == self.log => *seq = self.shown(*seq),
            ServerFrame::Response { id, result: Ok(response) } => {
                let about = self.asked.remove(&(link, *id));
                match response {
                    Response::Page { entries, head, .. } if about => {
                        self.show(entries);
                        *head = self.shown(*head);
                    }
                    Response::Appended { seq, .. } if about => *seq = self.shown(*seq),
                    Response::Opened(states) => {
                        for state in states.iter_mut().filter(|state| state.log == self.log) {
                            state.head = self.shown(state.head);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn show(&mut self, entries: &mut Vec<Entry>) {
        if let Some(how) = self.alters {
            let next = entries.iter().find(|entry| entry.kind == EntryKind::Commit && !self.own.contains(&entry.id));
            self.altered = self.altered.or(next.map(|entry| entry.id));
            entries.iter_mut().filter(|entry| Some(entry.id) == self.altered).for_each(|entry| how.of(entry));
            return;
        }
        let next = entries.iter().find(|entry| entry.kind == EntryKind::Message && !self.own.contains(&entry.id));
        self.hidden = self.hidden.or(next.map(|entry| (entry.seq, entry.prev)));
        entries.retain(|entry| self.hidden.is_none_or(|(hidden, _)| entry.seq != hidden));
        for entry in entries {
            (entry.seq, entry.prev) = (self.shown(entry.seq), self.shown(entry.prev));
        }
    }

    fn shown(&self, place: Seq) -> Seq {
        match self.hidden {
            Some((hidden, before)) if place == hidden => before,
            Some((hidden, _)) if place > hidden && self.renumber => Seq(place.0 - 1),
            _ => place,
        }
    }

    fn real(&self, place: Seq) -> Seq {
        match self.hidden {
            Some((hidden, _)) if place > hidden && self.renumber => place.next(),
            _ => place,
        }
    }
}
