//! How long to wait before a relay is tried again.
//!
//! Full jitter: anything between nothing and a bound that doubles with every failure, so that thousands of clients which lost
//! the same relay at the same moment don't come back at the same moment.

use rand_core::CryptoRng;

/// The bound after the first failure, in milliseconds.
const FIRST_MS: u64 = 500;
/// The bound never exceeds this, in milliseconds.
pub(crate) const LONGEST_MS: u64 = 60_000;

/// Milliseconds to wait when `failures` attempts have failed before this one.
pub(crate) fn delay(failures: u32, rng: &mut dyn CryptoRng) -> u64 {
    up_to((FIRST_MS << failures.min(16)).min(LONGEST_MS), rng)
}

/// Anything from 0 to `bound` milliseconds.
pub(crate) fn up_to(bound: u64, rng: &mut dyn CryptoRng) -> u64 {
    // The modulo's bias is 2^-48 for a minute; nothing here is secret.
    rng.next_u64() % bound.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_bound_doubles_and_stops_at_a_minute() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for (failures, bound) in [(0, 500), (1, 1_000), (3, 4_000), (6, 32_000), (7, 60_000), (4_000_000_000, 60_000)] {
            let longest = (0..2_000).map(|_| delay(failures, &mut rng)).max().unwrap();
            assert!(longest <= bound && longest > bound * 9 / 10, "{failures}: {longest}");
            assert!((0..2_000).any(|_| delay(failures, &mut rng) < bound / 10), "{failures} never short");
        }
    }
}
