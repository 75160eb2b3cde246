//! The one source of chance of a run: everything random is drawn here, so that one seed reproduces the run.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Seeded chance with the few draws that a simulator needs.
#[derive(Clone)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of `seed` for one purpose: streams of one seed are independent, so that more draws in one part of the simulator
    /// don't shift those of another.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(purpose);
        Self(rng)
    }

    /// The generator itself, for those who take one.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.0
    }

    /// A new independent stream.
    pub fn fork(&mut self) -> Self {
        Self(ChaCha8Rng::seed_from_u64(self.0.next_u64()))
    }

    /// A number below `bound`; 0 if `bound` is 0. The bias of the remainder is irrelevant here.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.0.next_u64() % bound as u64) as usize }
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next_u64() % (high - low + 1)
    }

    /// True `per_mille` times in a thousand.
    pub fn per_mille(&mut self, per_mille: u32) -> bool {
        per_mille != 0 && self.below(1000) < per_mille as usize
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len())) }
    }

    /// An index drawn with these weights; `None` if all are zero.
    pub fn weighted(&mut self, weights: impl IntoIterator<Item = u32> + Clone) -> Option<usize> {
        let total: u32 = weights.clone().into_iter().sum();
        if total == 0 {
            return None;
        }
        let mut at = self.below(total as usize) as u32;
        weights.into_iter().position(|weight| {
            let hit = at < weight;
            at = at.saturating_sub(weight);
            hit
        })
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream_and_purposes_differ() {
        assert_eq!(Chance::new(7, 1).bytes::<32>(), Chance::new(7, 1).bytes::<32>());
        assert_ne!(Chance::new(7, 1).bytes::<32>(), Chance::new(7, 2).bytes::<32>());
    }

    #[test]
    fn weights_of_zero_are_never_drawn() {
        let mut chance = Chance::new(1, 1);
        for _ in 0..1000 {
            assert_ne!(chance.weighted([5, 0, 1]), Some(1));
        }
        assert_eq!(chance.weighted([0, 0]), None);
    }
}
