//! What is known here, as people's programs see it. Changes nothing but the search index, which takes in what is new before a search.

use api::{Confirmation, Kind, Problem, Query, View};
use data_encoding::HEXLOWER;
use rusqlite::Connection;
use wire::LogId;

use crate::db::{arrangements, contacts, conversations, joins, messages, outlines, own_state, pictures};
use crate::identity::{Me, fingerprint, safety_number};
use crate::invite_link;
use crate::sync::{
    contact_address, message_view, named_message, over_with, pins, presence_is_told, receipts_are_on,
    resolve_conversation, revisions, scheduled, typing_is_told,
};

/// Messages that one page holds at most.
const MAX_PAGE: u32 = 10_000;

fn database(_: rusqlite::Error) -> Problem {
    Problem::new(Kind::Local, "The profile's database can't be read.", "", "Check the disk, then start again.")
}

pub(crate) fn view(db: &Connection, me: Option<&Me>, query: &Query) -> Result<View, Problem> {
    let Some(me) = me else {
        return match query {
            Query::WhoAmI => Ok(View::WhoAmI(None)),
            _ => Err(Problem::new(
                Kind::Usage,
                "This profile has no account yet.",
                "",
                "Register one (register name@relay), or link this device to an account that you have.",
            )),
        };
    };
    Ok(match query {
        Query::WhoAmI => View::WhoAmI(Some(api::Account {
            address: me.address.to_string(),
            device: me.device().to_string(),
            certifies: me.certifies(),
            fingerprint: fingerprint(&me.account_key()),
            registered: me.registered(),
        })),
        Query::Conversations => {
            let mut views = Vec::new();
            for row in conversations::all(db).map_err(database)? {
                if is_out_of_sight(db, &row).map_err(database)? {
                    continue;
                }
                let pinned = arrangements::get(db, row.id).map_err(database)?.pinned;
                views.push((pinned, conversation(db, me, &row).map_err(database)?));
            }
            // The last pinned first; the others stay in their order.
            views.sort_by_key(|(pinned, _)| std::cmp::Reverse(*pinned));
            let views = views.into_iter().map(|(_, view)| view).collect();
            View::Conversations(views)
        }
        Query::Conversation { conversation: target } => {
            let row = find(db, me, target)?;
            View::Conversation(Box::new(conversation(db, me, &row).map_err(database)?))
        }
        Query::Messages { conversation: target, before, limit } => {
            let row = find(db, me, target)?;
            let before = match before {
                None => None,
                Some(text) => Some(message_id(text)?),
            };
            let page = messages::page(db, row.id, before.as_ref(), (*limit).min(MAX_PAGE)).map_err(database)?;
            View::Messages(views(db, &page).map_err(database)?)
        }
        Query::Scheduled { conversation: target } => {
            let row = target.as_deref().map(|target| find(db, me, target)).transpose()?;
            View::Scheduled(scheduled(db, row.as_ref()).map_err(database)?)
        }
        Query::Invitations => View::Invitations(invitations(db).map_err(database)?),
        Query::InviteLinks { conversation: target } => {
            let row = find(db, me, target)?;
            View::InviteLinks(invite_links(db, me, &row).map_err(database)?)
        }
        Query::JoinRequests { conversation: target } => {
            let row = target.as_deref().map(|target| find(db, me, target)).transpose()?;
            let mut views = Vec::new();
            for request in joins::requests(db, row.map(|row| row.id)).map_err(database)? {
                let name = conversations::get(db, request.conversation).map_err(database)?.map(|c| c.name);
                views.push(join_request(&request, &name.unwrap_or_default()));
            }
            View::JoinRequests(views)
        }
        Query::Devices => View::Devices(devices(db, me).map_err(database)?),
        Query::History => {
            View::History(crate::db::history::all(db).map_err(database)?.iter().map(crate::db::history::view).collect())
        }
        Query::Backup => View::Backup(crate::sync::backup_state(db, me).map_err(database)?),
        Query::SafetyNumber { address } => {
            let address = contact_address(db, me, address)?;
            let Some(contact) = contacts::get(db, &address).map_err(database)? else {
                return Err(Problem::new(
                    Kind::NotFound,
                    format!("This device has never seen {address}."),
                    "",
                    "Check the spelling; write to it first if it is somebody new.",
                ));
            };
            let own = me.account_key();
            let digits = |key: &[u8; 32]| safety_number((&me.address, &own), (&address, key));
            View::SafetyNumber(api::SafetyNumber {
                address: address.to_string(),
                digits: digits(&contact.account_key),
                other: contact.other_key.as_ref().map(digits),
                confirmation: contact.confirmation,
            })
        }
        Query::Who { conversation: target } => {
            let row = find(db, me, target)?;
            let suite = conversations::suite(db, row.id).map_err(database)?;
            View::Who(Box::new(crate::who::who(db, me, &row, suite).map_err(database)?))
        }
        Query::Contacts => View::Contacts(
            contacts::chosen(db)
                .map_err(database)?
                .into_iter()
                .filter(|contact| contact.address != me.address)
                .map(|contact| api::Person {
                    address: contact.address.to_string(),
                    name: contact.name,
                    confirmation: contact.confirmation,
                    blocked: contact.blocked,
                })
                .collect(),
        ),
        Query::Settings => View::Settings(api::Settings {
            read_receipts: receipts_are_on(db).map_err(database)?,
            typing: typing_is_told(db).map_err(database)?,
            presence: presence_is_told(db).map_err(database)?,
        }),
        Query::Search { text, limit } => {
            let found = messages::search(db, text, (*limit).min(MAX_PAGE)).map_err(database)?;
            View::Messages(views(db, &found).map_err(database)?)
        }
        Query::Message { conversation: target, message } => {
            let row = find(db, me, target)?;
            let found = named(db, row.id, message)?;
            View::Message(Box::new(message_view(db, &found).map_err(database)?))
        }
        Query::Revisions { conversation: target, message } => {
            let row = find(db, me, target)?;
            let found = named(db, row.id, message)?;
            View::Revisions(revisions(db, &found).map_err(database)?)
        }
        Query::Picture { conversation: target } => {
            let row = find(db, me, target)?;
            View::Picture(picture(db, &row)?)
        }
        Query::Pins { conversation: target } => {
            let row = find(db, me, target)?;
            View::Messages(pins(db, row.id).map_err(database)?)
        }
    })
}

