//! How single values are read. Each function answers with the value, or with what it expected, as a phrase that
//! completes "expected …".

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::Host;

/// Java's `String.trim`: everything up to and including the space goes.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}

fn bounded(number: Option<i128>, range: RangeInclusive<i64>, unit: &str) -> Result<i64, String> {
    let wanted = i128::from(*range.start())..=i128::from(*range.end());
    match number {
        // The range check makes the narrowing exact.
        Some(number) if wanted.contains(&number) => Ok(number as i64),
        _ => {
            let (least, most) = range.into_inner();
            let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
            if most == i64::MAX {
                Err(format!("expected a whole number of at least {least}{unit}"))
            } else {
                Err(format!("expected a whole number from {least} to {most}{unit}"))
            }
        }
    }
}

fn decimal(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 30).then(|| text.parse().ok()).flatten()
}

/// A whole number as `Integer.parseInt` reads it: decimal, with an optional sign.
pub fn whole(text: &str, range: RangeInclusive<i64>, unit: &str) -> Result<i64, String> {
    bounded(decimal(text), range, unit)
}

/// A whole number as system properties are read in Java: also hexadecimal, after `0x` or `#`.
///
/// A leading zero makes a number octal there; somebody who writes one rarely means that, so it is refused.
pub fn property(text: &str, range: RangeInclusive<i64>, unit: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = ["0x", "0X", "#"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    let number = match hexadecimal {
        Some(digits) if digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            i128::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None if digits.len() > 1 && digits.starts_with('0') => {
            return bounded(None, range, unit).map_err(|expected| expected + ", without leading zeros");
        }
        None if digits.starts_with(['+', '-']) => None,
        None => decimal(digits),
    };
    bounded(number.map(|number| if negative { -number } else { number }), range, unit)
}

/// `true` or `false` in any case of letters; everything else is an error, also where Java would silently read "false".
pub fn boolean(text: &str) -> Result<bool, String> {
    match () {
        () if text.eq_ignore_ascii_case("true") => Ok(true),
        () if text.eq_ignore_ascii_case("false") => Ok(false),
        () => Err("expected true or false".to_owned()),
    }
}

/// `yes` or `no`, in small letters as Java compares them.
pub fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("expected yes or no".to_owned()),
    }
}

/// An address to listen on: an IP address (IPv6 with or without brackets) or a host name.
pub fn host(text: &str) -> Result<Host, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(if address.is_unspecified() { Host::Any } else { Host::Ip(address) });
    }
    let is_name = !text.is_empty()
        && text.len() <= 253
        // Digits and dots alone are an address that went wrong, not a name.
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if is_name { Ok(Host::Name(text.to_owned())) } else { Err("expected an IP address or a host name".to_owned()) }
}

/// The parts of a comma list, trimmed, empty ones left out.
pub fn comma_list(text: &str) -> Vec<String> {
    text.split(',').map(trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A duration in hours, or with one of the suffixes ms, s, m, h, d, as milliseconds.
pub fn interval_ms(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    // "ms" before "m" and "s", of which it is made.
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let (digits, unit_ms) =
        units.iter().find_map(|&(suffix, ms)| Some((lower.strip_suffix(suffix)?, ms))).unwrap_or((&lower, 3_600_000));
    // A century, so that nothing overflows.
    match decimal(trim(digits)) {
        Some(count @ 0..=3_200_000_000_000) if count * unit_ms <= 3_200_000_000_000 => Ok((count * unit_ms) as u64),
        _ => Err("expected 0 (off), a number of hours, or a number followed by ms, s, m, h or d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zoo_cfg_numbers_are_decimal() {
        assert_eq!(whole("2181", 0..=65535, ""), Ok(2181));
        assert_eq!(whole("+007", 0..=9, ""), Ok(7));
        assert_eq!(whole("-1", -1..=9, ""), Ok(-1));
        for bad in ["", "-", "0x10", "1.5", "1e3", "2181 ", "²", "99999999999999999999999999999999"] {
            assert_eq!(whole(bad, 0..=65535, "port"), Err("expected a whole number from 0 to 65535 (port)".to_owned()));
        }
    }

    #[test]
    fn property_numbers_may_be_hexadecimal_but_not_octal() {
        assert_eq!(property("0x9fffff", 1..=i64::MAX, ""), Ok(0x9fffff));
        assert_eq!(property("#ff", 1..=i64::MAX, ""), Ok(255));
        assert_eq!(property("-1", -1..=9, ""), Ok(-1));
        assert_eq!(property("0", 0..=9, ""), Ok(0));
        assert_eq!(
            property("010", 1..=i64::MAX, "KB"),
            Err("expected a whole number of at least 1 (KB), without leading zeros".to_owned())
        );
        for bad in ["", "0x", "--1", "0x-1", "+-1", "ten", "0xfffffffffffffffffff"] {
            assert!(property(bad, i64::MIN..=i64::MAX, "").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts_are_addresses_or_names() {
        assert_eq!(host("127.0.0.1"), Ok(Host::Ip([127, 0, 0, 1].into())));
        assert_eq!(host("0.0.0.0"), Ok(Host::Any));
        assert_eq!(host("[::]"), Ok(Host::Any));
        assert_eq!(host("[::1]"), host("::1"));
        assert_eq!(host("zk-1.example.org"), Ok(Host::Name("zk-1.example.org".to_owned())));
        for bad in ["", "256.1.1.1", "[zk]", "a b", "zk:2181", "1.2.3"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn intervals_are_hours_unless_they_say_otherwise() {
        for (text, ms) in [("0", 0), ("24", 86_400_000), ("10M", 600_000), ("5ms", 5), ("2s", 2000), ("1d", 86_400_000)]
        {
            assert_eq!(interval_ms(text), Ok(ms), "{text}");
        }
        for bad in ["", "h", "-1", "1.5", "1w", "99999999999999"] {
            assert!(interval_ms(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_reads_back(number: i64) {
            prop_assert_eq!(whole(&number.to_string(), i64::MIN..=i64::MAX, ""), Ok(number));
            prop_assert_eq!(property(&number.to_string(), i64::MIN..=i64::MAX, ""), Ok(number));
        }

        #[test]
        fn no_text_breaks_a_reader(text in ".{0,24}") {
            let _ = whole(&text, 0..=9, "");
            let _ = property(&text, 0..=9, "");
            let _ = host(&text);
            let _ = interval_ms(&text);
        }
    }
}
