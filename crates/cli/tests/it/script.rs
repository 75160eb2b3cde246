//! The transcripts' format and how they are compared.
//!
//! ```text
//! # A remark.
//! relay: start                        also: kill, forget (all its accounts and logs), and replace (its certificate as well)
//! second relay: start                 another one, whose name is `[second]`
//! file: cut NAME                      the end of a file in `[home]` gets lost; `file: spoil NAME` changes a byte in its middle,
//!                                     `file: swell NAME` makes it 33 MiB large
//! [alice]$ transom send bob "hi"      runs to its end; what it prints follows
//! [bob]$ transom send alice - < some words
//! [bob]% transom block alice < y      on a terminal, at which somebody types that (`|` is the end of a line)
//! [bob]& transom watch                runs on; `[bob] until TEXT` reads on to a line with TEXT,
//! [bob] until TEXT                    `[bob] interrupt` is Ctrl+C, `[bob] kill` is kill -9,
//! [bob] wait                          `[bob] wait` waits for its end
//! ```
//!
//! A line of output is kept as it is, except for what differs from run to run: see `Stage::mask`. Lines of progress (they begin with
//! "· ") are left out, since they appear only where something takes longer than a second, and so are empty lines and some events
//! (`EVENTS_LEFT_OUT`). `picture.png` (also as `cut.png` and `large.png`, to be damaged) and `drawing.svg` are in `[home]`.
//! An exit code other than 0 follows as
//! `[exit N]`. `[relay]` in a command stands for the relay's name, `[code]` for the last link code that was printed, `[device]` for
//! the last device id that `devices list` printed for another device than this one, `[message]` for the last message id printed,
//! `[scheduled]` for the last id of what is to be sent later, `[link]` for the last invite link that a line consists of, `[recovery]` for the last recovery key, `[other]` for the one before it,
//! `[pin]` for the file that a profile keeps the relay's authority in, `[long]` for a text of 40,000 letters, `[bytes]` in
//! what is typed for some that are no text, `[web]` for a web server that is no relay. `transom {NAME=value}` sets a variable of
//! the environment, `{NAME=}` takes it away.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;

use crate::processes::{Ended, Relay, Transom, web_server};

pub fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/transcripts"].iter().collect()
}

