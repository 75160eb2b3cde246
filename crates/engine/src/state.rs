//! The state of a conversation that all members share: one GroupContext extension, changed by commits (protocol section 1,
//! "State of the conversation").
//!
//! A CBOR map with a version. Keys that this version does not know are kept as they are: a commit of an older client must not
//! drop what a newer one has put there.

use std::collections::BTreeMap;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use crate::formats::FormatError;
use crate::picture::Picture;

/// Largest encoding, in bytes.
pub(crate) const MAX_BYTES: usize = 8 * 1024;
/// Longest name, in bytes.
pub(crate) const MAX_NAME: usize = 256;
/// Longest description, in bytes.
pub(crate) const MAX_DESCRIPTION: usize = 1_024;
/// The longest timer, in seconds: a year.
pub(crate) const MAX_TIMER: u32 = 366 * 86_400;
/// Invite links that are open at the same time.
pub(crate) const MAX_LINKS: usize = 16;
/// Accounts that are listed as asleep.
pub(crate) const MAX_ASLEEP: usize = 128;

const VERSION: u64 = 1;

/// What a conversation is for its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupKind {
    Direct = 0,
    Group = 1,
}

/// MIMI room policy's `logging_policy`. Set when the conversation is created, never changed (property A2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoggingPolicy {
    Forbidden = 0,
}

/// A way into a group: whoever knows its secret may ask its maker to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InviteLink {
    /// A part of the hash of its secret.
    pub id: [u8; 16],
    /// The account that has made it, and answers.
    pub by: [u8; 32],
    /// Whoever asks is let in at once.
    pub direct: bool,
    /// Until when it is good, in milliseconds since 1970; 0 for good.
    pub expires: u64,
    /// How many it lets in; 0 for any number.
    pub uses: u32,
    /// How many it has let in.
    pub used: u32,
}

/// An account that has no device in the conversation any more, because none was there for long, and that comes back by a request of
/// one of its devices (protocol rule 10). Its role stands where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asleep {
    pub account: [u8; 32],
    /// As it was in the certificates of its devices.
    pub address: String,
}

/// Which conversation a successor goes on for (protocol rule 18). Never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SuccessorOf {
    /// Its log.
    pub log: [u8; 16],
    /// The hash of the entry that has ended it.
    pub ending: [u8; 32],
    /// Places up to here are those of predecessors; what stands at `seq` in this log stands at `offset + seq`.
    pub offset: u64,
    /// The log in which the line began: ids of messages name it, so that none changes on the way.
    pub room: [u8; 16],
}

/// The largest offset: places stay far below those that a restore gives.
const MAX_OFFSET: u64 = 1 << 38;

/// The shared state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConversationState {
    pub kind: GroupKind,
    pub name: String,
    /// Account keys.
    pub owners: Vec<[u8; 32]>,
    pub admins: Vec<[u8; 32]>,
    pub logging: LoggingPolicy,
    /// What the group is for, in its admins' words; may be empty.
    pub description: String,
    pub picture: Option<Picture>,
    /// Those who come back by themselves, the ones that fell asleep first in front.
    pub asleep: Vec<Asleep>,
    /// Messages vanish so many seconds after they were seen; 0 if they stay.
    pub timer: u32,
    /// The oldest first.
    pub links: Vec<InviteLink>,
    pub succeeds: Option<SuccessorOf>,
    unknown: BTreeMap<u64, Vec<u8>>,
}

