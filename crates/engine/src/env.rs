//! Time and chance, passed in: the engine takes neither from its surroundings, so that one seed reproduces a run.

use rand_core::CryptoRng;
use wire::UnixMillis;

/// What a call of the engine may use of the world.
pub struct Env<'a> {
    /// The time of this call.
    pub now: UnixMillis,
    /// Randomness for this call; cryptographically secure outside of tests.
    pub rng: &'a mut dyn CryptoRng,
}
