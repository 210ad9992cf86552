//! The file `myid`: which member of an ensemble a data directory belongs to.

/// Reads the text of a `myid` file: one decimal number on the first line, without blanks around it.
///
/// A standalone server may have no such file; one that it has must be right, as in ZooKeeper. The error is a sentence
/// about the file, without its name.
pub fn my_id(text: &[u8]) -> Result<i64, String> {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().next().unwrap_or("");
    let digits = line.strip_prefix(['+', '-']).unwrap_or(line);
    let id = if digits.bytes().all(|byte| byte.is_ascii_digit()) { line.parse().ok() } else { None };
    id.ok_or_else(|| format!("serverid {line:?} is not a number; expected one decimal number on the first line"))
}

#[cfg(test)]
mod tests {
    use super::my_id;

    #[test]
    fn first_line_is_one_number_without_blanks() {
        assert_eq!(my_id(b"1\n"), Ok(1));
        assert_eq!(my_id(b"255"), Ok(255));
        assert_eq!(my_id(b"3\r\nignored\n"), Ok(3));
        for bad in [&b""[..], b"\n1", b" 1\n", b"1 \n", b"one", b"0x1", b"99999999999999999999", b"-"] {
            let message = my_id(bad).expect_err("must be refused");
            assert!(message.starts_with("serverid "), "{message}");
        }
    }
}
