//! The `digest` scheme: names made of a user and the hash of user and password (client-protocol.md §15.5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::Digest;

/// A hash function that `DigestAuthenticationProvider.digestAlg` can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    /// SHA-1, ZooKeeper's default.
    #[default]
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-512/224.
    Sha512_224,
    /// SHA-512/256.
    Sha512_256,
    /// SHA3-224.
    Sha3_224,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
    /// MD5.
    Md5,
}

impl Algorithm {
    /// The algorithm with this name in the JDK's list, in any case. All but MD2 of that list are known.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Some(match name.to_ascii_uppercase().as_str() {
            "SHA1" | "SHA-1" | "SHA" => Algorithm::Sha1,
            "SHA-224" | "SHA224" => Algorithm::Sha224,
            "SHA-256" | "SHA256" => Algorithm::Sha256,
            "SHA-384" | "SHA384" => Algorithm::Sha384,
            "SHA-512" | "SHA512" => Algorithm::Sha512,
            "SHA-512/224" | "SHA512/224" => Algorithm::Sha512_224,
            "SHA-512/256" | "SHA512/256" => Algorithm::Sha512_256,
            "SHA3-224" => Algorithm::Sha3_224,
            "SHA3-256" => Algorithm::Sha3_256,
            "SHA3-384" => Algorithm::Sha3_384,
            "SHA3-512" => Algorithm::Sha3_512,
            "MD5" => Algorithm::Md5,
            _ => return None,
        })
    }

    fn base64(self, text: &[u8]) -> String {
        match self {
            Algorithm::Sha1 => STANDARD.encode(sha1::Sha1::digest(text)),
            Algorithm::Sha224 => STANDARD.encode(sha2::Sha224::digest(text)),
            Algorithm::Sha256 => STANDARD.encode(sha2::Sha256::digest(text)),
            Algorithm::Sha384 => STANDARD.encode(sha2::Sha384::digest(text)),
            Algorithm::Sha512 => STANDARD.encode(sha2::Sha512::digest(text)),
            Algorithm::Sha512_224 => STANDARD.encode(sha2::Sha512_224::digest(text)),
            Algorithm::Sha512_256 => STANDARD.encode(sha2::Sha512_256::digest(text)),
            Algorithm::Sha3_224 => STANDARD.encode(sha3::Sha3_224::digest(text)),
            Algorithm::Sha3_256 => STANDARD.encode(sha3::Sha3_256::digest(text)),
            Algorithm::Sha3_384 => STANDARD.encode(sha3::Sha3_384::digest(text)),
            Algorithm::Sha3_512 => STANDARD.encode(sha3::Sha3_512::digest(text)),
            Algorithm::Md5 => STANDARD.encode(md5::Md5::digest(text)),
        }
    }
}

/// The id of a client that says `user:password`: the user, a colon, and the base64 of the hash of the whole text.
/// A text without a colon is a user with no password, and has an id as well.
pub fn generate(algorithm: Algorithm, user_password: &str) -> String {
    format!("{}:{}", user(user_password), algorithm.base64(user_password.as_bytes()))
}

/// Is this text an id? Java cuts at colons, forgets empty pieces at the end, and wants two.
pub(crate) fn is_valid(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

/// The part of an id that may be shown.
pub(crate) fn user(id: &str) -> &str {
    id.split_once(':').map_or(id, |(user, _)| user)
}

/// The id as those see it who may not administer: on each line, `x` for all that follows the first colon.
pub(crate) fn masked(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    let mut hidden = false;
    for c in id.chars() {
        if matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            hidden = false;
        }
        if hidden {
            continue;
        }
        out.push(c);
        if c == ':' {
            out.push('x');
            hidden = true;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_java() {
        // (algorithm, user:password, id), captured from `DigestAuthenticationProvider.generateDigest` of 3.9.5.
        let cases = [
            ("SHA1", "super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("sha-1", "user:password", "user:tpUq/4Pn5A64fVZyQ0gOJ8ZWqkY="),
            ("SHA", "a:b:c", "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0="),
            ("SHA1", "nocolon", "nocolon:Ra+cHr2ZoHvBjtNArFGNGlVie4g="),
            ("SHA1", ":x", ":57b19mLA2vMhI/edHul/TytWqWE="),
            ("SHA1", "x:", "x:klkAALJ94iTJT/Sb0xMaO8xNka8="),
            ("SHA1", "ü:ß", "ü:vB6Co0vguxtrKN0lKrXliXiGJq4="),
            ("SHA-224", "user:password", "user:6GVb/vhYOXU2cAmhuRkcw8i4Z9QlgKhGYZai5Q=="),
            ("SHA-256", "user:password", "user:yRsdas04PETE7CDJcj51jDEYKh9PAjHWPZElmi6hS50="),
            ("SHA256", "ü:ß", "ü:WyT1tyiSFk+Kz7oOW1u26bpzUjrCgvtWP96283LCIJg="),
            ("SHA-384", "user:password", "user:htIoC30hHolTa+/hAI2QsaAqrqOKMHUmlPlzBeIkfRWNGBi/8/dVKpuOsOWVq8qs"),
            (
                "SHA-512",
                "user:password",
                "user:jpg++2gII4jzID8eXmWBSuUbGt1jbK9iB9PlOOf0uNwG7O0rsNtKX7GP4vq+QM0ncsfbzxZTuyf0xv2Xbkfz1Q==",
            ),
            ("SHA-512/256", "user:password", "user:BJ4p7RfQWcJD4uSvfIaTRHf2W3T/r7vXir0nGIUZvt4="),
            ("SHA3-224", "user:password", "user:iE1hEZYPbgaQsjoOF7BzR3Lz7yiM2opep1De6g=="),
            ("SHA3-256", "user:password", "user:NAR2RZ7JZxGXKOuQubzhytx9PjP71AWWZoOY+TVw1hw="),
            ("SHA3-384", "user:password", "user:ohHEqQqd1LbhZS1M4c5EPH62D07UypO0a5QNAmWrxR442b/TvdLCT3OKB2ZtvgnF"),
            (
                "SHA3-512",
                "user:password",
                "user:crJkDTyqNBLSeN9ANTupt+rbekG69LtWeiMDgZ83Q+aPOWeSWYcv+UR8e+oDQH+grRbbiWDlL9r4FgwNVo+jdg==",
            ),
            ("MD5", "user:password", "user:OunqX+etW/ZSxR9D2ldCLA=="),
        ];
        for (algorithm, text, id) in cases {
            assert_eq!(generate(Algorithm::from_name(algorithm).unwrap(), text), id, "{algorithm}");
        }
        assert_eq!(Algorithm::from_name("SHA3_256"), None);
        assert_eq!(Algorithm::from_name("nonsense"), None);
    }

    #[test]
    fn validity_is_that_of_java() {
        for id in ["a:b", ":b", "a:b:", "a:b::"] {
            assert!(is_valid(id), "{id:?}");
        }
        for id in ["", ":", "a", "a:", "a:b:c", "::b", "a::", "a::b"] {
            assert!(!is_valid(id), "{id:?}");
        }
    }

    #[test]
    fn masking_hides_all_behind_the_first_colon_of_each_line() {
        assert_eq!(masked("user:secret:more"), "user:x");
        assert_eq!(masked("a:b\nc:d\u{2028}e:f"), "a:x\nc:x\u{2028}e:x");
        assert_eq!(masked("plain"), "plain");
    }
}
