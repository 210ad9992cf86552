//! The first bytes of a connection, which may be a four-letter word.

use member::word::{Opening, WORDS, opening};

/// Fuzz target.
pub fn words(input: &[u8]) {
    let whole = opening(input);
    for length in 0..input.len().min(32) {
        match (opening(&input[..length]), whole) {
            // More bytes never turn a word into something else.
            (Opening::Incomplete, _) => assert!(length < 12),
            (Opening::Word(word), Opening::Word(same)) => assert_eq!(word, same),
            (Opening::Packet, Opening::Packet) => {}
            (before, after) => panic!("{before:?} became {after:?}"),
        }
    }
    if let Opening::Word(word) = whole {
        assert!(WORDS.contains(&word.name) && input.starts_with(word.name.as_bytes()));
        assert_eq!(word.mask.is_some(), word.name == "stmk");
    }
    // What comes behind a word does not matter, and what a word prints does not depend on it.
    crate::member_world::say(input);
}
