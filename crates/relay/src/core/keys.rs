//! The names of the relay's records in its store. Each kind has a prefix of its own; what follows is of fixed length or ends with a
//! zero byte, which no address holds, so that no name is the beginning of another one's.

use wire::{Address, BlobId, DeviceId, LogId, UnixMillis};

/// `account/<address>`: the signed record as it arrived; its version in the store is the record's own.
pub(super) fn account(address: &Address) -> Vec<u8> {
    join(b"account/", &[address.as_str().as_bytes()])
}

/// `inbox/<log>`: whose inbox this log is, see [`owner`].
pub(super) fn inbox(log: LogId) -> Vec<u8> {
    join(b"inbox/", &[&log.0])
}

/// `<device><address>`, the value of an inbox's record.
pub(super) fn owner(address: &Address, device: DeviceId) -> Vec<u8> {
    join(&device.0, &[address.as_str().as_bytes()])
}

/// What [`owner`] made.
pub(super) fn read_owner(value: &[u8]) -> Option<(Address, DeviceId)> {
    let (device, address) = value.split_first_chunk::<16>()?;
    let address = std::str::from_utf8(address).ok()?.parse().ok()?;
    Some((address, DeviceId(*device)))
}

/// `keypackage/<address>0<device>`: the prefix of a device's one-time key packages.
pub(super) fn key_packages(address: &Address, device: DeviceId) -> Vec<u8> {
    join(b"keypackage/", &[address.as_str().as_bytes(), &[0], &device.0])
}

/// `lastresort/<address>0<device>`: a byte that says whether it was handed out, then the key package.
pub(super) fn last_resort(address: &Address, device: DeviceId) -> Vec<u8> {
    join(b"lastresort/", &[address.as_str().as_bytes(), &[0], &device.0])
}

/// `invite/<SHA-256 of the code>`: which record it admitted.
pub(super) fn invite(code_hash: &[u8; 32]) -> Vec<u8> {
    join(b"invite/", &[code_hash])
}

/// The prefix of all blobs' records.
pub(super) const BLOBS: &[u8] = b"blob/";

/// `blob/<id>`: hash of the write secret, announced length, time.
pub(super) fn blob(id: BlobId) -> Vec<u8> {
    join(BLOBS, &[&id.0])
}

/// The prefix of all rendezvous logs' records.
pub(super) const RENDEZVOUS: &[u8] = b"rendezvous/";

/// `rendezvous/<expiry><log>`: in the order in which they expire.
pub(super) fn rendezvous(expires: UnixMillis, log: LogId) -> Vec<u8> {
    join(RENDEZVOUS, &[&expires.0.to_be_bytes(), &log.0])
}

/// What [`rendezvous`] made.
pub(super) fn read_rendezvous(key: &[u8]) -> Option<(UnixMillis, LogId)> {
    let (expires, log) = key.strip_prefix(RENDEZVOUS)?.split_first_chunk::<8>()?;
    Some((UnixMillis(u64::from_be_bytes(*expires)), LogId(log.try_into().ok()?)))
}

fn join(prefix: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_what_was_named() {
        let address: Address = "alice@relay.example".parse().unwrap();
        let device = DeviceId([7; 16]);
        assert_eq!(read_owner(&owner(&address, device)), Some((address, device)));
        assert_eq!(read_owner(&[7; 16]), None);
        let (expires, log) = (UnixMillis(5), LogId([8; 16]));
        assert_eq!(read_rendezvous(&rendezvous(expires, log)), Some((expires, log)));
        assert!(rendezvous(UnixMillis(255), log) < rendezvous(UnixMillis(256), LogId([0; 16])));
    }

    #[test]
    fn no_device_shares_a_prefix_with_another() {
        let short: Address = "a@b".parse().unwrap();
        let long: Address = "a@b.c".parse().unwrap();
        let device = DeviceId([b'.'; 16]);
        assert!(!key_packages(&long, device).starts_with(&key_packages(&short, device)));
    }
}
