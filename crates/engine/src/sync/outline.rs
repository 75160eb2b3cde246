//! What an intent comes to, given the group as it is now: whom to add, whom to remove, which state to set, and on what grounds.
//! A pure look at the group; nothing is staged here.

use std::collections::BTreeSet;

use api::{Kind, Problem, Role};
use wire::{AccountRecord, Address, DeviceId, LogId, Signed};

use super::intents::{Intent, Plan, gone};
use super::joining::{link_is_closed, open_link};
use super::validity::{in_order, same_device};
use super::{Done, State, Turn};
use crate::db::conversations::Conversation;
use crate::db::{contacts, outbox};
use crate::formats::{self, Rejoin};
use crate::mls::{Change, Group, Member};
use crate::state::{ConversationState, GroupKind, InviteLink, MAX_BYTES, MAX_LINKS};

/// An intent but for key packages.
#[derive(Default)]
pub(super) struct Outline {
    /// Accounts to add: all their devices, or just these.
    pub(super) add: std::collections::BTreeMap<String, Option<Vec<DeviceId>>>,
    pub(super) change: Change,
    pub(super) grounds: Grounds,
    pub(super) rejoin: Option<Rejoin>,
    /// The account whose devices are all removed and which stays with others.
    pub(super) renewed: Option<[u8; 32]>,
    /// Accounts that are asleep and come back, by address.
    pub(super) wakes: Vec<(String, [u8; 32])>,
}

/// What travels with a commit so that everybody can see why its author may change devices (protocol rule 6).
#[derive(Default)]
pub(super) struct Grounds {
    /// The account record that lists or revokes them.
    pub(super) record: Option<Vec<u8>>,
    /// The request of a device that is added again, and the inbox that it had asked in.
    pub(super) asked: Option<(Vec<u8>, LogId)>,
}

