//! What a message costs on the disk: each page that a transaction touches is encrypted, authenticated and written anew.

use api::Command;
use engine::Database;

use crate::person::Person;

/// A page in SQLite's write-ahead log, behind its header of 24 bytes.
const FRAME: u64 = 24 + 4096;

#[test]
fn a_message_on_its_way_writes_few_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mut alice = Person::with(Database::File { directory: dir.path().to_owned(), passphrase: None });
    alice.registers();
    let group = alice.makes_group();
    let log = dir.path().join("transom.db-wal");
    let pages = || std::fs::metadata(&log).unwrap().len() / FRAME;
    let say = |alice: &mut Person, number: u64| {
        let before = pages();
        let text = format!("Shall we meet at the station at eight? I bring the maps. {number}");
        alice.command(Command::Send {
            conversation: group.clone(),
            text,
            reply_to: None,
            preview: None,
            stays: 0,
            view_once: false,
        });
        // The log of SQLite begins anew from time to time; what is counted here ends before.
        let after = pages();
        assert!(after > before, "a message is written");
        after - before
    };
    for number in 0..8 {
        say(&mut alice, number);
    }
    let mut counts: Vec<u64> = (0..50).map(|number| say(&mut alice, number)).collect();
    counts.sort_unstable();
    // Sent: the message, its id, the outbox, the ratchet. Answered: the message, its place. Now and then a page is full.
    assert!(counts[25] <= 6 && counts.iter().sum::<u64>() <= 400, "{counts:?}");
}
