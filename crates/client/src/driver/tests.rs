//! The driver with a script on both sides: what the engine hands out, and what the network reports.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wire::{Address, Code, Incarnation, Limits, LogId, Nonce, Response, Seq};

use super::*;

struct World {
    driver: Driver,
    rng: ChaCha20Rng,
    now: UnixMillis,
}

fn world() -> World {
    World { driver: Driver::new(), rng: ChaCha20Rng::seed_from_u64(7), now: UnixMillis(1_000_000) }
}

fn relay() -> RelayName {
    "relay.example".parse().unwrap()
}

fn route(lane: Lane) -> Route {
    Route { relay: relay(), lane }
}

fn hello() -> Hello {
    Hello {
        version: wire::PROTOCOL_VERSION,
        time: UnixMillis(5),
        nonce: Nonce([1; 32]),
        incarnation: Incarnation([2; 16]),
        server_name: relay(),
        limits: Limits {
            message_bytes: 1,
            commit_bytes: 1,
            subscriptions: 1,
            in_flight: 1,
            key_packages: 1,
            blob_bytes: 1,
            message_retention_ms: 1,
            commit_retention_ms: 1,
        },
    }
}

fn look_up() -> Request {
    Request::LookUp { address: "bob@relay.example".parse::<Address>().unwrap() }
}

impl World {
    fn output(&mut self, output: Output) -> Vec<Action> {
        self.driver.output(self.now, &mut self.rng, output);
        self.drain()
    }

    fn request(&mut self, id: u64, lane: Lane, body: Request) -> Vec<Action> {
        self.output(Output::Request { id: RequestId(id), route: route(lane), body })
    }

    fn want(&mut self, lane: Lane) -> ConnId {
        let actions = self.output(Output::Connect { route: route(lane), wanted: true });
        dialled(&actions)
    }

    fn frame(&mut self, conn: ConnId, frame: &ServerFrame) -> Vec<Action> {
        self.driver.frame(self.now, &mut self.rng, conn, frame.encode());
        self.drain()
    }

    fn greet(&mut self, conn: ConnId) -> Vec<Action> {
        self.frame(conn, &ServerFrame::Hello(hello()))
    }

    fn up(&mut self, lane: Lane) -> ConnId {
        let conn = self.want(lane);
        self.greet(conn);
        conn
    }

    fn closed(&mut self, conn: ConnId, fault: Fault) -> Vec<Action> {
        self.driver.closed(self.now, &mut self.rng, conn, fault);
        self.drain()
    }

    fn settle(&mut self) -> Vec<Action> {
        self.driver.settle();
        self.drain()
    }

    /// Goes to the next deadline.
    fn later(&mut self) -> Vec<Action> {
        self.now = self.now.max(self.driver.deadline().expect("something is waited for"));
        self.driver.tick(self.now, &mut self.rng);
        self.drain()
    }

    fn drain(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.driver.poll()).collect()
    }
}

fn dialled(actions: &[Action]) -> ConnId {
    let mut dials = actions.iter().filter_map(|action| match action {
        Action::Dial { conn, .. } => Some(*conn),
        _ => None,
    });
    let conn = dials.next().unwrap_or_else(|| panic!("nothing was dialled: {actions:?}"));
    assert!(dials.next().is_none(), "two were dialled: {actions:?}");
    conn
}

fn written(actions: &[Action]) -> Vec<(ConnId, u64)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Write { conn, frame } => Some((*conn, ClientFrame::decode(frame.clone()).unwrap().id)),
            _ => None,
        })
        .collect()
}

/// What was fed, in words short enough to compare.
fn fed(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Feed(Input::Response { id, result: Ok(_) }) => Some(format!("answer {}", id.0)),
            Action::Feed(Input::Response { id, result: Err(Rejection::Refused(e)) }) => {
                Some(format!("refused {} {:?}", id.0, e.code))
            }
            Action::Feed(Input::Response { id, result: Err(Rejection::Lost) }) => Some(format!("lost {}", id.0)),
            Action::Feed(Input::Link { state: LinkState::Up(_), .. }) => Some("up".into()),
            Action::Feed(Input::Link { state: LinkState::Down, .. }) => Some("down".into()),
            Action::Feed(Input::Push { .. }) => Some("push".into()),
            Action::Feed(Input::Transfer { .. }) => Some("transfer".into()),
            Action::Feed(Input::Wake) => Some("wake".into()),
            _ => None,
        })
        .collect()
}

