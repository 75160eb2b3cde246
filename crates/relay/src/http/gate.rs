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
    /// `None` for loopback and for proxies, which are not counted by range.
    range: Option<[u8; 8]>,
}

impl Gate {
    /// Room for `total` connections, `per_range` of them from one range.
    pub fn new(total: usize, per_range: usize) -> Arc<Self> {
        Arc::new(Self { total, per_range, counts: Mutex::default() })
    }

    /// A place for a connection from `ip`, or `None` if there is no room. A proxy's is not counted by range; see [`Place::count`].
    pub fn enter(self: &Arc<Self>, ip: IpAddr, is_proxy: bool) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.total {
            return None;
        }
        let range = match is_proxy {
            true => None,
            false => counts.enter(ip, self.per_range)?,
        };
        counts.all += 1;
        Some(Place { gate: self.clone(), range })
    }
}

impl Counts {
    /// Counts one more from the range of `ip` and says which that is, or refuses it. Loopback has none.
    fn enter(&mut self, ip: IpAddr, limit: usize) -> Option<Option<[u8; 8]>> {
        if ip.to_canonical().is_loopback() {
            return Some(None);
        }
        let range = range_of(ip);
        let count = self.ranges.entry(range).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Some(range))
    }
}

impl Place {
    /// Counts a connection by the range of whom it is for, where a proxy had it. False if there is no room for that range.
    pub fn count(&mut self, ip: IpAddr) -> bool {
        if self.range.is_some() {
            return true;
        }
        let entered = {
            let mut counts = self.gate.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.enter(ip, self.gate.per_range)
        };
        let Some(range) = entered else { return false };
        self.range = range;
        true
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
    fn those_behind_a_proxy_are_counted_by_their_own_range() {
        let gate = Gate::new(10, 1);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut places: Vec<Place> = (0..3).map(|_| gate.enter(ip("10.0.0.1"), true).unwrap()).collect();
        assert!(places[0].count(ip("192.0.2.1")) && places[1].count(ip("198.51.100.1")));
        assert!(!places[2].count(ip("192.0.2.2")));
        places.remove(0);
        assert!(places[1].count(ip("192.0.2.2")));
        drop(places);
        assert_eq!(gate.counts.lock().unwrap().ranges.len(), 0);
    }

    #[test]
    fn places_are_bounded_by_range_and_in_all_and_come_back() {
        let gate = Gate::new(4, 2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = gate.enter(ip("192.0.2.1"), false).unwrap();
        let _second = gate.enter(ip("::ffff:192.0.2.1"), false).unwrap();
        assert!(gate.enter(ip("192.0.2.9"), false).is_none(), "two from one range");
        drop(first);
        let _third = gate.enter(ip("192.0.2.1"), false).unwrap();
        let _sixth = gate.enter(ip("2001:db8::1"), false).unwrap();
        let seventh = gate.enter(ip("2001:db8::ffff:2"), false).unwrap();
        assert!(gate.enter(ip("127.0.0.1"), false).is_none(), "four in all");
        drop(seventh);
        let _loopback = gate.enter(ip("127.0.0.1"), false).unwrap();
        assert_eq!(gate.counts.lock().unwrap().ranges.len(), 2, "nothing is kept of ranges without connections");
    }
}
