//! I10: nothing that a user wrote, no address and no key reaches a log line.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use api::{Query, View};
use sim::store::Faults;
use sim::trace::Trace;
use sim::world::{Transition, World};

use crate::blind::link;
use crate::lookup::account_record;
use crate::processes::{Person, Relay};
use crate::search::Canaries;

/// Everything that people do, against a relay that logs as much as it can, in both of its formats; then all that it has written is
/// searched for all that it was told. That the command line writes nothing at all to its standard error is checked wherever it runs.
#[test]
fn i10_the_loudest_log_names_nobody() {
    let temp = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(temp.path().join("relay"));
    let people = temp.path().join("people");
    let [anna, ben, cleo, laptop] = ["anna-nachtigall", "ben-schleiereule", "cleo-mauersegler", "anna-laptop"]
        .map(|name| Person::new(&people, name));
    let addresses = [&anna, &ben, &cleo].map(|person| person.register(&relay));
    let mut canaries = Canaries::default();
    let texts = [
        "Wir sehen uns am Leuchtturm",
        "Die Flut kommt um sieben Uhr",
        "Nimm den Regenschirm mit",
        "Und das Boot auch",
    ];
    texts.iter().for_each(|text| canaries.text("a text", text));
    let names = ["Seevogelzaehlung", "Seevogelbeobachtung"];
    names.iter().for_each(|name| canaries.text("a group's name", name));

    anna.run(&["send", &addresses[1], texts[0]]);
    ben.run(&["accept", &addresses[0]]);
    ben.run(&["send", &addresses[0], texts[1]]);
    anna.run(&["group", "create", names[0], &addresses[1], &addresses[2]]);
    ben.run(&["receive"]);
    cleo.run(&["accept", &addresses[0]]);
    ask_for_trouble(&relay);
    assert!(relay.stop(), "the relay did not end well");
    relay.log_as("json");
    relay.start_again();
    cleo.run(&["send", names[0], texts[2]]);
    anna.run(&["group", "rename", names[0], names[1]]);
    link(&anna, &laptop, &relay.name());
    anna.run(&["group", "remove", names[1], &addresses[2]]);
    laptop.run(&["receive"]);
    laptop.run(&["send", names[1], texts[3]]);
    anna.run(&["receive"]);
    anna.run(&["block", &addresses[1]]);
    let device = laptop.run(&["whoami"])[0]["device"].as_str().unwrap().to_owned();
    anna.run(&["devices", "revoke", "--yes", &device]);
    ask_for_trouble(&relay);
    // What is refused may be told, but not what it was.
    let stranger = format!("gundula-grasmuecke@{}", relay.name());
    assert_eq!(anna.begin(&["send", &stranger, texts[0]]).end().code, Some(3));
    canaries.text("an unknown address", "gundula-grasmuecke");

    for person in [&anna, &ben, &cleo, &laptop] {
        let account = &person.run(&["whoami"])[0];
        for what in ["address", "device", "fingerprint"] {
            canaries.text(&format!("{what} of {}", person.profile), account[what].as_str().unwrap());
        }
        canaries.text("a name", person.profile.as_str());
        for conversation in person.run(&["list"]) {
            let id = conversation["id"].as_str().unwrap().to_owned();
            person.texts(&id).iter().for_each(|seen| canaries.text("a message's id", &seen.id));
            canaries.text("a log's id", &id);
        }
    }
    for address in &addresses {
        let record = account_record(relay.plain(), address);
        canaries.bytes("an account key", &record.account_key);
        for device in &record.devices {
            canaries.bytes("a device's key", &device.certificate.signature_key);
            canaries.bytes("an inbox", &device.inbox.0);
            canaries.bytes("an inbox's key", &device.hpke_key[..64]);
        }
    }
    relay.kill();

    let printed = relay.printed();
    assert!(printed.errors.contains("DEBUG"), "the relay did not log at the level that it was asked to");
    assert!(printed.errors.contains("{\"timestamp\""), "the relay did not log as JSON");
    assert_eq!(canaries.in_text(&printed.errors), BTreeSet::new(), "{}", printed.errors);
    // The lines of the start name where the relay listens, as its operator said; no others name any address of the network.
    assert_eq!(canaries.in_text(&printed.out), BTreeSet::new(), "{}", printed.out);
    assert!(!printed.errors.contains("127.0.0.1") && !printed.errors.contains("localhost"), "{}", printed.errors);
    assert!(!printed.errors.contains("a defect"), "the relay panicked: {}", printed.errors);
}

