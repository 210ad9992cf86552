//! Taking the two ports of a member: the one for elections and the one at which learners find their leader.
//!
//! Both are held from the start of the process to its end, or until a reconfiguration moves them. Java takes the second only while it leads; a learner that comes early is
//! then refused, and here it is kept waiting until this member leads or follows somebody else.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use config::Wires;
use proto::Sid;
use quorum::effect::{HostPort, Port};
use quorum::view::{MemberAddress, bracketed};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Between two tries to take a port.
const RETRY: Duration = Duration::from_secs(1);
/// Connections that the kernel holds until they are accepted. An ensemble has few members.
const BACKLOG: i32 = 128;

/// The ports of a member. Each may be held at several addresses.
#[derive(Debug)]
pub struct Listeners {
    /// For elections.
    pub election: Vec<TcpListener>,
    /// For learners.
    pub quorum: Vec<TcpListener>,
}

/// A port could not be taken. ZooKeeper ends with status 14.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the {} {} of server {id}: {}", port_name(*port), Shown(place), advice(source, place))]
pub struct BindError {
    /// Whose port: this server's own number.
    pub id: Sid,
    /// Which of them.
    pub port: Port,
    /// Where, as the configuration says it.
    pub place: HostPort,
    /// What the system said last.
    pub source: io::Error,
}

/// Takes both ports of member `id`, at all of its addresses, or at every address of the machine. What fails is tried again after a
/// second, as often as `wires` says. Waits for the system's resolver, and between tries.
///
/// A member of several addresses is content with one, and says which are missing.
pub fn bind(id: Sid, member: &MemberAddress, wires: &Wires) -> Result<Listeners, BindError> {
    bind_with(id, member, wires, &mut || thread::sleep(RETRY))
}

/// Takes one port of member `id` at these places, or fails at once. Waits for the system's resolver.
pub fn bind_once(id: Sid, port: Port, places: Vec<HostPort>, wires: &Wires) -> Result<Vec<TcpListener>, BindError> {
    let task = Task { id, port, on_all_addresses: wires.on_all_addresses };
    task.take(places, Some(1), &mut || {})
}

/// [`bind`], with something else to do between two tries.
pub(crate) fn bind_with(
    id: Sid,
    member: &MemberAddress,
    wires: &Wires,
    pause: &mut dyn FnMut(),
) -> Result<Listeners, BindError> {
    let mut take = |port: Port, places: Vec<HostPort>| {
        let task = Task { id, port, on_all_addresses: wires.on_all_addresses };
        task.take(places, wires.bind_tries, pause)
    };
    let election = take(Port::Election, member.election())?;
    let quorum = take(Port::Quorum, member.quorum())?;
    Ok(Listeners { election, quorum })
}

struct Task {
    id: Sid,
    port: Port,
    on_all_addresses: bool,
}

impl Task {
    fn take(
        &self,
        places: Vec<HostPort>,
        tries: Option<u32>,
        pause: &mut dyn FnMut(),
    ) -> Result<Vec<TcpListener>, BindError> {
        let mut listeners = Vec::new();
        let mut missing = places;
        missing.dedup_by_key(|place| if self.on_all_addresses { place.port.to_string() } else { format!("{place:?}") });
        let mut tried = 0;
        loop {
            let mut errors = Vec::new();
            for place in std::mem::take(&mut missing) {
                match self.listen(&place) {
                    Ok(mut taken) => listeners.append(&mut taken),
                    Err(source) => errors.push(BindError { id: self.id, port: self.port, place, source }),
                }
            }
            tried += 1;
            let Some(first) = errors.first() else { return Ok(listeners) };
            if tries.is_some_and(|tries| tried >= tries) {
                if listeners.is_empty() {
                    return Err(errors.swap_remove(0));
                }
                for error in errors {
                    tracing::warn!("{error}; other members reach this server at its other addresses only");
                }
                return Ok(listeners);
            }
            tracing::warn!("{first}; trying again");
            missing = errors.into_iter().map(|error| error.place).collect();
            pause();
        }
    }

    /// At every address that the place stands for. A name may stand for addresses of which this machine has only some, as `localhost`
    /// does where there is no IPv6.
    fn listen(&self, place: &HostPort) -> io::Result<Vec<TcpListener>> {
        if self.on_all_addresses {
            return listen_at(anywhere(place.port)).map(|listener| vec![listener]);
        }
        let mut listeners = Vec::new();
        let mut absent = None;
        for address in (place.host.as_str(), place.port).to_socket_addrs()? {
            match listen_at(address) {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable || is_no_family(&error) => {
                    absent = Some(error)
                }
                // The same address twice in the answer.
                Err(_) if listeners.iter().any(|other| other.local_addr().is_ok_and(|local| local == address)) => {}
                Err(error) => return Err(error),
            }
        }
        match absent {
            Some(error) if listeners.is_empty() => Err(error),
            None if listeners.is_empty() => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            _ => Ok(listeners),
        }
    }
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the process before may still be remembered by the kernel.
    socket.set_reuse_address(true)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Every address of the machine: the IPv6 wildcard takes both families; without IPv6, the IPv4 one.
fn anywhere(port: u16) -> SocketAddr {
    let has_ipv6 = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let ip: IpAddr = if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, port)
}

/// `EAFNOSUPPORT`: the kernel was built or started without IPv6.
fn is_no_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// What a port is called in messages.
pub fn port_name(port: Port) -> &'static str {
    match port {
        Port::Election => "election port",
        Port::Quorum => "quorum port",
        Port::Observers => "port for observers",
    }
}

