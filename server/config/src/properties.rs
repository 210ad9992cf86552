//! The Java properties syntax, in which `zoo.cfg` is written.
//!
//! This room turns bytes into pairs with the line on which each began, and knows nothing of what a key means. It exists
//! beside the libraries for this syntax because every later message must name a line, and because a damaged line should
//! not hide the ones after it: the parser never stops early.
//!
//! The rules are those of `java.util.Properties.load` on bytes: ISO-8859-1; a line ends at `\n`, `\r` or `\r\n`; leading
//! blanks are skipped; `#` or `!` as the first mark makes a comment, which cannot be continued; an odd number of
//! backslashes at the end joins the next line without its leading blanks; the key ends at the first unescaped `=`, `:` or
//! blank; `\t \n \r \f \uXXXX` are escapes and any other escaped character stands for itself.

/// One key with its value, as written: escapes are resolved, nothing is trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The natural line, counted from 1, on which the key begins.
    pub line: u32,
    /// The key.
    pub key: String,
    /// The value; blanks after it are kept, as Java keeps them.
    pub value: String,
}

/// A line that Java refuses to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The natural line, counted from 1, on which the logical line begins.
    pub line: u32,
    /// What was expected there.
    pub expected: &'static str,
}

/// Reads all pairs of a file, in the order of the file, duplicates included.
///
/// Every logical line yields a pair, an error, or (comments and blank lines) nothing.
pub fn parse(bytes: &[u8]) -> (Vec<Pair>, Vec<Malformed>) {
    let mut pairs = Vec::new();
    let mut malformed = Vec::new();
    for (line, text) in logical_lines(bytes) {
        let (key, value) = split(&text);
        match (unescape(key), unescape(value)) {
            (Some(key), Some(value)) => pairs.push(Pair { line, key, value }),
            _ => malformed.push(Malformed { line, expected: "four hexadecimal digits after \\u" }),
        }
    }
    (pairs, malformed)
}

/// A line, without its end, that [`parse`] and Java read as this key and this value. ASCII only.
pub fn line(key: &str, value: &str) -> String {
    let mut line = String::with_capacity(key.len() + value.len() + 1);
    key.encode_utf16().for_each(|unit| escape(&mut line, unit, true));
    line.push('=');
    for (index, unit) in value.encode_utf16().enumerate() {
        escape(&mut line, unit, index == 0);
    }
    line
}

