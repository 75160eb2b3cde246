//! Safety numbers: 60 digits that two people compare, the same on both sides.

use sha2::{Digest, Sha512};
use wire::Address;

/// Iterations of the hash, against searching for keys with similar numbers.
const ITERATIONS: u32 = 5200;

/// 60 digits in twelve groups of five, from both accounts' keys and addresses; the lower half comes first, so that both sides
/// see the same.
pub(crate) fn safety_number(one: (&Address, &[u8; 32]), other: (&Address, &[u8; 32])) -> String {
    let mut halves = [half(one.0, one.1), half(other.0, other.1)];
    halves.sort_unstable();
    let groups: Vec<&str> = halves.iter().flatten().map(String::as_str).collect();
    groups.join(" ")
}

/// 30 digits: six groups of five, each from 40 bits of an iterated SHA-512.
fn half(address: &Address, key: &[u8; 32]) -> Vec<String> {
    let mut hash = wire::signing_input("transom v1 safety number", &[address.as_str().as_bytes(), key]);
    for _ in 0..ITERATIONS {
        hash = Sha512::new().chain_update(&hash).chain_update(key).finalize().to_vec();
    }
    hash.chunks_exact(5)
        .take(6)
        .map(|chunk| {
            let number = chunk.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            format!("{:05}", number % 100_000)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_same_and_another_key_gives_other_digits() {
        let (alice, bob): (Address, Address) = ("alice@a.example".parse().unwrap(), "bob@b.example".parse().unwrap());
        let digits = safety_number((&alice, &[1; 32]), (&bob, &[2; 32]));
        assert_eq!(digits, safety_number((&bob, &[2; 32]), (&alice, &[1; 32])));
        assert_eq!(digits.split(' ').map(str::len).collect::<Vec<_>>(), [5; 12]);
        assert_ne!(digits, safety_number((&alice, &[1; 32]), (&bob, &[3; 32])));
        assert_ne!(digits, safety_number((&alice, &[1; 32]), ("eve@b.example".parse().as_ref().unwrap(), &[2; 32])));
    }
}
