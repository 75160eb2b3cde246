//! What must be true once everything has come to rest: I1 to I5 as people would notice them.

use std::collections::{BTreeMap, BTreeSet};

use api::{Command, Conversation, Message, MessageKind, MessageStatus, Query, Standing, View};

use wire::UnixMillis;

use super::device::Device;
use super::model::{Fate, Given, Model};
use super::transition::DeviceId;
use crate::violation::{Violation, ensure};

/// More messages than any run writes.
const ALL: u32 = 1_000_000;

/// What a device shows.
struct Shown {
    conversations: BTreeMap<String, (Conversation, Vec<Message>)>,
    /// Where each text is: conversation and index there.
    texts: BTreeMap<String, Vec<(String, usize)>>,
    /// What is kept because the conversation that it was to begin came to nothing, or could not be sent when its time came.
    unsent: BTreeSet<String>,
    /// It was not taken out of its account.
    is_listed: bool,
}

impl Shown {
    fn of(id: DeviceId, device: &Device, model: &Model) -> Result<Self, Violation> {
        let is_listed = device.is_listed();
        let mut shown =
            Self { conversations: BTreeMap::new(), texts: BTreeMap::new(), unsent: BTreeSet::new(), is_listed };
        if let Some(View::Scheduled(waiting)) = device.view(&Query::Scheduled { conversation: None }) {
            let unsent = waiting.into_iter().filter(|waiting| waiting.problem.is_some());
            shown.unsent = unsent.map(|waiting| waiting.text).collect();
        }
        let Some(View::Conversations(conversations)) = device.view(&Query::Conversations) else {
            return Err(Violation::new("I5", format!("{} shows no conversations", device.name)));
        };
        let root = |conversation: &Conversation| model.root(&conversation.id).to_owned();
        let is_in = |conversation: &&Conversation| conversation.standing != Standing::Left;
        let inside: BTreeSet<String> = conversations.iter().filter(is_in).map(root).collect();
        for conversation in conversations {
            let line = root(&conversation);
            // Who was out when it went on, and was invited there later, has two: nobody's word makes one of them.
            if conversation.standing == Standing::Left && inside.contains(&line) {
                continue;
            }
            if model.outlaws.contains(&(id, line.clone())) {
                continue;
            }
            let query = Query::Messages { conversation: conversation.id.clone(), before: None, limit: ALL };
            let Some(View::Messages(mut messages)) = device.view(&query) else {
                return Err(Violation::new("I5", format!("{} shows no messages of a conversation", device.name)));
            };
            for (at, message) in messages.iter_mut().enumerate() {
                if let Some(text) = first_text(device, message) {
                    shown.texts.entry(text).or_default().push((line.clone(), at));
                }
                message.conversation.clone_from(&line);
            }
            let one = shown.conversations.insert(line, (conversation, messages));
            ensure!(one.is_none(), "18", "{} shows a conversation and what goes on for it", device.name);
        }
        Ok(shown)
    }

    fn message(&self, text: &str) -> Option<&Message> {
        let (conversation, at) = self.texts.get(text)?.first()?;
        self.conversations.get(conversation)?.1.get(*at)
    }
}

/// What a text said before it was edited, as it was typed. What is passed on is nobody's first text.
pub(super) fn first_text(device: &Device, message: &Message) -> Option<String> {
    let MessageKind::Text { text } = &message.kind else { return None };
    if message.forwarded {
        return None;
    }
    if message.edited.is_none() {
        return Some(content::in_plain(text));
    }
    let query = Query::Revisions { conversation: message.conversation.clone(), message: message.id.clone() };
    match device.view(&query) {
        Some(View::Revisions(revisions)) => revisions.first().map(|first| content::in_plain(&first.text)),
        _ => None,
    }
}

