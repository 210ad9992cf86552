//! Jute's binary archive (client-protocol.md §1): big-endian integers, length-prefixed strings, buffers and vectors.
//!
//! Reading is strict about lengths and never allocates more than the input holds. Writing appends to a `Vec<u8>`.

use std::borrow::Cow;

/// Why bytes are not the record that they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JuteError {
    /// The input ends inside a field.
    #[error("the input ends inside a field")]
    Short,
    /// A length is negative or beyond the limit (`jute.maxbuffer` plus extra size).
    #[error("unreasonable length {0}")]
    Length(i32),
    /// A required string or vector is null.
    #[error("a required field is null")]
    Null,
    /// A number that names nothing: operation, flag, watcher type, mode.
    #[error("{0} is not a known {1}")]
    Unknown(i32, &'static str),
    /// Parts that do not go together.
    #[error("{0}")]
    Mixed(&'static str),
}

/// A cursor over one record's bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    length_max: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; a string or buffer longer than the bytes themselves is refused anyway.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, length_max: i32::MAX as usize }
    }

    /// Reads `bytes` and refuses strings and buffers over `length_max` bytes.
    pub fn with_limit(bytes: &'a [u8], length_max: usize) -> Reader<'a> {
        Reader { bytes, length_max }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Is everything read?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], JuteError> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(JuteError::Short)?;
        self.bytes = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, JuteError> {
        Ok(self.take::<1>()?[0])
    }

    /// A boolean; any byte but zero is true.
    pub fn bool(&mut self) -> Result<bool, JuteError> {
        Ok(self.byte()? != 0)
    }

    /// A 32-bit integer.
    pub fn int(&mut self) -> Result<i32, JuteError> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    /// A 64-bit integer.
    pub fn long(&mut self) -> Result<i64, JuteError> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    /// A buffer; length −1 is null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, JuteError> {
        let length = self.int()?;
        if length == -1 {
            return Ok(None);
        }
        let size = usize::try_from(length).map_err(|_| JuteError::Length(length))?;
        if size > self.length_max {
            return Err(JuteError::Length(length));
        }
        if size > self.bytes.len() {
            return Err(JuteError::Short);
        }
        let (head, tail) = self.bytes.split_at(size);
        self.bytes = tail;
        Ok(Some(head))
    }

    /// A string, malformed UTF-8 replaced as Java's decoder does; length −1 is null.
    pub fn string_or_null(&mut self) -> Result<Option<Cow<'a, str>>, JuteError> {
        Ok(self.buffer()?.map(java_string))
    }

    /// A string that must not be null.
    pub fn string(&mut self) -> Result<Cow<'a, str>, JuteError> {
        self.string_or_null()?.ok_or(JuteError::Null)
    }

    /// The element count of a vector; −1 is null, and what is below it no elements, as for Java. Elements take at least
    /// `element_min` bytes each, so a count that the rest of the input cannot hold is refused before anything is allocated
    /// for it.
    pub fn count(&mut self, element_min: usize) -> Result<Option<usize>, JuteError> {
        let count = self.int()?;
        if count == -1 {
            return Ok(None);
        }
        let size = usize::try_from(count).unwrap_or(0);
        if size.saturating_mul(element_min.max(1)) > self.bytes.len() {
            return Err(JuteError::Short);
        }
        Ok(Some(size))
    }

    /// A vector of records that each take at least `element_min` bytes; null reads as `None`.
    pub fn vector<T: Decode<'a>>(&mut self, element_min: usize) -> Result<Option<Vec<T>>, JuteError> {
        let Some(count) = self.count(element_min)? else { return Ok(None) };
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(T::decode(self)?);
        }
        Ok(Some(items))
    }

    /// A vector of strings; null reads as empty.
    pub fn strings(&mut self) -> Result<Vec<Cow<'a, str>>, JuteError> {
        let count = self.count(4)?.unwrap_or(0);
        (0..count).map(|_| self.string()).collect()
    }
}

/// Bytes as Java reads them as UTF-8: what is malformed becomes U+FFFD, one for each longest beginning of a character, as
/// Rust does it too, but only one for a surrogate in three bytes, which Rust takes for three mistakes. Clients in Java write
/// such surrogates for characters beyond U+FFFF.
pub fn java_string(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(chunk) = rest.utf8_chunks().next() {
        text.push_str(chunk.valid());
        rest = &rest[chunk.valid().len() + chunk.invalid().len()..];
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        if let ([0xED], [0xA0..=0xBF, behind @ ..]) = (chunk.invalid(), rest) {
            rest = match behind {
                [0x80..=0xBF, behind @ ..] => behind,
                _ => behind,
            };
        }
    }
    Cow::Owned(text)
}

/// A record that can be read.
pub trait Decode<'a>: Sized {
    /// Takes the record from the front of `r`; bytes behind it are left there.
    fn decode(r: &mut Reader<'a>) -> Result<Self, JuteError>;
}