impl State {
    /// What the intent comes to but for key packages: whom to add, and the rest of the change.
    pub(super) fn outline(
        &mut self,
        turn: &mut Turn<'_>,
        conversation: &Conversation,
        group: &mut Group,
        intent: &Intent,
    ) -> Done<Result<Outline, Plan>> {
        let Some(me) = &self.me else { return Ok(Err(Plan::Wait)) };
        let Ok(before) = ConversationState::decode(&group.state()) else {
            return Err(crate::EngineError::Inconsistent("the state of a group in use"));
        };
        let own = me.account_key();
        let role = if before.kind == GroupKind::Direct { Role::Member } else { before.role(&own) };
        let role = if planted!(Lawless) { Role::Owner } else { role };
        #[cfg(feature = "mutants")]
        let role = if super::insider::is_lawless(conversation) { Role::Owner } else { role };
        let members = group.members();
        let leaves = |address: &str| -> Vec<u32> {
            members.iter().filter(|m| m.certificate.address.as_str() == address).map(|m| m.leaf).collect()
        };
        let key_of = |address: &str| {
            members.iter().find(|m| m.certificate.address.as_str() == address).map(|m| m.certificate.account_key)
        };
        let others: Vec<u32> = members
            .iter()
            .filter(|m| m.certificate.account_key == own && m.leaf != group.own_leaf())
            .map(|m| m.leaf)
            .collect();
        let own_missing: Vec<DeviceId> = me
            .record
            .active()
            .map(|device| device.certificate.device)
            .filter(|device| {
                !members.iter().any(|m| m.certificate.device == *device && m.certificate.account_key == own)
            })
            .collect();
        let own_missing = self.unconvicted(turn, own_missing)?;
        let Some(me) = &self.me else { return Ok(Err(Plan::Wait)) };
        let mut outline = Outline::default();
        if self.clock_is_off()
            && matches!(
                intent,
                Intent::Create { .. } | Intent::Add { .. } | Intent::Admit { .. } | Intent::Renew { .. }
            )
        {
            return Ok(Err(Plan::ClockIsOff));
        }
        let nobody = |who: &str| Plan::Impossible(not_a_member(who, conversation));
        let forbidden = |what: &str, who: &str| Plan::Impossible(forbidden(what, who));
        match intent {
            Intent::Succeed { of, devices } => {
                if group.epoch() > 0 {
                    return Ok(Err(Plan::Nothing));
                }
                let Some((_, key)) = self.succession_key(turn, LogId(*of))? else {
                    return Ok(Err(Plan::Impossible(gone(conversation))));
                };
                #[cfg(feature = "mutants")]
                let key = match crate::mutants::crime(LogId(*of)) {
                    Some(crate::mutants::Crime::SuccessorOfNobody) => (key.0, zeroize::Zeroizing::new([7; 32])),
                    _ => key,
                };
                for (address, devices) in devices {
                    outline.add.insert(address.clone(), Some(devices.iter().copied().map(DeviceId).collect()));
                }
                outline.change.psk = Some(key);
                // Roles are those of the predecessor, whoever is here before the others.
                return Ok(Ok(outline));
            }
            Intent::Create { members: wanted } | Intent::Add { members: wanted } => {
                if matches!(intent, Intent::Add { .. }) && role < Role::Admin {
                    return Ok(Err(forbidden("add somebody to this group", "admins")));
                }
                for address in wanted.iter().filter(|address| leaves(address).is_empty()) {
                    outline.add.insert(address.clone(), None);
                    outline.wakes(&before, address);
                }
                if matches!(intent, Intent::Create { .. }) && group.epoch() == 0 && !own_missing.is_empty() {
                    outline.add.insert(me.address.to_string(), Some(own_missing));
                }
            }
            Intent::AddOwnDevices => {
                if !own_missing.is_empty() {
                    outline.add.insert(me.address.to_string(), Some(own_missing));
                    outline.grounds.record = Some(me.record.bytes().to_vec());
                }
            }
            Intent::Remove { member } => {
                let asleep = before.sleeper(member).map(|asleep| asleep.account);
                let Some(account) = key_of(member).or(asleep) else { return Ok(Err(nobody(member))) };
                if role < Role::Admin || (before.role(&account) == Role::Owner && role < Role::Owner) {
                    return Ok(Err(forbidden(
                        "remove this member",
                        if role < Role::Admin { "admins" } else { "owners" },
                    )));
                }
                outline.change.removes = leaves(member);
                if outline.change.removes.is_empty() {
                    let mut after = before.clone();
                    after.asleep.retain(|asleep| asleep.account != account);
                    outline.change.state = Some(after.encode());
                }
            }
            Intent::RemoveOwnDevices { devices } => {
                outline.change.removes = members
                    .iter()
                    .filter(|m| m.certificate.account_key == own && devices.contains(&m.certificate.device.0))
                    .map(|m| m.leaf)
                    .collect();
                outline.grounds.record = Some(me.record.bytes().to_vec());
            }
            Intent::Rename { name } => {
                if role < Role::Admin {
                    return Ok(Err(forbidden("rename this group", "admins")));
                }
                if before.name != *name {
                    let mut after = before.clone();
                    after.name.clone_from(name);
                    outline.change.state = Some(after.encode());
                }
            }
            Intent::SetTimer { seconds } => {
                if before.kind == GroupKind::Group && role < Role::Admin {
                    return Ok(Err(forbidden("set the timer of this group", "admins")));
                }
                if before.timer != *seconds {
                    outline.change.state = Some(before.with_timer(*seconds).encode());
                }
            }
            Intent::SetRole { member, role: wanted } => {
                let Some(account) = key_of(member) else { return Ok(Err(nobody(member))) };
                if role < Role::Owner && !planted!(AnyMemberTransfers) {
                    return Ok(Err(forbidden("change roles in this group", "owners")));
                }
                let mut after = before.clone();
                after.set_role(account, *wanted);
                if after.owners.is_empty() {
                    return Ok(Err(Plan::Impossible(Problem::new(
                        Kind::Forbidden,
                        "A group keeps at least one owner.",
                        "",
                        "Make somebody else an owner first.",
                    ))));
                }
                if after.role(&account) != before.role(&account) {
                    outline.change.state = Some(after.encode());
                }
            }
            Intent::Describe { text } => {
                if role < Role::Admin {
                    return Ok(Err(forbidden("describe this group", "admins")));
                }
                if before.description != *text {
                    let mut after = before.clone();
                    after.description.clone_from(text);
                    outline.change.state = Some(after.encode());
                }
            }
            Intent::SetPicture { picture } => {
                if role < Role::Admin {
                    return Ok(Err(forbidden("change the picture of this group", "admins")));
                }
                // Whoever reads the commit is to find it.
                if let Some(picture) = picture
                    && Self::is_going_up(turn, picture)?
                {
                    return Ok(Err(Plan::Later(60_000)));
                }
                if before.picture != *picture {
                    let mut after = before.clone();
                    after.picture.clone_from(picture);
                    outline.change.state = Some(after.encode());
                }
            }
            Intent::Transfer { member } => {
                let Some(account) = key_of(member) else { return Ok(Err(nobody(member))) };
                if role < Role::Owner && !planted!(AnyMemberTransfers) {
                    return Ok(Err(forbidden("hand this group over", "owners")));
                }
                let mut after = before.clone();
                after.set_role(own, Role::Admin);
                after.set_role(account, Role::Owner);
                if after != before {
                    outline.change.state = Some(after.encode());
                }
            }
            Intent::MakeLink { id, expires, uses, direct } => {
                if role < Role::Admin {
                    return Ok(Err(forbidden("make links to this group", "admins")));
                }
                let mut after = before.clone();
                after.links.retain(|link| link.id != *id && (link.expires == 0 || link.expires > turn.now.0));
                if after.links.len() >= MAX_LINKS {
                    return Ok(Err(Plan::Impossible(Problem::new(
                        Kind::Conflict,
                        format!("A group has at most {MAX_LINKS} links."),
                        "",
                        "Take one back that nobody needs any more.",
                    ))));
                }
                let (expires, uses, direct) = (*expires, *uses, *direct);
                after.links.push(InviteLink { id: *id, by: own, direct, expires, uses, used: 0 });
                outline.change.state = Some(after.encode());
            }
            Intent::RevokeLink { id } => {
                if role < Role::Admin {
                    return Ok(Err(forbidden("take links to this group back", "admins")));
                }
                let mut after = before.clone();
                after.links.retain(|link| link.id != *id);
                if after != before {
                    outline.change.state = Some(after.encode());
                }
            }
            Intent::Admit { account, asked, .. }
                if crate::db::joins::was_in_since(turn.db, conversation.id, account, *asked)? => {}
            Intent::Admit { member, link: id, .. } => {
                if role < Role::Admin {
                    return Ok(Err(forbidden("add somebody to this group", "admins")));
                }
                if leaves(member).is_empty() {
                    let mut after = before.clone();
                    match open_link(&before, id, &own, turn.now) {
                        Ok(_) => {
                            after.links.iter_mut().filter(|l| l.id == *id).for_each(|l| l.used += 1);
                            outline.change.state = Some(after.encode());
                        }
                        Err(_) if planted!(RevokedLinkWorks) => {}
                        Err(why) => {
                            crate::db::joins::remove_request(turn.db, conversation.id, member)?;
                            return Ok(Err(Plan::Impossible(link_is_closed(why))));
                        }
                    }
                    outline.add.insert(member.clone(), None);
                    outline.wakes(&before, member);
                }
            }
            Intent::PutToSleep => {
                let idle = self.idle_leaves(turn, conversation.id)?;
                match super::sleep::put_to_sleep(&before, &members, (group.own_leaf(), role), &idle) {
                    Some(change) => outline.change = change,
                    None => return Ok(Err(Plan::Nothing)),
                }
            }
            Intent::Update => outline.change.update_path = true,
            Intent::Tidy => outline.change.update_path = group.leaving().next().is_some(),
            Intent::Readd { rejoin } => {
                let Ok(request) = formats::decode::<Rejoin>(rejoin) else { return Ok(Err(Plan::Nothing)) };
                let Some(asks) = super::gather::rejoining(&request) else { return Ok(Err(Plan::Nothing)) };
                // It may have come in while its request waited here for other changes; or its account may have taken it out.
                let known = match me.account_key() == asks.account_key {
                    true => Some(me.record.clone()),
                    false => known_record(turn, asks.address.as_str())?.filter(|r| r.account_key == asks.account_key),
                };
                let is_out = |known: &Signed<AccountRecord>| {
                    super::gather::record_of(&request)
                        .is_none_or(|said| super::rejoin::is_out(known, &said, asks.device))
                };
                if super::rejoin::is_answered(turn, conversation.id, &asks, request.time)?
                    || known.as_ref().is_some_and(is_out)
                    || !super::rejoin::is_open(turn, &request, &asks, group)
                {
                    return Ok(Err(Plan::Nothing));
                }
                match members.iter().find(|m| same_device(&m.certificate, &asks)) {
                    Some(leaf) => outline.change.removes = vec![leaf.leaf],
                    // A device that is not in yet, of an account that is: those that its record revokes go.
                    None => {
                        let mut of_account =
                            members.iter().filter(|m| m.certificate.account_key == asks.account_key).peekable();
                        let is_in = of_account.peek().is_some_and(|m| m.certificate.address == asks.address);
                        let asleep = before.sleeper(asks.address.as_str());
                        let sleeps = asleep.is_some_and(|asleep| asleep.account == asks.account_key);
                        if !is_in && !sleeps && !planted!(RemovedAccountReadded) {
                            return Ok(Err(Plan::Nothing));
                        }
                        let Some(record) = super::gather::record_of(&request) else { return Ok(Err(Plan::Nothing)) };
                        let is_revoked = |m: &&Member| {
                            record.device(m.certificate.device).is_some_and(|device| device.revoked.is_some())
                                && m.leaf != group.own_leaf()
                        };
                        outline.change.removes = of_account.filter(is_revoked).map(|m| m.leaf).collect();
                        outline.grounds.record = Some(record.bytes().to_vec());
                    }
                }
                outline.rejoin = Some(request);
                outline.grounds.asked = Some((rejoin.clone(), me.inbox()));
            }
            Intent::Renew { member } => {
                let Some(record) = known_record(turn, member)? else { return Ok(Err(Plan::Nothing)) };
                let leaves = members.iter().filter(|m| m.certificate.account_key == record.account_key);
                let leaves: Vec<&Member> = leaves.collect();
                if !all_are_gone(leaves.iter().map(|m| m.certificate.device), &record) || leaves.is_empty() {
                    return Ok(Err(Plan::Nothing));
                }
                outline.change.removes = leaves.iter().map(|m| m.leaf).collect();
                outline.add.insert(member.clone(), None);
                outline.grounds.record = Some(record.bytes().to_vec());
                outline.renewed = Some(record.account_key);
            }
            Intent::Leave => {
                let accounts: BTreeSet<_> = members.iter().map(|m| m.certificate.account_key).collect();
                let others_own = before.owners.iter().any(|owner| *owner != own && accounts.contains(owner));
                let last_owner = before.owners.contains(&own) && !others_own && accounts.len() > 1;
                if last_owner {
                    // Somebody has to be able to look after the group: whoever would inherit it hears of it before one is gone.
                    let rest = in_order(members.iter().map(|m| m.certificate.account_key).filter(|key| *key != own));
                    outline.change.state = Some(before.settled(&rest).encode());
                }
                outline.change.removes = others;
                if outline.change.removes.is_empty() && outline.change.state.is_none() {
                    if accounts.len() == 1 {
                        return Ok(Err(Plan::Impossible(gone(conversation))));
                    }
                    let queued =
                        outbox::list(turn.db, conversation.id, 0, usize::MAX >> 1)?.iter().any(|row| row.leaving);
                    if !queued {
                        outbox::push(turn.db, conversation.id, None, &[], turn.now.0, true)?;
                    }
                    if group.is_leaving() || group.leaving().next().is_none() {
                        return Ok(Err(Plan::Wait));
                    }
                    // Nothing can be sent, the wish to go neither, before somebody has carried out what others have asked for.
                    outline.change.update_path = true;
                }
            }
        }
        settle(&before, &members, group.leaving().collect(), &mut outline);
        if outline.change.state.as_ref().is_some_and(|state| state.len() > MAX_BYTES) {
            return Ok(Err(Plan::Impossible(Problem::new(
                Kind::Conflict,
                "What is kept of this group itself has no room for that.",
                format!("Its names, roles, links and who is asleep take at most {MAX_BYTES} bytes together."),
                "Take links back, or remove people who are asleep for good.",
            ))));
        }
        Ok(Ok(outline))
    }
}

