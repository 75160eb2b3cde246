//! From what a person types to whom it means.

use std::collections::BTreeSet;

use api::{Account, Conversation, ConversationKind, Kind, Person, Problem, Query, View};
use wire::Address;

use crate::lines::Lines;
use crate::session::Session;
use crate::terminal::short;

impl<'a> Session<'a> {
    /// The own account.
    pub fn account(&self) -> Result<Account, Problem> {
        match self.query(Query::WhoAmI)? {
            View::WhoAmI(Some(account)) => Ok(account),
            _ => Err(Problem::new(
                Kind::NotFound,
                format!("There is no account in the profile '{}' yet.", self.profile.name),
                "",
                "Make one: transom register NAME@RELAY. To add this device to an account that you have: transom devices link --new RELAY.",
            )),
        }
    }

    /// How things look to the owner of this account; without names where there are none to be had.
    pub fn lines(&self, own: &str) -> Lines<'a> {
        let people = self.contacts().unwrap_or_default().into_iter().filter(|person| !person.name.is_empty());
        Lines::new(self.terminal, own, people.map(|person| (person.address, person.name)).collect())
    }

    /// Those whom the person is in touch with, has named or has blocked.
    pub fn contacts(&self) -> Result<Vec<Person>, Problem> {
        match self.query(Query::Contacts)? {
            View::Contacts(people) => Ok(people),
            other => Err(unexpected(&other)),
        }
    }

    /// All conversations, the latest first.
    pub fn conversations(&self) -> Result<Vec<Conversation>, Problem> {
        match self.query(Query::Conversations)? {
            View::Conversations(conversations) => Ok(conversations),
            other => Err(unexpected(&other)),
        }
    }

    /// An account: an address, or the name of somebody known, or a name on the own relay.
    pub fn address(&self, text: &str) -> Result<String, Problem> {
        match self.known(text)? {
            Some(address) => Ok(address),
            None => self.at_own_relay(text).map(|address| address.to_string()),
        }
    }

    fn at_own_relay(&self, text: &str) -> Result<Address, Problem> {
        let own = parsed(&self.account()?.address)?;
        parsed(&format!("{text}@{}", own.relay()))
    }

    /// An account that needs no guess: a whole address, or the name of somebody known.
    fn known(&self, text: &str) -> Result<Option<String>, Problem> {
        if text.contains('@') {
            return parsed(text).map(|address| Some(address.to_string()));
        }
        let lower = text.to_lowercase();
        if let Some(person) = self.contacts()?.into_iter().find(|person| person.name.to_lowercase() == lower) {
            return Ok(Some(person.address));
        }
        let Ok(name) = self.at_own_relay(text) else { return Ok(None) };
        let conversations = self.conversations()?;
        let known: BTreeSet<&str> = conversations
            .iter()
            .flat_map(|conversation| &conversation.members)
            .map(|member| member.address.as_str())
            .filter(|address| address.rsplit_once('@').is_some_and(|(local, _)| local == name.name()))
            .collect();
        match known.iter().collect::<Vec<_>>()[..] {
            [] => Ok(None),
            [only] => Ok(Some((*only).to_owned())),
            _ => Err(Problem::new(
                Kind::Usage,
                format!("'{text}' could be more than one person."),
                format!("You know {}.", known.into_iter().collect::<Vec<_>>().join(" and ")),
                "Write the whole address.",
            )),
        }
    }

    /// Several accounts.
    pub fn addresses(&self, texts: &[String]) -> Result<Vec<String>, Problem> {
        texts.iter().map(|text| self.address(text)).collect()
    }

    /// Where a message goes: a conversation that is known here, or else an account to start one with.
    pub fn target(&mut self, text: &str) -> Result<String, Problem> {
        if text.contains('@') {
            return self.address(text);
        }
        self.account()?;
        let lower = text.to_lowercase();
        let called: Vec<String> = self
            .contacts()?
            .into_iter()
            .filter(|person| person.name.to_lowercase() == lower)
            .map(|person| person.address)
            .collect();
        let is_meant = |conversation: &Conversation| {
            let name = conversation.name.to_lowercase();
            let local = name.rsplit_once('@').map_or("", |(local, _)| local);
            (text.len() >= 4 && conversation.id.starts_with(&lower))
                || name == lower
                || (conversation.kind == ConversationKind::Direct && called.contains(&conversation.name))
                || (conversation.kind == ConversationKind::Direct && local == lower)
        };
        // If it fits several, the engine says so.
        if self.conversations()?.iter().any(is_meant) {
            return Ok(text.to_owned());
        }
        // It may be new, or have another name by now.
        self.freshen();
        let conversations = self.conversations()?;
        if conversations.iter().any(is_meant) {
            return Ok(text.to_owned());
        }
        let unknown = |_| {
            Problem::new(
                Kind::NotFound,
                format!("There is no conversation '{text}'."),
                "",
                "List yours with `transom list`, or start one with an address: transom send NAME@RELAY \"hello\".",
            )
        };
        if let Some(address) = self.known(text)? {
            return Ok(address);
        }
        // Guessed, a group's old name would hand what is meant for its members to whoever has registered it.
        let had = |c: &&Conversation| c.formerly.iter().any(|name| name.to_lowercase() == lower);
        if let Some(group) = conversations.iter().find(had) {
            return Err(Problem::new(
                Kind::NotFound,
                format!("No conversation is called '{text}' any more."),
                format!("Your group \"{}\" was called that before.", short(&group.name, 60)),
                "Use its present name; to write to somebody of that name, use the whole address: NAME@RELAY.",
            ));
        }
        self.at_own_relay(text).map(|address| address.to_string()).map_err(unknown)
    }
}

/// An answer to another question; only a defect of ours brings one.
pub fn unexpected(_: &View) -> Problem {
    Problem::new(Kind::Bug, "The engine answered another question than was asked.", "", "Please report this.")
}

fn parsed(text: &str) -> Result<Address, Problem> {
    text.parse().map_err(|error: wire::AddressError| {
        let mut why = error.to_string();
        if let Some(first) = why.get(..1).map(str::to_uppercase) {
            why.replace_range(..1, &first);
        }
        Problem::new(
            Kind::Usage,
            format!("'{text}' is not an address."),
            format!("{why}."),
            "Write it as name@relay, for example alice@relay.example.",
        )
    })
}
