//! How many connections there may be, in all (`maxCnxns`) and from one address (`maxClientCnxns`). Zero is "no limit".

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Counts open connections; asked at accept, told at close.
#[derive(Debug)]
pub struct Limits {
    total_max: usize,
    per_address_max: usize,
    total: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Why a connection is closed at accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// `maxCnxns` is reached.
    Total(usize),
    /// `maxClientCnxns` is reached for the address.
    Address(usize),
}

impl Limits {
    /// Limits as configured.
    pub fn new(total_max: usize, per_address_max: usize) -> Limits {
        Limits { total_max, per_address_max, total: 0, by_address: BTreeMap::new() }
    }

    /// May one more connection from `address` be taken? If so it is counted.
    pub fn admit(&mut self, address: IpAddr) -> Result<(), Refused> {
        if self.total_max > 0 && self.total >= self.total_max {
            return Err(Refused::Total(self.total_max));
        }
        let count = self.by_address.entry(address).or_default();
        if self.per_address_max > 0 && *count >= self.per_address_max {
            return Err(Refused::Address(self.per_address_max));
        }
        *count += 1;
        self.total += 1;
        Ok(())
    }

    /// A connection from `address` that was admitted is closed.
    pub fn release(&mut self, address: IpAddr) {
        let Some(count) = self.by_address.get_mut(&address) else { return };
        *count -= 1;
        self.total -= 1;
        if *count == 0 {
            self.by_address.remove(&address);
        }
    }

    /// Open connections.
    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_connection_makes_room_for_the_next() {
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut limits = Limits::new(3, 2);
        assert_eq!([limits.admit(a), limits.admit(a)], [Ok(()), Ok(())]);
        assert_eq!(limits.admit(a), Err(Refused::Address(2)));
        assert_eq!(limits.admit(b), Ok(()));
        assert_eq!(limits.admit(b), Err(Refused::Total(3)));
        limits.release(a);
        assert_eq!(limits.admit(a), Ok(()));
    }
}
