//! Values as they are kept: CBOR (RFC 8949) in which arrays of small numbers are typed arrays (RFC 8746, tag 64).
//!
//! OpenMLS hands byte strings to serde as sequences of numbers, which CBOR writes with one or two bytes each. Packed they take half
//! of the room, and above all a key takes as much as the one that it replaces: SQLite then overwrites a row where it stands, and a
//! large one only in the pages that differ.
//!
//! What always holds: unpacking gives the bytes that were packed; what was written before there was packing unpacks to itself.

use zeroize::Zeroizing;

/// The first byte of tag 64, and the second.
const TAG: [u8; 2] = [0xd8, 0x40];
/// Shorter arrays stay as they are.
const LEAST: usize = 4;

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

/// The beginning of a data item.
struct Head {
    major: u8,
    /// Its argument; none for an item of indefinite length.
    argument: Option<usize>,
    length: usize,
}

fn head(bytes: &[u8]) -> Option<Head> {
    let (first, rest) = bytes.split_first()?;
    let (major, info) = (first >> 5, first & 31);
    let (argument, length) = match info {
        0..=23 => (Some(usize::from(info)), 1),
        24 => (Some(usize::from(*rest.first()?)), 2),
        25 => (Some(usize::from(u16::from_be_bytes(*rest.first_chunk()?))), 3),
        26 => (Some(usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?), 5),
        27 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok(), 9),
        31 => (None, 1),
        _ => return None,
    };
    Some(Head { major, argument, length })
}

fn push_head(out: &mut Vec<u8>, major: u8, argument: usize) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&(argument as u64).to_be_bytes());
        }
    }
}

/// `count` numbers below 256 at the beginning of `bytes`, each in its shortest form, appended to `out`. Answers with what they took.
fn numbers(bytes: &[u8], count: usize, out: &mut Vec<u8>) -> Option<usize> {
    let (before, mut rest) = (out.len(), bytes);
    for _ in 0..count {
        match rest {
            [number @ 0..=23, tail @ ..] | [24, number @ 24..=255, tail @ ..] => {
                out.push(*number);
                rest = tail;
            }
            _ => {
                out.truncate(before);
                return None;
            }
        }
    }
    Some(bytes.len() - rest.len())
}

/// Packs one data item. What is no well-formed CBOR stays as it is.
pub(super) fn pack(cbor: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(cbor.len()));
    // A typed array that was there before would be taken for a packed one.
    if walk(cbor, &mut out, pack_item).is_none() {
        out.clear();
        out.extend_from_slice(cbor);
    }
    out
}

/// Undoes [`pack`].
pub(super) fn unpack(stored: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(stored.len().saturating_mul(2)));
    if walk(stored, &mut out, unpack_item).is_none() {
        out.clear();
        out.extend_from_slice(stored);
    }
    out
}

/// Items stand one behind the other, whatever they are nested in, so nothing here is as deep as the value.
fn walk(
    bytes: &[u8],
    out: &mut Vec<u8>,
    item: impl Fn(&[u8], &Head, &mut Vec<u8>) -> Option<Option<usize>>,
) -> Option<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let head = head(rest)?;
        let taken = match item(rest, &head, out)? {
            Some(taken) => taken,
            None => {
                let length = match (head.major, head.argument) {
                    (BYTES | TEXT, Some(argument)) => head.length.checked_add(argument)?,
                    _ => head.length,
                };
                out.extend_from_slice(rest.get(..length)?);
                length
            }
        };
        rest = rest.get(taken..)?;
    }
    Some(())
}

fn pack_item(rest: &[u8], head: &Head, out: &mut Vec<u8>) -> Option<Option<usize>> {
    if rest.starts_with(&TAG) {
        return None;
    }
    let (ARRAY, Some(count)) = (head.major, head.argument) else { return Some(None) };
    let elements = rest.get(head.length..)?;
    // An array of numbers has at least a byte for each: whatever else says that it is long is not packed.
    if count < LEAST || count > elements.len() {
        return Some(None);
    }
    let before = out.len();
    out.extend_from_slice(&TAG);
    push_head(out, BYTES, count);
    match numbers(elements, count, out) {
        Some(taken) => Some(Some(head.length + taken)),
        None => {
            out.truncate(before);
            Some(None)
        }
    }
}

fn unpack_item(rest: &[u8], _: &Head, out: &mut Vec<u8>) -> Option<Option<usize>> {
    let Some(string) = rest.strip_prefix(&TAG) else { return Some(None) };
    let head = head(string).filter(|head| head.major == BYTES)?;
    let end = head.length.checked_add(head.argument?)?;
    let bytes = string.get(head.length..end)?;
    push_head(out, ARRAY, bytes.len());
    for byte in bytes {
        push_head(out, UNSIGNED, usize::from(*byte));
    }
    Some(Some(TAG.len() + end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Node {
        Keys { key: Vec<u8>, generation: u32, past: Vec<Option<Vec<u8>>> },
        Numbers(Vec<u64>),
        Text(String),
        Nothing,
        Pair(Box<Node>, Option<Box<Node>>),
    }

    fn node() -> impl Strategy<Value = Node> {
        let keys = (any::<Vec<u8>>(), any::<u32>(), any::<Vec<Option<Vec<u8>>>>());
        let leaf = prop_oneof![
            keys.prop_map(|(key, generation, past)| Node::Keys { key, generation, past }),
            prop::collection::vec(0_u64..600, 0..300).prop_map(Node::Numbers),
            any::<String>().prop_map(Node::Text),
            Just(Node::Nothing),
        ];
        leaf.prop_recursive(4, 16, 2, |inner| {
            (inner.clone(), prop::option::of(inner))
                .prop_map(|(one, other)| Node::Pair(Box::new(one), other.map(Box::new)))
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks_to_the_same(value in node()) {
            let cbor = minicbor_serde::to_vec(&value).unwrap();
            let packed = pack(&cbor);
            prop_assert_eq!(&*unpack(&packed), &cbor);
            prop_assert_eq!(&*unpack(&cbor), &cbor);
            prop_assert!(packed.len() <= cbor.len() + 3);
        }

        #[test]
        fn anything_at_all_comes_back_from_packing(bytes in any::<Vec<u8>>()) {
            let packed = pack(&bytes);
            if !bytes.windows(2).any(|pair| pair == TAG) {
                prop_assert_eq!(&*unpack(&packed), &bytes);
            }
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn a_key_takes_as_much_as_the_one_that_it_replaces() {
        let of = |byte: u8| pack(&minicbor_serde::to_vec(vec![byte; 32]).unwrap());
        let key = of(200);
        assert_eq!(key.as_slice(), [&[0xd8, 0x40, 0x58, 32][..], &[200; 32]].concat());
        assert_eq!(of(3).len(), key.len());
    }
}
