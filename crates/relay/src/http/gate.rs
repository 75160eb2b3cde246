//! How many connections there may be, in all and from one address range (protocol rule 11).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// An address range as the relay counts by it: an IPv4 /24 or an IPv6 /56.
pub fn range_of(ip: IpAddr) -> [u8; 8] {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            // 0000::/8 is not routed, so no IPv6 range looks like this.
            [0, 0, 0, 4, a, b, c, 0]
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, ..] = ip.octets();
            [a, b, c, d, e, f, g, 0]
        }
    }
}

/// Counts connections and lets no more in than it was made for.
#[derive(Debug)]
pub struct Gate {
    total: usize,
    per_range: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    ranges: HashMap<[u8; 8], usize>,
}

/// One connection's place; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    /// `None` for loopback, which is not counted by range.
    range: Option<[u8; 8]>,
}

impl Gate {
    /// Room for `total` connections, `per_range` of them from one range.
    pub fn new(total: usize, per_range: usize) -> Arc<Self> {
        Arc::new(Self { total, per_range, counts: Mutex::default() })
    }

    /// A place for a connection from `ip`, or `None` if there is no room.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let range = (!ip.to_canonical().is_loopback()).then(|| range_of(ip));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.total {
            return None;
        }
        if let Some(range) = range {
            let count = counts.ranges.entry(range).or_default();
            if *count >= self.per_range {
                return None;
            }
            *count += 1;
        }
        counts.all += 1;
        Some(Place { gate: self.clone(), range })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(range) = self.range
            && let Some(count) = counts.ranges.get_mut(&range)
        {
            *count -= 1;
            if *count == 0 {
                counts.ranges.remove(&range);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_range_and_in_all_and_come_back() {
        let gate = Gate::new(4, 2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = gate.enter(ip("192.0.2.1")).unwrap();
        let _second = gate.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(gate.enter(ip("192.0.2.9")).is_none(), "two from one range");
        drop(first);
        let _third = gate.enter(ip("192.0.2.1")).unwrap();
        let _sixth = gate.enter(ip("2001:db8::1")).unwrap();
        let seventh = gate.enter(ip("2001:db8::ffff:2")).unwrap();
        assert!(gate.enter(ip("127.0.0.1")).is_none(), "four in all");
        drop(seventh);
        let _loopback = gate.enter(ip("127.0.0.1")).unwrap();
        assert_eq!(gate.counts.lock().unwrap().ranges.len(), 2, "nothing is kept of ranges without connections");
    }
}
