//! The log as somebody meets it who holds the keys of epochs that are over.

use bytes::Bytes;
use sim::chance::Chance;
use sim::net::{LinkId, Net};
use sim::store::Faults;
use wire::{
    ClientFrame, EntryId, Epoch, EpochKey, Hello, LogId, OpenLog, Request, Response, Seq, ServerFrame, Subscription,
    UnixMillis,
};

const NOW: UnixMillis = UnixMillis(1_795_305_600_000);
const LOG: LogId = LogId([7; 16]);

/// A connection and what came over it.
struct Peer {
    link: LinkId,
    hello: Hello,
    asked: u64,
    /// Whatever the relay pushed.
    pushed: Vec<ServerFrame>,
}

impl Peer {
    fn new(net: &mut Net) -> Self {
        let link = net.connect(0, NOW).expect("the relay is up");
        let Some(Ok(ServerFrame::Hello(hello))) = net.deliver_down(link, NOW) else { panic!("a relay greets first") };
        Self { link, hello, asked: 0, pushed: Vec::new() }
    }

    fn ask(&mut self, net: &mut Net, request: Request) -> Result<Response, wire::Error> {
        self.asked += 1;
        net.send(self.link, &ClientFrame { id: self.asked, request });
        net.deliver_up(self.link, NOW);
        net.sync(0);
        let mut answer = None;
        while let Some(frame) = net.deliver_down(self.link, NOW) {
            match frame.expect("a relay sends frames") {
                ServerFrame::Response { result, .. } => answer = Some(result),
                push => self.pushed.push(push),
            }
        }
        answer.expect("every request is answered")
    }

    fn open(&mut self, net: &mut Net, key: &EpochKey, epoch: u64) -> bool {
        let signature = key.open(&self.hello.nonce, net.name(0), LOG, Epoch(epoch));
        let logs = vec![OpenLog { log: LOG, epoch: Epoch(epoch), signature }];
        match self.ask(net, Request::Open { logs }) {
            Ok(Response::Opened(states)) => states.iter().all(|state| state.error.is_none()),
            _ => false,
        }
    }
}

fn append(epoch: u64, id: u8) -> Request {
    let body = Bytes::from_static(b"sealed");
    Request::Append { log: LOG, epoch: Epoch(epoch), pipe: 0, id: EntryId([id; 16]), body, commitment: [0; 32] }
}

fn commit(epoch: u64, id: u8, next: &EpochKey, repost: bool) -> Request {
    let body = Bytes::from_static(b"sealed");
    let (log, epoch, id, next) = (LOG, Epoch(epoch), EntryId([id; 16]), next.public());
    Request::Commit { log, epoch, id, next, body, end_watches: false, repost }
}

#[test]
fn i4_all_keys_of_past_epochs_open_nothing_behind_their_end() {
    let mut net = Net::new(&["a.example"], Chance::new(1, 1), Faults::default(), None);
    let keys: Vec<EpochKey> = (1..=4).map(|seed| EpochKey::from_seed(&[seed; 32])).collect();
    let mut stays = Peer::new(&mut net);
    let next = keys[0].public();
    assert!(stays.ask(&mut net, Request::Create { log: LOG, epoch: Epoch(0), next }).is_ok());
    let mut member = Peer::new(&mut net);
    let mut removed = Peer::new(&mut net);
    assert!(removed.open(&mut net, &keys[0], 0), "it was a member in epoch 0");
    let subscription = Subscription { log: LOG, epoch: Epoch(0), from: Seq(1) };
    assert!(removed.ask(&mut net, Request::Subscribe { logs: vec![subscription] }).is_ok());
    // Epochs 1, 2 and 3: the removed one was a member in 0 to 2 and holds their keys.
    for epoch in 0..3 {
        assert!(member.open(&mut net, &keys[epoch], epoch as u64));
        assert!(member.ask(&mut net, append(epoch as u64, 10 + epoch as u8)).is_ok());
        assert!(member.ask(&mut net, commit(epoch as u64, 20 + epoch as u8, &keys[epoch + 1], false)).is_ok());
    }
    assert!(member.open(&mut net, &keys[3], 3));
    assert!(member.ask(&mut net, append(3, 40)).is_ok());
    let subscription = Subscription { log: LOG, epoch: Epoch(3), from: Seq(8) };
    assert!(member.ask(&mut net, Request::Subscribe { logs: vec![subscription] }).is_ok());

    for mut peer in [removed, Peer::new(&mut net)] {
        for (held, key) in keys.iter().enumerate().take(3) {
            assert!(!peer.open(&mut net, key, 3), "the key of epoch {held} opened epoch 3");
            peer.open(&mut net, key, held as u64);
            for epoch in [held as u64, 3] {
                let id = 50 + held as u8;
                let attempts = [
                    append(epoch, id),
                    commit(epoch, id, key, false),
                    commit(epoch, id, key, true),
                    Request::Read { log: LOG, epoch: Epoch(epoch), from: Seq(1), max_bytes: 1 << 16 },
                    Request::Subscribe { logs: vec![Subscription { log: LOG, epoch: Epoch(epoch), from: Seq(1) }] },
                    Request::Signal { log: LOG, epoch: Epoch(epoch), body: Bytes::from_static(b"typing") },
                ];
                for attempt in attempts {
                    // It may read again what it could read while it was a member, and signal to whoever is still where it is.
                    let harmless =
                        matches!(attempt, Request::Read { .. } | Request::Subscribe { .. } | Request::Signal { .. });
                    let answer = peer.ask(&mut net, attempt.clone());
                    if let Ok(Response::Page { entries, .. }) = &answer {
                        assert!(entries.iter().all(|entry| entry.epoch.0 <= held as u64), "{attempt:?}: {entries:?}");
                    }
                    assert!(answer.is_err() || (harmless && epoch == held as u64), "{attempt:?} was carried out");
                }
            }
        }
        let reaches = |frame: &ServerFrame| match frame {
            ServerFrame::Push(wire::Push::Entries { entries, .. }) => entries.iter().any(|entry| entry.epoch.0 >= 3),
            ServerFrame::Push(wire::Push::Signal { .. }) => true,
            _ => false,
        };
        assert!(!peer.pushed.iter().any(reaches), "something of epoch 3 was pushed");
    }
    let Ok(Response::Page { entries, .. }) =
        member.ask(&mut net, Request::Read { log: LOG, epoch: Epoch(3), from: Seq(1), max_bytes: 1 << 16 })
    else {
        panic!("a member reads");
    };
    assert!(member.pushed.is_empty(), "a member in epoch 3 was sent {:?}", member.pushed);
    assert_eq!(entries.len(), 7, "three commits and four messages, and nothing of the removed one");
}