/// Writes one UTF-16 unit so that it stands for itself; `guarded` where a blank or a mark would mean something else.
fn escape(line: &mut String, unit: u16, guarded: bool) {
    match char::from_u32(u32::from(unit)) {
        Some('\\') => line.push_str("\\\\"),
        Some(mark @ (' ' | '=' | ':' | '#' | '!')) if guarded => line.extend(['\\', mark]),
        Some(plain @ ' '..='~') => line.push(plain),
        _ => line.push_str(&format!("\\u{unit:04x}")),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

fn without_leading_blanks(line: &[u8]) -> &[u8] {
    &line[line.iter().position(|&byte| !is_blank(byte)).unwrap_or(line.len())..]
}

/// Natural lines, without their ends. `\r\n` is one end.
fn natural_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
        lines.push(&rest[..end]);
        let next = if rest[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
        rest = &rest[next..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Lines joined over their continuations, comments and blank lines left out, each with the number of its first line.
fn logical_lines(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut logical: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut open = false;
    for (index, natural) in natural_lines(bytes).into_iter().enumerate() {
        let text = without_leading_blanks(natural);
        // As long as a logical line holds nothing, a comment or a blank line may still end it.
        if !open || logical.last().is_some_and(|(_, line)| line.is_empty()) {
            if open {
                logical.pop();
            }
            open = false;
            if matches!(text.first(), None | Some(b'#' | b'!')) {
                continue;
            }
            logical.push((u32::try_from(index + 1).unwrap_or(u32::MAX), Vec::new()));
        }
        let continues = text.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
        let kept = if continues { &text[..text.len() - 1] } else { text };
        if let Some((_, line)) = logical.last_mut() {
            line.extend_from_slice(kept);
        }
        open = continues;
    }
    logical
}

/// Splits a logical line where its key ends; both parts are still escaped.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let mut end = line.len();
    for (at, &byte) in line.iter().enumerate() {
        if !escaped && (is_blank(byte) || byte == b'=' || byte == b':') {
            end = at;
            break;
        }
        escaped = byte == b'\\' && !escaped;
    }
    let (key, rest) = line.split_at(end);
    let rest = without_leading_blanks(rest);
    let value = match rest.first() {
        Some(b'=' | b':') => without_leading_blanks(&rest[1..]),
        _ => rest,
    };
    (key, value)
}

/// Resolves escapes; `None` for a `\u` without four hexadecimal digits.
fn unescape(text: &[u8]) -> Option<String> {
    // UTF-16 units, because Java writes characters beyond the basic plane as two `\u` escapes.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        match rest.next() {
            None => {}
            Some(b'u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = char::from(rest.next()?).to_digit(16)?;
                    unit = unit << 4 | digit as u16;
                }
                units.push(unit);
            }
            Some(b't') => units.push(u16::from(b'\t')),
            Some(b'n') => units.push(u16::from(b'\n')),
            Some(b'r') => units.push(u16::from(b'\r')),
            Some(b'f') => units.push(0x0c),
            Some(other) => units.push(u16::from(other)),
        }
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_written_line_reads_back(key in "\\PC{1,20}|[ =:#!\\\\\t\na]{1,9}", value in "\\PC{0,20}|[ =:#!\\\\\t\r\n\u{c}a]{0,9}") {
            let text = line(&key, &value);
            prop_assert!(text.is_ascii());
            let (pairs, malformed) = parse(format!("{text}\nnext=1\n").as_bytes());
            prop_assert_eq!(malformed, []);
            prop_assert_eq!(pairs.len(), 2, "{:?}", text);
            prop_assert_eq!((&pairs[0].key, &pairs[0].value), (&key, &value));
        }
    }

    #[test]
    fn ordinary_lines_are_written_as_people_write_them() {
        assert_eq!(line("dataDir", "/var/lib/zk data"), "dataDir=/var/lib/zk data");
        assert_eq!(line("server.1", "[::1]:2888:3888;2181"), "server.1=[::1]:2888:3888;2181");
    }

    /// Compares with `line key value` triples.
    fn check(text: &str, expected: &[(u32, &str, &str)]) {
        let (pairs, malformed) = parse(text.as_bytes());
        assert_eq!(malformed, []);
        let pairs: Vec<_> = pairs.iter().map(|pair| (pair.line, pair.key.as_str(), pair.value.as_str())).collect();
        assert_eq!(pairs, expected, "in {text:?}");
    }

    #[test]
    fn separators_are_equals_colon_or_blanks() {
        check("a=1\nb:2\nc 3\nd\t4\n", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3"), (4, "d", "4")]);
        check("a = 1\nb  :\t2\nc \t 3", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3")]);
        check("a==1\nb=:2\nc =\n", &[(1, "a", "=1"), (2, "b", ":2"), (3, "c", "")]);
        check("alone\n=nokey\n", &[(1, "alone", ""), (2, "", "nokey")]);
    }

    #[test]
    fn comments_and_blank_lines_are_skipped_but_counted() {
        check("# one\n\n  ! two\n \t\nkey=v # not a comment\n", &[(5, "key", "v # not a comment")]);
    }

    #[test]
    fn comment_cannot_be_continued() {
        check("# comment \\\nkey=v\n", &[(2, "key", "v")]);
    }

    #[test]
    fn continuation_drops_the_leading_blanks_of_the_next_line() {
        check("key=a,\\\n    b,\\\n\t c\nnext=1\n", &[(1, "key", "a,b,c"), (4, "next", "1")]);
        check("ke\\\n  y=v", &[(1, "key", "v")]);
        check("key=a\\\n#b\n", &[(1, "key", "a#b")]);
    }

    #[test]
    fn even_number_of_backslashes_does_not_continue() {
        check("key=a\\\\\nnext=b\n", &[(1, "key", "a\\"), (2, "next", "b")]);
        check("key=a\\\\\\\n  b\n", &[(1, "key", "a\\b")]);
    }

    #[test]
    fn blank_line_ends_a_continuation() {
        check("key=a\\\n\nnext=b\n", &[(1, "key", "a"), (3, "next", "b")]);
    }

    #[test]
    fn backslash_alone_begins_no_line_yet() {
        check("\\\n# comment\nkey=a\n", &[(3, "key", "a")]);
        check("\\\n\nkey=a\n", &[(3, "key", "a")]);
        check("\\\n\\\n key=a\n", &[(3, "key", "a")]);
        check("\\\n\\\n", &[(2, "", "")]);
    }

    #[test]
    fn backslash_at_the_end_of_the_file_vanishes() {
        check("key=a\\", &[(1, "key", "a")]);
        check("\\", &[(1, "", "")]);
    }

    #[test]
    fn escapes_stand_for_themselves_or_for_controls() {
        check("k\\=e\\:y\\ x=v", &[(1, "k=e:y x", "v")]);
        check("key=a\\tb\\nc\\rd\\fe\\qf", &[(1, "key", "a\tb\nc\rd\u{c}eqf")]);
        check("path=C\\:\\\\zk", &[(1, "path", "C:\\zk")]);
    }

    #[test]
    fn unicode_escapes_join_surrogate_pairs() {
        check("key=\\u00e4\\uD83D\\uDE00", &[(1, "key", "ä😀")]);
        assert_eq!(parse(b"key=\\uD83D").0[0].value, "\u{fffd}");
    }

    #[test]
    fn bytes_are_latin_1() {
        assert_eq!(parse(b"key=\xe4").0[0].value, "ä");
    }

    #[test]
    fn bad_unicode_escape_is_an_error_of_its_line_only() {
        let (pairs, malformed) = parse(b"a=1\nb=\\u12g4\nc=3\n");
        assert_eq!(malformed, [Malformed { line: 2, expected: "four hexadecimal digits after \\u" }]);
        assert_eq!(pairs.iter().map(|pair| pair.line).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn line_ends_of_every_system_count_once() {
        check("a=1\r\nb=2\rc=3\n", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3")]);
        check("a=1\\\r\n  2\r\nb=3", &[(1, "a", "12"), (3, "b", "3")]);
    }

    #[test]
    fn trailing_blanks_stay_in_the_value() {
        check("key=v  \n", &[(1, "key", "v  ")]);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let lines = natural_lines(&bytes).len();
            let (pairs, malformed) = parse(&bytes);
            prop_assert!(pairs.len() + malformed.len() <= lines);
        }

        #[test]
        fn no_arrangement_of_marks_breaks_the_parser(text in "[\\\\u0a=: \t\n\r#!]{0,60}") {
            let lines = natural_lines(text.as_bytes()).len() as u32;
            let (pairs, malformed) = parse(text.as_bytes());
            prop_assert!(pairs.iter().all(|pair| pair.line >= 1 && pair.line <= lines));
            prop_assert!(malformed.iter().all(|bad| bad.line >= 1 && bad.line <= lines));
        }

        #[test]
        fn plain_pairs_come_back_as_written(pairs in proptest::collection::vec(("[a-zA-Z][a-zA-Z0-9.]{0,12}", "[a-zA-Z0-9/,;*]{0,20}"), 0..12)) {
            let text: String = pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            let (read, malformed) = parse(text.as_bytes());
            prop_assert_eq!(malformed, Vec::new());
            prop_assert_eq!(read.into_iter().map(|pair| (pair.key, pair.value)).collect::<Vec<_>>(), pairs);
        }
    }
}
