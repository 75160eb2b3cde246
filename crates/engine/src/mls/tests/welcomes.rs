//! Split Welcomes, held against the library's own parser.

use openmls::prelude::tls_codec::{Deserialize as _, Serialize as _};
use openmls::prelude::{MlsMessageBodyIn, MlsMessageIn, Welcome};
use proptest::collection::vec;
use proptest::prelude::*;
use tls_codec::VLByteSlice;

use super::super::welcome::split;
use super::*;

fn parse(message: &[u8]) -> Welcome {
    match MlsMessageIn::tls_deserialize_exact(message).unwrap().extract() {
        MlsMessageBodyIn::Welcome(welcome) => welcome,
        _ => panic!("not a Welcome"),
    }
}

fn message(suite: u16, secrets: &[(Vec<u8>, Vec<u8>, Vec<u8>)], group_info: &[u8]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (reference, kem, ciphertext) in secrets {
        for part in [reference, kem, ciphertext] {
            VLByteSlice(part).tls_serialize(&mut entries).unwrap();
        }
    }
    let mut out = vec![0, 1, 0, 3];
    out.extend_from_slice(&suite.to_be_bytes());
    VLByteSlice(&entries).tls_serialize(&mut out).unwrap();
    VLByteSlice(group_info).tls_serialize(&mut out).unwrap();
    out
}

fn secret() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u8>)> {
    (vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..1300), vec(any::<u8>(), 0..200))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_part_is_the_library_s_welcome_with_one_secret(
        suite in prop::sample::select(&SUITES[..]),
        secrets in vec(secret(), 0..6),
        group_info in vec(any::<u8>(), 0..20_000),
    ) {
        let whole = message(suite, &secrets, &group_info);
        let parsed = parse(&whole);
        let parts = split(&whole).unwrap();
        prop_assert_eq!(parts.len(), secrets.len());
        for (index, (reference, part)) in parts.iter().enumerate() {
            let one = parse(part);
            prop_assert_eq!(u16::from(one.ciphersuite()), suite);
            prop_assert_eq!(one.secrets(), &parsed.secrets()[index..=index]);
            let new_member = one.secrets()[0].new_member();
            prop_assert_eq!(new_member.as_slice(), &reference[..]);
            let mut tail = Vec::new();
            VLByteSlice(&group_info).tls_serialize(&mut tail).unwrap();
            prop_assert!(part.ends_with(&tail));
        }
    }

    #[test]
    fn i9_junk_and_cut_messages_are_refused(junk in vec(any::<u8>(), 0..200), cut in 0usize..100) {
        let _ = split(&junk);
        let whole = message(1, &[(vec![1; 32], vec![2; 32], vec![3; 60])], &[4; 50]);
        prop_assert!(split(&whole[..whole.len() - 1 - cut.min(whole.len() - 1)]).is_none());
        let mut longer = whole;
        longer.extend_from_slice(&junk);
        prop_assert_eq!(split(&longer).is_some(), junk.is_empty());
    }

    #[test]
    fn i9_junk_never_panics_a_member(junk in vec(any::<u8>(), 0..300)) {
        let mut devices = group_of(1, CLASSICAL_SUITE);
        let alice = &mut devices[0];
        prop_assert!(alice.receive(&junk).is_err());
        prop_assert!(alice.process(&junk).is_err());
        prop_assert!(alice.join(&junk, &junk).is_err());
        let change = Change { adds: vec![junk.into()], ..Change::default() };
        prop_assert!(alice.stage(change).is_err());
    }
}

#[test]
fn a_new_device_learns_of_no_other_from_its_welcome() {
    let mut alice = Device::new(1);
    alice.create(b"");
    let mut others: Vec<Device> = (2..=9).map(Device::new).collect();
    let staged = alice.stage(adding(&mut others.iter_mut().collect::<Vec<_>>())).unwrap();
    alice.merge_staged();
    let sizes: Vec<usize> = staged.welcomes.iter().map(|(_, welcome)| welcome.len()).collect();
    assert_eq!(sizes, vec![sizes[0]; 8]);
    for (index, (device, (_, welcome))) in others.iter_mut().zip(&staged.welcomes).enumerate() {
        assert_eq!(parse(welcome).secrets().len(), 1);
        // Somebody else's Welcome is none, and costs no key package.
        let foreign = &staged.welcomes[(index + 1) % 8].1;
        let tree = staged.tree.as_ref().unwrap();
        assert!(matches!(device.join(foreign, tree), Err(JoinError::NotForUs)));
        device.join(welcome, tree).unwrap();
    }
}