/// Places for messages.
pub fn shown(places: &[HostPort]) -> String {
    let places: Vec<String> = places.iter().map(|place| Shown(place).to_string()).collect();
    places.join(", ")
}

struct Shown<'a>(&'a HostPort);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.0.host), self.0.port)
    }
}

/// What the operator can do about it.
fn advice(error: &io::Error, place: &HostPort) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is no address of this machine. Either the server line is wrong, or myid; or other members reach it there by \
             address translation, and quorumListenOnAllIPs=true is needed",
            place.host
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{error}. Ports below 1024 need the capability CAP_NET_BIND_SERVICE")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use quorum::view::parse_server;

    use super::*;

    const WIRES: Wires = Wires { on_all_addresses: false, bind_tries: Some(3), tcp_keep_alive: false };

    fn free_ports() -> (u16, u16) {
        (client::free_port(), client::free_port())
    }

    fn member(line: &str) -> MemberAddress {
        parse_server(Sid(1), line).unwrap()
    }

    fn never() -> impl FnMut() {
        || panic!("there is nothing to wait for")
    }

    #[test]
    fn both_ports_are_taken_at_the_members_own_address() {
        let (quorum, election) = free_ports();
        let listeners =
            bind_with(Sid(1), &member(&format!("127.0.0.31:{quorum}:{election}")), &WIRES, &mut never()).unwrap();
        let local = |listeners: &[TcpListener]| listeners[0].local_addr().unwrap();
        assert_eq!(local(&listeners.quorum), SocketAddr::from(([127, 0, 0, 31], quorum)));
        assert_eq!(local(&listeners.election), SocketAddr::from(([127, 0, 0, 31], election)));
        assert!(TcpStream::connect(("127.0.0.31", election)).is_ok());
        assert!(TcpStream::connect(("127.0.0.32", election)).is_err());
    }

    #[test]
    fn every_address_of_the_machine_is_taken_where_that_is_asked_for() {
        let (quorum, election) = free_ports();
        // Not an address of this machine: other members see one of an address translation.
        let member = member(&format!("192.0.2.7:{quorum}:{election}"));
        let wires = Wires { on_all_addresses: true, ..WIRES };
        let _listeners = bind_with(Sid(1), &member, &wires, &mut never()).unwrap();
        for host in ["127.0.0.33", "127.0.0.34"] {
            assert!(TcpStream::connect((host, election)).is_ok(), "{host}");
            assert!(TcpStream::connect((host, quorum)).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_port_in_use_is_tried_again_until_it_is_free_or_the_tries_are_used_up() {
        let (quorum, election) = free_ports();
        let member = member(&format!("127.0.0.35:{quorum}:{election}"));
        let mut holder = Some(TcpListener::bind(("127.0.0.35", quorum)).unwrap());
        let mut pauses = 0;
        let error = bind_with(Sid(1), &member, &WIRES, &mut || pauses += 1).unwrap_err();
        assert_eq!(pauses, 2, "three tries");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on the quorum port 127.0.0.35:{quorum} of server 1: another process listens there")
        );
        let forever = Wires { bind_tries: None, ..WIRES };
        let mut pauses = 0;
        let listeners = bind_with(Sid(1), &member, &forever, &mut || {
            pauses += 1;
            if pauses == 7 {
                holder = None;
            }
        });
        assert!(listeners.is_ok());
        assert_eq!(pauses, 7);
    }

    #[test]
    fn an_address_of_another_machine_is_told_with_what_helps() {
        let once = Wires { bind_tries: Some(1), ..WIRES };
        let error = bind_with(Sid(4), &member("192.0.2.7:2888:3888"), &once, &mut never()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot listen on the election port 192.0.2.7:3888 of server 4: 192.0.2.7 is no address of this machine. Either \
             the server line is wrong, or myid; or other members reach it there by address translation, and \
             quorumListenOnAllIPs=true is needed"
        );
    }

    #[test]
    fn a_member_of_several_addresses_is_content_with_those_it_gets() {
        let (quorum, election) = free_ports();
        let member = member(&format!("127.0.0.36:{quorum}:{election}|192.0.2.7:2888:3888"));
        let mut pauses = 0;
        let listeners = bind_with(Sid(1), &member, &WIRES, &mut || pauses += 1).unwrap();
        assert_eq!((listeners.election.len(), listeners.quorum.len(), pauses), (1, 1, 4));
    }

    #[test]
    fn a_name_is_listened_at_wherever_it_leads_on_this_machine() {
        let (quorum, election) = free_ports();
        let listeners =
            bind_with(Sid(1), &member(&format!("localhost:{quorum}:{election}")), &WIRES, &mut never()).unwrap();
        assert!(listeners.election.iter().any(|listener| listener.local_addr().unwrap().ip().is_loopback()));
    }

    /// The kernel remembers a connection for a minute after the side that closed first; a server that is started again must not wait
    /// for it to forget.
    #[test]
    fn a_server_that_is_started_again_gets_its_ports_at_once() {
        let (quorum, election) = free_ports();
        let member = member(&format!("127.0.0.37:{quorum}:{election}"));
        let listeners = bind_with(Sid(1), &member, &WIRES, &mut never()).unwrap();
        let mut client = TcpStream::connect(("127.0.0.37", election)).unwrap();
        let (mut accepted, _) = listeners.election[0].accept().unwrap();
        accepted.write_all(b"x").unwrap();
        drop((accepted, listeners));
        let mut end = Vec::new();
        client.read_to_end(&mut end).unwrap();
        drop(client);
        bind_with(Sid(1), &member, &WIRES, &mut never()).unwrap();
    }
}