/// Notes that nobody has written into: the own devices talk there, which is nothing to look at. And successors that are being made.
pub(crate) fn is_out_of_sight(db: &Connection, conversation: &conversations::Conversation) -> rusqlite::Result<bool> {
    Ok(conversation.is_in_making()
        || (conversation.kind == api::ConversationKind::Note && messages::is_unwritten(db, conversation.id)?))
}

fn find(db: &Connection, me: &Me, target: &str) -> Result<conversations::Conversation, Problem> {
    let none = || {
        Problem::new(
            Kind::NotFound,
            format!("There is no conversation “{}”.", target.chars().take(80).collect::<String>()),
            "",
            "Take a name from the list of conversations.",
        )
    };
    let id = match resolve_conversation(db, me, target)? {
        Some(id) => id,
        // It stands in the list of conversations.
        None => over_with(db, target)?.ok_or_else(none)?,
    };
    conversations::get(db, id).map_err(database)?.ok_or_else(none)
}

fn views(db: &Connection, messages: &[messages::Message]) -> rusqlite::Result<Vec<api::Message>> {
    messages.iter().map(|message| message_view(db, message)).collect()
}

fn named(db: &Connection, conversation: LogId, prefix: &str) -> Result<messages::Message, Problem> {
    named_message(db, conversation, prefix).map_err(database)?
}

fn message_id(text: &str) -> Result<[u8; 32], Problem> {
    HEXLOWER
        .decode(text.to_lowercase().as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Problem::new(Kind::Usage, "That is not a message's id.", "", "It has 64 hexadecimal digits."))
}

fn devices(db: &Connection, me: &Me) -> rusqlite::Result<Vec<api::Device>> {
    // As long as no list has named one, it is the first; behind a restore by an earlier version the one that it was restored on.
    let is_unsaid = me.record.certifier.is_none() && me.certifies();
    let first = if is_unsaid { Some(me.device()) } else { me.record.certifying() };
    let view = |device: &wire::Device| {
        let id = device.certificate.device;
        Ok(api::Device {
            id: id.to_string(),
            this: id == me.device(),
            certifies: Some(id) == first,
            takes_over: me.hands_over() == Some(id),
            name: own_state::name_of_device(db, id)?,
            added: device.added.0,
            revoked: device.revoked.map(|time| time.0),
        })
    };
    me.record.devices.iter().map(view).collect()
}