impl ConversationState {
    /// The state of a new conversation; its creator is its owner.
    pub(crate) fn new(kind: GroupKind, name: &str, owners: Vec<[u8; 32]>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            owners,
            admins: Vec::new(),
            logging: LoggingPolicy::Forbidden,
            description: String::new(),
            picture: None,
            asleep: Vec::new(),
            timer: 0,
            links: Vec::new(),
            succeeds: None,
            unknown: BTreeMap::new(),
        }
    }

    /// The same with another timer, in seconds.
    pub(crate) fn with_timer(&self, timer: u32) -> Self {
        Self { timer, ..self.clone() }
    }

    /// The same where others are asleep.
    pub(crate) fn with_asleep(&self, asleep: &[Asleep]) -> Self {
        Self { asleep: asleep.to_vec(), ..self.clone() }
    }

    /// What `account` may do. In a 1:1 conversation both are equal.
    pub(crate) fn role(&self, account: &[u8; 32]) -> api::Role {
        if self.owners.contains(account) {
            api::Role::Owner
        } else if self.admins.contains(account) {
            api::Role::Admin
        } else {
            api::Role::Member
        }
    }

    /// Gives `account` a role.
    pub(crate) fn set_role(&mut self, account: [u8; 32], role: api::Role) {
        self.owners.retain(|key| *key != account);
        self.admins.retain(|key| *key != account);
        match role {
            api::Role::Owner => self.owners.push(account),
            api::Role::Admin => self.admins.push(account),
            api::Role::Member => {}
        }
    }

    /// The account that is asleep under this address.
    pub(crate) fn sleeper(&self, address: &str) -> Option<&Asleep> {
        self.asleep.iter().find(|asleep| asleep.address == address)
    }

    /// This account is listed as asleep.
    pub(crate) fn is_asleep(&self, account: &[u8; 32]) -> bool {
        self.asleep.iter().any(|asleep| asleep.account == *account)
    }

    /// This state when only these accounts are members: who is there is not asleep, who is gone has no role any more (who sleeps keeps it),
    /// links end with their makers' being there and their roles, and a group none of whose owners is there is its heir's, too. There is
    /// exactly one outcome, which every receiver computes for itself.
    ///
    /// The heir is the admin who is there and has been one for longest, else the first of `members`, which is in the order of their leaves.
    #[must_use]
    pub(crate) fn settled(&self, members: &[[u8; 32]]) -> Self {
        let mut settled = self.clone();
        if self.kind == GroupKind::Direct {
            return settled;
        }
        settled.asleep.retain(|asleep| !members.contains(&asleep.account));
        let is_here = |account: &[u8; 32]| members.contains(account);
        let stays = |account: &[u8; 32]| is_here(account) || self.is_asleep(account);
        settled.owners.retain(stays);
        settled.admins.retain(stays);
        if !settled.owners.iter().any(is_here)
            && let Some(heir) = settled.admins.iter().find(|admin| is_here(admin)).or(members.first()).copied()
        {
            settled.set_role(heir, api::Role::Owner);
        }
        let may = |account: &[u8; 32]| settled.owners.contains(account) || settled.admins.contains(account);
        settled.links.retain(|link| is_here(&link.by) && may(&link.by));
        settled
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let accounts = |list: &[[u8; 32]]| {
            let list: Vec<&minicbor::bytes::ByteSlice> = list.iter().map(|key| key.as_slice().into()).collect();
            encoded(&list)
        };
        // What this version does not know stands among what it knows, in the order of the keys.
        let mut entries = self.unknown.clone();
        entries.insert(0, encoded(&VERSION));
        entries.insert(1, encoded(&(self.kind as u64)));
        entries.insert(2, encoded(&self.name));
        entries.insert(3, accounts(&self.owners));
        entries.insert(4, accounts(&self.admins));
        entries.insert(5, encoded(&(self.logging as u64)));
        if !self.description.is_empty() {
            entries.insert(6, encoded(&self.description));
        }
        if let Some(picture) = &self.picture {
            entries.insert(7, encoded(&picture.parts()));
        }
        if !self.asleep.is_empty() {
            let bytes = |bytes: &[u8]| minicbor::bytes::ByteVec::from(bytes.to_vec());
            let asleep: Vec<_> = self.asleep.iter().map(|one| (bytes(&one.account), one.address.as_str())).collect();
            entries.insert(8, encoded(&asleep));
        }
        if self.timer != 0 {
            entries.insert(9, encoded(&self.timer));
        }
        if !self.links.is_empty() {
            let bytes = |bytes: &[u8]| minicbor::bytes::ByteVec::from(bytes.to_vec());
            let links: Vec<_> = self.links.iter().collect();
            let links: Vec<_> =
                links.iter().map(|l| (bytes(&l.id), bytes(&l.by), l.direct, l.expires, l.uses, l.used)).collect();
            entries.insert(10, encoded(&links));
        }
        if let Some(succeeds) = &self.succeeds {
            let bytes = |bytes: &[u8]| minicbor::bytes::ByteVec::from(bytes.to_vec());
            let SuccessorOf { log, ending, offset, room } = succeeds;
            entries.insert(12, encoded(&(bytes(log), bytes(ending), *offset, bytes(room))));
        }
        let mut out = Encoder::new(Vec::new());
        let mut write = || -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
            out.map(entries.len() as u64)?;
            for (key, value) in &entries {
                out.u64(*key)?;
                out.writer_mut().extend_from_slice(value);
            }
            Ok(())
        };
        write().expect("encoding into memory can't fail");
        out.into_writer()
    }

    /// The name as it may be shown: one line that can't reorder what stands beside it, whoever wrote it with whatever program.
    pub(crate) fn shown_name(&self) -> String {
        content::line(&self.name, MAX_NAME)
    }

    /// The description as it may be shown: such lines.
    pub(crate) fn shown_description(&self) -> String {
        let lines: Vec<String> = self.description.lines().map(|line| content::line(line, MAX_DESCRIPTION)).collect();
        lines.join("\n")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > MAX_BYTES {
            return Err(FormatError);
        }
        Self::read(bytes).map_err(|_| FormatError)?.ok_or(FormatError)
    }

    fn read(bytes: &[u8]) -> Result<Option<Self>, minicbor::decode::Error> {
        let mut input = Decoder::new(bytes);
        let Some(entries) = input.map()? else { return Ok(None) };
        let (mut version, mut kind, mut name, mut logging) = (None, None, None, None);
        let (mut owners, mut admins, mut timer) = (Vec::new(), Vec::new(), 0);
        let mut picture = None;
        let (mut description, mut asleep, mut links, mut succeeds) = (String::new(), Vec::new(), Vec::new(), None);
        let mut unknown = BTreeMap::new();
        let mut last = None;
        for _ in 0..entries {
            let key = input.u64()?;
            // Ascending keys: one state has one encoding, so that "unchanged" can be seen from the bytes.
            if last.is_some_and(|last| key <= last) {
                return Ok(None);
            }
            last = Some(key);
            match key {
                0 => version = Some(input.u64()?),
                1 => {
                    kind = match input.u64()? {
                        0 => Some(GroupKind::Direct),
                        1 => Some(GroupKind::Group),
                        _ => return Ok(None),
                    }
                }
                2 => name = Some(input.str()?.to_owned()),
                3 | 4 => {
                    let Some(count) = input.array()? else { return Ok(None) };
                    let list = if key == 3 { &mut owners } else { &mut admins };
                    for _ in 0..count {
                        let Ok(account) = <[u8; 32]>::try_from(input.bytes()?) else { return Ok(None) };
                        list.push(account);
                    }
                }
                5 => {
                    logging = match input.u64()? {
                        0 => Some(LoggingPolicy::Forbidden),
                        _ => return Ok(None),
                    }
                }
                // None has one encoding: absence.
                6 => match input.str()? {
                    "" => return Ok(None),
                    text if text.len() > MAX_DESCRIPTION => return Ok(None),
                    text => text.clone_into(&mut description),
                },
                7 => match Picture::read(&mut input)? {
                    Some(read) => picture = Some(read),
                    None => return Ok(None),
                },
                8 => match read_asleep(&mut input)? {
                    Some(read) => asleep = read,
                    None => return Ok(None),
                },
                // Off has one encoding: absence.
                9 => match input.u32()? {
                    0 => return Ok(None),
                    seconds if seconds > MAX_TIMER => return Ok(None),
                    seconds => timer = seconds,
                },
                10 => match read_links(&mut input)? {
                    Some(read) => links = read,
                    None => return Ok(None),
                },
                12 => match read_succeeds(&mut input)? {
                    Some(read) => succeeds = Some(read),
                    None => return Ok(None),
                },
                _ => {
                    let from = input.position();
                    if input.datatype()? == Type::Break {
                        return Ok(None);
                    }
                    input.skip()?;
                    let Some(value) = bytes.get(from..input.position()) else { return Ok(None) };
                    unknown.insert(key, value.to_vec());
                }
            }
        }
        if input.position() != bytes.len() || version.is_none_or(|version| version < VERSION) {
            return Ok(None);
        }
        let (Some(kind), Some(name), Some(logging)) = (kind, name, logging) else { return Ok(None) };
        if name.len() > MAX_NAME {
            return Ok(None);
        }
        Ok(Some(Self {
            kind,
            name,
            owners,
            admins,
            logging,
            description,
            picture,
            asleep,
            timer,
            links,
            succeeds,
            unknown,
        }))
    }
}

