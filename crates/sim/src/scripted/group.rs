//! What the members of a scripted conversation share, in place of MLS: a seed for each epoch, handed on by commits, and bodies that
//! are sealed to it.
//!
//! What always holds: the seed of an epoch follows from the seed before it and the commit, and only members that the commit keeps
//! or adds take it (the simulator stands in for the encryption). A body counts only for the seed that it was sealed under.

use std::collections::BTreeSet;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wire::{EntryId, EpochKey};

/// A member's number.
pub type Member = usize;

/// What a commit changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A new member.
    Add(Member),
    /// One fewer.
    Remove(Member),
    /// A new name.
    Rename(u64),
}

/// The state of a conversation in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The epoch.
    pub epoch: u64,
    /// What its members know and nobody else.
    pub seed: [u8; 32],
    /// Who they are.
    pub members: BTreeSet<Member>,
    /// Its name.
    pub name: u64,
}

/// What a body says once it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The text of this number.
    Text(u64),
    /// The change of this intent, made with this nonce.
    Commit { intent: u64, change: Change, nonce: u64 },
}

impl Group {
    /// A new conversation.
    pub fn new(seed: [u8; 32], members: BTreeSet<Member>) -> Self {
        Self { epoch: 0, seed, members, name: 0 }
    }

    /// What opens this epoch at the relay.
    pub fn key(&self) -> EpochKey {
        EpochKey::from_seed(&hash(&[b"delivery", &self.seed]))
    }

    /// True if the change would change something.
    pub fn applies(&self, change: Change) -> bool {
        match change {
            Change::Add(member) => !self.members.contains(&member),
            Change::Remove(member) => self.members.contains(&member) && self.members.len() > 1,
            Change::Rename(name) => self.name != name,
        }
    }

    /// The group after a commit. `keep_key` is a mutant's.
    #[must_use]
    pub fn after(&self, change: Change, nonce: u64, keep_key: bool) -> Self {
        let mut next = self.clone();
        next.epoch += 1;
        match change {
            Change::Add(member) => {
                next.members.insert(member);
            }
            Change::Remove(member) => {
                next.members.remove(&member);
            }
            Change::Rename(name) => next.name = name,
        }
        if !keep_key {
            next.seed = hash(&[b"next", &self.seed, &nonce.to_be_bytes()]);
        }
        next
    }

    /// A body that only this epoch's members can open.
    pub fn seal(&self, id: EntryId, content: Content) -> Bytes {
        let mut body = match content {
            Content::Text(text) => [&b"t"[..], &text.to_be_bytes()].concat(),
            Content::Commit { intent, change, nonce } => {
                let (kind, what) = match change {
                    Change::Add(member) => (b"a", member as u64),
                    Change::Remove(member) => (b"r", member as u64),
                    Change::Rename(name) => (b"n", name),
                };
                [&kind[..], &what.to_be_bytes(), &intent.to_be_bytes(), &nonce.to_be_bytes()].concat()
            }
        };
        let tag = self.tag(id, &body);
        body.extend_from_slice(&tag);
        body.into()
    }

    /// Opens a body; `None` if it wasn't sealed to this epoch under this id.
    pub fn open(&self, id: EntryId, body: &[u8]) -> Option<Content> {
        let (content, tag) = body.split_last_chunk::<32>()?;
        if *tag != self.tag(id, content) {
            return None;
        }
        let (kind, rest) = content.split_first()?;
        let mut numbers = rest.chunks_exact(8).map(|chunk| chunk.try_into().map_or(0, u64::from_be_bytes));
        let what = numbers.next()?;
        let change = match kind {
            b't' => return Some(Content::Text(what)),
            b'a' => Change::Add(usize::try_from(what).ok()?),
            b'r' => Change::Remove(usize::try_from(what).ok()?),
            b'n' => Change::Rename(what),
            _ => return None,
        };
        Some(Content::Commit { change, intent: numbers.next()?, nonce: numbers.next()? })
    }

    fn tag(&self, id: EntryId, content: &[u8]) -> [u8; 32] {
        hash(&[b"seal", &self.seed, &self.epoch.to_be_bytes(), &id.0, content])
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
