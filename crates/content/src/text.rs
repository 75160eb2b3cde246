//! What of a stranger's text may be shown.

use unicode_normalization::char::is_combining_mark;

use crate::MAX_TEXT_BYTES;

/// How many combining marks in a row are shown. The Stream-Safe Text Format (UAX #15, section 13) calls 30 more than any
/// language needs; a thousand of them are an attack on whoever looks at them.
const MAX_COMBINING_RUN: usize = 30;

const ELLIPSIS: char = '…';

/// A text that may be shown: no longer than [`MAX_TEXT_BYTES`], no control characters (a terminal would obey them), no towers
/// of combining marks.
pub(crate) fn bounded(text: &str) -> String {
    cut(text.chars().filter(|character| !character.is_control() || matches!(character, '\n' | '\t')), MAX_TEXT_BYTES)
}

/// A name, a title, an option: one line of at most `max` bytes that can't reorder what stands beside it.
pub fn line(text: &str, max: usize) -> String {
    let mut words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut joined = words.next().unwrap_or_default().to_owned();
    for word in words {
        joined.push(' ');
        joined.push_str(word);
    }
    cut(joined.chars().filter(|character| !reorders(*character)), max)
}

/// Marks, embeddings, overrides and isolates (UAX #9), and what is invisible altogether.
pub(crate) const fn reorders(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Without towers of combining marks, and cut between characters.
fn cut(characters: impl Iterator<Item = char>, max: usize) -> String {
    let mut out = String::new();
    let mut combining = 0;
    for character in characters {
        combining = if is_combining_mark(character) { combining + 1 } else { 0 };
        if combining > MAX_COMBINING_RUN {
            continue;
        }
        out.push(character);
        if out.len() > max {
            while out.len() + ELLIPSIS.len_utf8() > max {
                out.pop();
            }
            out.push(ELLIPSIS);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_and_keeps_its_direction() {
        assert_eq!(line("  two\nlines\u{0}here ", 100), "two lines here");
        assert_eq!(line("photo\u{202e}gpj.exe\u{2066}", 100), "photogpj.exe");
        assert_eq!(line(&"é".repeat(50), 20), format!("{}…", "é".repeat(8)));
        assert_eq!(line(&format!("e{}", "\u{301}".repeat(500)), 1000).chars().count(), 31);
        assert_eq!(line("\u{feff}\u{200b} ", 10), "");
    }
}
