//! Engine and driver together: what one hands out the other gets, until both are quiet.

use std::collections::VecDeque;

use api::{Event, Kind, Problem};
use bytes::Bytes;
use engine::{CommandId, Database, Engine, EngineError, Env, Input, OpenError, TransferId, TransferState};
use rand_core::CryptoRng;
use wire::{RelayName, UnixMillis};

use crate::Fault;
use crate::driver::{Action, ConnId, Driver};

/// The whole client without a runtime.
///
/// Call one of its methods for each thing that happens; afterwards drain [`Pump::poll`] and carry out what comes (it never
/// yields [`Action::Feed`]), and call [`Pump::tick`] when [`Pump::deadline`] has come. When a method fails, the engine could not
/// store what happened: drop the pump and open it again, as after a crash; nothing that was acknowledged is lost by that.
pub struct Pump {
    engine: Engine,
    driver: Driver,
    out: VecDeque<Action>,
}

impl Pump {
    /// Opens the database and takes up what is pending in it.
    pub fn open(database: Database, now: UnixMillis, rng: &mut dyn CryptoRng) -> Result<Self, OpenError> {
        let engine = Engine::open(database, &mut Env { now, rng })?;
        let mut pump = Self { engine, driver: Driver::new(), out: VecDeque::new() };
        pump.outputs(now, rng);
        // Nothing is fed before something was dialled, so there is nothing yet that the engine could fail to store.
        pump.run(now, rng).map(|()| pump).map_err(|_| OpenError::Damaged)
    }

    /// What is known here.
    pub fn view(&self, query: &api::Query) -> Result<api::View, Problem> {
        self.engine.view(query)
    }

    /// A person's wish. One that can't be stored is told to have failed, too.
    pub fn command(
        &mut self,
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
        id: CommandId,
        command: api::Command,
    ) -> Result<(), EngineError> {
        let fed = self.engine.handle(&mut Env { now, rng }, Input::Command { id, command });
        if let Err(error) = fed {
            let problem = Problem::new(
                Kind::Local,
                "This could not be stored, so nothing was done.",
                error.to_string(),
                "Check that the disk has room, then try again.",
            );
            self.out.push_back(Action::Tell(Event::Failed { command: id, problem }));
            return Err(error);
        }
        self.outputs(now, rng);
        self.run(now, rng)
    }

    /// A connection delivered a frame.
    pub fn frame(
        &mut self,
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
        conn: ConnId,
        frame: Bytes,
    ) -> Result<(), EngineError> {
        self.driver.frame(now, rng, conn, frame);
        self.run(now, rng)
    }

    /// A connection ended, or did not come about.
    pub fn closed(
        &mut self,
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
        conn: ConnId,
        fault: Fault,
    ) -> Result<(), EngineError> {
        self.driver.closed(now, rng, conn, fault);
        self.run(now, rng)
    }

    /// How a blob fares.
    pub fn transfer(
        &mut self,
        now: UnixMillis,
        rng: &mut dyn CryptoRng,
        id: TransferId,
        relay: &RelayName,
        state: TransferState,
    ) -> Result<(), EngineError> {
        self.driver.transfer(now, rng, id, relay, state);
        self.run(now, rng)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng) -> Result<(), EngineError> {
        self.driver.tick(now, rng);
        self.run(now, rng)
    }

    /// When [`Pump::tick`] has something to do.
    pub fn deadline(&self) -> Option<UnixMillis> {
        self.driver.deadline()
    }

    /// True if nothing is under way that could come to its end before `until`; see [`Driver::is_quiet`].
    pub fn is_quiet(&self, until: UnixMillis) -> bool {
        self.driver.is_quiet(until)
    }

    /// The next thing to carry out.
    pub fn poll(&mut self) -> Option<Action> {
        self.out.pop_front()
    }

    fn run(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng) -> Result<(), EngineError> {
        loop {
            while let Some(action) = self.driver.poll() {
                match action {
                    Action::Feed(input) => {
                        self.engine.handle(&mut Env { now, rng }, input)?;
                        self.outputs(now, rng);
                    }
                    other => self.out.push_back(other),
                }
            }
            self.driver.settle();
            match self.driver.poll() {
                Some(action) => self.out.push_back(action),
                None => return Ok(()),
            }
        }
    }

    fn outputs(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng) {
        while let Some(output) = self.engine.poll() {
            self.driver.output(now, rng, output);
        }
    }
}
