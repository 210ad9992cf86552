//! Four-letter words as they come in: four raw bytes at the start of a connection (config-and-ops.md §4).
//! What they print is the admin crate's business.

/// A word that ZooKeeper knows, or [`HAND`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// The four letters.
    pub name: &'static str,
    /// The mask that follows `stmk`.
    pub mask: Option<i64>,
}

/// The word of ours: hand over leadership. Answered only where it is listed by its name.
pub const HAND: &str = "hand";

/// All known words.
pub const WORDS: [&str; 19] = [
    "ruok", "isro", "gtmk", "stmk", "envi", "conf", "cons", "crst", "dirs", "dump", "hash", "mntr", "srst", "srvr",
    "stat", "wchs", "wchc", "wchp", HAND,
];

/// What the first bytes of a connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// A word.
    Word(Word),
    /// A word whose argument has not come in full.
    Incomplete,
    /// A packet.
    Packet,
}

/// Looks at the first bytes, four at least.
pub fn opening(bytes: &[u8]) -> Opening {
    let Some((four, rest)) = bytes.split_first_chunk::<4>() else { return Opening::Incomplete };
    let Some(name) = WORDS.iter().find(|word| word.as_bytes() == four) else { return Opening::Packet };
    if *name != "stmk" {
        return Opening::Word(Word { name, mask: None });
    }
    match rest.first_chunk::<8>() {
        Some(mask) => Opening::Word(Word { name, mask: Some(i64::from_be_bytes(*mask)) }),
        None => Opening::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_four_letters_and_anything_may_follow() {
        assert_eq!(opening(b"ruok\n"), Opening::Word(Word { name: "ruok", mask: None }));
        assert_eq!(opening(b"ruoK"), Opening::Packet);
        assert_eq!(opening(b"stmk\0\0\0"), Opening::Incomplete);
        assert_eq!(opening(b"stmk\0\0\0\0\0\0\0\x02"), Opening::Word(Word { name: "stmk", mask: Some(2) }));
    }
}