fn notices(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Tell(api::Event::Notice { problem, .. }) => Some(problem.what.clone()),
            _ => None,
        })
        .collect()
}

fn closes(actions: &[Action], conn: ConnId) -> bool {
    actions.iter().any(|action| matches!(action, Action::Close { conn: c } if *c == conn))
}

#[test]
fn a_lane_is_up_when_the_relay_has_greeted_and_answers_find_their_request() {
    let mut w = world();
    let conn = w.want(Lane::Account);
    assert_eq!(fed(&w.greet(conn)), ["up"]);
    assert_eq!(written(&w.request(41, Lane::Account, Request::CountKeyPackages)), [(conn, 1)]);
    assert_eq!(written(&w.request(57, Lane::Account, Request::CountKeyPackages)), [(conn, 2)]);
    assert_eq!(fed(&w.frame(conn, &ServerFrame::Response { id: 2, result: Ok(Response::Done) })), ["answer 57"]);
    let refusal = ServerFrame::Response { id: 1, result: Err(wire::Error::new(Code::RateLimited, "slow down")) };
    assert_eq!(fed(&w.frame(conn, &refusal)), ["refused 41 RateLimited"]);
}

#[test]
fn lost_requests_are_reported_before_the_connection_is_down() {
    let mut w = world();
    let conn = w.up(Lane::Logs);
    w.request(1, Lane::Logs, Request::Unsubscribe { logs: vec![] });
    w.request(2, Lane::Logs, Request::Unsubscribe { logs: vec![] });
    assert_eq!(fed(&w.closed(conn, Fault::Ended)), ["lost 1", "lost 2", "down"]);
    assert_eq!(fed(&w.closed(conn, Fault::Ended)), Vec::<String>::new(), "a connection ends once");
    // The engine has not yet heard of the end.
    assert_eq!(fed(&w.request(3, Lane::Logs, Request::Unsubscribe { logs: vec![] })), ["lost 3"]);
}

#[test]
fn a_request_for_a_lane_that_nobody_wants_is_lost() {
    assert_eq!(fed(&world().request(1, Lane::Logs, Request::Unsubscribe { logs: vec![] })), ["lost 1"]);
}

#[test]
fn request_numbers_start_anew_on_each_connection() {
    let mut w = world();
    let account = w.up(Lane::Account);
    let logs = w.up(Lane::Logs);
    assert_eq!(written(&w.request(1, Lane::Account, Request::CountKeyPackages)), [(account, 1)]);
    assert_eq!(written(&w.request(2, Lane::Logs, Request::Unsubscribe { logs: vec![] })), [(logs, 1)]);
}

#[test]
fn an_errand_has_a_connection_of_its_own_for_as_long_as_it_asks() {
    let mut w = world();
    w.up(Lane::Account);
    let first = dialled(&w.request(1, Lane::Errand(1), look_up()));
    let second = dialled(&w.request(2, Lane::Errand(2), look_up()));
    assert_ne!(first, second);
    assert!(w.settle().is_empty(), "errands that wait for their connection stay");
    let greeted = w.greet(first);
    assert_eq!((written(&greeted), fed(&greeted)), (vec![(first, 1)], vec![]));

    assert_eq!(fed(&w.frame(first, &ServerFrame::Response { id: 1, result: Ok(Response::Done) })), ["answer 1"]);
    // The engine goes on with the same errand before it is settled.
    assert_eq!(written(&w.request(3, Lane::Errand(1), look_up())), [(first, 2)]);
    assert!(!closes(&w.settle(), first));
    w.frame(first, &ServerFrame::Response { id: 2, result: Ok(Response::Done) });
    assert!(closes(&w.settle(), first));
    assert_eq!(fed(&w.closed(first, Fault::Ended)), Vec::<String>::new());
}

