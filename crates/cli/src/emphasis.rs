//! The part of Markdown that a terminal can show: emphasis, code, strikethrough, headings. Where there are no colours the source
//! stays as it was typed, which reads well too.
//!
//! What always holds: what is painted is text that was cleaned before; each span begins and ends on one line, so that no colour runs
//! into what stands below.

use crate::terminal::{Paint, Terminal};

/// Delimiters and what they mean, the longer ones first.
const SPANS: [(&str, Paint); 6] = [
    ("**", Paint::Strong),
    ("__", Paint::Strong),
    ("~~", Paint::Struck),
    ("*", Paint::Slanted),
    ("_", Paint::Slanted),
    ("`", Paint::Code),
];

/// Cleaned text with its emphasis painted.
pub fn painted(terminal: &Terminal, text: &str) -> String {
    if !terminal.has_colors() {
        return text.to_owned();
    }
    text.split('\n').map(|line| painted_line(terminal, line)).collect::<Vec<_>>().join("\n")
}

fn painted_line(terminal: &Terminal, line: &str) -> String {
    let heading = line.trim_start_matches('#');
    if heading.len() < line.len() && line.len() - heading.len() <= 6 && heading.starts_with(' ') {
        return terminal.paint(Paint::Strong, heading.trim_start());
    }
    let mut out = String::new();
    let (mut rest, mut before) = (line, ' ');
    while let Some(c) = rest.chars().next() {
        if c == '\\'
            && let Some(escaped) = rest.chars().nth(1).filter(char::is_ascii_punctuation)
        {
            out.push(escaped);
            rest = rest.get(2..).unwrap_or_default();
            before = escaped;
            continue;
        }
        match SPANS.iter().find_map(|(mark, paint)| Some((span(rest, mark, before)?, *paint, mark.len()))) {
            Some((inside, paint, mark)) => {
                out.push_str(&terminal.paint(paint, inside));
                rest = rest.get(inside.len() + 2 * mark..).unwrap_or_default();
                before = '*';
            }
            None => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                before = c;
            }
        }
    }
    out
}

/// What stands between two `mark`s, if `text` begins with a span of it. A mark inside of a word is none: `snake_case_name`, `2*3*4`.
fn span<'a>(text: &'a str, mark: &str, before: char) -> Option<&'a str> {
    let after = text.strip_prefix(mark)?;
    if before.is_alphanumeric() || after.starts_with([' ', '\t']) {
        return None;
    }
    let end = after.find(mark)?;
    let (inside, behind) = (after.get(..end)?, after.get(end + mark.len()..)?);
    let ends = !inside.is_empty() && !inside.ends_with([' ', '\t']);
    (ends && !behind.starts_with(char::is_alphanumeric)).then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Color;

    #[test]
    fn emphasis_is_painted_and_nothing_else() {
        let terminal = Terminal::new(false, Color::Always);
        for (typed, shown) in [
            ("a **b** _c_ ~~d~~ `e`", "a {1}b{0} {3}c{0} {9}d{0} {36}e{0}"),
            ("__Good  work__!", "{1}Good  work{0}!"),
            ("# Title", "{1}Title{0}"),
            ("#1 is not a title", "#1 is not a title"),
            ("snake_case_name 2*3*4 * * ** ** \\*not\\*", "snake_case_name 2*3*4 * * ** ** *not*"),
            ("**open\nnext**", "**open\nnext**"),
            ("é*é*é _é_", "é*é*é {3}é{0}"),
        ] {
            let shown = shown.replace('{', "\u{1b}[").replace('}', "m");
            assert_eq!(painted(&terminal, typed), shown, "{typed}");
        }
        let plain = Terminal::new(false, Color::Never);
        assert_eq!(painted(&plain, "**a** \\*"), "**a** \\*");
        for hostile in ["*".repeat(20_000), "_a".repeat(10_000), "`*_~".repeat(5_000)] {
            assert!(painted(&terminal, &hostile).len() < 10 * hostile.len());
        }
    }
}
