//! How accounts, conversations and messages look as text.

use std::collections::BTreeMap;

use api::{
    Confirmation, Conversation, ConversationKind, Ended, Invitation, Member, Message, MessageKind, Revision, Role,
    Scheduled, Standing,
};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::bubble;
use crate::terminal::{Paint, Terminal, clean, isolate, pad, short};

/// How things look to the owner of this account.
pub struct Lines<'a> {
    terminal: &'a Terminal,
    /// `@relay` of the own account; left out of names, as everybody does at home.
    home: String,
    own: String,
    /// What the person calls accounts, by address.
    called: BTreeMap<String, String>,
    now: Zoned,
}

impl<'a> Lines<'a> {
    pub fn new(terminal: &'a Terminal, own_address: &str, called: BTreeMap<String, String>) -> Self {
        let home = own_address.rfind('@').map_or("", |at| &own_address[at..]).to_owned();
        Self { terminal, home, own: own_address.to_owned(), called, now: Timestamp::now().to_zoned(TimeZone::system()) }
    }

    /// True for the own account.
    pub fn is_own(&self, address: &str) -> bool {
        address == self.own
    }

    /// What the person calls an account, else its address as short as it is unambiguous.
    pub fn name(&self, address: &str) -> String {
        match self.called.get(address) {
            Some(name) => isolate(&clean(name)).into_owned(),
            None => self.address(address),
        }
    }

    /// An address as short as it is unambiguous.
    pub fn address(&self, address: &str) -> String {
        isolate(&clean(address.strip_suffix(self.home.as_str()).unwrap_or(address))).into_owned()
    }

    /// A conversation's title.
    pub fn title(&self, conversation: &Conversation) -> String {
        match conversation.kind {
            ConversationKind::Direct => self.name(&conversation.name),
            ConversationKind::Group | ConversationKind::Note => short(&conversation.name, 60),
        }
    }