/// What is refused before it is anybody's: broken TLS, broken HTTP, broken frames, paths that name things.
fn ask_for_trouble(relay: &Relay) {
    let send = |to: SocketAddr, bytes: &[u8]| {
        let mut stream = TcpStream::connect(to).unwrap();
        // The other side may have hung up already; that is an answer too.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    };
    send(relay.encrypted(), b"GET / HTTP/1.1\r\n\r\n");
    send(relay.encrypted(), &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]);
    send(relay.plain(), b"\x00\xff\xfe gundula-grasmuecke\r\n\r\n");
    send(
        relay.plain(),
        b"GET /gundula-grasmuecke HTTP/1.1\r\nHost: gundula-grasmuecke\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
    );
    send(relay.plain(), b"PUT /v1/blobs/gundula-grasmuecke HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    let upgrade = b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let garbage = [0x82, 0x80 | 18, 0, 0, 0, 0].iter().chain(b"gundula-grasmuecke").copied();
    send(relay.plain(), &upgrade.iter().copied().chain(garbage).collect::<Vec<u8>>());
}

thread_local! {
    /// What libraries say on this thread, while a test listens.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        HEARD.with_borrow(Option::is_some)
    }

    fn log(&self, record: &log::Record<'_>) {
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                writeln!(heard, "{} {}", record.target(), record.args()).unwrap();
            }
        });
    }

    fn flush(&self) {}
}

/// The client's own crates log nothing, but the libraries that they are built of do, and whoever embeds the client may listen.
#[test]
fn i10_what_libraries_say_at_peoples_devices_names_nobody() {
    log::set_logger(&Listener).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    HEARD.set(Some(String::new()));
    log::warn!("the listener listens");

    let relay = "a.example";
    let names = ["anna-nachtigall", "ben-schleiereule", "cleo-mauersegler"];
    let addresses = names.map(|name| format!("{name}@{relay}"));
    let texts = ["Wir sehen uns am Leuchtturm", "Die Flut kommt um sieben Uhr", "Nimm den Regenschirm mit"];
    let groups = ["Seevogelzaehlung", "Seevogelbeobachtung"];
    let mut world = World::new(10, &[relay], 4, Faults::default(), None, Trace::default()).unwrap();
    let does = |world: &mut World, transition: Transition| {
        world.apply(&transition).unwrap_or_else(|violation| panic!("{transition:?}: {violation}"));
        world.apply(&Transition::Settle).unwrap_or_else(|violation| panic!("{transition:?}: {violation}"));
    };
    for (device, address) in addresses.iter().enumerate() {
        does(&mut world, Transition::register(device, address));
    }
    does(&mut world, Transition::send(0, &addresses[1], texts[0]));
    does(&mut world, Transition::create_group(0, groups[0], &[&addresses[1], &addresses[2]]));
    for device in [1, 2] {
        let Some(View::Invitations(waiting)) = world.view(device, &Query::Invitations) else {
            panic!("no invitations")
        };
        for invitation in waiting {
            does(&mut world, Transition::accept(device, &invitation.conversation));
        }
    }
    let conversations = |world: &World, device: usize| match world.view(device, &Query::Conversations) {
        Some(View::Conversations(conversations)) => conversations,
        other => panic!("device {device} shows {other:?}"),
    };
    let group = conversations(&world, 0).into_iter().find(|one| one.name == groups[0]).unwrap().id;
    does(&mut world, Transition::send(1, &group, texts[1]));
    does(&mut world, Transition::Link { device: 3, by: 1 });
    does(&mut world, Transition::rename(0, &group, groups[1]));
    does(&mut world, Transition::remove(0, &group, &addresses[2]));
    does(&mut world, Transition::CrashDevice(1));
    does(&mut world, Transition::OpenDevice(1));
    does(&mut world, Transition::send(3, &group, texts[2]));

    let mut canaries = Canaries::default();
    texts.iter().for_each(|text| canaries.text("a text", text));
    groups.iter().for_each(|name| canaries.text("a group's name", name));
    names.iter().for_each(|name| canaries.text("a name", name));
    for device in 0..4 {
        for conversation in conversations(&world, device) {
            canaries.text("a log's id", &conversation.id);
            let query = Query::Messages { conversation: conversation.id, before: None, limit: 100 };
            let Some(View::Messages(messages)) = world.view(device, &query) else { panic!("no messages") };
            messages.iter().for_each(|message| canaries.text("a message's id", &message.id));
        }
        match world.view(device, &Query::WhoAmI) {
            Some(View::WhoAmI(Some(account))) => canaries.text("a device", &account.device),
            other => panic!("device {device} shows {other:?}"),
        }
    }
    let heard = HEARD.take().unwrap();
    assert!(heard.contains("the listener listens"), "nothing is heard");
    assert_eq!(canaries.in_text(&heard), BTreeSet::new());
}
