//! "Who can read this?" in words.

use api::{Command, Confirmation, ConversationKind, Problem, Query, Reader, ReaderDevice, Role, View, Who, WhoChange};

use crate::lines::{Lines, short_id, sure};
use crate::names::unexpected;
use crate::session::Session;
use crate::terminal::{Paint, Terminal, clean, isolate, short};

pub fn who(session: &mut Session<'_>, conversation: &str) -> Result<(), Problem> {
    let own = session.account()?;
    // Members and devices may have changed since the last run.
    session.freshen();
    let who = match session.query(Query::Who { conversation: conversation.to_owned() })? {
        View::Who(who) => who,
        other => return Err(unexpected(&other)),
    };
    let terminal = session.terminal;
    if terminal.json {
        terminal.object(&*who);
    } else {
        Panel { terminal, lines: &session.lines(&own.address), who: &who }.print();
    }
    session.run("Remembering what you saw", Command::Look { conversation: who.conversation.clone() })?;
    Ok(())
}

struct Panel<'a> {
    terminal: &'a Terminal,
    lines: &'a Lines<'a>,
    who: &'a Who,
}

impl Panel<'_> {
    fn print(&self) {
        let who = self.who;
        let title = match who.kind {
            ConversationKind::Direct => self.lines.name(&who.name),
            ConversationKind::Group | ConversationKind::Note => short(&who.name, 60),
        };
        let title = self.terminal.paint(Paint::Strong, title);
        let count: usize = who.people.iter().map(|reader| reader.devices.len()).sum();
        let people = counted(who.people.len(), "person", "people");
        self.terminal.line(format!("{title}: {people} on {} can read it.", counted(count, "device", "devices")));
        if let Some(ended) = &who.ended {
            self.item(self.lines.ended(ended));
        }
        self.changes();
        for reader in &who.people {
            self.reader(reader);
        }
        if !who.asleep.is_empty() {
            let names: Vec<String> = who.asleep.iter().map(|one| self.lines.name(&one.address)).collect();
            self.heading("Asleep");
            self.item(format!(
                "{}: none of their devices was on for months. They read nothing until they are back.",
                names.join(", ")
            ));
        }
        self.heading("Nobody else");
        if who.custodians.is_empty() {
            self.item("It is private. There is no key to hand over: nobody outside can read it, under no order.");
        } else {
            let names: Vec<String> = who.custodians.iter().map(|name| clean(name).into_owned()).collect();
            self.item(format!("It can be opened, by a published request only, by: {}.", names.join(", ")));
        }
        self.heading(&format!("What the relay {} sees", clean(&who.relay)));
        self.item("Ciphertext of padded size, when it comes, the network addresses of those who fetch it.");
        self.item("No names, no list of members, not who wrote or read what.");
        self.heading("Encryption");
        if !who.suite.is_empty() {
            let safe = match who.post_quantum {
                true => "what is written is safe from a future quantum computer, signatures are not",
                false => "not safe from a future quantum computer",
            };
            self.item(format!("{}: {safe}.", who.suite));
        }
        if let Some(stalest) = &who.stalest {
            let name = self.lines.name(&stalest.address);
            let device = short_id(&stalest.device);
            self.item(match stalest.renewed {
                0 => format!(
                    "Device {device} of {name} has not renewed its keys since you came in. Whoever takes them from it can read what was written since."
                ),
                renewed => format!(
                    "The oldest keys are those of device {device} of {name}, renewed {}. Whoever takes them from it can read what was written since, and nothing older.",
                    self.lines.time(renewed)
                ),
            });
        }
    }

    fn changes(&self) {
        let Some(looked) = self.who.looked else { return };
        if self.who.changes.is_empty() {
            let since = format!("Nothing has changed since you looked last, {}.", self.lines.time(looked));
            return self.terminal.line(self.terminal.paint(Paint::Faint, since));
        }
        self.heading(&format!("Changed since you looked last, {}", self.lines.time(looked)));
        for change in &self.who.changes {
            let (paint, text) = self.change(change);
            self.item(self.terminal.paint(paint, text));
        }
    }

    fn change(&self, change: &WhoChange) -> (Paint, String) {
        let name = |address: &str| self.lines.name(address);
        match change {
            WhoChange::Came { address } => (Paint::Warn, format!("{} came in.", name(address))),
            WhoChange::FellAsleep { address } => {
                (Paint::Faint, format!("{} is asleep: none of its devices was on for months.", name(address)))
            }
            WhoChange::Went { address } => (Paint::Faint, format!("{} is no longer in it.", name(address))),
            WhoChange::DeviceCame { address, device, since } => {
                let when = self.when(*since);
                (Paint::Warn, format!("{} has a new device, {}{when}.", name(address), short_id(device)))
            }
            WhoChange::DeviceWent { address, device } => {
                (Paint::Faint, format!("Device {} of {} is gone.", short_id(device), name(address)))
            }
            WhoChange::Role { address, role } => {
                let role = match role {
                    Role::Owner => "an owner",
                    Role::Admin => "an admin",
                    Role::Member => "a member",
                };
                (Paint::Faint, format!("{} is {role} now.", name(address)))
            }
            WhoChange::Confirmation { address, confirmation } => {
                let (paint, sure) = sure(*confirmation);
                (paint, format!("{}: {sure}.", name(address)))
            }
        }
    }

    fn when(&self, time: u64) -> String {
        if time == 0 { String::new() } else { format!(", added {}", self.lines.time(time)) }
    }

    fn reader(&self, reader: &Reader) {
        let role = match (self.who.kind, reader.role) {
            (ConversationKind::Group, Role::Owner) => ", owner",
            (ConversationKind::Group, Role::Admin) => ", admin",
            _ => "",
        };
        let (paint, words) = sure(reader.confirmation);
        let since = match reader.confirmation {
            Confirmation::Own => String::new(),
            _ if reader.confirmed == 0 => String::new(),
            Confirmation::NotConfirmedYet => format!(", seen first {}", self.lines.time(reader.confirmed)),
            _ => format!(" since {}", self.lines.time(reader.confirmed)),
        };
        let blocked = if reader.blocked { ", blocked by you, reads all the same" } else { "" };
        self.terminal.line(format!(
            "\n{}{role}: {}{blocked}",
            self.terminal.paint(Paint::Strong, self.lines.name(&reader.address)),
            self.terminal.paint(paint, format!("{words}{since}")),
        ));
        for device in &reader.devices {
            self.item(self.device(device));
        }
    }

    fn device(&self, device: &ReaderDevice) -> String {
        let this = if device.this { ", this one" } else { "" };
        let renewed = match device.renewed {
            0 => "keys from before you came in".to_owned(),
            renewed => format!("keys renewed {}", self.lines.time(renewed)),
        };
        let name =
            if device.name.is_empty() { String::new() } else { format!(" ({})", isolate(&short(&device.name, 60))) };
        format!("device {}{name}{this}{}, {renewed}", short_id(&device.id), self.when(device.added))
    }

    fn heading(&self, text: &str) {
        self.terminal.line(format!("\n{}", self.terminal.paint(Paint::Strong, text)));
    }

    fn item(&self, text: impl AsRef<str>) {
        self.terminal.line(format!("  {}", text.as_ref()));
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}
