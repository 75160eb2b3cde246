//! Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019): the sizes
//! that padded things have.
//!
//! A size keeps as many significant bits as its exponent has digits, so that a length of `n` leaks O(log log n) bits and
//! grows by 12 % at most.

/// The smallest Padmé size that `len` bytes fit in. Saturates at `usize::MAX`.
pub fn padme(len: usize) -> usize {
    usize::try_from(padme64(len as u64)).unwrap_or(usize::MAX)
}

/// The same for lengths of files, which may be longer than the memory of this machine.
pub(crate) fn padme64(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let kept_bits = exponent.checked_ilog2().unwrap_or(0) + 1;
    let mask = (1u64 << (exponent - kept_bits.min(exponent))) - 1;
    len.checked_add(mask).map_or(u64::MAX, |rounded| rounded & !mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures worked out by hand from the definition: a size keeps floor(log2 E) + 1 bits below its leading one.
    #[test]
    fn sizes_are_those_of_the_paper() {
        let table = [(0, 0), (1, 1), (2, 2), (3, 3), (7, 7), (8, 8), (9, 10), (15, 16), (100, 104), (1000, 1024)];
        for (len, padded) in table {
            assert_eq!(padme(len), padded, "{len}");
        }
        assert_eq!(padme(1_000_000), 1_015_808);
        assert_eq!(padme(usize::MAX), usize::MAX);
    }

    #[test]
    fn a_padded_size_holds_its_length_grows_by_12_percent_at_most_and_is_its_own_size() {
        for len in (0..100_000u64).chain((0..63).map(|bit| (1u64 << bit) + 1)) {
            let padded = padme64(len);
            assert!(padded >= len, "{len}");
            assert!(padded - len <= len / 8, "{len} -> {padded}");
            assert_eq!(padme64(padded), padded, "{len}");
        }
    }
}
