//! Seeds on all cores, with the same answer as one after the other.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often somebody who looks at a terminal is told how far it is, and how often a log is.
const TO_A_TERMINAL: Duration = Duration::from_secs(1);
const TO_A_LOG: Duration = Duration::from_secs(60);

/// Runs `one` for each seed and answers with what it has found, by seed: all of it, or what the lowest seed that finds anything finds,
/// behind which none is begun. `what` is what standard error calls it while it goes on.
pub fn search<T: Send>(
    what: &str,
    seeds: Range<u64>,
    all: bool,
    one: impl Fn(u64) -> Option<T> + Sync,
) -> Vec<(u64, T)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, end) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let found = Mutex::new(Vec::new());
    let progress = Progress::new(what, seeds.end.saturating_sub(seeds.start));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= end.load(Ordering::SeqCst) {
                return;
            }
            if let Some(finding) = one(seed) {
                found.lock().unwrap_or_else(PoisonError::into_inner).push((seed, finding));
                if !all {
                    end.fetch_min(seed, Ordering::SeqCst);
                }
            }
            progress.one_more();
        }
    };
    std::thread::scope(|scope| (0..cores).for_each(|_| _ = scope.spawn(work)));
    progress.end();
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(seed, _)| *seed);
    if !all {
        found.truncate(1);
    }
    found
}

struct Progress<'a> {
    what: &'a str,
    total: u64,
    done: AtomicU64,
    begun: Instant,
    told: Mutex<Instant>,
    is_terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str, total: u64) -> Self {
        let (begun, is_terminal) = (Instant::now(), std::io::stderr().is_terminal());
        Self { what, total, done: AtomicU64::new(0), begun, told: Mutex::new(begun), is_terminal }
    }

    fn one_more(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let pause = if self.is_terminal { TO_A_TERMINAL } else { TO_A_LOG };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < pause {
            return;
        }
        *told = Instant::now();
        let pace = done as f64 / self.begun.elapsed().as_secs_f64();
        let line = format!("{}: {done} of {} seeds, {pace:.1}/s", self.what, self.total);
        let (before, after) = if self.is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // Nobody looks any more: then nobody misses it.
        let _ = write!(std::io::stderr(), "{before}{line}{after}");
    }

    fn end(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_seed_that_finds_anything_is_the_answer_on_however_many_cores() {
        for _ in 0..50 {
            // The lower a seed is, the longer it takes.
            let one = |seed: u64| {
                std::thread::sleep(Duration::from_micros(2 * (40 - seed.min(40))));
                (seed % 7 == 3).then_some(seed * 2)
            };
            assert_eq!(search("", 4..40, false, one), [(10, 20)]);
            assert_eq!(search("", 4..40, true, one), [(10, 20), (17, 34), (24, 48), (31, 62), (38, 76)]);
            assert_eq!(search("", 4..10, true, one), []);
            assert_eq!(search("", 4..4, false, one), []);
        }
    }
}
