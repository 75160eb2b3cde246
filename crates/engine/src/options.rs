//! Choices that are not a person's: ciphersuite and pace.

/// How an engine works.
#[derive(Debug, Clone)]
pub struct Options {
    /// MLS ciphersuite of new conversations; a classical one is for tests and benches only.
    pub suite: u16,
    /// Deposits are sent at a random time within this span after the commit that they follow, in milliseconds, so that a relay
    /// can't pair the two by time alone.
    pub deposit_spread_ms: u64,
    /// Receipts of a conversation go out at most once in this time, in milliseconds.
    pub receipt_pause_ms: u64,
    /// One-time key packages kept at the relay.
    pub key_packages: u32,
    /// About how many bytes of history travel in one chunk.
    pub history_chunk: usize,
    /// Devices that one commit adds at most, so that it stays below every relay's limit. The first commit of a successor adds all at once.
    pub adds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            suite: crate::mls::DEFAULT_SUITE,
            deposit_spread_ms: 2_000,
            receipt_pause_ms: 2_000,
            key_packages: 50,
            history_chunk: 512 * 1024,
            adds: 400,
        }
    }
}