/// Runs one transcript; panics with a diff if something else was printed.
pub fn run(name: &str) {
    let path = directory().join(format!("{name}.txt"));
    let wanted = std::fs::read_to_string(&path).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut stage = Stage {
        relay: Relay::new(&home.path().join("relay")),
        second: Relay::new(&home.path().join("second")),
        web: None,
        home: home.path().join("people"),
        running: HashMap::new(),
        code: String::new(),
        device: String::new(),
        message: String::new(),
        scheduled: String::new(),
        link: String::new(),
        keys: Vec::new(),
        environment: HashMap::new(),
    };
    std::fs::create_dir_all(&stage.home).unwrap();
    for name in ["picture.png", "cut.png", "large.png"] {
        std::fs::write(stage.home.join(name), include_bytes!("picture.png")).unwrap();
    }
    std::fs::write(stage.home.join("drawing.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
    let mut printed = String::new();
    for line in wanted.lines() {
        if let Some(remark) = line.strip_prefix('#') {
            let _ = writeln!(printed, "#{remark}");
        } else if line.is_empty() {
            printed.push('\n');
        } else if is_action(line) {
            let _ = writeln!(printed, "{line}");
            for output in stage.act(line) {
                let _ = writeln!(printed, "{output}");
            }
        }
    }
    if std::env::var_os("TRANSCRIPTS").is_some_and(|mode| mode == "overwrite") {
        std::fs::write(&path, printed).unwrap();
    } else if printed != wanted {
        panic!(
            "{name} reads otherwise than expected (TRANSCRIPTS=overwrite keeps it):\n{}",
            difference(&wanted, &printed)
        );
    }
}

fn is_action(line: &str) -> bool {
    line.starts_with("relay: ")
        || line.starts_with("second relay: ")
        || line.starts_with("file: ")
        || actor(line).is_some()
}

/// `[name]` and what follows it.
fn actor(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix('[')?.split_once(']')?;
    let is_action = ["$ transom", "& transom", "% transom", " until ", " interrupt", " kill", " wait"]
        .iter()
        .any(|a| rest.starts_with(a));
    is_action.then_some((name, rest))
}

struct Stage {
    relay: Relay,
    second: Relay,
    web: Option<u16>,
    home: PathBuf,
    running: HashMap<String, Transom>,
    code: String,
    device: String,
    message: String,
    scheduled: String,
    link: String,
    keys: Vec<String>,
    environment: HashMap<String, Vec<(String, String)>>,
}

impl Stage {
    fn act(&mut self, line: &str) -> Vec<String> {
        let (line, relay) = match line.strip_prefix("second ") {
            Some(line) => (line, &mut self.second),
            None => (line, &mut self.relay),
        };
        match line {
            "relay: start" => relay.start(),
            "relay: kill" => relay.kill(),
            "relay: forget" => relay.forget(),
            "relay: replace" => relay.replace(),
            _ if line.starts_with("file: ") => self.damage(line),
            _ => {
                let (who, what) = actor(line).expect("an action has an actor");
                return self.actor(who, what);
            }
        }
        Vec::new()
    }

    /// What disks and downloads do to files.
    fn damage(&self, line: &str) {
        let (how, name) = line.trim_start_matches("file: ").split_once(' ').expect("a file has a name");
        let path = self.home.join(name);
        if how == "swell" {
            return std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(33 << 20)).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        match how {
            "cut" => bytes.truncate(half),
            "spoil" => bytes[half] ^= 1,
            other => panic!("nobody knows how to {other} a file"),
        }
        std::fs::write(&path, bytes).unwrap();
    }

    fn actor(&mut self, who: &str, what: &str) -> Vec<String> {
        if let Some(command) = what.strip_prefix("$ transom") {
            let (command, input) = match command.split_once(" < ") {
                Some((command, input)) => (command, Some(input)),
                None => (command, None),
            };
            let mut process = self.start(who, command);
            if let Some(input) = input {
                let text = self.with_keys(input).replace("[long]", &long());
                process.input(if text == "[bytes]" { b"caf\xe9" } else { text.as_bytes() });
            }
            return self.ended(process.end());
        }
        if let Some(command) = what.strip_prefix("% transom") {
            let (command, typed) = command.split_once(" < ").expect("somebody types something");
            let (words, settings) = self.words(who, command);
            let typed = self.with_keys(typed).replace('|', "\n") + "\n";
            return self.ended(Transom::with_person(&self.home, who, &words, &settings, &typed).end());
        }
        if let Some(command) = what.strip_prefix("& transom") {
            let process = self.start(who, command);
            assert!(self.running.insert(who.to_owned(), process).is_none(), "{who} has a command running");
            return Vec::new();
        }
        let mut process = self.running.remove(who).unwrap_or_else(|| panic!("{who} has no command running"));
        match what.trim() {
            "interrupt" => process.signal("INT"),
            "kill" => process.signal("KILL"),
            "wait" => {}
            other => {
                let text = other.strip_prefix("until ").expect("an action is one of the known ones");
                let seen = process.until(text);
                self.running.insert(who.to_owned(), process);
                return self.print(&seen);
            }
        }
        let ended = process.end();
        self.ended(ended)
    }

    fn start(&mut self, who: &str, command: &str) -> Transom {
        let (words, settings) = self.words(who, command);
        Transom::start(&self.home, who, &words, &settings)
    }

    /// What a command consists of, and the settings that it runs with.
    fn words(&mut self, who: &str, command: &str) -> (Vec<String>, Vec<(String, String)>) {
        if command.contains("[web]") {
            self.web.get_or_insert_with(web_server);
        }
        let command = command
            .replace("[relay]", &self.relay.name())
            .replace("[second]", &self.second.name())
            .replace("[web]", &self.web())
            .replace("[http]", &self.relay.http.to_string())
            .replace("[code]", &self.code)
            .replace("[device]", &self.device)
            .replace("[message]", &self.message)
            .replace("[scheduled]", &self.scheduled)
            .replace("[link]", &self.link)
            .replace("[pin]", &self.pin())
            .replace("[long]", &long())
            .replace("[home]", &self.home.to_string_lossy());
        // `transom` may be followed by settings in braces: {NAME=value}.
        let (mut words, mut settings) = (Vec::new(), self.environment.get(who).cloned().unwrap_or_default());
        for word in split(&command) {
            match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')).and_then(|word| word.split_once('=')) {
                Some((name, value)) => settings.push((name.to_owned(), value.to_owned())),
                None => words.push(word),
            }
        }
        (words, settings)
    }

    fn web(&self) -> String {
        format!("localhost:{}", self.web.unwrap_or_default())
    }

    /// Where a profile keeps what it has pinned of the relay.
    fn pin(&self) -> String {
        format!("{}.pem", self.relay.name().replace(':', "_"))
    }

    fn with_keys(&self, text: &str) -> String {
        let key = |back| self.keys.len().checked_sub(back).and_then(|at| self.keys.get(at)).map_or("", String::as_str);
        text.replace("[recovery]", key(1)).replace("[other]", key(2))
    }

    fn ended(&mut self, ended: Ended) -> Vec<String> {
        let mut printed = self.print(&ended.out);
        printed.extend(self.print(&ended.errors));
        match ended.code {
            Some(0) => {}
            Some(code) => printed.push(format!("[exit {code}]")),
            None => printed.push("[killed]".into()),
        }
        printed
    }

    fn print(&mut self, lines: &[String]) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|line| left_on_screen(line)).collect();
        for line in &lines {
            if let Some(code) = line.trim().strip_prefix("transom devices link ").filter(|code| code.contains('/')) {
                self.code = code.to_owned();
            }
            if let Some(code) = field(line, "code").filter(|code| code.contains('/')) {
                self.code = code.to_owned();
            }
            if let Some(device) = field(line, "id").filter(|_| line.contains("\"this\":false")) {
                self.device = device.to_owned();
            }
            let word = line.split_whitespace().next().unwrap_or_default();
            if line.starts_with("  ") && word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit()) {
                self.message = word.to_owned();
            }
            if let Some((_, id)) = line.strip_suffix(").").and_then(|line| line.rsplit_once(" ("))
                && line.starts_with("Scheduled for ")
            {
                self.scheduled = id.to_owned();
            }
            if line.split('-').count() == 14 && line.trim().len() == 69 {
                self.keys.push(line.trim().to_owned());
            }
            if line.starts_with("https://") && line.contains("/join#") {
                self.link = line.trim().to_owned();
            }
            if line.contains("added ") && !line.contains("this one") {
                self.device = line.split_whitespace().next().unwrap_or_default().to_owned();
            }
        }
        let kept = lines.iter().filter(|line| {
            !line.starts_with("· ")
                && !line.trim().is_empty()
                && !EVENTS_LEFT_OUT.iter().any(|event| line.contains(event))
        });
        kept.map(|line| self.mask(line)).collect()
    }

    /// Replaces what differs from run to run: link codes, names of relays, and words as [`mask_word`] says.
    fn mask(&self, line: &str) -> String {
        let line = if self.code.is_empty() { line.to_owned() } else { line.replace(&self.code, "[code]") };
        let line = without_secret(&line).replace(&self.relay.name(), "[relay]").replace(&self.pin(), "[pin]");
        let line = without_date(&line).replace(&*self.home.to_string_lossy(), "[home]");
        let line = self.keys.iter().fold(line, |line, key| line.replace(key, "[recovery]"));
        let line = line.replace(&format!("localhost:{}", self.relay.http), "localhost:[http]");
        let line = line.replace(&self.second.name(), "[second]").replace(&self.web(), "[web]");
        without_day(&mask(line.trim_end()))
    }
}

