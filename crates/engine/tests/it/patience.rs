//! What a relay says about time is advice: no answer puts a client off for ever.

use api::Command;
use engine::{Database, Engine, Env, Input, Options, Output, Rejection, RequestId};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wire::{Code, Request, UnixMillis};

const NOW: UnixMillis = UnixMillis(1_795_305_600_000);

/// The look-up that an engine asks for, if it asks for one.
fn looks_up(engine: &mut Engine) -> Option<RequestId> {
    std::iter::from_fn(|| engine.poll()).find_map(|output| match output {
        Output::Request { id, body: Request::LookUp { .. }, .. } => Some(id),
        _ => None,
    })
}

#[test]
fn rule_11_a_relay_that_asks_for_endless_patience_is_asked_again_after_an_hour() {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut env = Env { now: NOW, rng: &mut rng };
    let database = Database::Memory { name: "patience".into() };
    let mut engine = Engine::open_with(database, Options::default(), &mut env).unwrap();
    let register = Command::Register { address: "alice@a.example".into(), invite: String::new() };
    let send = Command::Send {
        conversation: "bob@b.example".into(),
        text: "hello".into(),
        reply_to: None,
        preview: None,
        stays: 0,
        view_once: false,
    };
    for (id, command) in [(1, register), (2, send)] {
        engine.handle(&mut env, Input::Command { id, command }).unwrap();
    }
    let id = looks_up(&mut engine).expect("it looks up whom to write to");
    let mut error = wire::Error::new(Code::RateLimited, "not in this life");
    error.retry_after_ms = u64::MAX;
    engine.handle(&mut env, Input::Response { id, result: Err(Rejection::Refused(error)) }).unwrap();
    assert!(looks_up(&mut engine).is_none(), "it does not wait at all");
    let mut env = Env { now: NOW.plus(3_600_000), rng: env.rng };
    engine.handle(&mut env, Input::Wake).unwrap();
    assert!(looks_up(&mut engine).is_some(), "it waits for longer than an hour");
}
