//! Randomness from the operating system, for secrets, nonces and jitter.

/// `N` random bytes, fit for keys.
///
/// # Panics
/// When the operating system has no randomness to give: no program of ours can go on without.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A number evenly distributed over all of `u64`, for jitter.
pub fn number() -> u64 {
    u64::from_le_bytes(bytes())
}

/// A secret of 256 bits as 64 hexadecimal digits.
pub fn token() -> String {
    hex::encode(bytes::<32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_64_hex_digits_and_differ() {
        let (one, other) = (token(), token());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