/// Events of `watch --json` and of transfers whose number hangs on how fast things are, and those that say that what was shown is
/// marked as read: what a person asks for is command 0.
const EVENTS_LEFT_OUT: [&str; 5] = [
    r#""event":"connection","#,
    r#""event":"conversation","#,
    r#""state":"under_way","#,
    r#""event":"done","command":1"#,
    r#""event":"done","command":2"#,
];

/// What a terminal shows of a line in the end: progress is drawn over.
fn left_on_screen(line: &str) -> String {
    let mut parts = line.rsplit('\r').next().unwrap_or_default().split('\u{1b}');
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str(part.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).get(1..).unwrap_or_default());
    }
    shown
}

/// More than fits anywhere.
fn long() -> String {
    "x".repeat(40_000)
}

/// The text of a field of a line of JSON.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix('{')?.split_once(&format!("\"{name}\":\""))?.1.split('"').next()
}

/// Invite links differ behind their `#`.
fn without_secret(line: &str) -> String {
    let Some((before, after)) = line.split_once("/join#") else { return line.to_owned() };
    let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(after.len());
    format!("{before}/join#[secret]{}", &after[end..])
}

/// The day in front of a masked time: only a run around midnight prints one.
fn without_day(line: &str) -> String {
    let mut parts = line.split("[time]");
    let mut printed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let words: Vec<&str> = printed.rsplitn(3, ' ').collect();
        if let [_, month, rest] = words.as_slice()
            && MONTHS.contains(month)
        {
            let before = rest.trim_end_matches(|c: char| c.is_ascii_digit());
            printed.truncate(before.len());
        }
        printed.push_str("[time]");
        printed.push_str(part);
    }
    printed
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A day and a time behind "until".
fn without_date(line: &str) -> String {
    let Some((before, after)) = line.split_once("until ") else { return line.to_owned() };
    match after.find(':').filter(|at| *at < 20 && after.starts_with(|c: char| c.is_ascii_digit())) {
        Some(colon) => format!("{before}until [date]{}", &after[colon + 3..]),
        None => line.to_owned(),
    }
}