impl Outline {
    /// Whoever is added under this address and asleep comes back.
    fn wakes(&mut self, before: &ConversationState, address: &str) {
        self.wakes.extend(before.sleeper(address).map(|asleep| (asleep.address.clone(), asleep.account)));
    }
}

/// A commit notes what follows from who is gone with it, or was gone before: their roles end, and a group whose owners are all gone
/// has an heir. No commit is made for this alone.
fn settle(before: &ConversationState, members: &[Member], leaving: BTreeSet<u32>, outline: &mut Outline) {
    let change = &mut outline.change;
    let makes_none =
        outline.add.is_empty() && change.removes.is_empty() && change.state.is_none() && !change.update_path;
    if makes_none && outline.rejoin.is_none() {
        return;
    }
    let returns = outline.rejoin.as_ref().and_then(super::gather::rejoining).map(|device| device.account_key);
    let wakes = returns.into_iter().chain(outline.wakes.iter().map(|(_, account)| *account));
    let wakes: Vec<[u8; 32]> = wakes.filter(|account| before.is_asleep(account)).collect();
    let returns = returns.or(outline.renewed);
    let stays = |m: &&Member| {
        Some(m.certificate.account_key) == returns || !(leaving.contains(&m.leaf) || change.removes.contains(&m.leaf))
    };
    let staying = members.iter().filter(stays).map(|m| m.certificate.account_key);
    let staying = in_order(staying.chain(wakes));
    let wanted = match change.state.as_deref().map(ConversationState::decode) {
        Some(Ok(wanted)) => wanted,
        Some(Err(_)) => return,
        None => before.clone(),
    };
    let settled = wanted.settled(&staying);
    if settled != wanted {
        change.state = Some(settled.encode());
    }
}

/// The newest list of an account's devices that is known here.
pub(super) fn known_record(turn: &Turn<'_>, address: &str) -> Done<Option<Signed<AccountRecord>>> {
    let Ok(address) = address.parse::<Address>() else { return Ok(None) };
    let bytes = contacts::get(turn.db, &address)?.and_then(|contact| contact.record);
    let record = bytes.and_then(|bytes| Signed::<AccountRecord>::parse(bytes.into()).ok());
    Ok(record.filter(|record| record.address == address))
}

/// The account has other devices than these, which it has revoked.
pub(super) fn all_are_gone(mut devices: impl Iterator<Item = DeviceId>, record: &AccountRecord) -> bool {
    record.active().next().is_some()
        && devices.all(|id| record.device(id).is_some_and(|device| device.revoked.is_some()))
}

fn not_a_member(who: &str, conversation: &Conversation) -> Problem {
    Problem::new(Kind::NotFound, format!("{who} is not in “{}”.", conversation.name), "", "")
}

pub(super) fn forbidden(what: &str, who: &str) -> Problem {
    Problem::new(Kind::Forbidden, format!("You can't {what}."), format!("Only {who} can."), "Ask one of them.")
}
