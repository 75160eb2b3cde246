//! The one configuration that all groups have.

use openmls::prelude::{
    Capabilities, Ciphersuite, CredentialType, Extension, ExtensionType, Extensions, GroupContext, Lifetime,
    MlsGroupCreateConfig, MlsGroupJoinConfig, OpenMlsRand, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY,
    RequiredCapabilitiesExtension, SenderRatchetConfiguration, UnknownExtension,
};
use wire::UnixMillis;

use super::{LeafError, MlsError};

/// `MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519` of draft-ietf-mls-pq-ciphersuites: confidentiality is post-quantum,
/// signatures are classical.
pub const DEFAULT_SUITE: u16 = 0x004f;

/// `MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519` (RFC 9420), for tests and benches only.
pub const CLASSICAL_SUITE: u16 = 0x0001;

/// The suites that groups are made with, best first. All of them sign with Ed25519, so one device key serves all.
pub const SUITES: [u16; 2] = [DEFAULT_SUITE, CLASSICAL_SUITE];

/// The GroupContext extension that holds a conversation's state: from the range for private use (RFC 9420, section 17.3).
pub(super) const STATE_EXTENSION: u16 = 0xf7a5;

/// Messages of one sender that may arrive out of order: the window of 16 in flight (protocol rule 4), twice.
const OUT_OF_ORDER: u32 = 32;

/// Messages of one sender that may be missing in a row. Whatever a relay refuses or drops must not make the rest unreadable.
const MAXIMUM_FORWARD: u32 = 10_000;

const DAY: u64 = 24 * 3600;

/// How long before its making a leaf is valid: room for clocks that are off.
const BEFORE: u64 = 30 * DAY;

/// How long after its making a leaf is valid. Not freshness: a device that was away must still walk all commits, and OpenMLS
/// holds lifetimes against the clock at each of them (protocol section 2).
const AFTER: u64 = 3652 * DAY;

pub(super) fn suite(number: u16) -> Result<Ciphersuite, MlsError> {
    if !SUITES.contains(&number) {
        return Err(MlsError::Suite(number));
    }
    Ciphersuite::try_from(number).map_err(|_| MlsError::Suite(number))
}

pub(super) fn lifetime(now: UnixMillis) -> Lifetime {
    let now = now.0 / 1000;
    Lifetime::init(now.saturating_sub(BEFORE), now.saturating_add(AFTER))
}

/// The range is fixed, so that whether a lifetime is allowed depends on no clock (protocol rule 6).
pub(super) fn check_lifetime(lifetime: &Lifetime) -> Result<(), LeafError> {
    match lifetime.not_after().checked_sub(lifetime.not_before()) {
        Some(range) if range == BEFORE + AFTER => Ok(()),
        _ => Err(LeafError::Lifetime),
    }
}

/// Checks that a lifetime has nine of its ten years left. Whoever adds a leaf that is about to end would leave each member that
/// reads the commit later unable to follow it, since OpenMLS holds lifetimes against the clock there.
pub(super) fn check_fresh(lifetime: &Lifetime, now: UnixMillis) -> Result<(), LeafError> {
    let now = now.0 / 1000;
    let least = now.saturating_add(AFTER - 366 * DAY);
    if lifetime.not_before() <= now && lifetime.not_after() >= least { Ok(()) } else { Err(LeafError::Lifetime) }
}

/// What our leaves announce, with GREASE (RFC 9420, section 13.5), so that nobody comes to depend on the list being this one.
pub(super) fn capabilities(rand: &impl OpenMlsRand) -> Capabilities {
    let suites: Vec<_> = SUITES.iter().filter_map(|number| Ciphersuite::try_from(*number).ok()).collect();
    Capabilities::new(
        None,
        Some(&suites),
        Some(&[ExtensionType::Unknown(STATE_EXTENSION), ExtensionType::LastResort]),
        None,
        Some(&[CredentialType::Basic]),
    )
    .with_grease(rand)
}

/// The extensions of a group's context: the conversation's state, the demand that every member understands it (RFC 9420,
/// section 11.1), and nothing else, so no external senders either.
pub(super) fn context(state: &[u8]) -> Result<Extensions<GroupContext>, MlsError> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(required_capabilities()),
        Extension::Unknown(STATE_EXTENSION, UnknownExtension(state.to_vec())),
    ])
    .map_err(|error| MlsError::Library(error.to_string()))
}

/// The conversation's state, if the extensions are those that [`context`] makes.
pub(super) fn state_of(extensions: &Extensions<GroupContext>) -> Option<&[u8]> {
    if extensions.iter().count() != 2 || extensions.required_capabilities() != Some(&required_capabilities()) {
        return None;
    }
    extensions.unknown(STATE_EXTENSION).map(|extension| extension.0.as_slice())
}

fn required_capabilities() -> RequiredCapabilitiesExtension {
    RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(STATE_EXTENSION)], &[], &[CredentialType::Basic])
}

pub(super) fn join() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(ratchet())
        .max_past_epochs(0)
        .build()
}

pub(super) fn create(
    suite: Ciphersuite,
    capabilities: Capabilities,
    state: &[u8],
    now: UnixMillis,
) -> Result<MlsGroupCreateConfig, MlsError> {
    Ok(MlsGroupCreateConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(ratchet())
        .max_past_epochs(0)
        .ciphersuite(suite)
        .capabilities(capabilities)
        .lifetime(lifetime(now))
        .with_group_context_extensions(context(state)?)
        .build())
}

fn ratchet() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER, MAXIMUM_FORWARD)
}
