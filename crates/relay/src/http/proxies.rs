//! Whom a connection comes from where a reverse proxy is between: its word, if the operator trusts it.
//!
//! What always holds: the headers of anybody else say nothing; of those that a trusted proxy passes on only what a trusted one has
//! added is believed, which is the rightmost address that is no proxy's own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// An address, or all that share its first bits: `192.0.2.1`, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether `ip` is in it. An IPv4 address is the same one in its IPv6 form.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V6(own), IpAddr::V6(ip)) => (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits,
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected an IP address, with /BITS for a network, for example 10.0.0.0/8".to_owned();
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.trim().parse::<IpAddr>().map_err(|_| expected())?.to_canonical();
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), |bits| bits.trim().parse().map_err(|_| expected()))?;
        if bits > all { Err(expected()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// True if a connection from `ip` is a trusted proxy's.
pub fn is_trusted(proxies: &[Network], ip: IpAddr) -> bool {
    proxies.iter().any(|proxy| proxy.contains(ip))
}

/// Whom a request comes from that arrived from `peer`: `peer` itself, unless that is a trusted proxy. `X-Forwarded-For` goes before
/// `Forwarded` (RFC 7239, section 4); a proxy that sets one must take the other away.
pub fn client(proxies: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !is_trusted(proxies, peer) {
        return peer;
    }
    let is_plain = headers.contains_key(X_FORWARDED_FOR);
    let name = if is_plain { X_FORWARDED_FOR } else { header::FORWARDED };
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    let list = values.collect::<Vec<&str>>().join(",");
    let mut client = peer;
    for hop in list.rsplit(',') {
        let node = if is_plain { Some(hop) } else { forwarded_for(hop) };
        // What can't be read is of somebody whom the last proxy did not name: it stands for him.
        let Some(ip) = node.and_then(address) else { break };
        client = ip;
        if !is_trusted(proxies, ip) {
            break;
        }
    }
    client
}

/// The node that an element of `Forwarded` says the request is for.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, node)| node)
}

/// An address, with or without port, brackets and quotes.
fn address(node: &str) -> Option<IpAddr> {
    let node = node.trim().trim_matches('"');
    let bare = node.strip_prefix('[').and_then(|node| node.strip_suffix(']')).unwrap_or(node);
    let ip = bare.parse().ok().or_else(|| node.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn from(peer: &str, headers: &[(HeaderName, &'static str)]) -> String {
        let proxies: Vec<Network> = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).into();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        client(&proxies, peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn only_what_a_trusted_proxy_added_is_believed() {
        let plain = |value| (X_FORWARDED_FOR, value);
        let standard = |value| (header::FORWARDED, value);
        assert_eq!(from("192.0.2.1", &[plain("198.51.100.7")]), "192.0.2.1", "no proxy");
        assert_eq!(from("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(from("::ffff:127.0.0.1", &[plain("198.51.100.7")]), "198.51.100.7");
        assert_eq!(from("127.0.0.1", &[plain("203.0.113.9, 198.51.100.7, 10.1.2.3")]), "198.51.100.7");
        assert_eq!(from("127.0.0.1", &[plain("203.0.113.9"), plain("198.51.100.7:99")]), "198.51.100.7");
        assert_eq!(from("127.0.0.1", &[plain("203.0.113.9, what?, 10.1.2.3")]), "10.1.2.3");
        assert_eq!(from("127.0.0.1", &[plain("")]), "127.0.0.1");
        assert_eq!(from("fd00::1", &[standard("for=1.2.3.4, For=\"[2001:db8::7]:4711\";proto=https")]), "2001:db8::7");
        assert_eq!(from("127.0.0.1", &[standard("for=203.0.113.9"), plain("198.51.100.7")]), "198.51.100.7");
        assert_eq!(from("127.0.0.1", &[standard("for=203.0.113.9, for=_hidden")]), "127.0.0.1");
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["", "10.0.0.0/33", "x/8", "10.0.0.0/", "::1/129"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
    }
}
