//! A message as lines of text.
//!
//! What always holds: what others wrote stays on lines of its own message, keeps its own direction, and moves no cursor. A mention
//! shows the account that it leads to, a link where it leads, whatever their labels claim.

use api::{Location, Message, MessageKind, MessageStatus, Poll, Quote, Reaction};
use content::Piece;

use crate::emphasis::painted;
use crate::lines::{Lines, span};
use crate::terminal::{Paint, Terminal, clean, isolate, short};

/// How many accounts are named beside a reaction or an option.
const NAMES: usize = 3;
/// Further lines of a message begin so, so that nobody can write what looks like somebody else's message.
const INDENT: &str = "      ";

/// What a message is, in words.
pub fn words(kind: &MessageKind) -> String {
    match kind {
        MessageKind::Text { text } => content::in_plain(text),
        MessageKind::System { text } => text.clone(),
        MessageKind::Unknown { fallback } => fallback.clone(),
        MessageKind::Deleted { .. } => "(deleted)".into(),
        MessageKind::ViewOnce { opened: false } => "(to look at once)".into(),
        MessageKind::ViewOnce { opened: true } => "(looked at)".into(),
        MessageKind::Poll { poll } => format!("Poll: {}", poll.question),
        MessageKind::Contact { contact } if contact.name.is_empty() => format!("Contact: {}", contact.address),
        MessageKind::Contact { contact } => format!("Contact: {} ({})", contact.name, contact.address),
        MessageKind::Location { location } if location.label.is_empty() => format!("Location: {}", place(location)),
        MessageKind::Location { location } => format!("Location: {} ({})", location.label, place(location)),
    }
}

/// The lines of a message, its time in front of the first one that is its own.
pub fn lines(lines: &Lines<'_>, terminal: &Terminal, message: &Message, ids: bool) -> Vec<String> {
    let faint = |text: &str| terminal.paint(Paint::Faint, text);
    let time = faint(&lines.time(if message.time == 0 { message.sent } else { message.time }));
    let id = if ids { format!("{}  ", message.id.get(..12).unwrap_or(&message.id)) } else { String::new() };
    if let MessageKind::System { text } = &message.kind {
        return vec![format!("  {id}{time}  {}", faint(&isolated(text)))];
    }
    let mut out = Vec::new();
    if let Some(quote) = &message.quote {
        out.push(format!("{INDENT}{}", faint(&format!("↳ {}", quoted(lines, quote)))));
    }
    let from = if message.own { "you".to_owned() } else { lines.name(&message.from) };
    let from = terminal.paint(Paint::Strong, from);
    let forwarded = if message.forwarded { faint("(forwarded) ") } else { String::new() };
    let body = match &message.kind {
        MessageKind::Text { text } => linked(lines, terminal, text),
        MessageKind::Deleted { by } if *by == message.from => faint("(deleted)"),
        MessageKind::Deleted { by } => faint(&format!("(deleted by {})", lines.name(by))),
        MessageKind::ViewOnce { .. } => faint(&words(&message.kind)),
        other => isolated(&words(other)),
    };
    let mut marks = String::new();
    for (mark, set) in [
        ("edited", message.edited.is_some()),
        ("pinned", message.pinned),
        ("mentions you", message.mentions_me && !message.own),
    ] {
        if set {
            marks.push_str(&format!("  ({mark})"));
        }
    }
    match message.vanishes {
        Some(then) => marks.push_str(&format!("  (vanishes in {})", lines.left(then))),
        None if message.stays != 0 => {
            marks.push_str(&format!("  (vanishes {} after it was seen)", span(message.stays)))
        }
        None => {}
    }
    let status = match message.status {
        MessageStatus::Sending => "  (on its way)",
        MessageStatus::Failed => "  (not delivered)",
        MessageStatus::Sent if message.own => "  ✓",
        MessageStatus::Delivered if message.own => "  ✓✓",
        MessageStatus::Read if message.own => "  ✓✓ read",
        _ => "",
    };
    let text = format!("  {id}{time}  {from}: {forwarded}{body}{}", faint(&format!("{marks}{status}")));
    out.extend(text.replace('\n', &format!("\n{INDENT}")).lines().map(str::to_owned));
    match &message.kind {
        MessageKind::Poll { poll } => out.extend(options(lines, terminal, poll)),
        MessageKind::Contact { contact } => {
            out.push(format!("{INDENT}{}", faint(&format!("Write to them: transom send {}", clean(&contact.address)))));
        }
        MessageKind::ViewOnce { opened: false } if !message.own => {
            let which = message.id.get(..8).unwrap_or(&message.id);
            let conversation = message.conversation.get(..8).unwrap_or(&message.conversation);
            out.push(format!("{INDENT}{}", faint(&format!("Look at it: transom open {conversation} {which}"))));
        }
        _ => {}
    }
    if let Some(preview) = &message.preview {
        let link = isolate(&clean(&preview.url)).into_owned();
        out.push(format!("{INDENT}{} {}", faint("┊"), terminal.paint(Paint::Strong, isolated(&preview.title))));
        if !preview.description.is_empty() {
            out.push(format!("{INDENT}{} {}", faint("┊"), isolated(&short(&preview.description, 200))));
        }
        out.push(format!("{INDENT}{}", faint(&format!("┊ {link}"))));
    }
    if !message.reactions.is_empty() {
        let reactions: Vec<String> = message.reactions.iter().map(|reaction| reacted(lines, reaction)).collect();
        out.push(format!("{INDENT}{}", reactions.join(&faint(" · "))));
    }
    out
}