/// Checks everything. All devices are open.
pub fn check(devices: &[Device], model: &mut Model, now: UnixMillis) -> Result<(), Violation> {
    let mut shown = BTreeMap::new();
    // A device that nobody has registered or linked has nothing to show.
    let has_account = |id: &DeviceId| model.accounts.contains_key(id);
    let of_people: Vec<_> = devices.iter().enumerate().filter(|(id, _)| has_account(id)).collect();
    for (id, device) in of_people {
        let what = Shown::of(id, device, model)?;
        for (conversation, _) in what.conversations.values() {
            model.stands(id, &conversation.id, conversation.standing);
            model.roles(conversation);
        }
        shown.insert(id, what);
    }
    if let Some((device, problem)) = model.alarms().find(|(_, problem)| !model.may_be_told(problem)) {
        return Err(Violation::new("I2", format!("device {device} was told: {problem}")));
    }
    deleted(&shown, model)?;
    once(&shown)?;
    same_order(&shown, model)?;
    same_looks(&shown, model)?;
    vanished(devices, &shown, now)?;
    same_group(&shown, model)?;
    owners_alone(model)?;
    pictures(devices, &shown, model)?;
    links_end(&shown, model)?;
    for (order, given) in &model.given {
        if let Command::Send { text, .. } = &given.command {
            sent(order.0, text, given, &shown, model)?;
        }
    }
    later(devices, &shown, model, now)?;
    for ((device, id, from), since) in &model.writing {
        ensure!(now.since(*since) <= 10_000, "19", "device {device} says that {from} writes in {id} since {}", since.0);
    }
    written_order(&shown, model)?;
    removed(&shown, model)?;
    stay_out(&shown, model)?;
    recovered(&shown, model)
}

/// I2: no device shows a text twice.
fn once(shown: &BTreeMap<DeviceId, Shown>) -> Result<(), Violation> {
    for (device, what) in shown {
        for (text, places) in &what.texts {
            ensure!(places.len() == 1, "I2", "device {device} shows {text} {} times", places.len());
        }
    }
    Ok(())
}

/// I2: what two devices show of a conversation stands at the same places, in the order of the log, without holes.
fn same_order(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    let mut places: BTreeMap<(&str, u64), &Message> = BTreeMap::new();
    let mut seqs: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (device, what) in shown {
        for (id, (conversation, messages)) in &what.conversations {
            let was_away = conversation.standing == Standing::Left
                || model.was_outside(*device, id)
                || model.absences.contains_key(device);
            let mut last = 0;
            for message in messages.iter().filter(|message| is_written(message) && message.seq != 0) {
                ensure!(message.seq > last, "I2", "device {device} shows {} behind {last} in {id}", message.seq);
                last = message.seq;
                // What is said again behind a restore stands there, and other things where it was, for those only who were still there
                // to see it, and not away for longer than it is kept.
                if model.restored && was_away {
                    continue;
                }
                let first = places.entry((id, message.seq)).or_insert(message);
                ensure!(
                    first.id == message.id && first.from == message.from,
                    "I2",
                    "two devices show different messages at {} of {id}",
                    message.seq
                );
                let seq = *seqs.entry((id, &message.id)).or_insert(message.seq);
                ensure!(
                    seq == message.seq,
                    "I2",
                    "{:?} stands at {seq} of {id} on one device and at {} on device {device}",
                    message.kind,
                    message.seq
                );
            }
        }
    }
    Ok(())
}

fn is_written(message: &Message) -> bool {
    !matches!(message.kind, MessageKind::System { .. })
}

/// I2: what was done to a message looks the same to all who were there the whole time: edits, deletions, reactions, votes, pins.
fn same_looks(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    let mut looks: BTreeMap<(&str, &str), (DeviceId, Message)> = BTreeMap::new();
    for (device, what) in shown {
        for (id, (conversation, messages)) in &what.conversations {
            let stay = model.stays.get(&(*device, id.clone())).copied().unwrap_or_default();
            let stayed = stay.active && !model.was_outside(*device, id);
            // Who has blocked somebody doesn't see what he does.
            let blocks = conversation.kind == api::ConversationKind::Direct && !model.blocks.is_empty();
            if !stayed || blocks {
                continue;
            }
            for message in messages.iter().filter(|message| is_written(message) && message.seq != 0) {
                let look = impersonal(message);
                let (other, first) = looks.entry((id, &message.id)).or_insert_with(|| (*device, look.clone()));
                ensure!(*first == look, "I2", "devices {other} and {device} show {first:?} and {look:?}");
            }
        }
    }
    Ok(())
}

