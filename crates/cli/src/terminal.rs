//! Where output goes, how it is coloured, and what of others' text may reach a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use api::{Envelope, Event, Problem, Shown};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::args::Color;
use crate::qr;

/// Standard output and standard error of this run.
pub struct Terminal {
    pub json: bool,
    color: bool,
    color_errors: bool,
    is_terminal: bool,
    errors_are_terminal: bool,
}

/// A colour, or rather its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// A name or a heading.
    Strong,
    /// Of less interest.
    Faint,
    /// As it should be.
    Good,
    /// Needs a look.
    Warn,
    /// Went wrong.
    Bad,
    /// Stressed by its writer.
    Slanted,
    /// Struck out by its writer.
    Struck,
    /// For machines.
    Code,
}

impl Terminal {
    pub fn new(json: bool, color: Color) -> Self {
        let (is_terminal, errors_are_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let wanted = |is_terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            // https://no-color.org: present and not empty.
            Color::Auto => {
                let off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                is_terminal && !off && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self {
            json,
            color: wanted(is_terminal) && !json,
            color_errors: wanted(errors_are_terminal),
            is_terminal,
            errors_are_terminal,
        }
    }

    /// A line of the result.
    pub fn line(&self, line: impl AsRef<str>) {
        emit(&mut io::stdout().lock(), line.as_ref());
    }

    /// Empties the screen and what can be scrolled back to.
    pub fn clear(&self) {
        if self.is_terminal {
            emit(&mut io::stdout().lock(), "\x1b[H\x1b[2J\x1b[3J");
        }
    }

    /// An object of the result, with `--json`.
    pub fn object(&self, object: &impl Serialize) {
        self.json_line(&Shown { version: api::VERSION, object });
    }

    /// An event, with `--json`.
    pub fn event(&self, event: Event) {
        self.json_line(&Envelope { version: api::VERSION, event });
    }

    fn json_line(&self, object: &impl Serialize) {
        // Serialising the vocabulary's plain data can't fail: its maps have text for keys and its numbers are finite.
        if let Ok(line) = serde_json::to_string(object) {
            self.line(line);
        }
    }

    /// A line about what goes on, for people only; not part of the result.
    pub fn note(&self, line: impl AsRef<str>) {
        let line = format!("· {}", line.as_ref());
        emit(&mut io::stderr().lock(), &paint(self.color_errors, Paint::Faint, &line));
    }

    /// Something that the person should read, though the command goes on.
    pub fn notice(&self, problem: &Problem) {
        if self.json {
            return;
        }
        let mark = paint(self.color_errors, Paint::Warn, "Note:");
        let text = [&problem.what, &problem.why, &problem.next].map(|s| clean(s).into_owned());
        emit(
            &mut io::stderr().lock(),
            &format!("{mark} {}", text.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")),
        );
    }

    /// What went wrong: in words on standard error, as an object with `--json`.
    pub fn problem(&self, problem: &Problem) {
        if self.json {
            return self.event(Event::Failed { command: 0, problem: problem.clone() });
        }
        let mut text = format!("{} {}", paint(self.color_errors, Paint::Bad, "Error:"), clean(&problem.what));
        if !problem.why.is_empty() {
            text.push_str(&format!("\n       {}", clean(&problem.why)));
        }
        if !problem.next.is_empty() {
            let mark = paint(self.color_errors, Paint::Strong, "What to do:");
            text.push_str(&format!("\n{mark} {}", clean(&problem.next)));
        }
        emit(&mut io::stderr().lock(), &text);
    }

    /// `text` in the colour of its meaning, if there are colours.
    pub fn paint(&self, meaning: Paint, text: impl AsRef<str>) -> String {
        paint(self.color, meaning, text.as_ref())
    }

    /// Something that may take a while. It shows itself only if it does.
    pub fn wait(&self, what: &str) -> Wait<'_> {
        Wait { terminal: self, what: what.to_owned(), bar: None, said: false }
    }

    /// True if there is a person who can be asked, and who sees what is printed.
    pub fn can_ask(&self) -> bool {
        self.is_terminal && !self.json && io::stdin().is_terminal()
    }

    /// Asks for consent; `None` if there is nobody to ask.
    pub fn confirm(&self, question: &str) -> Option<bool> {
        if !io::stdin().is_terminal() || !self.errors_are_terminal {
            return None;
        }
        let mut errors = io::stderr().lock();
        let _ = write!(errors, "{question} [y/N] ");
        let _ = errors.flush();
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Draws `text` as a QR code. Where nobody looks, where there are no colours to draw with, or where it doesn't fit, nothing
    /// is drawn, so the text itself has to stand beside it in any case.
    pub fn qr(&self, text: &str) {
        if self.json || !self.is_terminal || !self.color {
            return;
        }
        let Some((terminal_size::Width(columns), _)) = terminal_size::terminal_size_of(io::stdout()) else { return };
        for line in qr::draw(text, columns.into()).unwrap_or_default() {
            self.line(line);
        }
    }

    /// True if the result has colours.
    pub fn has_colors(&self) -> bool {
        self.color
    }

    /// True if a person looks at the result.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

/// Shown while something takes longer than a second.
pub struct Wait<'a> {
    terminal: &'a Terminal,
    what: String,
    bar: Option<ProgressBar>,
    said: bool,
}

impl Wait<'_> {
    /// How long the person is left in peace.
    pub const PATIENCE: Duration = Duration::from_secs(1);

    /// It does take long.
    pub fn show(&mut self) {
        if self.terminal.json || self.said {
            return;
        }
        self.said = true;
        if self.terminal.errors_are_terminal {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
            }
            bar.set_message(self.what.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            self.bar = Some(bar);
        } else {
            self.terminal.note(format!("{} …", self.what));
        }
    }

    /// What it is at now.
    pub fn now(&mut self, what: &str) {
        let what = clean(what).into_owned();
        if let Some(bar) = &self.bar {
            bar.set_message(what.clone());
        } else if self.said && what != self.what && !self.terminal.json {
            self.terminal.note(format!("{what} …"));
        }
        self.what = what;
    }

    /// Prints around the spinner.
    pub fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints a line. Whoever closed the other end of the pipe has seen enough.
fn emit(to: &mut impl Write, line: &str) {
    if let Err(error) = writeln!(to, "{line}").and_then(|()| to.flush())
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

fn paint(color: bool, meaning: Paint, text: &str) -> String {
    if !color {
        return text.to_owned();
    }
    let code = match meaning {
        Paint::Strong => "1",
        Paint::Faint => "2",
        Paint::Good => "32",
        Paint::Warn => "33",
        Paint::Bad => "1;31",
        Paint::Slanted => "3",
        Paint::Struck => "9",
        Paint::Code => "36",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Text from others without what could move the cursor, change colours, ring bells or reorder what is printed. Line breaks stay.
pub fn clean(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| {
        (c.is_control() && c != '\n')
            // Marks, embeddings, overrides and isolates (UAX #9), and the two separators that some terminals break lines at.
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}')
            // Tags: invisible text.
            || matches!(c, '\u{e0000}'..='\u{e007f}')
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let replace = |c: char| match c {
        '\t' => ' ',
        c if is_harmful(c) => '\u{fffd}',
        c => c,
    };
    Cow::Owned(text.replace("\r\n", "\n").chars().map(replace).collect())
}

/// Text that keeps its own direction and leaves that of what stands beside it alone (UAX #9, first strong isolate), if it holds
/// anything that is written from the right. What went through [`clean`] can't end the isolate by itself.
pub fn isolate(text: &str) -> Cow<'_, str> {
    let from_the_right = |c: char| matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}');
    if text.contains(from_the_right) { Cow::Owned(format!("\u{2068}{text}\u{2069}")) } else { Cow::Borrowed(text) }
}

/// Cleaned text on one line, at most `width` columns wide.
pub fn short(text: &str, width: usize) -> String {
    let line = clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if line.width() <= width {
        return line;
    }
    let mut cut = String::new();
    for c in line.chars() {
        if cut.width() + unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) + 1 > width {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

/// `text` with as many spaces as it needs to be `width` columns wide.
pub fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_others_can_not_play_with_the_terminal() {
        assert_eq!(clean("plain, ünïcödé, עברית, 🧵\nsecond line"), "plain, ünïcödé, עברית, 🧵\nsecond line");
        assert_eq!(clean("\u{1b}[2Jgone\u{7}\u{8}\u{9b}31m"), "\u{fffd}[2Jgone\u{fffd}\u{fffd}\u{fffd}31m");
        assert_eq!(clean("photo\u{202e}gpj.exe\u{2066}\u{2069}"), "photo\u{fffd}gpj.exe\u{fffd}\u{fffd}");
        assert_eq!(clean("a\tb\r\nc\rd"), "a b\nc\u{fffd}d");
    }

    #[test]
    fn a_long_text_is_cut_by_columns_not_by_bytes() {
        assert_eq!(short("one\ntwo", 10), "one two");
        assert_eq!(short("日本語日本語", 7), "日本語…");
        assert_eq!(pad("日本", 6), "日本  ");
    }
}
