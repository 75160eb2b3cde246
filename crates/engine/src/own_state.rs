//! What own devices tell one another of what the person has chosen (protocol rule 17): CBOR, {version, words, heads}.
//!
//! A word is a choice and its time. Of two words on one thing the later one counts, of two of one time the one with the higher bytes:
//! so all devices end with the same, in whatever order they hear. Deliberately absent: what a choice changes (`sync::own_state`).

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use wire::LogId;

use crate::formats::{self, FormatError};

/// The version that this program writes and reads. What a newer one adds to it, it does as new kinds of words.
const VERSION: u8 = 1;
/// No word is of a time behind this, in ms since the epoch: beyond it no later word could be said.
const LATEST: u64 = 1 << 52;

/// What the person has chosen. Numbers never change meaning.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Change {
    /// A conversation is muted until this time, in ms since the epoch; 0 if it is not.
    #[n(0)]
    Muted(#[n(0)] ByteVec, #[n(1)] u64),
    #[n(1)]
    Archived(#[n(0)] ByteVec, #[n(1)] bool),
    /// Pinned to the top at this time, in ms since the epoch; 0 if it is not.
    #[n(2)]
    Pinned(#[n(0)] ByteVec, #[n(1)] u64),
    /// To be looked at again.
    #[n(3)]
    Unread(#[n(0)] ByteVec, #[n(1)] bool),
    #[n(4)]
    Draft(#[n(0)] ByteVec, #[n(1)] String),
    /// A conversation was read up to a message, at this time, in ms since the epoch. The word's time is the message's.
    #[n(5)]
    Read(#[n(0)] ByteVec, #[n(1)] ByteVec, #[n(2)] u64),
    /// What the person calls an address.
    #[n(6)]
    Named(#[n(0)] String, #[n(1)] String),
    #[n(7)]
    Blocked(#[n(0)] String, #[n(1)] bool),
    /// Whether others hear what was read.
    #[n(8)]
    ReadReceipts(#[n(0)] bool),
    /// A message that opens once was opened.
    #[n(9)]
    Opened(#[n(0)] ByteVec, #[n(1)] ByteVec),
    /// A message was taken out of the own sight.
    #[n(10)]
    Hidden(#[n(0)] ByteVec, #[n(1)] ByteVec),
    /// Whether others are told that the person is writing.
    #[n(11)]
    Typing(#[n(0)] bool),
    /// What a device of the account is called.
    #[n(12)]
    DeviceName(#[n(0)] ByteVec, #[n(1)] String),
    /// Whether others are told that the person is there.
    #[n(13)]
    Presence(#[n(0)] bool),
}

impl Change {
    /// Its kind and what it is about: the two that one word is kept for.
    pub(crate) fn about(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Muted(log, _) => (0, log.to_vec()),
            Self::Archived(log, _) => (1, log.to_vec()),
            Self::Pinned(log, _) => (2, log.to_vec()),
            Self::Unread(log, _) => (3, log.to_vec()),
            Self::Draft(log, _) => (4, log.to_vec()),
            Self::Read(log, ..) => (5, log.to_vec()),
            Self::Named(address, _) => (6, address.as_bytes().to_vec()),
            Self::Blocked(address, _) => (7, address.as_bytes().to_vec()),
            Self::ReadReceipts(_) => (8, Vec::new()),
            Self::Opened(log, message) => (9, [log.as_slice(), message].concat()),
            Self::Hidden(log, message) => (10, [log.as_slice(), message].concat()),
            Self::Typing(_) => (11, Vec::new()),
            Self::DeviceName(device, _) => (Self::DEVICE_NAME, device.to_vec()),
            Self::Presence(_) => (13, Vec::new()),
        }
    }

    /// Kinds below this one are about a conversation and nothing else.
    pub(crate) const CONVERSATIONS: u8 = 6;
    pub(crate) const READ: u8 = 5;
    pub(crate) const NAMED: u8 = 6;
    pub(crate) const BLOCKED: u8 = 7;
    pub(crate) const OPENED: u8 = 9;
    pub(crate) const HIDDEN: u8 = 10;
    pub(crate) const DEVICE_NAME: u8 = 12;

    /// The log in which the line of the conversation began that it is about, if it is about one.
    pub(crate) fn log(&self) -> Option<LogId> {
        match self {
            Self::Muted(room, _)
            | Self::Archived(room, _)
            | Self::Pinned(room, _)
            | Self::Unread(room, _)
            | Self::Draft(room, _)
            | Self::Read(room, ..)
            | Self::Opened(room, _)
            | Self::Hidden(room, _) => log(room),
            _ => None,
        }
    }

    /// As it is kept and compared.
    pub(crate) fn word(&self) -> Vec<u8> {
        formats::encode(self)
    }

    /// From what is kept.
    pub(crate) fn of(word: &[u8]) -> Option<Self> {
        formats::decode(word).ok()
    }
}

/// A choice and its time.
#[derive(Encode, Decode)]
pub(crate) struct Word {
    /// Orders words on one thing; in ms since the epoch as the clock of the device had it, and behind each word that it had heard.
    #[n(0)]
    pub time: u64,
    /// A [`Change`], in bytes of its own: a kind that is not known here is passed over by itself.
    #[n(1)]
    pub change: ByteVec,
}

/// Where a device stands in a log, for the others to compare (protocol rule 8).
#[derive(Encode, Decode)]
pub(crate) struct Head {
    #[n(0)]
    pub conversation: ByteVec,
    #[n(1)]
    pub seq: u64,
    #[n(2)]
    pub hash: ByteVec,
}

/// What one message tells.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct OwnState {
    #[n(0)]
    version: u8,
    #[n(1)]
    pub words: Vec<Word>,
    #[n(2)]
    pub heads: Vec<Head>,
}

impl OwnState {
    pub(crate) fn new(words: Vec<Word>, heads: Vec<Head>) -> Self {
        Self { version: VERSION, words, heads }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        formats::encode(self)
    }

    /// What another device of the account has said.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let state: Self = formats::decode(bytes)?;
        if state.version == VERSION { Ok(state) } else { Err(FormatError) }
    }
}

impl Word {
    /// The choice, if it is one that this version knows and that any device can have made.
    pub(crate) fn heard(&self) -> Option<Change> {
        let change = Change::of(&self.change).filter(|_| self.time < LATEST)?;
        let lengths_fit = match &change {
            Change::Opened(log, message) | Change::Hidden(log, message) | Change::Read(log, message, _) => {
                log.len() == 16 && message.len() == 32
            }
            Change::Muted(log, _)
            | Change::Archived(log, _)
            | Change::Pinned(log, _)
            | Change::Unread(log, _)
            | Change::Draft(log, _) => log.len() == 16,
            Change::DeviceName(device, name) => device.len() == 16 && crate::db::contacts::is_name(name),
            Change::Named(..)
            | Change::Blocked(..)
            | Change::ReadReceipts(_)
            | Change::Typing(_)
            | Change::Presence(_) => true,
        };
        // One encoding of each value: else devices could keep different bytes for the same.
        (lengths_fit && change.word() == self.change.as_slice()).then_some(change)
    }
}

/// A conversation's id as it stands in a word.
pub(crate) fn log(bytes: &ByteVec) -> Option<LogId> {
    bytes.as_slice().try_into().ok().map(LogId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: &Change, time: u64) -> Word {
        Word { time, change: change.word().into() }
    }

    #[test]
    fn rule_17_words_have_these_bytes() {
        let draft = Change::Draft(vec![1; 16].into(), "so".into());
        let head = Head { conversation: vec![1; 16].into(), seq: 7, hash: vec![2; 32].into() };
        let state = OwnState::new(vec![said(&draft, 9)], vec![head]);
        let hex = data_encoding::HEXLOWER.encode(&state.encode());
        let (log, hash) = ("01".repeat(16), "02".repeat(32));
        assert_eq!(hex, format!("a30001018182095782048250{log}62736f0281835 0{log}075820{hash}").replace(' ', ""));
    }

    #[test]
    fn rule_17_words_that_no_device_says_are_passed_over() {
        let muted = |log: usize| Change::Muted(vec![1; log].into(), 5);
        assert!(said(&muted(16), 1).heard().is_some());
        assert!(said(&muted(15), 1).heard().is_none());
        assert!(said(&muted(16), LATEST).heard().is_none());
        let opened = Change::Opened(vec![1; 16].into(), vec![2; 31].into());
        assert!(said(&opened, 1).heard().is_none());
        let named = |length: usize, name: &str| said(&Change::DeviceName(vec![1; length].into(), name.into()), 1);
        assert!(named(16, "Laptop").heard().is_some() && named(16, "").heard().is_some());
        for name in ["two\nlines", "a\u{202e}b", "who@ever", &"x".repeat(101)] {
            assert!(named(16, name).heard().is_none(), "{name}");
        }
        assert!(named(15, "Laptop").heard().is_none());
        // A kind of a later version; the same value in more bytes; bytes behind it; nothing.
        for word in ["8218638101", "8200825001010101010101010101010101010101 1805", "820881f500", ""] {
            let bytes = data_encoding::HEXLOWER.decode(word.replace(' ', "").as_bytes()).unwrap();
            assert!(Word { time: 1, change: bytes.into() }.heard().is_none(), "{word}");
        }
        assert!(OwnState::decode(&OwnState { version: 2, words: Vec::new(), heads: Vec::new() }.encode()).is_err());
    }
}