/// A message without what depends on who looks at it.
fn impersonal(message: &Message) -> Message {
    let mut look = message.clone();
    (look.own, look.mentions_me, look.quote) = (false, false, None);
    look.status = MessageStatus::Read;
    look.vanishes = None;
    look.reactions.iter_mut().for_each(|reaction| reaction.own = false);
    if let MessageKind::ViewOnce { opened } = &mut look.kind {
        *opened = false;
    }
    if let MessageKind::Poll { poll } = &mut look.kind {
        poll.options.iter_mut().for_each(|option| option.own = false);
    }
    look
}

/// Rule 14: what was to vanish is gone, and what is to vanish once it was seen is counted down where it was.
fn vanished(devices: &[Device], shown: &BTreeMap<DeviceId, Shown>, now: UnixMillis) -> Result<(), Violation> {
    for (device, what) in shown {
        let now = devices[*device].clock(now);
        for message in what.conversations.values().flat_map(|(_, messages)| messages) {
            let gone = message.vanishes.is_some_and(|at| at <= now.0);
            ensure!(!gone, "14", "device {device} shows {:?}, which was to vanish", message.kind);
            let seen = message.seq != 0 && message.status != MessageStatus::Received;
            let counted = message.stays == 0 || !seen || message.vanishes.is_some();
            ensure!(counted, "14", "device {device} has shown {:?} and does not count it down", message.kind);
        }
    }
    Ok(())
}

/// I2: what its author has taken back for everyone nobody shows who heard of it.
fn deleted(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    for ((author, _), given) in &model.given {
        let (Command::Delete { message, for_everyone: true, .. }, Fate::Done(_)) = (&given.command, given.fate) else {
            continue;
        };
        let (Some(account), Some(conversation)) = (model.accounts.get(author), &given.conversation) else { continue };
        for (device, what) in shown {
            let stay = model.stays.get(&(*device, conversation.clone())).copied().unwrap_or_default();
            let Some((kind, messages)) = what.conversations.get(conversation).map(|(c, messages)| (c.kind, messages))
            else {
                continue;
            };
            let blocks = kind == api::ConversationKind::Direct && !model.blocks.is_empty();
            // History may have brought a text from a device that was outside when it was taken back.
            if !stay.active || model.was_outside(*device, conversation) || blocks {
                continue;
            }
            if let Some(shown) = messages.iter().find(|shown| shown.id == *message && shown.from == *account) {
                let gone = matches!(shown.kind, MessageKind::Deleted { .. });
                ensure!(gone, "I2", "device {device} shows {:?}, which device {author} has taken back", shown.kind);
            }
        }
    }
    Ok(())
}

/// I3: whoever is active in a conversation sees the same one.
fn same_group(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    let mut groups: BTreeMap<&str, (DeviceId, &Conversation)> = BTreeMap::new();
    for (device, what) in shown {
        for (id, (conversation, _)) in &what.conversations {
            // Whoever was taken out of its account may have gone on alone, where nobody comes along.
            if conversation.standing != Standing::Active || (!what.is_listed && model.has_ended(id)) {
                continue;
            }
            let own = model.accounts.get(device);
            let inside = conversation.members.iter().any(|member| Some(&member.address) == own);
            ensure!(inside, "I3", "device {device} is active in {id} and no member of it");
            let both = conversation.asleep.iter().find(|one| members(conversation).contains_key(one.address.as_str()));
            ensure!(both.is_none(), "10", "device {device} shows {both:?} both in {id} and asleep there");
            let (other, first) = groups.entry(id).or_insert((*device, conversation));
            ensure!(
                first.id == conversation.id,
                "18",
                "devices {other} and {device} go on in different successors of {id}: {} and {}",
                first.id,
                conversation.id
            );
            ensure!(
                first.epoch == conversation.epoch
                    && members(first) == members(conversation)
                    && first.asleep == conversation.asleep,
                "I3",
                "devices {other} and {device} are in different states of {id}: epochs {} and {}",
                first.epoch,
                conversation.epoch
            );
            let names = conversation.kind != api::ConversationKind::Group || first.name == conversation.name;
            ensure!(names, "I3", "devices {other} and {device} see different names of {id}");
            let same = first.description == conversation.description;
            ensure!(same, "I3", "devices {other} and {device} see different descriptions of {id}");
            let owned = conversation.members.iter().any(|member| member.role == api::Role::Owner);
            let group = conversation.kind == api::ConversationKind::Group;
            ensure!(owned || !group, "rule 6", "nobody owns {id}, as device {device} shows it");
        }
    }
    Ok(())
}

