//! Pacing of commits: after six commits in a minute a log is paced, so that nobody can outrun his removal (protocol rule 11).
//!
//! In a paced log the commits that arrive within two seconds are gathered and put into a random order. They go to the store one
//! after the other: the first one usually wins and the others hear from the store that they are stale, but where it fails (its
//! connection is gone, the disk is full) the next one has its chance. The draw is over address ranges first, then over connections,
//! so that opening more connections does not help. A gathering holds so many commits and no more: once it is full, one that comes from
//! elsewhere takes the place of one from the address range that has the most.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use rand_core::{CryptoRng, Rng};
use wire::{Code, Error, UnixMillis};

use super::ConnId;

/// So many commits in [`WINDOW_MS`] are not paced.
const COMMITS: usize = 6;
const WINDOW_MS: u64 = 60_000;
/// How long commits are gathered.
const GATHER_MS: u64 = 2_000;
/// Commits in one draw: each holds its body in memory.
const GATHERED: usize = 64;

/// The commits of one log in the last minute, and those that wait.
#[derive(Default)]
pub(super) struct Pacing {
    won: VecDeque<UnixMillis>,
    gathering: Option<Gathering>,
}

struct Gathering {
    due: UnixMillis,
    waiting: Vec<Candidate>,
}

struct Candidate {
    conn: ConnId,
    range: [u8; 8],
    ticket: Arc<Ticket>,
}

/// What a commit has to do before it goes to the store.
pub(super) enum Pace {
    /// Nothing.
    Free,
    /// Wait for its turn. `due`: this commit has begun a gathering, which must be drawn at that time.
    Wait { turn: Turn, due: Option<UnixMillis> },
}

impl Pacing {
    /// A commit is durable.
    pub(super) fn won(&mut self, time: UnixMillis) {
        if self.won.len() == COMMITS {
            self.won.pop_front();
        }
        self.won.push_back(time);
    }

    /// A commit has arrived.
    pub(super) fn arrive(&mut self, now: UnixMillis, conn: ConnId, range: [u8; 8]) -> Result<Pace, Error> {
        let is_paced = self.won.len() == COMMITS && self.won.front().is_some_and(|first| now.since(*first) < WINDOW_MS);
        if !is_paced && self.gathering.is_none() {
            return Ok(Pace::Free);
        }
        let begins = self.gathering.is_none();
        let gathering =
            self.gathering.get_or_insert_with(|| Gathering { due: now.plus(GATHER_MS), waiting: Vec::new() });
        gathering.waiting.retain(|other| !other.ticket.is_dropped());
        let has_one = gathering.waiting.iter().any(|other| other.conn == conn);
        if has_one || !gathering.makes_room(range) {
            return Err(crowded(gathering.due.since(now)));
        }
        let ticket = Arc::new(Ticket::default());
        gathering.waiting.push(Candidate { conn, range, ticket: ticket.clone() });
        Ok(Pace::Wait { turn: Turn(ticket), due: begins.then_some(gathering.due) })
    }

    /// Draws the order in which the gathered commits go to the store.
    pub(super) fn draw(&mut self, now: UnixMillis, rng: &mut dyn CryptoRng) -> Option<Drawn> {
        let mut waiting = self.gathering.take()?.waiting;
        waiting.retain(|candidate| !candidate.ticket.is_dropped());
        let mut order = VecDeque::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let mut ranges: Vec<[u8; 8]> = waiting.iter().map(|candidate| candidate.range).collect();
            ranges.sort_unstable();
            ranges.dedup();
            let range = ranges[below(rng, ranges.len())];
            let of_range: Vec<usize> = (0..waiting.len()).filter(|at| waiting[*at].range == range).collect();
            order.push_back(waiting.remove(of_range[below(rng, of_range.len())]).ticket);
        }
        Some(Drawn(Arc::new(Order { at: now, waiting: Mutex::new(order) })))
    }

    /// True if this says no more than a fresh one.
    pub(super) fn is_idle(&self, now: UnixMillis) -> bool {
        self.gathering.is_none() && self.won.back().is_none_or(|last| now.since(*last) >= WINDOW_MS)
    }
}

