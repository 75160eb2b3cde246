//! Attachments: what comes back, how long it is, and that every way of tampering with the chunks is noticed.

use content::attachment::{
    AttachmentKey, CHUNK_BYTES, OpenError, Opener, SealError, Sealer, ciphertext_hash, open, seal, sealed_len,
};
use content::padding::padme;
use proptest::prelude::*;

const SEALED_CHUNK: usize = CHUNK_BYTES + 16;

fn key() -> AttachmentKey {
    AttachmentKey::from_bytes([7; 32])
}

fn file(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

/// Lengths around every edge: empty, one byte, the length's own 8 bytes, chunks that are just full.
const LENGTHS: [usize; 12] = [
    0,
    1,
    7,
    1000,
    CHUNK_BYTES - 9,
    CHUNK_BYTES - 8,
    CHUNK_BYTES - 7,
    CHUNK_BYTES,
    2 * CHUNK_BYTES - 8,
    2 * CHUNK_BYTES - 7,
    3 * CHUNK_BYTES,
    5 * CHUNK_BYTES + 17,
];

#[test]
fn what_was_sealed_comes_back_at_every_length() {
    for len in LENGTHS {
        let sealed = seal(&key(), &file(len));
        assert_eq!(sealed.len() as u64, sealed_len(len as u64), "{len}");
        let padded = padme(len + 8);
        assert_eq!(sealed.len(), 1 + padded + 16 * padded.div_ceil(CHUNK_BYTES), "{len}");
        assert!(open(&key(), &sealed) == Ok(file(len)), "{len}");
    }
}

#[test]
fn pieces_of_every_size_give_the_same_bytes_and_hash() {
    let file = file(2 * CHUNK_BYTES + 100);
    let whole = seal(&key(), &file);
    for piece in [1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 1 << 20] {
        let mut sealer = Sealer::new(&key(), file.len() as u64).unwrap();
        let mut sealed = Vec::new();
        for part in file.chunks(piece) {
            sealed.extend(sealer.update(part).unwrap());
        }
        let finished = sealer.finish().unwrap();
        sealed.extend(finished.bytes);
        assert!(sealed == whole, "{piece}");
        assert_eq!(finished.hash, ciphertext_hash(&whole));

        let mut opener = Opener::new(&key());
        let mut opened = Vec::new();
        for part in whole.chunks(piece) {
            opened.extend(opener.update(part).unwrap());
        }
        let finished = opener.finish().unwrap();
        opened.extend(finished.bytes);
        assert!(opened == file, "{piece}");
        assert_eq!(finished.hash, ciphertext_hash(&whole));
    }
}

#[test]
fn chunks_left_out_doubled_swapped_or_cut_are_noticed() {
    let sealed = seal(&key(), &file(4 * CHUNK_BYTES));
    let (header, body) = sealed.split_at(1);
    let chunks: Vec<&[u8]> = body.chunks(SEALED_CHUNK).collect();
    assert_eq!(chunks.len(), 5);
    let refused = |order: &[usize]| {
        let bytes: Vec<u8> = header.iter().copied().chain(order.iter().flat_map(|at| chunks[*at].to_vec())).collect();
        assert!(open(&key(), &bytes).is_err(), "{order:?}");
    };
    for order in [
        &[0, 1, 2, 3][..],
        &[0, 1, 2],
        &[0],
        &[],
        &[1, 2, 3, 4],
        &[0, 0, 1, 2, 3, 4],
        &[0, 1, 1, 2, 3, 4],
        &[0, 2, 1, 3, 4],
        &[1, 0, 2, 3, 4],
        &[0, 1, 2, 3, 4, 4],
        &[0, 1, 2, 3, 4, 0],
        &[4],
    ] {
        refused(order);
    }
    for cut in [0, 1, 2, 16, 17, 18, SEALED_CHUNK, SEALED_CHUNK + 1, sealed.len() - 16, sealed.len() - 1] {
        assert!(open(&key(), &sealed[..cut]).is_err(), "{cut}");
    }
    assert!(open(&key(), &[&sealed[..], &[0]].concat()).is_err());
}

#[test]
fn a_chunk_of_another_file_is_noticed() {
    let (mine, other) =
        (seal(&key(), &file(2 * CHUNK_BYTES)), seal(&AttachmentKey::from_bytes([8; 32]), &file(2 * CHUNK_BYTES)));
    let mut mixed = mine.clone();
    mixed[1 + SEALED_CHUNK..1 + 2 * SEALED_CHUNK].copy_from_slice(&other[1 + SEALED_CHUNK..1 + 2 * SEALED_CHUNK]);
    assert_eq!(open(&key(), &mixed), Err(OpenError::Damaged));
    assert_eq!(open(&key(), &other), Err(OpenError::Damaged));
}

#[test]
fn a_later_version_is_named() {
    let mut sealed = seal(&key(), b"x");
    sealed[0] = 2;
    assert_eq!(open(&key(), &sealed), Err(OpenError::Version(2)));
    assert_eq!(open(&key(), &[]), Err(OpenError::Damaged));
}

#[test]
fn an_error_stays() {
    let mut sealed = seal(&key(), &file(3 * CHUNK_BYTES));
    sealed[100] ^= 1;
    let mut opener = Opener::new(&key());
    assert_eq!(opener.update(&sealed), Err(OpenError::Damaged));
    assert_eq!(opener.update(&seal(&key(), b"x")), Err(OpenError::Damaged));
    assert_eq!(opener.finish(), Err(OpenError::Damaged));
}

#[test]
fn a_file_that_changed_its_length_is_not_sealed() {
    let mut sealer = Sealer::new(&key(), 3).unwrap();
    assert_eq!(sealer.update(b"four"), Err(SealError::Length));
    let mut sealer = Sealer::new(&key(), 3).unwrap();
    sealer.update(b"ab").unwrap();
    assert_eq!(sealer.finish(), Err(SealError::Length));
    assert_eq!(Sealer::new(&key(), u64::MAX).err(), Some(SealError::TooLarge));
}

/// What a sender can do who holds the key: everything that [`Sealer`] does not.
mod by_the_sender {
    use aead_stream::EncryptorBE32;
    use chacha20poly1305::aead::Payload;
    use chacha20poly1305::{ChaCha20Poly1305, Key};

    use super::*;

    fn sealed(chunks: &[&[u8]]) -> Vec<u8> {
        let mut stream: EncryptorBE32<ChaCha20Poly1305> = EncryptorBE32::new(&Key::from([7; 32]), &Default::default());
        let (last, others) = chunks.split_last().unwrap();
        let mut out = vec![1];
        for chunk in others {
            out.extend(stream.encrypt_next(Payload { msg: chunk, aad: &[1] }).unwrap());
        }
        out.extend(stream.encrypt_last(Payload { msg: last, aad: &[1] }).unwrap());
        out
    }

    fn plain(len: u64, rest: &[u8]) -> Vec<u8> {
        [&len.to_be_bytes(), rest].concat()
    }

    #[test]
    fn lengths_and_padding_that_lie_are_refused() {
        assert_eq!(open(&key(), &sealed(&[&plain(3, b"abc\0")])), Ok(b"abc".to_vec()));
        for lie in [
            plain(3, b"abcd"),          // padding that is not zero
            plain(3, b"abc"),           // too little of it
            plain(3, b"abc\0\0\0\0\0"), // too much of it
            plain(9, b"abc\0"),         // longer than what is there
            plain(u64::MAX, b"abc\0"),  // longer than anything
            b"short".to_vec(),          // not even a length
            Vec::new(),
        ] {
            assert_eq!(open(&key(), &sealed(&[&lie])), Err(OpenError::Malformed), "{lie:?}");
        }
    }

    #[test]
    fn an_empty_last_chunk_is_refused() {
        let full = plain((CHUNK_BYTES - 8) as u64, &file(CHUNK_BYTES - 8));
        assert!(open(&key(), &sealed(&[&full])).is_ok());
        assert_eq!(open(&key(), &sealed(&[&full, b""])), Err(OpenError::Malformed));
    }

    /// Shorter chunks than the format's don't end where a reader looks for their ends.
    #[test]
    fn short_chunks_are_refused() {
        assert_eq!(open(&key(), &sealed(&[&plain(3, b"a"), b"bc\0"])), Err(OpenError::Damaged));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flipped_bit_anywhere_is_noticed(len in 0..3 * CHUNK_BYTES, at: prop::sample::Index, bit in 0..8) {
        let mut sealed = seal(&key(), &file(len));
        let at = at.index(sealed.len());
        sealed[at] ^= 1u8 << bit;
        prop_assert!(open(&key(), &sealed).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let _ = open(&key(), &bytes);
        let _ = open(&key(), &[&[1], &bytes[..]].concat());
    }
}