fn members(conversation: &Conversation) -> BTreeMap<&str, (api::Role, u32)> {
    conversation.members.iter().map(|member| (member.address.as_str(), (member.role, member.devices))).collect()
}

/// Whoever is active in a group shows the picture that all show, and it is one that somebody who may has given it, byte for byte. A relay
/// that was restored has lost blobs.
fn pictures(devices: &[Device], shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    let mut groups: BTreeMap<&str, (DeviceId, Option<api::Picture>)> = BTreeMap::new();
    for (device, what) in shown.iter().filter(|_| !model.restored) {
        let active = what.conversations.iter().filter(|(_, (c, _))| c.standing == Standing::Active);
        for (id, (conversation, _)) in active {
            let picture = match devices[*device].view(&Query::Picture { conversation: id.clone() }) {
                Some(View::Picture(picture)) => Some(picture),
                _ => None,
            };
            let (there, here) = (conversation.picture.is_some(), picture.is_some());
            ensure!(there == here, "picture", "device {device} has not got the picture of {id}");
            let given = |given: &Given| {
                let Command::SetPicture { picture: Some(file), .. } = &given.command else { return false };
                picture.as_ref().is_none_or(|picture| picture.file == *file) && !matches!(given.fate, Fate::Failed(_))
            };
            ensure!(!here || model.given.values().any(given), "picture", "nobody gave {id} what device {device} shows");
            let (other, first) = groups.entry(id).or_insert_with(|| (*device, picture.clone()));
            ensure!(*first == picture, "picture", "devices {other} and {device} show different pictures of {id}");
        }
    }
    Ok(())
}

/// Rule 6: who is told that a role was given, or a group handed over, was its owner.
fn owners_alone(model: &Model) -> Result<(), Violation> {
    for ((device, _), given) in &model.given {
        let gives = matches!(given.command, Command::SetRole { .. } | Command::TransferOwnership { .. });
        let (true, Fate::Done(_), Some(id)) = (gives, given.fate, &given.conversation) else { continue };
        let Some(account) = model.accounts.get(device) else { continue };
        ensure!(
            model.owners.contains(&(account.clone(), id.clone())),
            "rule 6",
            "device {device} never owned {id} and has carried out {:?}",
            given.command
        );
    }
    Ok(())
}

/// Rule 6: nobody has come in by a link that was taken back before he asked.
fn links_end(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    for (order, was_in) in model.dead_joins.iter().filter(|_| !model.restored) {
        let (Some(given), Some(account)) = (model.given.get(order), model.accounts.get(&order.0)) else { continue };
        let Some(id) = given.conversation.as_ref().filter(|id| !was_in.contains(*id)) else { continue };
        let other_way = model.given.iter().any(|(other, by)| {
            let here = by.conversation.as_ref().is_none_or(|there| there == id);
            let joins = matches!(by.command, Command::Join { .. }) && !model.dead_joins.contains_key(other);
            let over = matches!(by.fate, Fate::Done(at) | Fate::Failed(at) if at < given.step);
            here && match &by.command {
                Command::AddMembers { members, .. } | Command::CreateGroup { members, .. } => {
                    !over && members.contains(account)
                }
                _ => joins && model.accounts.get(&other.0) == Some(account),
            }
        });
        let inside = shown.iter().find(|(_, what)| {
            what.conversations.get(id).is_some_and(|(conversation, _)| {
                conversation.standing == Standing::Active
                    && conversation.members.iter().any(|member| member.address == *account)
            })
        });
        if let (false, Some((device, _))) = (other_way, inside) {
            let what = format!("device {device} shows {account} in {id}, who had a link that was taken back");
            return Err(Violation::new("rule 6", what));
        }
    }
    Ok(())
}

