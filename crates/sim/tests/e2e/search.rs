//! Looking for canaries: in every file of a directory, in all memory of a process, in text.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use aho_corasick::AhoCorasick;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// What must not be found, each with what it is, in all the forms that it could have.
#[derive(Default)]
pub struct Canaries {
    needles: Vec<(String, Vec<u8>)>,
}

/// How much of a process is looked at in one go.
const WINDOW: usize = 1 << 20;

impl Canaries {
    /// Text, also as UTF-16, hexadecimal, base64 and lists of numbers.
    pub fn text(&mut self, what: &str, text: &str) {
        assert!(text.len() >= 6, "a text this short turns up by chance");
        self.bytes(what, text.as_bytes());
        self.add(what, text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    }

    /// Bytes, also as hexadecimal, base64 and lists of numbers.
    pub fn bytes(&mut self, what: &str, bytes: &[u8]) {
        assert!(bytes.len() >= 6, "bytes this few turn up by chance");
        self.add(what, bytes.to_vec());
        for encoding in [HEXLOWER, HEXUPPER] {
            self.add(what, encoding.encode(bytes).into_bytes());
        }
        // As `Debug` writes lists of bytes.
        for list in [format!("{bytes:?}"), format!("{bytes:x?}")] {
            self.add(what, list.trim_matches(['[', ']']).into());
        }
        // In base64 the same bytes read differently at each of the three places within a group: keep what doesn't depend on what
        // is around them.
        for shift in 0..3 {
            let whole = &bytes[shift..];
            let whole = &whole[..whole.len() / 3 * 3];
            if whole.len() >= 6 {
                self.add(what, BASE64.encode(whole).into_bytes());
                self.add(what, BASE64URL_NOPAD.encode(whole).into_bytes());
            }
        }
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(decoded) = HEXLOWER.decode(text.as_bytes())
            && decoded.len() >= 6
        {
            // An id as the command line prints it: what it stands for.
            self.bytes(what, &decoded);
        }
    }

    fn add(&mut self, what: &str, needle: Vec<u8>) {
        if !self.needles.iter().any(|(_, known)| *known == needle) {
            self.needles.push((what.to_owned(), needle));
        }
    }

    /// Which of them are in `text`.
    pub fn in_text(&self, text: &str) -> BTreeSet<String> {
        self.search(&self.automaton(), text.as_bytes(), "")
    }

    /// Which of them are in the names and bytes of the files below `directory`.
    pub fn in_files(&self, directory: &Path) -> BTreeSet<String> {
        let automaton = self.automaton();
        let mut found = BTreeSet::new();
        let mut todo = vec![directory.to_owned()];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                let place = format!(" in {}", entry.file_name().display());
                found.append(&mut self.search(&automaton, entry.file_name().as_encoded_bytes(), &place));
                if entry.file_type().unwrap().is_dir() {
                    todo.push(entry.path());
                } else {
                    found.append(&mut self.search(&automaton, &fs::read(entry.path()).unwrap(), &place));
                }
            }
        }
        found
    }

    /// Which of them are in what a process can write to or has made itself: heap, stacks, its own data. Freed memory counts as long
    /// as the process has it. Not looked at: what was swapped out is read back by this, but pages that the process has given back to
    /// the system are the system's.
    pub fn in_memory(&self, process: u32) -> BTreeSet<String> {
        let automaton = self.automaton();
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let memory = File::open(format!("/proc/{process}/mem")).unwrap();
        let overlap = self.needles.iter().map(|(_, needle)| needle.len()).max().unwrap_or(1);
        let mut found = BTreeSet::new();
        let mut searched = 0;
        for line in maps.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let file = fields.get(5).copied().unwrap_or_default();
            let is_of_file = file.starts_with('/');
            if !fields[1].starts_with('r') || (is_of_file && !fields[1].contains('w')) || file.starts_with("[v") {
                continue;
            }
            let (begin, end) = fields[0].split_once('-').unwrap();
            let [begin, end] = [begin, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let mut at = begin;
            let mut window = vec![0; WINDOW + overlap];
            while at < end {
                let length = usize::try_from(end - at).unwrap().min(window.len());
                // A part of a mapping may be gone by now: its pages are given back while this runs.
                if let Ok(read) = memory.read_at(&mut window[..length], at) {
                    searched += read;
                    found.append(&mut self.search(&automaton, &window[..read], " in memory"));
                }
                at += u64::try_from(WINDOW).unwrap();
            }
        }
        assert!(searched > 1 << 20, "only {searched} bytes of the relay's memory could be read");
        found
    }

    fn automaton(&self) -> AhoCorasick {
        AhoCorasick::builder()
            .ascii_case_insensitive(false)
            .build(self.needles.iter().map(|(_, needle)| needle))
            .unwrap()
    }

    fn search(&self, automaton: &AhoCorasick, bytes: &[u8], place: &str) -> BTreeSet<String> {
        automaton.find_overlapping_iter(bytes).map(|hit| format!("{}{place}", self.needles[hit.pattern()].0)).collect()
    }
}