fn read_succeeds(input: &mut Decoder<'_>) -> Result<Option<SuccessorOf>, minicbor::decode::Error> {
    if input.array()? != Some(4) {
        return Ok(None);
    }
    let (log, ending) = (input.bytes()?.try_into(), input.bytes()?.try_into());
    let (offset, room) = (input.u64()?, input.bytes()?.try_into());
    let (Ok(log), Ok(ending), Ok(room), true) = (log, ending, room, offset <= MAX_OFFSET) else { return Ok(None) };
    Ok(Some(SuccessorOf { log, ending, offset, room }))
}

/// At least one, at most as many as may be; each account and each address once, the addresses as they are signed.
fn read_asleep(input: &mut Decoder<'_>) -> Result<Option<Vec<Asleep>>, minicbor::decode::Error> {
    let Some(count) = input.array()?.filter(|count| (1..=MAX_ASLEEP as u64).contains(count)) else { return Ok(None) };
    let mut all: Vec<Asleep> = Vec::new();
    for _ in 0..count {
        if input.array()? != Some(2) {
            return Ok(None);
        }
        let (Ok(account), address) = (<[u8; 32]>::try_from(input.bytes()?), input.str()?) else { return Ok(None) };
        let is_canonical = address.parse::<wire::Address>().is_ok_and(|parsed| parsed.as_str() == address);
        if !is_canonical || all.iter().any(|other| other.account == account || other.address == address) {
            return Ok(None);
        }
        all.push(Asleep { account, address: address.to_owned() });
    }
    Ok(Some(all))
}

