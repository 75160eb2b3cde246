//! Mentions: Markdown links to a MIMI URI of an account, `[@Alice](mimi://relay.example/u/alice)`, as in the working group's
//! examples.

/// How many mentions of one message are looked at.
pub const MAX_MENTIONS: usize = 256;

/// The MIMI URI of an account: `mimi://relay/u/name`.
pub fn account_uri(name: &str, relay: &str) -> String {
    format!("mimi://{relay}/u/{name}")
}

/// The account that a MIMI URI names, as `name@relay`. Not checked to be an address.
pub fn account_of(uri: &str) -> Option<String> {
    let (relay, name) = uri.strip_prefix("mimi://")?.split_once("/u/")?;
    (!relay.is_empty() && !name.is_empty()).then(|| format!("{name}@{relay}"))
}

/// A piece of Markdown as far as links matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// No link.
    Plain(&'a str),
    /// `[label](target)`.
    Link {
        /// What is to be shown.
        label: &'a str,
        /// Where it leads.
        target: &'a str,
    },
}

/// Divides Markdown into links and what lies between; code spans and `\[` are no links. Takes time in proportion to the length.
pub fn pieces(markdown: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    let bytes = markdown.as_bytes();
    // Once nothing closes a code span here, nothing does later either.
    let mut spans_end = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'`' if !spans_end => match markdown.get(at + 1..).and_then(|rest| rest.find('`')) {
                Some(length) => at += length + 2,
                None => {
                    spans_end = true;
                    at += 1;
                }
            },
            b'[' => match link(markdown, at) {
                Some((label, target, end)) => {
                    if from < at {
                        pieces.extend(markdown.get(from..at).map(Piece::Plain));
                    }
                    pieces.push(Piece::Link { label, target });
                    (from, at) = (end, end);
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    if from < markdown.len() {
        pieces.extend(markdown.get(from..).map(Piece::Plain));
    }
    pieces
}

/// The link that begins at `at`, if one does, and where it ends. Neither part may hold a `[`, so that no byte is looked at for
/// more than one link.
fn link(markdown: &str, at: usize) -> Option<(&str, &str, usize)> {
    let rest = markdown.get(at + 1..)?;
    let middle = rest.find(['[', ']', '\n'])?;
    let (label, behind) = (rest.get(..middle)?, rest.get(middle..)?.strip_prefix("](")?);
    let end = behind.find(|c: char| matches!(c, '[' | ')') || c.is_whitespace())?;
    let (target, _) = (behind.get(..end)?, behind.get(end..)?.strip_prefix(')')?);
    Some((label, target, at + 1 + middle + 2 + end + 1))
}

/// The accounts that a Markdown text mentions, as `name@relay`, each once, in order, at most [`MAX_MENTIONS`].
pub fn mentions(markdown: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for piece in pieces(markdown) {
        if let Piece::Link { target, .. } = piece
            && let Some(account) = account_of(target)
            && !found.contains(&account)
        {
            found.push(account);
            if found.len() == MAX_MENTIONS {
                break;
            }
        }
    }
    found
}

/// Markdown as words: mentions as `@name`, other links as their label and where they lead.
pub fn in_plain(markdown: &str) -> String {
    let mut out = String::with_capacity(markdown.len());
    for piece in pieces(markdown) {
        match piece {
            Piece::Plain(text) => out.push_str(text),
            // The name of the account, not what the link claims it to be.
            Piece::Link { label, target } => match account_of(target) {
                Some(account) => out.push_str(&format!("@{}", account.split('@').next().unwrap_or(label))),
                None => out.push_str(&format!("{label} ({target})")),
            },
        }
    }
    out
}

/// Makes links of `@name` and `@name@relay` where `account` knows the account that is meant. `\@name` stays as it is, and so does
/// what stands in code spans and links.
pub fn link_mentions(markdown: &str, account: impl Fn(&str) -> Option<(String, String)>) -> String {
    let mut out = String::with_capacity(markdown.len());
    for piece in pieces(markdown) {
        match piece {
            Piece::Link { label, target } => out.push_str(&format!("[{label}]({target})")),
            Piece::Plain(text) => link_plain(&mut out, text, &account),
        }
    }
    out
}

fn link_plain(out: &mut String, text: &str, account: &impl Fn(&str) -> Option<(String, String)>) {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':');
    let mut rest = text;
    let mut before = None;
    while let Some(at) = rest.find(['@', '`', '\\']) {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        before = head.chars().next_back().or(before);
        let taken = match tail.as_bytes().first() {
            Some(b'`') => tail.get(1..).and_then(|rest| rest.find('`')).map_or(1, |length| length + 2),
            Some(b'\\') => 1 + tail.chars().nth(1).map_or(0, char::len_utf8),
            _ => {
                let word = tail.get(1..).unwrap_or_default();
                let length = word.find(|c| !is_part(c)).unwrap_or(word.len());
                // A sentence's end is no part of a name.
                let name = word.get(..length).unwrap_or_default().trim_end_matches(['.', ':', '-', '@', '_']);
                let starts = before.is_none_or(|c| !is_part(c));
                match account(name).filter(|_| starts && !name.is_empty()) {
                    Some((local, relay)) => {
                        out.push_str(&format!("[@{name}]({})", account_uri(&local, &relay)));
                        rest = tail.get(1 + name.len()..).unwrap_or_default();
                        before = Some(')');
                        continue;
                    }
                    None => 1,
                }
            }
        };
        let (kept, after) = tail.split_at(taken);
        out.push_str(kept);
        before = kept.chars().next_back();
        rest = after;
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(name: &str) -> Option<(String, String)> {
        match name {
            "bob" | "bob@relay.example" => Some(("bob".into(), "relay.example".into())),
            "bob.b" => Some(("bob.b".into(), "relay.example:8443".into())),
            _ => None,
        }
    }

    #[test]
    fn names_of_members_become_links() {
        let bob = "[@bob](mimi://relay.example/u/bob)";
        for (typed, sent) in [
            ("@bob", bob.to_owned()),
            ("hi @bob, look", format!("hi {bob}, look")),
            ("(@bob)", format!("({bob})")),
            ("@bob.", format!("{bob}.")),
            ("@bob@relay.example!", "[@bob@relay.example](mimi://relay.example/u/bob)!".into()),
            ("@bob.b", "[@bob.b](mimi://relay.example:8443/u/bob.b)".into()),
            ("@bobby and bob", "@bobby and bob".into()),
            ("mail@bob", "mail@bob".into()),
            ("\\@bob", "\\@bob".into()),
            ("`@bob` @bob", format!("`@bob` {bob}")),
            ("[x @bob](https://x) @bob", format!("[x @bob](https://x) {bob}")),
            ("@ @@ @bob@bob", "@ @@ @bob@bob".into()),
            ("é@bob ü @bob", format!("é@bob ü {bob}")),
        ] {
            assert_eq!(link_mentions(typed, known), sent, "{typed}");
        }
    }

    #[test]
    fn mentions_are_read() {
        let text = "Kudos to [@Alice Smith](mimi://example.com/u/alice-smith), [@x](mimi://example.com/u/alice-smith), \
                    `[@n](mimi://n/u/n)`, \\[@e](mimi://e/u/e), [@b](mimi://b:1/u/b) [room](mimi://example.com/r/room)";
        assert_eq!(mentions(text), ["alice-smith@example.com", "b@b:1"]);
        assert_eq!(mentions(&"[@a](mimi://r/u/a) ".repeat(3000)), ["a@r"]);
        let many: String = (0..1000).map(|n| format!("[@a](mimi://r/u/a{n})")).collect();
        assert_eq!(mentions(&many).len(), MAX_MENTIONS);
    }

    #[test]
    fn brackets_without_end_cost_little() {
        for hostile in [
            "[".repeat(64_000),
            "[](".repeat(20_000),
            "`".repeat(64_001),
            "[a](".repeat(16_000) + ")",
            "\\".repeat(64_000),
        ] {
            assert!(mentions(&hostile).is_empty());
            assert_eq!(pieces(&hostile).iter().map(length).sum::<usize>(), hostile.len());
        }
    }

    fn length(piece: &Piece<'_>) -> usize {
        match piece {
            Piece::Plain(text) => text.len(),
            Piece::Link { label, target } => label.len() + target.len() + 4,
        }
    }

    proptest! {
        #[test]
        fn pieces_make_the_whole(text in "(\\[|\\]|\\(|\\)|`|@|bob|\\\\|é| |x|mimi://r/u/a){0,30}") {
            let mut whole = String::new();
            for piece in pieces(&text) {
                match piece {
                    Piece::Plain(text) => whole.push_str(text),
                    Piece::Link { label, target } => whole.push_str(&format!("[{label}]({target})")),
                }
            }
            prop_assert_eq!(&whole, &text);
            prop_assert_eq!(link_mentions(&text, |_| None), text);
        }
    }
}