#[test]
fn an_errand_that_finds_nobody_is_lost_and_the_next_one_waits() {
    let mut w = world();
    let conn = dialled(&w.request(1, Lane::Errand(1), look_up()));
    w.request(2, Lane::Errand(1), look_up());
    let actions = w.closed(conn, Fault::Unreachable("connection refused".into()));
    assert_eq!(fed(&actions), ["lost 1", "lost 2"]);
    assert_eq!(notices(&actions), ["The relay relay.example can't be reached."]);
    w.settle();

    assert!(w.request(3, Lane::Errand(2), look_up()).is_empty(), "not at once");
    let before = w.now;
    let again = dialled(&w.later());
    assert!(w.now.since(before) <= 500);
    assert!(notices(&w.closed(again, Fault::Unreachable("connection refused".into()))).is_empty(), "said once");
}

#[test]
fn a_lane_comes_back_by_itself_however_long_it_takes() {
    let mut w = world();
    let mut conn = w.up(Lane::Account);
    w.closed(conn, Fault::Ended);
    for _ in 0..12 {
        conn = dialled(&w.later());
        w.closed(conn, Fault::Unreachable("connection refused".into()));
    }
    let before = w.now;
    conn = dialled(&w.later());
    assert!(w.now.since(before) <= backoff::LONGEST_MS);
    assert_eq!(fed(&w.greet(conn)), ["up"]);
}

#[test]
fn one_lane_that_is_back_shortens_the_wait_of_the_others() {
    let mut w = world();
    let (account, logs) = (w.want(Lane::Account), w.want(Lane::Logs));
    w.closed(account, Fault::Untrusted("expired".into()));
    w.closed(logs, Fault::Ended);
    let logs = dialled(&w.later());
    w.greet(logs);
    let before = w.now;
    dialled(&w.later());
    assert!(w.now.since(before) <= BACK_MS);
}

#[test]
fn a_relay_of_another_version_or_name_is_left_at_once() {
    for (hello, what) in [
        (Hello { version: 2, ..hello() }, "The relay relay.example speaks version 2 of the protocol."),
        (
            Hello { server_name: "other.example".parse().unwrap(), ..hello() },
            "The relay at relay.example calls itself other.example.",
        ),
    ] {
        let mut w = world();
        let conn = w.want(Lane::Logs);
        let actions = w.frame(conn, &ServerFrame::Hello(hello.clone()));
        assert!(closes(&actions, conn));
        assert_eq!((fed(&actions), notices(&actions)), (vec![], vec![what.to_owned()]));

        let conn = dialled(&w.request(1, Lane::Errand(1), look_up()));
        let actions = w.frame(conn, &ServerFrame::Hello(hello));
        assert_eq!(fed(&actions), ["lost 1"], "and nothing was sent");
        assert!(written(&actions).is_empty());
    }
}

#[test]
fn what_is_not_of_the_protocol_ends_the_connection() {
    let stray = ServerFrame::Response { id: 9, result: Ok(Response::Done) };
    for frame in [ServerFrame::Hello(hello()).encode(), stray.encode(), Bytes::from_static(b"\xff\xff")] {
        let mut w = world();
        let conn = w.up(Lane::Logs);
        w.driver.frame(w.now, &mut w.rng, conn, frame);
        let actions = w.drain();
        assert!(closes(&actions, conn));
        assert_eq!(fed(&actions), ["down"]);
    }
    let mut w = world();
    let conn = w.want(Lane::Logs);
    let actions = w.frame(conn, &stray);
    assert!(closes(&actions, conn) && fed(&actions).is_empty(), "nothing before the greeting");
}

#[test]
fn pushes_go_to_the_engine_but_a_relay_that_stops_is_left_alone_for_a_while() {
    let mut w = world();
    let conn = w.up(Lane::Logs);
    let push = Push::Lagged { log: LogId([1; 16]), seq: Seq(3) };
    assert_eq!(fed(&w.frame(conn, &ServerFrame::Push(push))), ["push"]);
    assert!(fed(&w.frame(conn, &ServerFrame::Push(Push::GoingAway { retry_after_ms: 5_000 }))).is_empty());
    let before = w.now;
    w.closed(conn, Fault::Ended);
    dialled(&w.later());
    assert!((5_000..=10_000).contains(&w.now.since(before)), "{}", w.now.since(before));
}

