//! The "No HTML" rule of GFM-MIMI (draft-ietf-mimi-content-08, section "Specifics of Github Flavored Markdown in MIMI"):
//! the `<` of anything that could be an HTML tag is sent as `&lt;`.
//!
//! What a user typed comes back exactly: a `&lt;` that he typed himself in that place is sent as `&amp;lt;`, so that every
//! sending adds one level of escaping and every reading takes one away. Programs that render Markdown show the same.

/// True if `<` and then `rest` could begin an HTML tag (GFM, section 6.10). An autolink such as `<mimi://…>` can't.
fn begins_tag(rest: &str) -> bool {
    match rest.as_bytes() {
        [b'!' | b'?', ..] => true,
        [b'/', letter, ..] => letter.is_ascii_alphabetic(),
        [letter, ..] if letter.is_ascii_alphabetic() => {
            let name = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count();
            matches!(rest.as_bytes().get(name), Some(b'/' | b'>' | b' ' | b'\t' | b'\n' | b'\r'))
        }
        _ => false,
    }
}

/// If `text` begins with `&lt;`, `&amp;lt;`, `&amp;amp;lt;` … before what could be a tag: that, and what follows.
fn escaped(text: &str) -> Option<(&str, &str)> {
    let mut rest = text.strip_prefix('&')?;
    while let Some(shorter) = rest.strip_prefix("amp;") {
        rest = shorter;
    }
    let rest = rest.strip_prefix("lt;")?;
    text.split_at_checked(text.len() - rest.len()).filter(|_| begins_tag(rest))
}

/// What is sent for what a user typed.
pub(crate) fn to_gfm_mimi(typed: &str) -> String {
    let mut out = String::with_capacity(typed.len());
    let mut rest = typed;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = match escaped(from) {
            Some((taken, left)) => {
                out.push_str("&amp;");
                out.push_str(taken.strip_prefix('&').unwrap_or(taken));
                left
            }
            None => {
                let mut left = from.chars();
                let first = left.next();
                if first == Some('<') && begins_tag(left.as_str()) {
                    out.push_str("&lt;");
                } else {
                    out.extend(first);
                }
                left.as_str()
            }
        };
    }
    out.push_str(rest);
    out
}

/// What is shown for what was sent.
pub(crate) fn from_gfm_mimi(sent: &str) -> String {
    let mut out = String::with_capacity(sent.len());
    let mut rest = sent;
    while let Some(at) = rest.find('&') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = match escaped(from) {
            Some((taken, left)) => {
                match taken.strip_prefix("&amp;") {
                    Some(inner) => {
                        out.push('&');
                        out.push_str(inner);
                    }
                    None => out.push('<'),
                }
                left
            }
            None => {
                out.push('&');
                from.strip_prefix('&').unwrap_or_default()
            }
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_escaped_and_nothing_else() {
        for (typed, sent) in [
            ("<b>bold</b>", "&lt;b>bold&lt;/b>"),
            ("<!-- x -->", "&lt;!-- x -->"),
            ("<?php ?>", "&lt;?php ?>"),
            ("<img src=x>", "&lt;img src=x>"),
            ("<br/>", "&lt;br/>"),
            ("a < b && c <3", "a < b && c <3"),
            ("<mimi://example.com/u/alice>", "<mimi://example.com/u/alice>"),
            ("&lt;b>", "&amp;lt;b>"),
            ("&lt; &amp; &amp;lt;", "&lt; &amp; &amp;lt;"),
        ] {
            assert_eq!(to_gfm_mimi(typed), sent);
            assert_eq!(from_gfm_mimi(sent), typed);
        }
    }

    proptest! {
        #[test]
        fn what_was_typed_comes_back(typed in "(<|&|amp;|lt;|b|/|>|!| |é|\\?|-){0,40}") {
            let sent = to_gfm_mimi(&typed);
            prop_assert_eq!(from_gfm_mimi(&sent), typed);
            for (at, _) in sent.match_indices('<') {
                prop_assert!(!begins_tag(sent.split_at(at + 1).1), "{}", sent);
            }
        }
    }
}