/// I1, I2 and I5 for one text.
fn sent(
    author: DeviceId,
    text: &str,
    given: &Given,
    shown: &BTreeMap<DeviceId, Shown>,
    model: &Model,
) -> Result<(), Violation> {
    let Some(here) = shown.get(&author) else { return Ok(()) };
    // Where a program died before it could say where it sends to, that may have been to a conversation that its own device has ended.
    let mut outlawed = model.outlaws.iter().filter(|(device, _)| *device == author);
    if outlawed.any(|(_, line)| given.conversation.as_ref().is_none_or(|sent_to| sent_to == line)) {
        return Ok(());
    }
    let own = here.message(text);
    if model.taken_back.contains(text) && given.fate != Fate::Open {
        return Ok(());
    }
    // Nobody is promised to find what vanishes.
    let vanishes = matches!(given.command, Command::Send { stays, view_once, .. } if stays != 0 || view_once);
    if (vanishes || model.has_timer(given.conversation.as_deref())) && given.fate != Fate::Open {
        return Ok(());
    }
    match given.fate {
        Fate::Failed(_) => {
            let status = own.map(|message| message.status);
            ensure!(
                status.is_none_or(|status| status == MessageStatus::Failed),
                "I1",
                "{text} was reported as failed and is {status:?}"
            );
            return Ok(());
        }
        Fate::Done(_) => {
            // Taken in a successor that did not last, or behind a restore, by an author who was removed where the others went on, before it
            // could say it again.
            let line = given.conversation.as_deref().filter(|line| model.has_ended(line) || model.restored);
            let is_out = line.is_some_and(|line| model.was_outside(author, line));
            if is_out && own.is_some_and(|message| message.seq == 0 && message.status == MessageStatus::Failed) {
                return Ok(());
            }
            let arrived = own.is_some_and(|message| message.seq != 0 && message.status >= MessageStatus::Sent);
            ensure!(
                arrived && own.is_some_and(|message| message.status != MessageStatus::Failed),
                "I1",
                "{text} was acknowledged; its author's device shows {:?}",
                own.map(|message| (message.seq, message.status))
            );
        }
        Fate::Open => return Err(Violation::new("I2", format!("{text} was never answered"))),
        Fate::Unheard => {
            // What the engine took is stored: it is sent after the crash, or shown as failed.
            let Some(message) = own else {
                if here.unsent.contains(text) || is_thrown_away(model, author, text) {
                    return Ok(());
                }
                return Err(Violation::new("I5", format!("{text} was lost in a crash of its author's program")));
            };
            ensure!(message.status != MessageStatus::Sending, "I5", "{text} was never sent after a crash");
            if message.status == MessageStatus::Failed {
                return Ok(());
            }
        }
    }
    let (Some(message), Some(account)) = (own, model.accounts.get(&author)) else { return Ok(()) };
    for (device, stay) in &given.audience {
        let (Some(what), Some(owner)) = (shown.get(device), model.accounts.get(device)) else { continue };
        let still = model
            .stays
            .get(&(*device, message.conversation.clone()))
            .is_some_and(|now| now.active && now.number == *stay);
        if !still || model.blocked(owner, account) || model.may_have_gone(owner, &message.conversation, given.step) {
            continue;
        }
        ensure!(
            what.texts.contains_key(text),
            "I2",
            "{text} of device {author} is at {} of its conversation and device {device} does not show it",
            message.seq
        );
    }
    Ok(())
}

/// The person has taken a text back from among what is to be sent later.
fn is_thrown_away(model: &Model, author: DeviceId, text: &str) -> bool {
    model.given.iter().any(|((device, _), given)| {
        let Command::Unschedule { scheduled } = &given.command else { return false };
        *device == author
            && !matches!(given.fate, Fate::Failed(_))
            && model.waiting.get(&(author, scheduled.clone())).is_some_and(|waiting| waiting == text)
    })
}

