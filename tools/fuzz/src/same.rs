//! Decode, write, decode again: the same.

use std::fmt::Debug;

/// Decodes `$body`; if that succeeds, writes the value and decodes it again, which yields the same and leaves nothing.
macro_rules! same {
    ($body:expr, |$r:ident| $decode:expr, |$value:ident, $out:ident| $encode:expr) => {{
        let body: &[u8] = $body;
        let mut first = proto::Reader::new(body);
        let $r = &mut first;
        if let Ok(value) = $decode {
            let mut written: Vec<u8> = Vec::new();
            {
                let ($value, $out) = (&value, &mut written);
                $encode;
            }
            let mut second = proto::Reader::new(&written);
            let $r = &mut second;
            let again = $decode.expect("what was written can be read");
            assert!(second.is_empty(), "nothing is left of what was written");
            $crate::same::compare(body, &value, &again);
        }
    }};
}
pub(crate) use same;

/// `before` was read from `body`, `after` from what was written of it.
pub(crate) fn compare<T: PartialEq + Debug>(body: &[u8], before: &T, after: &T) {
    if is_faithful(body) {
        assert_eq!(before, after);
    }
}

/// Does all text in these bytes survive being written? Characters beyond U+FFFF do not: as in Java they leave as two
/// surrogates, which nobody reads back.
pub(crate) fn is_faithful(bytes: &[u8]) -> bool {
    !String::from_utf8_lossy(bytes).chars().any(|c| c as u32 > 0xFFFF)
}
