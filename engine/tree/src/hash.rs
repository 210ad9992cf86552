//! The hash of a path under a secret key: fast for short strings, and not to be steered by who does not know the key.

const K: u64 = 0x9E37_79B9_7F4A_7C15;

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The hash of `bytes` under `key`.
pub fn hash(key: (u64, u64), bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let mut state = key.0 ^ fold(length as u64 ^ K, key.1 | 1);
    let (a, b) = if length >= 16 {
        let mut at = 0;
        while at + 16 < length {
            state = fold(word(bytes, at) ^ state, word(bytes, at + 8) ^ key.1);
            at += 16;
        }
        (word(bytes, length - 16), word(bytes, length - 8))
    } else {
        let mut short = [0; 16];
        short[..length].copy_from_slice(bytes);
        (word(&short, 0), word(&short, 8))
    };
    fold(fold(a ^ state, b ^ key.1) ^ key.0, K)
}