fn mask(line: &str) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        masked.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        masked.push_str(&mask_word(word, &masked));
        rest = after;
    }
    masked + rest
}

/// Ids and fingerprints (eight hexadecimal digits and more), safety numbers (groups of five digits), times, numbers of processes and entries.
fn mask_word(word: &str, before: &str) -> String {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let is_time = word.split_once(':').is_some_and(|(h, m)| h.len() == 2 && m.len() == 2 && digits(h) && digits(m));
    if is_time {
        "[time]".into()
    } else if (before.ends_with("(process ") || before.ends_with("\"seq\":")) && digits(word) {
        "[number]".into()
    } else if word.len() >= 8 && word.chars().all(is_hex) {
        "[id]".into()
    } else if word.len() == 5 && digits(word) {
        "[5 digits]".into()
    } else {
        word.to_owned()
    }
}

/// Words as a shell would see them: quotes hold words together, nothing else is special.
fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The lines around the first difference, from both sides.
fn difference(wanted: &str, printed: &str) -> String {
    let (wanted, printed): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), printed.lines().collect());
    let same = wanted.iter().zip(&printed).take_while(|(a, b)| a == b).count();
    let part = |lines: &[&str], mark: char| {
        let from = same.min(lines.len());
        lines[from..].iter().take(12).map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    let before: String = wanted[same.saturating_sub(4)..same].iter().map(|line| format!("  {line}\n")).collect();
    before + &part(&wanted, '-') + &part(&printed, '+')
}