/// What was to be sent later was sent, or waits, or says why it was not; one of them, and what was taken back none of them.
fn later(
    devices: &[Device],
    shown: &BTreeMap<DeviceId, Shown>,
    model: &Model,
    now: UnixMillis,
) -> Result<(), Violation> {
    for ((author, _), given) in &model.given {
        let Command::Schedule { text, stays, view_once, .. } = &given.command else { continue };
        let Some((here, device)) = shown.get(author).zip(devices.get(*author)) else { continue };
        // Where it was to go may not have been known then.
        if model.outlaws.iter().any(|(outlaw, _)| outlaw == author) {
            continue;
        }
        let Some(View::Scheduled(list)) = device.view(&Query::Scheduled { conversation: None }) else {
            return Err(Violation::new("later", format!("{} shows nothing of what is to be sent", device.name)));
        };
        let waits = list.iter().find(|waiting| waiting.text == *text);
        let own = here.message(text);
        if let Fate::Failed(_) = given.fate {
            ensure!(waits.is_none() && own.is_none(), "later", "{text} was refused, and is there");
            continue;
        }
        if is_thrown_away(model, *author, text) {
            ensure!(waits.is_none() && own.is_none(), "later", "{text} was taken back, and is there");
            continue;
        }
        if let Some(waiting) = waits {
            ensure!(own.is_none(), "later", "{text} was sent and waits");
            ensure!(
                waiting.at > device.clock(now).0 || waiting.problem.is_some(),
                "later",
                "the time of {text} has come, and it waits"
            );
            continue;
        }
        let vanishes = *stays != 0 || *view_once;
        let gone = vanishes
            || model.taken_back.contains(text)
            || model.has_timer(own.map(|message| message.conversation.as_str()));
        let status = own.map(|message| message.status);
        let sent = status.is_some_and(|status| status != MessageStatus::Sending);
        ensure!(gone || sent, "later", "{text} was to be sent later, and is {status:?}");
    }
    Ok(())
}

/// Rule 4: what a device writes in a conversation stays in the order written.
fn written_order(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    let mut last: BTreeMap<(DeviceId, &str), (u64, &str)> = BTreeMap::new();
    let several = |device| {
        let account = model.accounts.get(device);
        account.is_some() && model.accounts.values().filter(|other| Some(*other) == account).count() > 1
    };
    for ((device, _), given) in &model.given {
        let Command::Send { text, .. } = &given.command else { continue };
        // Behind a restore several devices of an account give back what each of them knows.
        if model.restored && several(device) {
            continue;
        }
        let Some(message) = shown.get(device).and_then(|what| what.message(text)).filter(|message| message.seq != 0)
        else {
            continue;
        };
        if let Some((before, earlier)) = last.insert((*device, &message.conversation), (message.seq, text)) {
            ensure!(
                before < message.seq,
                "I2",
                "device {device} wrote {earlier} before {text}; they stand at {before} and {}",
                message.seq
            );
        }
    }
    Ok(())
}

/// I4: nobody shows what was written after they were removed.
fn removed(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    for given in model.given.values() {
        let (Command::RemoveMember { member, .. }, Fate::Done(gone), Some(conversation)) =
            (&given.command, given.fate, &given.conversation)
        else {
            continue;
        };
        // By an admin, or by a link that is still good.
        let added = model.given.iter().any(|((device, _), other)| {
            other.conversation.as_ref().is_none_or(|id| id == conversation)
                && match &other.command {
                    Command::AddMembers { members, .. } => members.contains(member),
                    Command::Join { .. } => model.accounts.get(device) == Some(member),
                    _ => false,
                }
        });
        if added {
            continue;
        }
        for ((author, _), other) in model
            .given
            .iter()
            .filter(|(_, other)| other.step > gone && other.conversation.as_ref() == Some(conversation))
        {
            // What one wrote oneself before one heard of it stays on one's own screen, and comes back with a backup.
            if model.accounts.get(author) == Some(member) || model.former.contains(&(*author, member.clone())) {
                continue;
            }
            let Command::Send { text, .. } = &other.command else { continue };
            for (device, what) in shown.iter().filter(|(device, _)| model.accounts.get(device) == Some(member)) {
                ensure!(
                    !what.texts.contains_key(text),
                    "I4",
                    "device {device} was removed and shows {text}, written later"
                );
            }
        }
    }
    Ok(())
}