/// One conversation with its members.
pub(crate) fn conversation(
    db: &Connection,
    me: &Me,
    c: &conversations::Conversation,
) -> rusqlite::Result<api::Conversation> {
    let mut members = Vec::new();
    for member in conversations::members(db, c.id)? {
        let confirmation = if member.address == me.address.as_str() {
            Confirmation::Own
        } else {
            match member.address.parse() {
                Ok(address) => {
                    contacts::get(db, &address)?.map_or(Confirmation::NotConfirmedYet, |contact| contact.confirmation)
                }
                Err(_) => Confirmation::NotConfirmedYet,
            }
        };
        members.push(api::Member {
            address: member.address,
            role: member.role,
            confirmation,
            devices: member.devices,
            online: false,
            last_seen: 0,
        });
    }
    let asleep = conversations::asleep(db, c.id)?.into_iter();
    let asleep = asleep.map(|one| api::Sleeper { address: one.address, role: one.role }).collect();
    let kept = arrangements::get(db, c.id)?;
    Ok(api::Conversation {
        id: c.id.to_string(),
        kind: c.kind,
        name: c.name.clone(),
        formerly: former_names(db, c)?,
        standing: c.standing,
        relay: c.relay.to_string(),
        unread: messages::unread(db, c.id)?,
        last: messages::page(db, c.id, None, 1)?.first().map(|last| message_view(db, last)).transpose()?,
        members,
        asleep,
        picture: pictures::current(db, c.id)?
            .map(|kept| api::PictureState { id: HEXLOWER.encode(&kept.picture.hash), here: !kept.file.is_empty() }),
        epoch: c.epoch.0,
        description: conversations::description(db, c.id)?,
        muted_until: kept.muted_until,
        archived: kept.archived,
        pinned_to_top: kept.pinned > 0,
        marked_unread: kept.unread,
        draft: kept.draft,
        timer: u64::from(c.timer) * 1_000,
        ended: crate::db::endings::shown(db, c)?,
        waiting: c.standing == api::Standing::Held && outlines::is_waiting(db, c.id)?,
    })
}

/// What a group was called before and isn't now.
fn former_names(db: &Connection, c: &conversations::Conversation) -> rusqlite::Result<Vec<String>> {
    let mut names = conversations::former_names(db, c.room())?;
    names.retain(|name| *name != c.name);
    Ok(names)
}

/// The picture of a group, if it is here.
fn picture(db: &Connection, c: &conversations::Conversation) -> Result<api::Picture, Problem> {
    match pictures::current(db, c.id).map_err(database)? {
        None => Err(Problem::new(Kind::NotFound, format!("“{}” has no picture.", c.name), "", "")),
        Some(kept) if kept.file.is_empty() => Err(Problem::new(
            Kind::Offline,
            format!("The picture of “{}” is not here yet.", c.name),
            "It has not been at the relay, or was not what it should be.",
            "It is asked for again by itself; setting it anew helps, too.",
        )),
        Some(kept) => Ok(api::Picture { kind: "image/jpeg".into(), file: api::Binary(kept.file) }),
    }
}

fn invite_links(
    db: &Connection,
    me: &Me,
    conversation: &conversations::Conversation,
) -> rusqlite::Result<Vec<api::InviteLink>> {
    let members = conversations::members(db, conversation.id)?;
    let rows = joins::links(db, conversation.id)?.into_iter();
    let views = rows.map(|joins::LinkRow { link, secret }| {
        let by = members.iter().find(|member| member.account_key == link.by);
        let text = secret.filter(|_| link.by == me.account_key()).map(|secret| {
            let parts = invite_link::LinkParts {
                inviter: &me.address,
                relay: &conversation.relay,
                log: conversation.id,
                secret,
                expires: link.expires,
            };
            invite_link::write(&parts, me.device(), &me.signer)
        });
        api::InviteLink {
            id: HEXLOWER.encode(&link.id),
            by: by.map(|member| member.address.clone()).unwrap_or_default(),
            link: text,
            direct: link.direct,
            expires: link.expires,
            uses: link.uses,
            used: link.used,
        }
    });
    Ok(views.collect())
}

pub(crate) fn join_request(request: &joins::JoinRequest, name: &str) -> api::JoinRequest {
    api::JoinRequest {
        conversation: request.conversation.to_string(),
        name: name.to_owned(),
        address: request.address.clone(),
        time: request.time,
    }
}

fn invitations(db: &Connection) -> rusqlite::Result<Vec<api::Invitation>> {
    let mut views: Vec<api::Invitation> = conversations::all(db)?
        .into_iter()
        .filter(|c| c.standing == api::Standing::Requested)
        .map(|c| api::Invitation {
            conversation: c.id.to_string(),
            from: c.inviter.clone(),
            relay: c.relay.to_string(),
            name: (c.kind == api::ConversationKind::Group).then(|| c.name.clone()),
            time: c.touched,
        })
        .collect();
    let waiting = db
        .prepare_cached("SELECT conversation, sender, relay, time FROM invitations WHERE accepted = 0 ORDER BY time")?
        .query_map([], |row| {
            Ok(api::Invitation {
                conversation: LogId(crate::db::fixed(row, 0)?).to_string(),
                from: row.get(1)?,
                relay: row.get(2)?,
                name: None,
                time: crate::db::uint(row, 3)?,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    views.extend(waiting);
    Ok(views)
}