impl Gathering {
    /// Whether there is room for one more from `range`. Where there is none, the latest of the range that has the most is turned away
    /// for it, if that has more than `range` would have: who fills a gathering loses his own places.
    fn makes_room(&mut self, range: [u8; 8]) -> bool {
        if self.waiting.len() < GATHERED {
            return true;
        }
        let of = |range| self.waiting.iter().filter(|other| other.range == range).count();
        let crowd = self.waiting.iter().map(|other| (of(other.range), other.range)).max();
        let Some((_, crowd)) = crowd.filter(|(count, _)| *count > of(range) + 1) else { return false };
        let Some(at) = self.waiting.iter().rposition(|other| other.range == crowd) else { return false };
        self.waiting.remove(at).ticket.turn_away();
        true
    }
}

/// The refusal of a commit for which a gathering has no place.
fn crowded(wait_ms: u64) -> Error {
    let detail = "this conversation changes too often for now and other changes wait; try again after the time given";
    Error::new(Code::RateLimited, detail).retry_after(wait_ms.max(1))
}

/// A number below `bound`, each equally likely but for 2^-32 or so.
fn below(rng: &mut dyn CryptoRng, bound: usize) -> usize {
    ((u128::from(Rng::next_u64(rng)) * bound as u128) >> 64) as usize
}

/// An order that was drawn. [`Drawn::start`] lets its first commit go, outside of all locks: it wakes a task.
pub(super) struct Drawn(Arc<Order>);

struct Order {
    /// When it was drawn: the time of its commits, since what was appended while they waited comes before them.
    at: UnixMillis,
    waiting: Mutex<VecDeque<Arc<Ticket>>>,
}

impl Drawn {
    pub(super) fn start(self) {
        go_on(&self.0);
    }
}

/// Lets the next commit go that still waits.
fn go_on(order: &Arc<Order>) {
    loop {
        let next = order.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match next {
            Some(ticket) if !ticket.grant(order) => continue,
            _ => return,
        }
    }
}

#[derive(Default)]
struct Ticket(Mutex<TicketState>);

#[derive(Default)]
struct TicketState {
    granted: Option<Arc<Order>>,
    /// Its place went to another one.
    turned_away: bool,
    dropped: bool,
    waker: Option<Waker>,
}

impl Ticket {
    /// False if nobody waits for it any more.
    fn grant(&self, order: &Arc<Order>) -> bool {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.dropped {
                return false;
            }
            state.granted = Some(order.clone());
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    fn turn_away(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.turned_away = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_dropped(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}

/// A commit's place in the draw. Complete when its turn has come; the next one's turn comes when this is dropped, in any case.
pub(super) struct Turn(Arc<Ticket>);

impl Turn {
    /// Waits until it is this commit's turn; answers with the time of the draw, or with a refusal if its place went to another one.
    pub(super) fn granted(&self) -> Granted<'_> {
        Granted(&self.0)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let granted = {
            let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.dropped = true;
            state.waker = None;
            state.granted.take()
        };
        if let Some(order) = granted {
            go_on(&order);
        }
    }
}

/// See [`Turn::granted`].
pub(super) struct Granted<'a>(&'a Ticket);

impl Future for Granted<'_> {
    type Output = Result<UnixMillis, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = &state.granted {
            return Poll::Ready(Ok(order.at));
        }
        if state.turned_away {
            return Poll::Ready(Err(crowded(GATHER_MS)));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn paced() -> Pacing {
        let mut pacing = Pacing::default();
        (0..6).for_each(|_| pacing.won(NOW));
        pacing
    }

    fn wait(pacing: &mut Pacing, conn: u64, range: u8) -> Turn {
        match pacing.arrive(NOW, ConnId(conn), [range; 8]) {
            Ok(Pace::Wait { turn, .. }) => turn,
            _ => panic!("the commit was not gathered"),
        }
    }

    fn is_granted(turn: &Turn) -> bool {
        turn.0.0.lock().unwrap().granted.is_some()
    }

    #[test]
    fn six_a_minute_go_freely() {
        let mut pacing = Pacing::default();
        for at in 0..6 {
            assert!(matches!(pacing.arrive(NOW.plus(at), ConnId(1), [0; 8]), Ok(Pace::Free)));
            pacing.won(NOW.plus(at));
        }
        assert!(matches!(pacing.arrive(NOW.plus(WINDOW_MS), ConnId(1), [0; 8]), Ok(Pace::Free)));
        let begun = pacing.arrive(NOW.plus(WINDOW_MS - 1), ConnId(1), [0; 8]);
        assert!(matches!(begun, Ok(Pace::Wait { due: Some(_), .. })));
        assert!(!pacing.is_idle(NOW) && Pacing::default().is_idle(NOW));
    }

    #[test]
    fn a_connection_has_one_commit_in_a_draw() {
        let mut pacing = paced();
        let turn = wait(&mut pacing, 1, 0);
        let refusal = pacing.arrive(NOW.plus(500), ConnId(1), [0; 8]).err().unwrap();
        assert_eq!((refusal.code, refusal.retry_after_ms), (Code::RateLimited, 1500));
        drop(turn);
        wait(&mut pacing, 1, 0);
    }

    #[test]
    fn every_candidate_is_as_likely() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut first = [0_u32; 4];
        for _ in 0..4_000 {
            let mut pacing = paced();
            let turns: Vec<Turn> = (0..4).map(|conn| wait(&mut pacing, conn, 0)).collect();
            pacing.draw(NOW, &mut rng).unwrap().start();
            first[turns.iter().position(is_granted).unwrap()] += 1;
        }
        assert!(first.iter().all(|count| (900..1100).contains(count)), "{first:?}");
    }

