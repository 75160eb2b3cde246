//! I6: a relay that hosts a conversation holds nothing that names its members.

use std::collections::BTreeSet;

use crate::lookup::account_record;
use crate::processes::{Person, Relay};
use crate::search::Canaries;

/// All members' accounts live on `home`, the conversation on `host`. A conversation is made on its creator's own relay, so a founder
/// with an account there makes it, hands it over, and leaves. What the host may know of the founder is that the account exists (its
/// address and record); it is searched for as well, which shows that the search finds what is there.
///
/// What this shows: none of the members' addresses, names, account keys, devices, keys of devices and inboxes, neither the group's
/// names nor what was written, nor the name of the members' relay, was in a file or in the memory of the host at any of the moments at
/// which it was searched: while all of that was happening, after the founder had left, and after kill -9 and a restart. What it does
/// not show: what a host could infer while it runs from addresses of connections and from when they come (docs/threats.md).
#[test]
fn i6_a_relay_that_hosts_a_conversation_holds_nothing_that_names_its_members() {
    let temp = tempfile::tempdir().unwrap();
    let home = Relay::start(temp.path().join("home"));
    let mut host = Relay::start(temp.path().join("host"));
    let people = temp.path().join("people");
    let founder = Person::new(&people, "founder-of-it-all");
    let [anna, ben, tablet] =
        ["anna-rotkehlchen", "ben-zaunkoenig", "anna-tablet"].map(|name| Person::new(&people, name));
    let founder_address = founder.register(&host);
    let anna_address = anna.register(&home);
    let ben_address = ben.register(&home);

    let mut canaries = Canaries::default();
    canaries.text("the members' relay", &home.name());
    let (first_name, second_name) = ("Vogelkundler im Morgengrauen", "Vogelfreunde am Abend");
    canaries.text("the group's first name", first_name);
    canaries.text("the group's second name", second_name);
    let texts = [
        "Treffpunkt ist die alte Eiche",
        "Ich bringe das Fernglas mit",
        "Der Kuckuck war heute da",
        "Bis morgen um halb sechs",
    ];
    texts.iter().for_each(|text| canaries.text("a text", text));

    founder.run(&["group", "create", first_name, &anna_address, &ben_address]);
    anna.run(&["accept", &founder_address]);
    ben.run(&["accept", &founder_address]);
    anna.run(&["send", first_name, texts[0]]);
    founder.run(&["group", "role", first_name, &anna_address, "owner"]);
    founder.run(&["group", "leave", first_name]);

    anna.run(&["group", "rename", first_name, second_name]);
    ben.run(&["send", second_name, texts[1]]);
    link(&anna, &tablet, &home.name());
    anna.run(&["receive"]);
    tablet.run(&["receive"]);
    tablet.run(&["send", second_name, texts[2]]);
    anna.run(&["receive"]);

    for (who, person) in [("anna", &anna), ("ben", &ben), ("anna's tablet", &tablet)] {
        let account = &person.run(&["whoami"])[0];
        canaries.text(&format!("the device of {who}"), account["device"].as_str().unwrap());
        canaries.text(&format!("the fingerprint of {who}"), account["fingerprint"].as_str().unwrap());
    }
    for (who, profile, address) in [("anna", &anna.profile, &anna_address), ("ben", &ben.profile, &ben_address)] {
        canaries.text(&format!("the name of {who}"), profile);
        let record = account_record(home.plain(), address);
        canaries.bytes(&format!("the account key of {who}"), &record.account_key);
        for device in &record.devices {
            canaries.bytes(&format!("a device's key of {who}"), &device.certificate.signature_key);
            canaries.bytes(&format!("an inbox of {who}"), &device.inbox.0);
            canaries.bytes(&format!("an inbox's key of {who}"), &device.hpke_key[..64]);
        }
    }
    let seen = anna.texts(second_name);
    assert_eq!(seen.len(), 3, "{seen:#?}");
    seen.iter().for_each(|message| canaries.text("a message's id", &message.id));

    // What the host does hold, so that finding nothing means that nothing is there.
    let mut held = Canaries::default();
    held.text("the founder's address", &founder_address);
    let conversation = anna.run(&["list"])[0].clone();
    assert_eq!(conversation["relay"], host.name(), "the conversation does not live where this test wants it");
    let log = conversation["id"].as_str().unwrap();
    held.text("the log", log);
    let is_held = |place: BTreeSet<String>| {
        place.iter().any(|hit| hit.starts_with("the founder")) && place.iter().any(|hit| hit.starts_with("the log"))
    };
    let nothing = BTreeSet::new();

    assert!(is_held(held.in_memory(host.id())), "the search of memory is blind");
    assert!(is_held(held.in_files(&host.data)), "the search of files is blind");
    assert_eq!(canaries.in_memory(host.id()), nothing, "in the process that has seen it all");
    assert_eq!(canaries.in_files(&host.data), nothing);
    // The same search does find the members where their accounts are, and the conversation only where it is.
    let known_at_home = canaries.in_files(&home.data);
    for what in ["the name of anna", "the account key of ben", "an inbox of anna"] {
        assert!(known_at_home.iter().any(|hit| hit.starts_with(what)), "{what} is not even at home: {known_at_home:?}");
    }
    for what in ["a text", "the group", "a message"] {
        assert!(!known_at_home.iter().any(|hit| hit.starts_with(what)), "home holds {what}: {known_at_home:?}");
    }
    let mut conversation = Canaries::default();
    conversation.text("the log", log);
    assert_eq!(conversation.in_files(&home.data), nothing, "home knows of the conversation");
    assert_eq!(conversation.in_memory(home.id()), nothing, "home knows of the conversation");

    host.kill_and_start_again();
    ben.run(&["receive"]);
    ben.run(&["send", second_name, texts[3]]);
    anna.run(&["receive"]);
    ben.run(&["receive"]);
    assert_eq!(canaries.in_memory(host.id()), nothing, "in the process that has only served members");
    assert_eq!(canaries.in_files(&host.data), nothing);
    let wanted: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(ben.texts(second_name).into_iter().map(|seen| seen.text).collect::<Vec<_>>(), wanted);
}

/// Lets `new` into the account of `old`.
pub fn link(old: &Person, new: &Person, relay: &str) {
    let mut waiting = new.begin(&["devices", "link", "--new", relay]);
    let code = waiting.event("link_code")["code"].as_str().unwrap().to_owned();
    assert_eq!(old.begin(&["devices", "link", "--yes", &code]).end().code, Some(0));
    assert_eq!(waiting.end().code, Some(0));
}
