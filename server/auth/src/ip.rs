//! The `ip` scheme: which addresses an ACL entry names, in the grammar of ZooKeeper 3.9.5 (client-protocol.md §15.5).
//!
//! The grammar is Java's, not the standard library's: `01.2.3.4`, `+1.2.3.4` and even `::-1` are addresses, `::ffff:1.2.3.4`
//! and zone names are not. What one server of a mixed ensemble accepts another must not refuse, so none of this is tidied.

use std::net::IpAddr;

/// Bytes of an address: 4 or 16 of them, left-aligned in a fixed array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Address {
    bytes: [u8; 16],
    bits: u32,
}

/// Is this text an address, or an address, `/` and a number of bits that it has?
pub(crate) fn is_valid(text: &str) -> bool {
    parse_entry(text).is_some()
}

/// Is the client's address within the entry? False whenever either is malformed or they are of different families.
pub(crate) fn matches(client: &str, entry: &str) -> bool {
    let (Some((entry, prefix)), Some(client)) = (parse_entry(entry), parse(client)) else { return false };
    entry.bits == client.bits && masked(entry.bytes, prefix) == masked(client.bytes, prefix)
}

/// The text under which ZooKeeper knows a client's address: IPv6 groups are never abbreviated, and an IPv4 address that
/// arrived on an IPv6 socket is an IPv4 address.
pub(crate) fn text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

fn parse_entry(text: &str) -> Option<(Address, u32)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address = parse(address)?;
    let prefix = match prefix {
        None => address.bits,
        Some(prefix) => u32::try_from(java_int(prefix, 10)?).ok().filter(|bits| *bits <= address.bits)?,
    };
    Some((address, prefix))
}

fn parse(text: &str) -> Option<Address> {
    if text.contains(':') { parse_v6(text) } else { parse_v4(text) }
}

fn parse_v4(text: &str) -> Option<Address> {
    let mut bytes = [0; 16];
    let mut count = 0;
    for part in text.split('.') {
        if count == 4 {
            return None;
        }
        bytes[count] = u8::try_from(java_int(part, 10)?).ok()?;
        count += 1;
    }
    (count == 4).then_some(Address { bytes, bits: 32 })
}

fn parse_v6(text: &str) -> Option<Address> {
    let mut bytes = [0; 16];
    match text.split_once("::") {
        None => {
            if parse_groups(text, &mut bytes)? != 8 {
                return None;
            }
        }
        Some((head, tail)) => {
            let mut tail_bytes = [0; 16];
            let head_groups = if head.is_empty() { 0 } else { parse_groups(head, &mut bytes)? };
            let tail_groups = if tail.is_empty() { 0 } else { parse_groups(tail, &mut tail_bytes)? };
            // `::` stands for at least one group; a second `::` is an empty group to `parse_groups`.
            if head_groups + tail_groups >= 8 {
                return None;
            }
            bytes[16 - tail_groups * 2..].copy_from_slice(&tail_bytes[..tail_groups * 2]);
        }
    }
    Some(Address { bytes, bits: 128 })
}

/// Groups of at most four characters, each a hexadecimal number that may have a sign (as `Integer.parseInt` reads it);
/// its low 16 bits count.
fn parse_groups(text: &str, bytes: &mut [u8; 16]) -> Option<usize> {
    let mut count = 0;
    for group in text.split(':') {
        if count == 8 || group.len() > 4 {
            return None;
        }
        let value = java_int(group, 16)?;
        bytes[count * 2..count * 2 + 2].copy_from_slice(&(value as u16).to_be_bytes());
        count += 1;
    }
    Some(count)
}

/// `Integer.parseInt`: an optional sign and at least one digit. Rust's own parser reads the same texts.
fn java_int(text: &str, radix: u32) -> Option<i32> {
    i32::from_str_radix(text, radix).ok()
}

