//! Rows of the table `contacts`: accounts that this device has seen, and the key that it has pinned for each.

use rusqlite::{Connection, OptionalExtension, Row, params};
use wire::{AccountRecord, Address, Signed};

use super::{fixed, fixed_opt, int, uint};
use api::Confirmation;

/// Bytes of what the person calls somebody.
pub(crate) const MAX_NAME: usize = 100;

/// One account.
#[derive(Debug, Clone)]
pub(crate) struct Contact {
    pub address: Address,
    pub account_key: [u8; 32],
    pub record: Option<Vec<u8>>,
    pub version: u64,
    pub confirmation: Confirmation,
    pub other_key: Option<[u8; 32]>,
    /// The person has chosen to be in touch with it.
    pub known: bool,
    pub blocked: bool,
    /// When what is known of its identity last changed; 0 if that was not noted.
    pub changed: u64,
    /// What the own account calls it; empty without a name.
    pub name: String,
    /// When its relay was last asked for its devices, or else when it was first seen; 0 if that was not noted.
    pub looked_up: u64,
}

const COLUMNS: &str =
    "address, account_key, record, version, confirmation, other_key, known, blocked, changed, name, looked_up";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Contact> {
    let address: String = row.get(0)?;
    Ok(Contact {
        address: address
            .parse()
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e)))?,
        account_key: fixed(row, 1)?,
        record: row.get(2)?,
        version: uint(row, 3)?,
        confirmation: match row.get::<_, i64>(4)? {
            1 => Confirmation::Confirmed,
            2 => Confirmation::Verified,
            3 => Confirmation::Conflict,
            _ => Confirmation::NotConfirmedYet,
        },
        other_key: fixed_opt(row, 5)?,
        known: row.get(6)?,
        blocked: row.get(7)?,
        changed: uint(row, 8)?,
        name: row.get(9)?,
        looked_up: uint(row, 10)?,
    })
}

fn number(confirmation: Confirmation) -> i64 {
    match confirmation {
        Confirmation::Own | Confirmation::NotConfirmedYet => 0,
        Confirmation::Confirmed => 1,
        Confirmation::Verified => 2,
        Confirmation::Conflict => 3,
    }
}

pub(crate) fn get(db: &Connection, address: &Address) -> rusqlite::Result<Option<Contact>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM contacts WHERE address = ?1"))?
        .query_row([address.as_str()], from_row)
        .optional()
}

/// The member of conversations in use whose relay was not asked for its devices for longest, if that was before this time.
pub(crate) fn looked_up_before(db: &Connection, own: &Address, time: u64) -> rusqlite::Result<Option<Address>> {
    let found: Option<String> = db
        .prepare_cached(
            "SELECT address FROM contacts t WHERE looked_up <= ?1 AND blocked = 0 AND address != ?2 AND EXISTS \
             (SELECT 1 FROM members m JOIN conversations c ON c.id = m.conversation \
              WHERE m.address = t.address AND c.standing = 2) ORDER BY looked_up, address LIMIT 1",
        )?
        .query_row(params![int(time), own.as_str()], |row| row.get(0))
        .optional()?;
    Ok(found.and_then(|address| address.parse().ok()))
}

/// Its relay was asked for its devices.
pub(crate) fn set_looked_up(db: &Connection, address: &Address, now: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE contacts SET looked_up = ?2 WHERE address = ?1")?
        .execute(params![address.as_str(), int(now)])?;
    Ok(())
}

/// Those whom the person is in touch with, has named or has blocked.
pub(crate) fn chosen(db: &Connection) -> rusqlite::Result<Vec<Contact>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM contacts WHERE known = 1 OR blocked = 1 OR name != '' ORDER BY address"
    ))?
    .query_map([], from_row)?
    .collect()
}

/// All whom the person calls this, whatever the case of letters.
pub(crate) fn called(db: &Connection, name: &str) -> rusqlite::Result<Vec<Contact>> {
    let wanted = name.to_lowercase();
    Ok(chosen(db)?
        .into_iter()
        .filter(|contact| !contact.name.is_empty() && contact.name.to_lowercase() == wanted)
        .collect())
}

/// All contacts whose name part is `name`.
pub(crate) fn by_name(db: &Connection, name: &str) -> rusqlite::Result<Vec<Contact>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM contacts WHERE substr(address, 1, length(?1) + 1) = ?1 || '@' ORDER BY address"
    ))?
    .query_map([name], from_row)?
    .collect()
}

pub(crate) fn put(db: &Connection, contact: &Contact) -> rusqlite::Result<()> {
    db.prepare_cached(&format!(
        "INSERT OR REPLACE INTO contacts ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?
    .execute(params![
        contact.address.as_str(),
        contact.account_key,
        contact.record,
        int(contact.version),
        number(contact.confirmation),
        contact.other_key,
        contact.known,
        contact.blocked,
        int(contact.changed),
        contact.name,
        int(contact.looked_up)
    ])?;
    Ok(())
}

/// True for what somebody can be called, with nothing and with a name: nobody must take it for an address.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME && !name.contains('@') && content::line(name, usize::MAX) == name
}

/// The person does not want to hear of this account, whether it was seen here or only on another own device.
pub(crate) fn is_blocked(db: &Connection, address: &Address) -> rusqlite::Result<bool> {
    match get(db, address)? {
        Some(contact) => Ok(contact.blocked),
        None => Ok(super::own_state::of_contact(db, address)?.1.unwrap_or_default()),
    }
}

/// What seeing an account's key tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is the one that is pinned, or the first one.
    Expected,
    /// Another one is pinned: the contact is in conflict now, if it was not before.
    Conflict {
        /// It was not known before.
        new: bool,
    },
}