/// A record that can be written.
pub trait Encode {
    /// Appends the record.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Appends one byte.
pub fn put_byte(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}

/// Appends a boolean.
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Appends a 32-bit integer.
pub fn put_int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a 64-bit integer.
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a buffer or null.
pub fn put_buffer(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => put_int(out, -1),
        Some(bytes) => {
            put_int(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends a string as Java writes it: each UTF-16 unit on its own, so that a character above U+FFFF leaves as two
/// three-byte surrogates. All other strings are plain UTF-8.
pub fn put_string(out: &mut Vec<u8>, value: &str) {
    if value.bytes().all(|b| b < 0xF0) {
        put_buffer(out, Some(value.as_bytes()));
        return;
    }
    let start = out.len();
    put_int(out, 0);
    for c in value.chars() {
        let mut buffer = [0u8; 4];
        if (c as u32) < 0x10000 {
            out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        let mut units = [0u16; 2];
        for unit in c.encode_utf16(&mut units) {
            let u = u32::from(*unit);
            out.extend_from_slice(&[0xE0 | (u >> 12) as u8, 0x80 | ((u >> 6) & 0x3F) as u8, 0x80 | (u & 0x3F) as u8]);
        }
    }
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a vector of strings.
pub fn put_strings<S: AsRef<str>>(out: &mut Vec<u8>, values: &[S]) {
    put_int(out, values.len() as i32);
    for value in values {
        put_string(out, value.as_ref());
    }
}

/// Appends a vector of records.
pub fn put_vector<T: Encode>(out: &mut Vec<u8>, values: &[T]) {
    put_int(out, values.len() as i32);
    for value in values {
        value.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supplementary_characters_leave_as_surrogates() {
        let mut out = Vec::new();
        put_string(&mut out, "a\u{1F600}");
        assert_eq!(out, [0, 0, 0, 7, b'a', 0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80]);
    }

    /// Captured from Java 17's `new String(bytes, UTF_8)`.
    #[test]
    fn malformed_text_is_replaced_as_java_does() {
        let vectors: [(&[u8], &str); 18] = [
            (&[0xED, 0xA0], "\u{fffd}"),
            (&[0xED, 0xB0, 0x41], "\u{fffd}A"),
            (&[0xF0, 0xED, 0xBF], "\u{fffd}\u{fffd}"),
            (&[0xED, 0xB0, 0x9F], "\u{fffd}"),
            (&[0x41, 0xED, 0xBF], "A\u{fffd}"),
            (&[0xEE, 0xA0, 0xED, 0xB0], "\u{fffd}\u{fffd}"),
            (&[0x90, 0xED, 0xBF, 0xF8], "\u{fffd}\u{fffd}\u{fffd}"),
            (&[0xED, 0xBF, 0x41, 0xA0], "\u{fffd}A\u{fffd}"),
            (&[0xED, 0xA0, 0xE0, 0x41], "\u{fffd}\u{fffd}A"),
            (&[0xBF, 0xED, 0xC2, 0xED, 0xBF], "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            (&[0xED, 0xBF, 0x41, 0x90, 0xC2], "\u{fffd}A\u{fffd}\u{fffd}"),
            (&[0xB0, 0x90, 0xED, 0xA0, 0x80], "\u{fffd}\u{fffd}\u{fffd}"),
            (
                &[0xF0, 0x80, 0xA0, 0xB0, 0x9F, 0x41, 0xA0, 0xF4],
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}A\u{fffd}\u{fffd}",
            ),
            (&[0xF4, 0xC2, 0xE0, 0x41, 0xF8, 0xF0, 0xC0, 0x41], "\u{fffd}\u{fffd}\u{fffd}A\u{fffd}\u{fffd}\u{fffd}A"),
            (&[0xF0, 0x9F, 0x8F, 0xA0, 0xC0, 0xC2, 0xC0], "\u{1f3e0}\u{fffd}\u{fffd}\u{fffd}"),
            (&[0xED, 0x41, 0x8F, 0xF4, 0xA0, 0xE0, 0x9F], "\u{fffd}A\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            (&[0xF0, 0xED, 0xF5, 0x8F, 0xE0, 0x41, 0xEE, 0x90], "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}A\u{fffd}"),
            (
                &[0xF4, 0xF5, 0x8F, 0x80, 0xEE, 0x41, 0xFF, 0xBF],
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}A\u{fffd}\u{fffd}",
            ),
        ];
        for (bytes, text) in vectors {
            assert_eq!(java_string(bytes), text, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_count_that_the_input_cannot_hold_is_refused() {
        let mut r = Reader::new(&[0x7F, 0xFF, 0xFF, 0xFF, 0, 0]);
        assert_eq!(r.strings(), Err(JuteError::Short));
    }

    #[test]
    fn negative_counts_other_than_null_are_no_elements() {
        assert_eq!(Reader::new(&[0x80, 0, 0, 1]).count(1), Ok(Some(0)));
        assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF]).count(1), Ok(None));
    }

    #[test]
    fn negative_lengths_other_than_null_are_unreasonable() {
        let mut r = Reader::new(&[0xFF, 0xFF, 0xFF, 0xFE]);
        assert_eq!(r.buffer(), Err(JuteError::Length(-2)));
        let mut r = Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(r.buffer(), Ok(None));
    }
}