/// At least one, at most as many as may be, each once.
fn read_links(input: &mut Decoder<'_>) -> Result<Option<Vec<InviteLink>>, minicbor::decode::Error> {
    let Some(count) = input.array()?.filter(|count| (1..=MAX_LINKS as u64).contains(count)) else { return Ok(None) };
    let mut links: Vec<InviteLink> = Vec::new();
    for _ in 0..count {
        if input.array()? != Some(6) {
            return Ok(None);
        }
        let (Ok(id), Ok(by)) = (<[u8; 16]>::try_from(input.bytes()?), <[u8; 32]>::try_from(input.bytes()?)) else {
            return Ok(None);
        };
        let (direct, expires, uses, used) = (input.bool()?, input.u64()?, input.u32()?, input.u32()?);
        if links.iter().any(|link| link.id == id) {
            return Ok(None);
        }
        links.push(InviteLink { id, by, direct, expires, uses, used });
    }
    Ok(Some(links))
}

fn encoded<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("encoding into memory can't fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_comes_back_and_keeps_what_it_does_not_know() {
        let mut state = ConversationState::new(GroupKind::Group, "Family", vec![[1; 32]]);
        state.set_role([2; 32], api::Role::Admin);
        state.timer = 3_600;
        state.unknown.insert(11, minicbor::to_vec("between").unwrap());
        state.unknown.insert(40, minicbor::to_vec(("later", 7)).unwrap());
        let bytes = state.encode();
        assert_eq!(ConversationState::decode(&bytes), Ok(state.clone()));
        assert_eq!(ConversationState::decode(&bytes).unwrap().encode(), bytes);
        assert_eq!(state.role(&[1; 32]), api::Role::Owner);
        assert_eq!(state.role(&[2; 32]), api::Role::Admin);
        assert_eq!(state.role(&[3; 32]), api::Role::Member);
    }

    #[test]
    fn rule_18_a_successor_names_what_it_succeeds_in_one_encoding() {
        let mut state = ConversationState::new(GroupKind::Group, "x", vec![[1; 32]]);
        let before = state.encode();
        let succeeds = SuccessorOf { log: [2; 16], ending: [3; 32], offset: 300, room: [4; 16] };
        state.succeeds = Some(succeeds.clone());
        let after = state.encode();
        assert_eq!(ConversationState::decode(&after), Ok(state.clone()));
        let (log, ending, room) = ("02".repeat(16), "03".repeat(32), "04".repeat(16));
        let added = format!("0c8450{log}5820{ending}19012c50{room}");
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        assert_eq!(hex(&after[1..]), format!("{}{added}", hex(&before[1..])));
        state.succeeds = Some(SuccessorOf { offset: MAX_OFFSET + 1, ..succeeds });
        assert!(ConversationState::decode(&state.encode()).is_err());
        for cut in 1..after.len() {
            assert!(ConversationState::decode(&after[..cut]).is_err());
        }
    }

    #[test]
    fn optional_parts_have_one_encoding() {
        let mut state = ConversationState::new(GroupKind::Group, "Family", vec![[1; 32]]);
        let without = state.encode();
        state.description = "Sunday walks".into();
        let with = state.encode();
        assert_eq!(ConversationState::decode(&with), Ok(state.clone()));
        state.description.clear();
        assert_eq!(state.encode(), without);
        state.description = "x".repeat(MAX_DESCRIPTION + 1);
        assert!(ConversationState::decode(&state.encode()).is_err());
        // An empty one that is written out.
        let mut empty = state;
        empty.description.clear();
        empty.unknown.insert(6, minicbor::to_vec("").unwrap());
        assert!(ConversationState::decode(&empty.encode()).is_err());
    }

    #[test]
    fn a_program_of_another_make_plays_no_tricks_with_names_and_timers() {
        let tower = format!("a{}", "\u{301}".repeat(100));
        let mut state = ConversationState::new(GroupKind::Group, &format!("Fam\u{202e}ily\n{tower}"), vec![[1; 32]]);
        state.description = format!("first\u{2067}\nsecond {tower}");
        let state = ConversationState::decode(&state.encode()).unwrap();
        let cut = format!("a{}", "\u{301}".repeat(30));
        assert_eq!(state.shown_name(), format!("Family {cut}"));
        assert_eq!(state.shown_description(), format!("first\nsecond {cut}"));
        // A hundred years.
        assert!(ConversationState::decode(&state.with_timer(MAX_TIMER).encode()).is_ok());
        assert!(ConversationState::decode(&state.with_timer(MAX_TIMER + 1).encode()).is_err());
        assert!(ConversationState::decode(&state.with_timer(100 * 365 * 86_400).encode()).is_err());
    }

    #[test]
    fn links_come_back_and_end_with_their_makers_roles() {
        let mut state = ConversationState::new(GroupKind::Group, "Family", vec![[1; 32]]);
        state.admins = vec![[2; 32]];
        let link = |n: u8, by: u8| InviteLink { id: [n; 16], by: [by; 32], direct: true, expires: 9, uses: 3, used: 1 };
        state.links = vec![link(1, 1), link(2, 2)];
        assert_eq!(ConversationState::decode(&state.encode()), Ok(state.clone()));
        assert_eq!(state.settled(&[[1; 32], [2; 32]]), state);
        assert_eq!(state.settled(&[[1; 32]]).links, [link(1, 1)]);
        state.links.push(link(1, 2));
        assert!(ConversationState::decode(&state.encode()).is_err());
        state.links = (0..=MAX_LINKS as u8).map(|n| link(n, 1)).collect();
        assert!(ConversationState::decode(&state.encode()).is_err());
    }

    #[test]
    fn a_group_without_an_owner_is_its_heirs() {
        let mut state = ConversationState::new(GroupKind::Group, "x", vec![[1; 32]]);
        state.admins = vec![[4; 32], [3; 32]];
        assert_eq!(state.settled(&[[1; 32], [3; 32], [4; 32]]), state);
        let after = state.settled(&[[2; 32], [3; 32], [4; 32]]);
        assert_eq!((after.owners, after.admins), (vec![[4; 32]], vec![[3; 32]]));
        let after = state.settled(&[[5; 32], [2; 32]]);
        assert_eq!((after.owners, after.admins), (vec![[5; 32]], vec![]));
        assert_eq!(state.settled(&[]).owners, Vec::<[u8; 32]>::new());
    }

    #[test]
    fn rule_10_who_sleeps_keeps_the_role_and_is_listed_in_one_encoding() {
        let asleep = |n: u8| Asleep { account: [n; 32], address: format!("p{n}@a.example") };
        let mut state = ConversationState::new(GroupKind::Group, "x", vec![[1; 32]]);
        let before = state.encode();
        state.admins = vec![[2; 32], [3; 32]];
        let awake = state.clone();
        state.asleep = vec![asleep(2), asleep(7)];
        let link = |by: u8| InviteLink { id: [by; 16], by: [by; 32], direct: true, expires: 0, uses: 0, used: 0 };
        state.links = vec![link(2), link(3)];
        assert_eq!(ConversationState::decode(&state.encode()), Ok(state.clone()));
        // Links end with who would answer; roles stay.
        let settled = state.settled(&[[1; 32], [3; 32]]);
        assert_eq!((&settled.admins, &settled.asleep, settled.links), (&state.admins, &state.asleep, vec![link(3)]));
        // Who is back is awake, as what he was.
        let back = state.settled(&[[1; 32], [3; 32], [2; 32]]);
        assert_eq!((back.admins, back.asleep), (awake.admins, vec![asleep(7)]));
        // Who sleeps inherits nothing; an owner who sleeps comes back as one, beside the heir.
        state.asleep = vec![asleep(1), asleep(2)];
        let heirs = state.settled(&[[4; 32], [3; 32]]);
        assert_eq!((heirs.owners, heirs.admins), (vec![[1; 32], [3; 32]], vec![[2; 32]]));

        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let mut alone = ConversationState::new(GroupKind::Group, "x", vec![[1; 32]]);
        alone.asleep = vec![asleep(7)];
        let added = format!("0881825820{}6c{}", "07".repeat(32), hex(b"p7@a.example"));
        assert_eq!(hex(&alone.encode()[1..]), format!("{}{added}", hex(&before[1..])));
        // None, twice the same account or address, what is no address, too many.
        alone.asleep.clear();
        let mut none = alone.clone();
        none.unknown.insert(8, vec![0x80]);
        assert!(ConversationState::decode(&none.encode()).is_err());
        for all in [
            vec![asleep(7), asleep(7)],
            vec![asleep(7), Asleep { account: [8; 32], ..asleep(7) }],
            vec![Asleep { address: "P7@a.example".into(), ..asleep(7) }],
            vec![Asleep { address: "no address".into(), ..asleep(7) }],
            (0..=MAX_ASLEEP as u8).map(asleep).collect(),
        ] {
            alone.asleep = all;
            assert!(ConversationState::decode(&alone.encode()).is_err());
        }
    }

    #[test]
    fn a_picture_has_one_encoding_and_bounds() {
        let mut state = ConversationState::new(GroupKind::Group, "x", vec![[1; 32]]);
        let before = state.encode();
        let picture = Picture { secret: [2; 32], hash: [3; 32], size: 300, kind: 1 };
        state.picture = Some(picture.clone());
        let after = state.encode();
        assert_eq!(ConversationState::decode(&after), Ok(state.clone()));
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let added = format!("07845820{}5820{}19012c01", "02".repeat(32), "03".repeat(32));
        assert_eq!(hex(&after[1..]), format!("{}{added}", hex(&before[1..])));
        // A later kind is kept; none, too large, none of a kind are nothing that a program writes.
        state.picture = Some(Picture { kind: 9, ..picture.clone() });
        assert_eq!(ConversationState::decode(&state.encode()), Ok(state.clone()));
        for (size, kind) in [(0, 1), (crate::picture::MAX_SEALED + 1, 1), (300, 0)] {
            state.picture = Some(Picture { size, kind, ..picture.clone() });
            assert!(ConversationState::decode(&state.encode()).is_err());
        }
    }

    #[test]
    fn hostile_state_is_refused() {
        let good = ConversationState::new(GroupKind::Group, "x", vec![]).encode();
        for at in 0..good.len() {
            let _ = ConversationState::decode(&good[..at]).unwrap_err();
        }
        let long = ConversationState::new(GroupKind::Group, &"x".repeat(MAX_NAME + 1), vec![]).encode();
        assert!(ConversationState::decode(&long).is_err());
        assert!(ConversationState::decode(&[0xbf; 9000]).is_err());
        // A logging policy that this version does not know is not "forbidden".
        let mut other = good;
        *other.last_mut().unwrap() = 1;
        assert!(ConversationState::decode(&other).is_err());
    }
}
