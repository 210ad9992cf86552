//! How Java prints things: averages, dates, socket addresses. The lines of ZooKeeper are made of these.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use proto::Millis;

/// `sum / count` as ZooKeeper prints averages: divided as doubles, rounded half up to four places on the exact value of the
/// quotient, printed as a Java double. 0.0 if nothing was counted.
pub(crate) fn average(sum: u64, count: u64) -> String {
    if count == 0 {
        return "0.0".to_owned();
    }
    // Eighty places are exact for every double that does not round to zero here, so the fifth place decides.
    let exact = format!("{:.80}", sum as f64 / count as f64);
    let (whole, fraction) = exact.split_at(exact.find('.').expect("eighty places follow a point"));
    let (kept, next) = (&fraction[1..5], fraction.as_bytes()[5]);
    let digits: u128 =
        format!("{whole}{kept}").parse().expect("a quotient of two u64 has at most twenty digits and four");
    let rounded = digits + u128::from(next >= b'5');
    double(rounded as f64 / 10_000.0)
}

/// A non-negative double as `Double.toString` prints it.
pub(crate) fn double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

/// A time on the wall clock, taken apart in UTC.
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: usize,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    second: i64,
    weekday: usize,
}

impl Civil {
    pub(crate) fn of(wall: Millis) -> Civil {
        let seconds = wall.0.div_euclid(1000);
        let (days, in_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years that begin in March, counted in cycles of 400 years from 1 March 0000: the leap day is then each year's last.
        let since = days + 719_468;
        let (cycle, day_of_cycle) = (since.div_euclid(146_097), since.rem_euclid(146_097));
        let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Civil {
            year: 400 * cycle + year_of_cycle + i64::from(month <= 2),
            month: month as usize,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: in_day / 3600,
            minute: in_day / 60 % 60,
            second: in_day % 60,
            // 1 January 1970 was a Thursday.
            weekday: (days + 4).rem_euclid(7) as usize,
        }
    }
}

/// A date as `java.util.Date` prints it on a machine whose time zone is UTC. We always say UTC, whatever the zone.
pub(crate) struct Date(pub(crate) Millis);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let at = Civil::of(self.0);
        write!(f, "{} {} {:02} ", WEEKDAYS[at.weekday], MONTHS[at.month - 1], at.day)?;
        write!(f, "{:02}:{:02}:{:02} UTC {}", at.hour, at.minute, at.second, at.year)
    }
}

/// A client's address as Java prints it: `/1.2.3.4:5`, and IPv6 in brackets with all eight groups.
pub(crate) struct Peer(pub(crate) SocketAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port();
        // A socket of both families shows IPv4 clients as mapped addresses; Java undoes that.
        let IpAddr::V6(ip) = self.0.ip().to_canonical() else {
            return write!(f, "/{}:{port}", self.0.ip().to_canonical());
        };
        let groups: Vec<String> = ip.segments().iter().map(|group| format!("{group:x}")).collect();
        write!(f, "/[{}", groups.join(":"))?;
        match self.0 {
            SocketAddr::V6(address) if address.scope_id() != 0 => write!(f, "%{}", address.scope_id())?,
            _ => {}
        }
        write!(f, "]:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Java 17 as `new BigDecimal(sum / (double) count).setScale(4, HALF_UP).doubleValue()`.
    #[test]
    fn averages_are_those_of_java() {
        for (sum, count, want) in [
            (0, 0, "0.0"),
            (0, 1, "0.0"),
            (5, 4, "1.25"),
            (1, 20_000, "1.0E-4"),
            (3, 20_000, "1.0E-4"),
            (1, 32, "0.0313"),
            (3, 32, "0.0938"),
            (195, 206, "0.9466"),
            (1, 3, "0.3333"),
            (2, 3, "0.6667"),
            (1, 1000, "0.001"),
            (2, 1000, "0.002"),
            (1, 2000, "5.0E-4"),
            (1_234_567, 1, "1234567.0"),
            (9_999_999, 1, "9999999.0"),
            (10_000_000, 1, "1.0E7"),
            (123_456_789, 7, "1.76366841429E7"),
            (100_000_000_000, 3, "3.33333333333333E10"),
            (1, 100_001, "0.0"),
            (9_007_199_254_740_993, 2, "4.503599627370496E15"),
            (19_999, 20_000, "1.0"),
            (12_345_678_901, 10, "1.2345678901E9"),
        ] {
            assert_eq!(average(sum, count), want, "{sum} / {count}");
        }
    }

    #[test]
    fn dates_are_those_of_java() {
        for (wall, want) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_349_335_123, "Sun Nov 22 12:08:55 UTC 2026"),
            (4_107_542_399_999, "Sun Feb 28 23:59:59 UTC 2100"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        ] {
            assert_eq!(Date(Millis(wall)).to_string(), want);
        }
    }

    #[test]
    fn addresses_are_those_of_java() {
        for (address, want) in [
            ("127.0.0.1:42280", "/127.0.0.1:42280"),
            ("[::1]:2181", "/[0:0:0:0:0:0:0:1]:2181"),
            ("[2001:db8::a:0:1]:2181", "/[2001:db8:0:0:0:a:0:1]:2181"),
            ("[::ffff:10.0.0.1]:2181", "/10.0.0.1:2181"),
            ("[fe80::1%3]:2181", "/[fe80:0:0:0:0:0:0:1%3]:2181"),
        ] {
            assert_eq!(Peer(address.parse().unwrap()).to_string(), want);
        }
    }
}