    /// A time as short as it is unambiguous.
    pub fn time(&self, millis: u64) -> String {
        let Some(time) = i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()) else {
            return "?".into();
        };
        let time = time.to_zoned(self.now.time_zone().clone());
        let format = match () {
            () if time.date() == self.now.date() => "%H:%M",
            () if time.year() == self.now.year() => "%-d %b %H:%M",
            () => "%-d %b %Y %H:%M",
        };
        time.strftime(format).to_string()
    }

    /// How long it is from now until then, in the largest unit that fits.
    pub fn left(&self, then: u64) -> String {
        let now = u64::try_from(self.now.timestamp().as_millisecond()).unwrap_or_default();
        let left = then.saturating_sub(now);
        let unit = UNITS.into_iter().map(|(unit, _)| unit).find(|unit| left >= *unit).unwrap_or(1_000);
        span(left.div_ceil(unit) * unit)
    }

    /// One line for each conversation, in columns.
    pub fn list(&self, conversations: &[Conversation]) {
        let titles: Vec<String> = conversations.iter().map(|conversation| self.title(conversation)).collect();
        let width = titles.iter().map(|title| unicode_width::UnicodeWidthStr::width(title.as_str())).max().unwrap_or(0);
        for (conversation, title) in conversations.iter().zip(titles) {
            let kind = match (conversation.kind, conversation.standing) {
                (_, Standing::Starting) => "starting".to_owned(),
                (_, Standing::Requested) => "invitation".to_owned(),
                (_, Standing::Held) if conversation.waiting => "waiting".to_owned(),
                (_, Standing::Held) => "held".to_owned(),
                (_, Standing::Left) => "left".to_owned(),
                (ConversationKind::Direct, _) => "1:1".to_owned(),
                (ConversationKind::Group, _) => format!("group of {}", conversation.members.len()),
                (ConversationKind::Note, _) => "note".to_owned(),
            };
            let now = u64::try_from(self.now.timestamp().as_millisecond()).unwrap_or_default();
            let kind = if conversation.muted_until > now { format!("{kind}, muted") } else { kind };
            let unread = match conversation.unread {
                _ if conversation.standing == Standing::Left => String::new(),
                0 if conversation.marked_unread => "unread".to_owned(),
                0 => String::new(),
                unread => format!("{unread} new"),
            };
            let last = if conversation.draft.is_empty() {
                conversation.last.as_ref().map(|last| self.preview(last)).unwrap_or_default()
            } else {
                format!("draft: {}", isolate(&short(&conversation.draft, 60)))
            };
            // Of whom one writes to; in a group, `show` tells it of each.
            let other = conversation.members.iter().find(|member| !self.is_own(&member.address));
            let presence = other.filter(|_| conversation.kind == ConversationKind::Direct);
            let presence = presence.and_then(|other| self.presence(other)).map(|presence| format!("  ({presence})"));
            let line = format!(
                "{}  {}  {}  {last}{}",
                self.terminal.paint(Paint::Strong, pad(&title, width)),
                self.terminal.paint(Paint::Faint, pad(&kind, 11)),
                self.terminal.paint(Paint::Good, pad(&unread, 7)),
                presence.unwrap_or_default(),
            );
            self.terminal.line(line.trim_end());
        }
    }

    fn preview(&self, message: &Message) -> String {
        let from = match (&message.kind, message.own) {
            (MessageKind::System { .. }, _) => String::new(),
            (_, true) => "you: ".into(),
            (_, false) => format!("{}: ", self.name(&message.from)),
        };
        let time = self.time(if message.time == 0 { message.sent } else { message.time });
        let words = isolate(&short(&bubble::words(&message.kind), 60)).into_owned();
        format!("{}  {from}{words}", self.terminal.paint(Paint::Faint, time))
    }

    /// A conversation's heading: what it is and who is in it.
    pub fn heading(&self, conversation: &Conversation) {
        let title = self.terminal.paint(Paint::Strong, self.title(conversation));
        let what = match conversation.kind {
            ConversationKind::Direct => "1:1".to_owned(),
            ConversationKind::Group => format!("group of {}", conversation.members.len()),
            ConversationKind::Note => "note to self".to_owned(),
        };
        let standing = match conversation.standing {
            Standing::Active => "",
            Standing::Starting => " · being made",
            Standing::Requested => " · an invitation: accept or decline it",
            Standing::Held if conversation.waiting => " · waiting until somebody lets this device in, nothing is sent",
            Standing::Held => " · held, nothing is sent",
            Standing::Left => " · you are no longer in it",
        };
        let timer = match conversation.timer {
            0 => String::new(),
            timer => format!(" · messages vanish {} after they were seen", span(timer)),
        };
        self.terminal.line(format!("{title}  {what} at {}{standing}{timer}", clean(&conversation.relay)));
        if let Some(ended) = &conversation.ended {
            self.terminal.line(format!("  {}", self.ended(ended)));
        }
        if let Some(picture) = &conversation.picture {
            let there = if picture.here { "has a picture" } else { "has a picture, which is not here yet" };
            self.terminal.line(self.terminal.paint(Paint::Faint, format!("  {there} (group picture)")));
        }
        for line in conversation.description.lines() {
            self.terminal.line(format!("  {}", isolate(clean(line).trim())));
        }
        let width = conversation.members.iter().map(|member| self.name(&member.address).chars().count()).max();
        for member in &conversation.members {
            self.member(member, conversation.kind, width.unwrap_or(0));
        }
        for one in &conversation.asleep {
            let role = match one.role {
                Role::Owner => "owner, ",
                Role::Admin => "admin, ",
                Role::Member => "",
            };
            let sleeps =
                self.terminal.paint(Paint::Faint, format!("{role}asleep: comes back when one of its devices is on"));
            self.terminal.line(format!("  {}  {sleeps}", pad(&self.name(&one.address), width.unwrap_or(0))));
        }
    }

    /// Who has ended a conversation, and how, if that is certain.
    pub fn ended(&self, ended: &Ended) -> String {
        let (time, why) = (self.time(ended.time), clean(&ended.why).into_owned());
        match &ended.by {
            Some(by) => {
                let (name, device) = (self.name(&by.address), short_id(&by.device));
                format!("{name} ended it with device {device}, {time}, by a change that is not allowed: {why}.")
            }
            None => {
                format!("It was ended, {time}, by something that is no valid change: {why}. By whom can't be told.")
            }
        }
    }

    fn member(&self, member: &Member, kind: ConversationKind, width: usize) {
        let role = match (kind, member.role) {
            (ConversationKind::Group, Role::Owner) => "owner   ",
            (ConversationKind::Group, Role::Admin) => "admin   ",
            (ConversationKind::Group, Role::Member) => "member  ",
            _ => "",
        };
        let devices = match member.devices {
            1 => "1 device".to_owned(),
            devices => format!("{devices} devices"),
        };
        let (meaning, sure) = sure(member.confirmation);
        let sure = self.terminal.paint(meaning, sure);
        let presence = self.presence(member).map(|presence| format!(", {presence}")).unwrap_or_default();
        self.terminal.line(format!(
            "  {}  {role}{}  {sure}{presence}",
            pad(&self.name(&member.address), width),
            pad(&devices, 10)
        ));
    }

    /// Whether somebody is there, and when they last were, as far as that is told.
    fn presence(&self, member: &Member) -> Option<String> {
        match (member.online, member.last_seen) {
            (true, _) => Some(self.terminal.paint(Paint::Good, "online")),
            (false, 0) => None,
            (false, time) => Some(self.terminal.paint(Paint::Faint, format!("last seen {}", self.time(time)))),
        }
    }

    /// A message of a conversation, with its time in front.
    pub fn message(&self, message: &Message, ids: bool) {
        for line in bubble::lines(self, self.terminal, message, ids) {
            self.terminal.line(line);
        }
    }

    /// What is to be sent later, and where to, unless that is clear.
    pub fn scheduled(&self, message: &Scheduled, to: Option<&str>) {
        let id = self.terminal.paint(Paint::Faint, short_id(&message.id));
        let time = self.terminal.paint(Paint::Faint, self.time(message.at));
        let to = to.map(|to| format!("to {to}: ")).unwrap_or_default();
        let mut marks = String::new();
        for (mark, set) in [
            ("a reply".to_owned(), message.reply_to.is_some()),
            (format!("vanishes {} after it was seen", span(message.stays)), message.stays != 0),
            ("to look at once".to_owned(), message.view_once),
        ] {
            if set {
                marks.push_str(&format!("  ({mark})"));
            }
        }
        let state = match &message.problem {
            None => self.terminal.paint(Paint::Faint, "  (scheduled)"),
            Some(problem) => self.terminal.paint(Paint::Bad, format!("  (not sent: {})", clean(&problem.what))),
        };
        let text = isolate(&clean(&message.text).replace('\n', "\n      ")).into_owned();
        self.terminal.line(format!("  {id}  {time}  {to}{text}{}{state}", self.terminal.paint(Paint::Faint, marks)));
    }

    /// What a message has said since some time.
    pub fn revision(&self, revision: &Revision) {
        let time = self.time(if revision.time == 0 { revision.sent } else { revision.time });
        let text = bubble::text(self, self.terminal, &revision.text);
        self.terminal.line(format!("  {}  {text}", self.terminal.paint(Paint::Faint, time)));
    }

    /// Somebody asks to be let into a group.
    pub fn join_request(&self, request: &api::JoinRequest) {
        let (who, name) = (clean(&request.address), short(&request.name, 60));
        let who = self.terminal.paint(Paint::Strong, who);
        let time = self.terminal.paint(Paint::Faint, self.time(request.time));
        self.terminal.line(format!("{who} asks to join the group \"{name}\"  {time}"));
    }

    /// An invitation.
    pub fn invitation(&self, invitation: &Invitation) {
        let what = match &invitation.name {
            Some(name) => format!("to the group \"{}\"", short(name, 60)),
            None => "to a conversation".into(),
        };
        self.terminal.line(format!(
            "{} invites you {what}, on the relay {}  {}",
            self.terminal.paint(Paint::Strong, clean(&invitation.from)),
            clean(&invitation.relay),
            self.terminal.paint(Paint::Faint, self.time(invitation.time)),
        ));
        self.terminal.line(format!("  {}", self.terminal.paint(Paint::Faint, short_id(&invitation.conversation))));
    }
}

/// Units of time in ms, the largest first.
const UNITS: [(u64, &str); 5] =
    [(604_800_000, "week"), (86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];

/// A length of time in the largest unit that gives a whole number.
pub fn span(millis: u64) -> String {
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| millis.is_multiple_of(*unit)).unwrap_or((1_000, "second"));
    match millis.div_ceil(unit) {
        1 => format!("1 {name}"),
        several => format!("{several} {name}s"),
    }
}

/// How sure one is of somebody, in words. A relay's word is no proof: it can hand out another key to who asks for the first time.
pub fn sure(confirmation: Confirmation) -> (Paint, &'static str) {
    match confirmation {
        Confirmation::Own => (Paint::Faint, "you"),
        Confirmation::NotConfirmedYet => (Paint::Warn, "not confirmed yet"),
        Confirmation::Confirmed => (Paint::Faint, "known from its relay"),
        Confirmation::Verified => (Paint::Good, "verified by you"),
        Confirmation::Conflict => (Paint::Bad, "two different identities were seen"),
    }
}

/// Enough of an id to name what it stands for.
pub fn short_id(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
