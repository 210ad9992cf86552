//! Many sessions, driven by one thread: opened at once, watching one znode, closed together.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use client::wire::{next_frame, put_connect};
use client::{Frame, Request};
use proto::connect::{ConnectRequest, ConnectResponse};
use proto::{SessionId, Xid, Zxid};
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT_MS: i32 = 30_000;

/// A number of sessions.
pub struct Crowd {
    epoll: OwnedFd,
    members: Vec<Member>,
}

struct Member {
    stream: TcpStream,
    connected: bool,
    /// Refused, or hung up on.
    gone: bool,
    input: Vec<u8>,
}

/// What opening all of them at once came to.
pub struct Opened {
    /// Those that have a session.
    pub crowd: Crowd,
    /// From the first connect to the last answer.
    pub took: Duration,
    /// Those that have none: refused, not answered in time, or closed before all the others were open.
    pub refused: usize,
    /// Why the last of these was.
    pub why: Option<String>,
}

impl Crowd {
    /// Connects, `at_once` of them at a time, and returns when the last has its session.
    pub fn open(address: SocketAddr, count: usize, at_once: usize) -> Result<Opened, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| error.to_string())?;
        let mut hello = Vec::new();
        put_connect(
            &mut hello,
            &ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid::ZERO,
                timeout_ms: TIMEOUT_MS,
                session: SessionId::NONE,
                password: vec![0; 16],
                read_only: Some(false),
            },
        );
        let mut crowd = Crowd { epoll, members: Vec::with_capacity(count) };
        let begun = Instant::now();
        let mut last = begun;
        let mut welcome = vec![false; count];
        let mut why = None;
        while crowd.members.len() < count {
            let wave = crowd.members.len()..count.min(crowd.members.len() + at_once);
            for at in wave.clone() {
                let stream = dial(address).map_err(|error| format!("{address}: {error}"))?;
                let flags = epoll::EventFlags::OUT;
                epoll::add(&crowd.epoll, &stream, epoll::EventData::new_u64(at as u64), flags)
                    .map_err(|error| error.to_string())?;
                crowd.members.push(Member { stream, connected: false, gone: false, input: Vec::new() });
            }
            let settled = crowd.wait(wave.clone(), |crowd, at| {
                let was_connected = crowd.members[at].connected;
                // An error is a refusal as well: whoever wanted a session has none.
                let settled = crowd.members[at].greet(&hello).unwrap_or_else(|error| {
                    why = Some(error.to_string());
                    Some(false)
                });
                if !was_connected && settled.is_none() {
                    crowd.listen(at)?;
                }
                if let Some(welcomed) = settled {
                    welcome[at] = welcomed;
                    last = Instant::now();
                    if !welcomed {
                        crowd.forget(at);
                    }
                }
                Ok(settled.is_some())
            })?;
            if settled < wave.len() {
                why = Some("not answered in time".to_owned());
            }
        }
        let mut keep = welcome.into_iter();
        crowd.members.retain(|member| keep.next().unwrap_or(false) && !member.gone);
        for at in 0..crowd.members.len() {
            crowd.listen(at)?;
        }
        Ok(Opened { took: last - begun, refused: count - crowd.members.len(), why, crowd })
    }

    /// Sends the same request on all, and returns when each has its answer.
    pub fn ask(&mut self, request: &Request<'_>, xid: Xid) -> Result<(), String> {
        let mut frame = Vec::new();
        request.put_frame(&mut frame, xid);
        for member in &mut self.members {
            member.stream.write_all(&frame).map_err(|error| format!("cannot ask: {error}"))?;
        }
        self.hear(|frame| match frame {
            Frame::Reply(reply, _) if reply.err == 0 => Ok(true),
            Frame::Reply(reply, _) => Err(format!("the server answered {reply:?}")),
            Frame::Event(_) => Ok(false),
        })
    }

    /// Returns when each has got a watch event.
    pub fn hear_event(&mut self) -> Result<(), String> {
        self.hear(|frame| Ok(matches!(frame, Frame::Event(_))))
    }

    /// Closes all sessions.
    pub fn close(mut self) -> Result<(), String> {
        self.ask(&Request::CloseSession, Xid(i32::MAX))
    }

    /// Returns when each has got one frame that `wanted` takes; the others are dropped.
    fn hear(&mut self, wanted: impl Fn(&Frame<'_>) -> Result<bool, String>) -> Result<(), String> {
        let count = self.members.len();
        let got = self.wait(0..count, |crowd, at| {
            let member = &mut crowd.members[at];
            member.receive().map_err(|error| format!("session {at}: {error}"))?;
            let (mut taken, mut found) = (0, false);
            while let Some((payload, size)) = next_frame(&member.input[taken..]).map_err(|error| error.to_string())? {
                taken += size;
                found |= wanted(&Frame::decode(payload).map_err(|error| error.to_string())?)?;
            }
            member.input.drain(..taken);
            Ok(found)
        })?;
        if got == count { Ok(()) } else { Err(format!("{got} of {count} sessions heard in time")) }
    }

    /// Serves sockets that are ready until `done` was true once for each of `members`, or time is up. Returns for how many it
    /// was.
    fn wait(
        &mut self,
        members: Range<usize>,
        mut done: impl FnMut(&mut Crowd, usize) -> Result<bool, String>,
    ) -> Result<usize, String> {
        let mut events = vec![MaybeUninit::uninit(); 1024];
        let until = Instant::now() + PATIENCE;
        let mut settled = vec![true; self.members.len()];
        settled[members.clone()].fill(false);
        let mut count = 0;
        while count < members.len() {
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
            let ready = match epoll::wait(&self.epoll, events.as_mut_slice(), Some(&timeout)) {
                Ok((ready, _)) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.to_string()),
            };
            for event in ready.iter() {
                let at = event.data.u64() as usize;
                if settled[at] {
                    // What it still says is for later, and if it hangs up, that is seen later too.
                    if self.members[at].receive().is_err() {
                        self.forget(at);
                    }
                } else if done(self, at)? {
                    settled[at] = true;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// From now on a member is served when it has something to say.
    fn listen(&self, at: usize) -> Result<(), String> {
        let (flags, data) = (epoll::EventFlags::IN, epoll::EventData::new_u64(at as u64));
        epoll::modify(&self.epoll, &self.members[at].stream, data, flags)
            .map_err(|error| format!("session {at}: {error}"))
    }

    fn forget(&mut self, at: usize) {
        self.members[at].gone = true;
        // An error means that it is forgotten already.
        _ = epoll::delete(&self.epoll, &self.members[at].stream);
    }
}

/// Begins to connect and does not wait.
fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

impl Member {
    /// Takes the next step towards a session. True: there is one; false: it is refused.
    fn greet(&mut self, hello: &[u8]) -> io::Result<Option<bool>> {
        if !self.connected {
            sockopt::socket_error(&self.stream)??;
            self.stream.write_all(hello)?;
            self.connected = true;
            return Ok(None);
        }
        self.receive()?;
        let bad = |error: proto::JuteError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let Some((payload, taken)) = next_frame(&self.input).map_err(bad)? else { return Ok(None) };
        let response = ConnectResponse::decode(payload).map_err(bad)?;
        self.input.drain(..taken);
        Ok(Some(response.session != SessionId::NONE))
    }

    /// Reads what is there.
    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.input.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