/// Rule 6: who was removed, and whom nobody has added since, is in no group of anybody.
fn stay_out(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    for given in model.given.values() {
        let (Command::RemoveMember { member, .. }, Fate::Done(gone), Some(id)) =
            (&given.command, given.fate, &given.conversation)
        else {
            continue;
        };
        let comes_back = model.given.iter().any(|((device, _), other)| {
            let over = matches!(other.fate, Fate::Done(at) | Fate::Failed(at) if at < given.step);
            let here = other.conversation.as_ref().is_none_or(|there| there == id);
            !over
                && match &other.command {
                    Command::AddMembers { members, .. } | Command::CreateGroup { members, .. } => {
                        here && members.contains(member)
                    }
                    Command::Join { .. } => model.accounts.get(device) == Some(member),
                    Command::AnswerJoin { address, .. } => address == member,
                    _ => false,
                }
        });
        for (device, what) in shown.iter().filter(|_| !comes_back && !model.restored) {
            let Some((conversation, _)) = what.conversations.get(id) else { continue };
            let is_in = conversation.members.iter().any(|shown| shown.address == *member);
            ensure!(
                !is_in || conversation.standing != Standing::Active,
                "rule 6",
                "device {device} shows {member} in {id}, who was removed in step {gone}"
            );
        }
    }
    Ok(())
}

/// Rule 16: whoever has lost all devices and restored the account shows what the backup held, and where others are with the account they
/// have let the new device in, and the earlier ones are out.
fn recovered(shown: &BTreeMap<DeviceId, Shown>, model: &Model) -> Result<(), Violation> {
    for (device, held) in &model.taken_in {
        let (Some(what), Some(account)) = (shown.get(device), model.accounts.get(device)) else { continue };
        // What is in use comes by an invitation of another own device: where the account has left before, there is none.
        let is_due = |id: &str| what.conversations.contains_key(id) || !model.may_have_gone(account, id, 0);
        let held = held.iter().filter(|(id, _)| is_due(id)).map(|(id, texts)| (id.clone(), texts.clone())).collect();
        backed_up(*device, what, &held, model)?;
    }
    for (device, held) in &model.recovered {
        let (Some(what), Some(account)) = (shown.get(device), model.accounts.get(device)) else { continue };
        backed_up(*device, what, held, model)?;
        let own = model.accounts.values().filter(|of| *of == account).count();
        for (other, theirs) in shown.iter().filter(|(other, _)| model.accounts.get(other) != Some(account)) {
            let in_use = theirs
                .conversations
                .iter()
                .filter(|(id, (conversation, _))| conversation.standing == Standing::Active && held.contains_key(*id));
            for (id, (conversation, _)) in in_use {
                let Some(member) = conversation.members.iter().find(|member| member.address == *account) else {
                    continue;
                };
                // Whoever is blocked is not asked.
                if model.accounts.values().any(|who| model.blocked(who, account)) {
                    continue;
                }
                ensure!(
                    member.devices as usize <= own,
                    "16",
                    "device {other} shows {} devices of {account} in {id}, which has restored and has {own}",
                    member.devices
                );
                let standing = what.conversations.get(id).map(|(conversation, _)| conversation.standing);
                ensure!(
                    standing == Some(Standing::Active) || model.may_have_gone(account, id, 0) || model.restored,
                    "16",
                    "device {other} has {account} in {id}, where device {device} has restored it and stands as {standing:?}"
                );
            }
        }
    }
    Ok(())
}

/// What was in a backup is there, but for what was deleted since.
fn backed_up(
    device: DeviceId,
    what: &Shown,
    held: &BTreeMap<String, BTreeSet<String>>,
    model: &Model,
) -> Result<(), Violation> {
    for (id, texts) in held {
        let here = what.conversations.get(id);
        ensure!(here.is_some(), "16", "device {device} shows nothing of {id}, which was in the backup");
        let gone = |text: &str| model.taken_back.contains(text) || model.has_timer(Some(id));
        for text in texts.iter().filter(|text| !gone(text)) {
            let there = what.texts.get(text).is_some_and(|places| places.iter().any(|(there, _)| there == id));
            ensure!(there, "16", "device {device} does not show {text}, which was in the backup");
        }
    }
    Ok(())
}