fn masked(bytes: [u8; 16], prefix: u32) -> u128 {
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    u128::from_be_bytes(bytes) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from `IPAuthenticationProvider.isValid` of 3.9.5.
    const VALID: [&str; 38] = [
        "1.2.3.4",
        "01.2.3.4",
        "1.2.3.4/0",
        "1.2.3.4/32",
        "1.2.3.4/+8",
        "1.2.3.4/08",
        "+1.2.3.4",
        "::",
        "::1",
        "::/0",
        "::/128",
        "::1/64",
        "2001:db8::1",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "2001:DB8::A",
        "2001:0db8:0000:0000:0000:0000:0000:0001",
        "127.0.0.1/24",
        "::-1",
        "::+1",
        "1::",
        "1:2::3:4:5:6:7",
        "::-fff",
        "1.2.3.-0",
        "1.2.3.+255",
        "1.2.3.0000000255",
        "1:2:3:4:5:6:7:8/0",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "255.255.255.255",
        "fe80::1",
        "fe80::/64",
        "::1/128",
        "1.2.3.4/31",
        "a::b",
        "::8",
        "0:0:0:0:0:0:0:1",
    ];
    const INVALID: [&str; 57] = [
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.-1",
        "1.2.3.4/",
        "1.2.3.4/33",
        "1.2.3.4/-1",
        "1.2.3.4/8/9",
        "1.2.3.4/ 8",
        "/8",
        "",
        "a",
        "1.2.3.a",
        " 1.2.3.4",
        "1.2.3.4.",
        "1..3.4",
        ".1.2.3.4",
        "::/129",
        "2001:db8::g",
        "1::2::3",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7",
        "::ffff:1.2.3.4",
        "::ffff:1.2.3.4/96",
        "fe80::1%eth0",
        "fe80::1%2/64",
        "12345::",
        ":1",
        "1:",
        "[::1]",
        "::1/x",
        "1:2:3:4:5:6:1.2.3.4",
        "1::2:3:4:5:6:7:8",
        "00001::",
        ":::",
        "::1::",
        "0x1.2.3.4",
        "1.2.3.4/32/",
        "1.2.3.4//8",
        ":",
        "::/64/",
        "1:2:3:4:5:6:7::8",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        ":1:2:3:4:5:6:7:8",
        ":1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:",
        ":::1",
        "1:::",
        "::-",
        "::+",
        "::fffff",
        "1.2.3.4:5",
        ".:",
        "1.2.3.4::",
        "::.",
        "1.2:3.4",
    ];

    #[test]
    fn the_grammar_is_that_of_java_3_9_5() {
        for text in VALID {
            assert!(is_valid(text), "{text:?}");
        }
        for text in INVALID {
            assert!(!is_valid(text), "{text:?}");
        }
    }

    #[test]
    fn matching_is_that_of_java_3_9_5() {
        // (client, entry, matches), captured from `IPAuthenticationProvider.matches` of 3.9.5.
        let cases = [
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("1.2.3.4", "1.2.0.0/16", true),
            ("1.2.3.4", "1.3.0.0/16", false),
            ("1.2.3.4", "9.9.9.9/0", true),
            ("1.2.3.4", "1.2.3.5/31", true),
            ("255.2.3.5", "128.0.0.0/1", true),
            ("1.2.3.4", "1.2.3.4/33", false),
            ("1.2.3.4", "::/0", false),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("0:0:0:0:0:0:0:1", "::/0", true),
            ("0:0:0:0:0:0:0:1", "0.0.0.0/0", false),
            ("2001:db8:0:0:0:0:0:1", "2001:db8::/32", true),
            ("2001:db9:0:0:0:0:0:1", "2001:db8::/32", false),
            ("2001:db9:0:0:0:0:0:1", "2001:db8::/31", true),
            ("2001:db8:0:0:0:0:0:1", "2001:DB8::1", true),
            ("2001:db8:0:0:0:0:0:1", "2001:db8::1/127", true),
            ("fe80:0:0:0:0:0:0:1%eth0", "fe80::1", false),
            ("1.2.3.4", "bad", false),
            ("bad", "bad", false),
            ("1.2.3.4", "01.2.3.4", true),
            ("1.2.3.4", "1.2.3.4/8/9", false),
            ("0:0:0:0:0:0:0:ffff", "::-1", true),
            ("0:0:0:0:0:0:0:f001", "::-fff", true),
            ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7::", true),
            ("1:2:0:0:0:0:0:3", "1:2::3", true),
        ];
        for (client, entry, expected) in cases {
            assert_eq!(matches(client, entry), expected, "{client} {entry}");
        }
    }

    #[test]
    fn clients_are_named_as_java_names_them() {
        let cases = [("127.0.0.1", "127.0.0.1"), ("::1", "0:0:0:0:0:0:0:1"), ("::ffff:10.0.0.1", "10.0.0.1")];
        for (address, expected) in cases {
            assert_eq!(text(address.parse().unwrap()), expected);
        }
    }
}