    #[test]
    fn many_connections_from_one_range_count_as_one() {
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let mut honest = 0;
        for _ in 0..2_000 {
            let mut pacing = paced();
            let alone = wait(&mut pacing, 0, 1);
            let _crowd: Vec<Turn> = (1..40).map(|conn| wait(&mut pacing, conn, 2)).collect();
            pacing.draw(NOW, &mut rng).unwrap().start();
            honest += u32::from(is_granted(&alone));
        }
        assert!((900..1100).contains(&honest), "{honest}");
    }

    #[test]
    fn rule_11_whoever_fills_a_gathering_makes_room_for_others() {
        let mut rng = ChaCha20Rng::seed_from_u64(10);
        let mut honest = 0;
        for _ in 0..400 {
            let mut pacing = paced();
            let crowd: Vec<Turn> = (0..64).map(|conn| wait(&mut pacing, conn, 2)).collect();
            assert!(pacing.arrive(NOW, ConnId(64), [2; 8]).is_err(), "no more of the same");
            let alone = wait(&mut pacing, 70, 1);
            let turned_away = crowd.iter().filter(|turn| turn.0.0.lock().unwrap().turned_away).count();
            assert_eq!(turned_away, 1);
            pacing.draw(NOW, &mut rng).unwrap().start();
            honest += u32::from(is_granted(&alone));
        }
        assert!((150..250).contains(&honest), "{honest}");
    }

    #[test]
    fn places_are_shared_among_ranges_however_many_connections_each_has() {
        let mut pacing = paced();
        let _crowd: Vec<Turn> = (0..64).map(|conn| wait(&mut pacing, conn, 2)).collect();
        let others: Vec<_> = (100..200).map(|conn| pacing.arrive(NOW, ConnId(conn), [3; 8])).collect();
        assert_eq!(others.iter().filter(|pace| pace.is_ok()).count(), 32);
        assert!(pacing.arrive(NOW, ConnId(300), [1; 8]).is_ok());
        // Who hung up has no place.
        drop(others);
        assert!(pacing.arrive(NOW, ConnId(301), [2; 8]).is_ok());
    }

    #[test]
    fn turns_come_one_after_the_other_whoever_hangs_up() {
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let mut pacing = paced();
        let mut turns: Vec<Turn> = (0..10).map(|conn| wait(&mut pacing, conn, conn as u8)).collect();
        turns.remove(3);
        let drawn = pacing.draw(NOW, &mut rng).unwrap();
        turns.remove(5);
        drawn.start();
        while !turns.is_empty() {
            let granted: Vec<usize> = (0..turns.len()).filter(|at| is_granted(&turns[*at])).collect();
            assert_eq!(granted.len(), 1);
            turns.remove(granted[0]);
        }
        assert!(pacing.draw(NOW, &mut rng).is_none());
    }
}
