//! Inputs of several parts: the parts stand between separators, so that a part may grow and shrink without the others
//! being read anew, which is what a fuzzer's changes do all the time.

/// Never part of a UTF-8 text.
pub(crate) const SEPARATOR: [u8; 2] = [0xF5, 0xFA];

/// The parts of an input.
pub(crate) fn pieces(mut input: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some(at) = input.windows(2).position(|pair| pair == SEPARATOR) {
        pieces.push(&input[..at]);
        input = &input[at + 2..];
    }
    pieces.push(input);
    pieces
}

/// The first byte, which says how the rest is meant, and the rest.
pub(crate) fn tagged(piece: &[u8]) -> Option<(u8, &[u8])> {
    piece.split_first().map(|(tag, rest)| (*tag, rest))
}