/// A text whose further lines are indented.
pub fn text(lines: &Lines<'_>, terminal: &Terminal, text: &str) -> String {
    linked(lines, terminal, text).replace('\n', &format!("\n{INDENT}"))
}

fn isolated(text: &str) -> String {
    let lines: Vec<String> = clean(text).split('\n').map(|line| isolate(line).into_owned()).collect();
    lines.join("\n")
}

fn quoted(lines: &Lines<'_>, quote: &Quote) -> String {
    match quote {
        Quote { known: false, .. } => "a message that is not here".into(),
        Quote { from, excerpt, .. } if excerpt.is_empty() => format!("{}: (deleted)", lines.name(from)),
        Quote { from, excerpt, .. } => format!("{}: {}", lines.name(from), isolated(&short(excerpt, 80))),
    }
}

/// Text with its mentions by name and its links with where they lead.
fn linked(lines: &Lines<'_>, terminal: &Terminal, text: &str) -> String {
    // Pieces of one line stand in one isolate, or several directions would tear the line apart.
    let mut plain = String::new();
    for piece in content::pieces(text) {
        match piece {
            Piece::Plain(text) => plain.push_str(&painted(terminal, &clean(text))),
            Piece::Link { label, target } => match content::account_of(target) {
                Some(account) => {
                    let name = isolate(&format!("@{}", lines.name(&account))).into_owned();
                    plain.push_str(&terminal.paint(Paint::Strong, name));
                }
                None => plain.push_str(&format!("{} ({})", isolate(&clean(label)), isolate(&clean(target)))),
            },
        }
    }
    plain.split('\n').map(|line| isolate(line).into_owned()).collect::<Vec<_>>().join("\n")
}

fn options(lines: &Lines<'_>, terminal: &Terminal, poll: &Poll) -> Vec<String> {
    let mut out: Vec<String> = poll
        .options
        .iter()
        .zip(1..)
        .map(|(option, place)| {
            let votes = match option.votes {
                0 => String::new(),
                votes => format!("  {votes}: {}", names(lines, &option.by, option.own, votes)),
            };
            format!("{INDENT}{place}. {}{}", isolated(&option.text), terminal.paint(Paint::Good, votes))
        })
        .collect();
    let voted = match poll.voters {
        0 => "nobody has voted".into(),
        1 => "1 has voted".into(),
        voters => format!("{voters} have voted"),
    };
    let choice = if poll.multiple { "several choices" } else { "one choice" };
    let state = if poll.closed { "closed" } else { choice };
    out.push(format!("{INDENT}{}", terminal.paint(Paint::Faint, format!("{voted} · {state}"))));
    out
}

