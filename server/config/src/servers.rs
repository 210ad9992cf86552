//! The lines `server.N`: enough of them to tell a standalone server from an ensemble, and to find the client address
//! that such a line may carry.

use crate::Host;
use crate::values::{host, trim};

/// What a standalone server needs of one `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Whether it votes.
    pub participant: bool,
    /// The client address, if the line has one.
    pub client: Option<(Host, u16)>,
}

const EXPECTED: &str = "expected host:quorumPort:electionPort[:participant|observer][;[address:]clientPort]";

/// Whether a key is that of a `server.N` line.
pub fn id(key: &str) -> Option<&str> {
    let id = key.strip_prefix("server.")?;
    id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-').then_some(id)
}

/// Reads the value of a `server.N` line; the error completes a message about it.
pub fn member(text: &str) -> Result<Member, String> {
    let bad = || EXPECTED.to_owned();
    let mut parts = text.split(';').map(trim);
    let peers = parts.next().unwrap_or("");
    let mut participant = true;
    for (index, address) in peers.split('|').enumerate() {
        let (name, rest) = split_host(address).ok_or_else(bad)?;
        host(name).map_err(|_| bad())?;
        let mut ports = rest.split(':');
        let quorum = port(ports.next()).ok_or_else(bad)?;
        let election = port(ports.next()).ok_or_else(bad)?;
        if quorum == election {
            return Err("the quorum port and the election port must differ".to_owned());
        }
        match (ports.next(), index, ports.next()) {
            (None, _, None) => {}
            // The role stands after the last of several addresses, but nothing is lost by taking it anywhere.
            (Some(role), _, None) if role.eq_ignore_ascii_case("observer") => participant = false,
            (Some(role), _, None) if role.eq_ignore_ascii_case("participant") => {}
            _ => return Err(bad()),
        }
    }
    let client = match parts.next() {
        None | Some("") => None,
        Some(only_port) if only_port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((Host::Any, port(Some(only_port)).ok_or_else(bad)?))
        }
        Some(address) => {
            let (name, rest) = split_host(address).ok_or_else(bad)?;
            Some((host(name).map_err(|_| bad())?, port(Some(rest)).ok_or_else(bad)?))
        }
    };
    match parts.next() {
        None => Ok(Member { participant, client }),
        Some(_) => Err("a TLS address for clients is given, and TLS is not built yet".to_owned()),
    }
}

/// Splits a host, in brackets or without colons, from what follows its colon.
fn split_host(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']')?;
            Some((name, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

fn port(text: Option<&str>) -> Option<u16> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_form_are_read() {
        let plain = Member { participant: true, client: None };
        assert_eq!(member("zk1:2888:3888"), Ok(plain.clone()));
        assert_eq!(member("[::1]:2888:3888:PARTICIPANT"), Ok(plain.clone()));
        assert_eq!(member("a:1:2|b:1:2"), Ok(plain.clone()));
        assert_eq!(member("zk1:2888:3888:observer").map(|member| member.participant), Ok(false));
        assert_eq!(member("zk1:2888:3888;2181").map(|member| member.client), Ok(Some((Host::Any, 2181))));
        assert_eq!(
            member("zk1:2888:3888:participant; [::1]:2181").map(|member| member.client),
            Ok(Some((Host::Ip("::1".parse().expect("an address")), 2181)))
        );
    }

    #[test]
    fn lines_of_no_form_are_refused() {
        for bad in
            ["", "zk1", "zk1:2888", "zk1:2888:3888:leader", "zk1:2888:x", "::1:2888:3888", "zk1:1:2;a:b", "[a:1:2"]
        {
            assert_eq!(member(bad), Err(EXPECTED.to_owned()), "{bad:?}");
        }
        assert!(member("zk1:2888:2888").is_err());
        assert!(member("zk1:1:2;2181;2182").is_err());
    }
}