/// A key was seen for an address, inside a group. Pins it if it is the first one.
pub(crate) fn see(db: &Connection, address: &Address, account_key: &[u8; 32], now: u64) -> rusqlite::Result<Seen> {
    let Some(mut contact) = get(db, address)? else {
        // The person may have spoken of it on another device.
        let (name, blocked) = super::own_state::of_contact(db, address)?;
        put(
            db,
            &Contact {
                address: address.clone(),
                account_key: *account_key,
                record: None,
                version: 0,
                confirmation: Confirmation::NotConfirmedYet,
                other_key: None,
                known: false,
                blocked: blocked.unwrap_or_default(),
                changed: now,
                name: name.filter(|name| is_name(name)).unwrap_or_default(),
                looked_up: now,
            },
        )?;
        return Ok(Seen::Expected);
    };
    if contact.account_key == *account_key {
        return Ok(Seen::Expected);
    }
    let new = contact.other_key != Some(*account_key);
    if new || contact.confirmation != Confirmation::Conflict {
        contact.changed = now;
    }
    contact.confirmation = Confirmation::Conflict;
    contact.other_key = Some(*account_key);
    put(db, &contact)?;
    Ok(Seen::Conflict { new })
}

/// A record was seen. From the account's own relay (`confirmed`) it confirms the pin, and takes the place of one that only an
/// unanswered invitation has set. The first record of a version stays.
pub(crate) fn see_record(
    db: &Connection,
    record: &Signed<AccountRecord>,
    confirmed: bool,
    now: u64,
) -> rusqlite::Result<Seen> {
    if confirmed && is_hearsay(db, &record.address)? {
        db.prepare_cached("DELETE FROM contacts WHERE address = ?1")?.execute([record.address.as_str()])?;
    }
    let seen = see(db, &record.address, &record.account_key, now)?;
    if seen != Seen::Expected {
        return Ok(seen);
    }
    let Some(mut contact) = get(db, &record.address)? else { return Ok(seen) };
    if record.version > contact.version || contact.record.is_none() {
        contact.version = record.version;
        contact.record = Some(record.bytes().to_vec());
    }
    if confirmed && contact.confirmation == Confirmation::NotConfirmedYet {
        contact.confirmation = Confirmation::Confirmed;
        contact.changed = now;
    }
    put(db, &contact)?;
    Ok(seen)
}

/// All that is known of an account comes from invitations that nobody has taken: anybody can say that.
fn is_hearsay(db: &Connection, address: &Address) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM contacts WHERE address = ?1 AND known = 0 AND blocked = 0 AND confirmation = 0 AND NOT EXISTS \
         (SELECT 1 FROM members m JOIN conversations c ON c.id = m.conversation WHERE m.address = ?1 AND c.standing != 1)",
    )?
    .exists([address.as_str()])
}

/// The person wants to be in touch with this account.
pub(crate) fn set_known(db: &Connection, address: &Address) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE contacts SET known = 1 WHERE address = ?1")?.execute([address.as_str()])?;
    Ok(())
}

/// An account in conflict that is in this conversation with another key than the pinned one. Where it is with the pinned one, it is
/// who it always was: a leaf that somebody makes up elsewhere keeps nobody from writing to the real one.
pub(crate) fn conflict_in(db: &Connection, conversation: &[u8; 16]) -> rusqlite::Result<Option<String>> {
    db.prepare_cached(
        "SELECT c.address FROM members m JOIN contacts c ON c.address = m.address \
         WHERE m.conversation = ?1 AND c.confirmation = 3 AND m.account_key != c.account_key ORDER BY m.address LIMIT 1",
    )?
    .query_row([conversation], |row| row.get(0))
    .optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::conversations::{self, Member};
    use rand_core::SeedableRng;

    /// Somebody makes up a leaf with Bob's address in a group of his own: nothing is sent there, and Bob can still be written to.
    #[test]
    fn i7_a_conflict_holds_the_conversation_that_the_other_key_is_in_and_no_other() {
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([1; 32]);
        let db = crate::db::open(&crate::db::Database::Memory { name: "conflict".into() }, &mut rng).unwrap();
        let bob: Address = "bob@relay.example".parse().unwrap();
        let (real, made_up) = ([1; 32], [2; 32]);
        let (with_bob, of_mallory) = (wire::LogId([1; 16]), wire::LogId([2; 16]));
        for (id, account_key) in [(with_bob, real), (of_mallory, made_up)] {
            let member = Member { address: bob.to_string(), account_key, role: api::Role::Member, devices: 1 };
            conversations::set_members(&db, id, &[member]).unwrap();
        }
        assert_eq!(see(&db, &bob, &real, 0).unwrap(), Seen::Expected);
        assert_eq!(see(&db, &bob, &made_up, 0).unwrap(), Seen::Conflict { new: true });
        assert_eq!(conflict_in(&db, &of_mallory.0).unwrap().as_deref(), Some(bob.as_str()));
        assert_eq!(conflict_in(&db, &with_bob.0).unwrap(), None);
    }
}
