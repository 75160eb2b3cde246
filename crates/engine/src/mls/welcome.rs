//! Welcomes, one for each new device.
//!
//! OpenMLS makes one Welcome for all whom a commit adds; its `secrets` would tell each of them how many others there are and
//! by which key packages, and its size grows with them. So it is split: each device gets its own entry of `secrets` only, and
//! `encrypted_group_info` byte for byte (RFC 9420, section 12.4.3.1). The library's constructors are private, hence the work
//! on the wire format; a property test holds it against the library's parser.
//!
//! Here and wherever bytes come from outside: `tls_codec`'s parsers over slices panic in debug builds on a length that is too
//! long, those over readers don't.

use tls_codec::{Deserialize as _, Serialize as _, VLByteSlice, VLBytes};

/// `struct { ProtocolVersion version = mls10; WireFormat wire_format = mls_welcome; … } MLSMessage` (section 6).
const HEADER: [u8; 4] = [0, 1, 0, 3];

/// Splits an encoded `MLSMessage` with a Welcome; one pair of key package reference and encoded `MLSMessage` for each of its
/// secrets, in their order. `None` if the bytes are anything else.
pub(super) fn split(message: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let welcome = message.strip_prefix(&HEADER)?;
    let (suite, mut rest) = welcome.split_at_checked(2)?;
    let secrets = VLBytes::tls_deserialize(&mut rest).ok()?;
    let group_info = VLBytes::tls_deserialize(&mut rest).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    let mut at = secrets.as_slice();
    while !at.is_empty() {
        let before = at;
        let reference = VLBytes::tls_deserialize(&mut at).ok()?;
        let _kem_output = VLBytes::tls_deserialize(&mut at).ok()?;
        let _ciphertext = VLBytes::tls_deserialize(&mut at).ok()?;
        let secret = before.get(..before.len() - at.len())?;
        let mut one = Vec::with_capacity(HEADER.len() + 2 + secret.len() + group_info.as_slice().len() + 8);
        one.extend_from_slice(&HEADER);
        one.extend_from_slice(suite);
        VLByteSlice(secret).tls_serialize(&mut one).ok()?;
        VLByteSlice(group_info.as_slice()).tls_serialize(&mut one).ok()?;
        parts.push((reference.as_slice().to_vec(), one));
    }
    Some(parts)
}