fn reacted(lines: &Lines<'_>, reaction: &Reaction) -> String {
    format!("{} {}", isolate(&clean(&reaction.emoji)), names(lines, &reaction.by, reaction.own, reaction.count))
}

/// A few names, the own account last as "you", and how many more there are.
fn names(lines: &Lines<'_>, by: &[String], own: bool, count: u32) -> String {
    let others = by.iter().filter(|account| !own || !lines.is_own(account));
    let mut names: Vec<String> = others.take(NAMES).map(|account| lines.name(account)).collect();
    if own {
        names.push("you".into());
    }
    let more = (count as usize).saturating_sub(names.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", names.join(", "))
}

/// Decimal degrees as a `geo:` URI, which maps open.
fn place(location: &Location) -> String {
    let Location { latitude_e7, longitude_e7, accuracy, label } = location;
    content::Location::new(*latitude_e7, *longitude_e7, *accuracy, label)
        .map_or_else(|| "nowhere on Earth".into(), |place| place.uri())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Color;

    fn message(kind: MessageKind) -> Message {
        Message {
            id: "0123456789abcdef".into(),
            conversation: String::new(),
            from: "bob@relay.example".into(),
            own: false,
            sent: 0,
            time: 1,
            seq: 1,
            status: MessageStatus::Read,
            kind,
            reply_to: None,
            quote: None,
            mentions: Vec::new(),
            mentions_me: false,
            forwarded: false,
            edited: None,
            preview: None,
            reactions: Vec::new(),
            pinned: false,
            stays: 0,
            vanishes: None,
        }
    }

    fn printed(message: &Message) -> Vec<String> {
        let terminal = Terminal::new(false, Color::Never);
        let lines = Lines::new(&terminal, "alice@relay.example", Default::default());
        super::lines(&lines, &terminal, message, false)
    }

    fn text(text: &str) -> Message {
        message(MessageKind::Text { text: text.into() })
    }

    #[test]
    fn labels_can_not_lie_about_where_they_lead() {
        let lying = text("[@alice](mimi://evil.example/u/mallory) and [https://bank.example](https://evil.example)");
        assert!(
            printed(&lying)[0].ends_with("bob: @mallory@evil.example and https://bank.example (https://evil.example)")
        );
    }

    #[test]
    fn nobody_writes_what_looks_like_anothers_message_or_turns_a_line_round() {
        let faked = text("one\n  12:00  alice: \u{5d0}\u{202e}gnp.exe");
        assert_eq!(printed(&faked)[1], "      \u{2068}  12:00  alice: \u{5d0}\u{fffd}gnp.exe\u{2069}");
        let turned = Message { from: "\u{5d1}\u{5d5}\u{5d1}@relay.example".into(), ..text("abc") };
        assert!(printed(&turned)[0].contains("\u{2068}\u{5d1}\u{5d5}\u{5d1}\u{2069}: abc"));
        for line in printed(&text(&"e\u{301}\u{5d0}\u{202e}\n".repeat(2000))) {
            let (open, closed) = (line.matches('\u{2068}').count(), line.matches('\u{2069}').count());
            assert_eq!(open, closed, "isolates end on the line where they begin");
        }
    }

    #[test]
    fn what_belongs_to_a_message_stands_below_it() {
        let quote = Quote { known: true, from: "alice@relay.example".into(), excerpt: "two\nlines".into() };
        let by = ["a", "b", "c", "d"].map(|name| format!("{name}@relay.example")).to_vec();
        let reactions = vec![
            Reaction { emoji: "+1".into(), count: 9, own: false, by: by.clone() },
            Reaction { emoji: "-1".into(), count: 2, own: true, by: vec!["alice@relay.example".into(), by[0].clone()] },
        ];
        let full = Message { quote: Some(quote), reactions, edited: Some(1), pinned: true, ..text("hi") };
        let lines = printed(&full);
        assert_eq!(lines[0], "      ↳ alice: two lines");
        assert!(lines[1].ends_with("bob: hi  (edited)  (pinned)"));
        assert_eq!(lines[2], "      +1 a, b, c and 6 more · -1 a, you");
    }
}