#[test]
fn silence_ends_a_connection() {
    let mut w = world();
    let conn = w.want(Lane::Logs);
    let actions = w.later();
    assert!(closes(&actions, conn));
    assert_eq!(notices(&actions), ["The relay relay.example does not answer."]);

    let conn = dialled(&w.later());
    w.greet(conn);
    w.request(1, Lane::Logs, Request::Unsubscribe { logs: vec![] });
    let actions = w.later();
    assert!(closes(&actions, conn));
    assert_eq!(fed(&actions), ["lost 1", "down"]);
}

#[test]
fn a_lane_that_is_let_go_is_closed_and_not_dialled_again() {
    let mut w = world();
    let conn = w.up(Lane::Rendezvous);
    w.request(1, Lane::Rendezvous, Request::Unsubscribe { logs: vec![] });
    let actions = w.output(Output::Connect { route: route(Lane::Rendezvous), wanted: false });
    assert!(closes(&actions, conn));
    assert_eq!(fed(&actions), ["lost 1", "down"]);
    assert_eq!(w.driver.deadline(), None);
}

#[test]
fn the_engine_is_woken_at_the_last_time_it_asked_for() {
    let mut w = world();
    w.output(Output::WakeAt(w.now.plus(50)));
    w.output(Output::WakeAt(w.now.plus(90)));
    assert_eq!(w.driver.deadline(), Some(w.now.plus(90)));
    assert_eq!(fed(&w.later()), ["wake"]);
    assert_eq!(w.driver.deadline(), None);
}

#[test]
fn blobs_wait_while_their_relay_is_out_of_reach() {
    let mut w = world();
    let job = Job::Download { blob: wire::BlobId([3; 32]), max_bytes: 10 };
    let transfer = |id| Output::Transfer { id: TransferId(id), relay: relay(), job: job.clone() };
    assert!(matches!(w.output(transfer(1))[..], [Action::Transfer { id: TransferId(1), .. }]));
    w.driver.transfer(w.now, &mut w.rng, TransferId(1), &relay(), TransferState::Failed(TransferFailure::Unreachable));
    assert_eq!(fed(&w.drain()), ["transfer"]);
    assert!(w.output(transfer(2)).is_empty());
    assert!(matches!(w.later()[..], [Action::Transfer { id: TransferId(2), .. }]));
}

#[test]
fn it_is_quiet_when_nothing_can_come_to_its_end_soon() {
    let mut w = world();
    let soon = |w: &World| w.driver.is_quiet(w.now.plus(1_000));
    assert!(soon(&w));
    let conn = w.want(Lane::Account);
    assert!(!soon(&w), "it connects");
    w.greet(conn);
    assert!(soon(&w));
    w.request(1, Lane::Account, Request::CountKeyPackages);
    assert!(!soon(&w), "it waits for an answer");
    w.frame(conn, &ServerFrame::Response { id: 1, result: Ok(Response::Done) });
    w.output(Output::WakeAt(w.now.plus(500)));
    assert!(!soon(&w), "the engine wants something");
    w.later();
    assert!(soon(&w));
    w.output(Output::WakeAt(w.now.plus(5_000)));
    assert!(soon(&w), "but not soon");

    w.closed(conn, Fault::Ended);
    let conn = dialled(&w.later());
    assert!(!soon(&w), "it connects again");
    w.closed(conn, Fault::Unreachable("connection refused".into()));
    assert!(soon(&w), "nothing can be done about it");
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait_longer() {
    let mut w = World { now: UnixMillis(10_000_000), ..world() };
    let conn = w.want(Lane::Account);
    w.greet(conn);
    w.request(1, Lane::Account, Request::CountKeyPackages);
    w.output(Output::WakeAt(w.now.plus(90_000)));
    w.driver.tick(w.now, &mut w.rng);
    let silent = w.driver.deadline().unwrap().since(w.now);

    w.now = UnixMillis(w.now.0 - 3_600_000);
    w.driver.tick(w.now, &mut w.rng);
    assert_eq!(fed(&w.drain()), ["wake"], "the engine is told the time");
    assert_eq!(w.driver.deadline().unwrap().since(w.now), silent, "the relay has as long for its answer as it had");
    w.closed(conn, Fault::Ended);
    assert!(w.driver.deadline().unwrap().since(w.now) < 60_000, "it is dialled again soon");
}
