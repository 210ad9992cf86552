//! One connection of a crowd: a blocking socket from a chosen address, a session if wanted, and a window of requests.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use client::wire::{self, Event, Frame, Reply, next_frame};
use proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES};
use proto::{SessionId, Xid, Zxid};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const PATIENCE: Duration = Duration::from_secs(120);
const CHUNK: usize = 256 << 10;

/// Connects, from `source` if given. `reset`: closing it leaves nothing behind in the kernel.
pub fn knock(addr: SocketAddr, source: Option<Ipv4Addr>, reset: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    if reset {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    if let Some(source) = source {
        socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
    }
    socket.connect_timeout(&SockAddr::from(addr), Duration::from_secs(30))?;
    let stream: TcpStream = socket.into();
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The first frame of a connection that wants a new session.
pub fn connect_frame(timeout_ms: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms,
        session: SessionId::NONE,
        password: vec![0; PASSWORD_BYTES],
        read_only: Some(false),
    };
    wire::put_connect(&mut out, &request);
    out
}

/// See the module's page.
pub struct Pipe {
    /// The socket.
    pub stream: TcpStream,
    xid: i32,
    input: Vec<u8>,
    taken: usize,
    /// Events that came so far.
    pub events: u64,
    /// The newest of them.
    pub last_event: Option<Event>,
    /// The session.
    pub session: SessionId,
}

impl Pipe {
    /// A connection whose session request is on its way: [`Pipe::greet`] takes the answer.
    pub fn ask(addr: SocketAddr, source: Option<Ipv4Addr>, timeout_ms: i32) -> io::Result<Pipe> {
        let mut stream = knock(addr, source, false)?;
        stream.write_all(&connect_frame(timeout_ms))?;
        Ok(Pipe { stream, xid: 0, input: Vec::new(), taken: 0, events: 0, last_event: None, session: SessionId::NONE })
    }

    /// The answer to the session request.
    pub fn greet(&mut self) -> io::Result<()> {
        let payload = self.frame()?;
        let response = ConnectResponse::decode(&payload).map_err(|error| io::Error::other(error.to_string()))?;
        if response.session == SessionId::NONE {
            return Err(io::Error::other("the session was refused"));
        }
        self.session = response.session;
        Ok(())
    }

    /// With a session.
    pub fn open(addr: SocketAddr, timeout_ms: i32) -> io::Result<Pipe> {
        let mut pipe = Pipe::ask(addr, None, timeout_ms)?;
        pipe.greet()?;
        Ok(pipe)
    }

    /// Sends one request.
    pub fn submit(&mut self, request: &client::Request<'_>) -> io::Result<()> {
        let mut out = Vec::new();
        self.xid += 1;
        let xid = if *request == client::Request::Ping { Xid::PING } else { Xid(self.xid) };
        request.put_frame(&mut out, xid);
        self.stream.write_all(&out)
    }

    /// The next reply; events before it are counted.
    pub fn reply(&mut self) -> io::Result<(Reply, Vec<u8>)> {
        loop {
            let payload = self.frame()?;
            match Frame::decode(&payload).map_err(|error| io::Error::other(error.to_string()))? {
                Frame::Reply(reply, body) => return Ok((reply, body.to_vec())),
                Frame::Event(event) => {
                    self.events += 1;
                    self.last_event = Some(event);
                }
            }
        }
    }

    /// A request and its answer, which must be a success.
    pub fn call(&mut self, request: &client::Request<'_>) -> io::Result<Vec<u8>> {
        self.submit(request)?;
        let (reply, body) = self.reply()?;
        if reply.err == 0 { Ok(body) } else { Err(io::Error::other(format!("{reply:?}"))) }
    }

    /// `total` requests, of which `window` may be unanswered. All must succeed.
    pub fn run(
        &mut self,
        total: u64,
        window: u64,
        mut make: impl FnMut(u64, Xid, &mut Vec<u8>),
        mut on: impl FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        let (mut sent, mut done) = (0, 0);
        let mut out = Vec::new();
        while done < total {
            if sent < total && sent - done <= window / 2 {
                out.clear();
                while sent < total && sent - done < window {
                    self.xid += 1;
                    make(sent, Xid(self.xid), &mut out);
                    sent += 1;
                }
                self.stream.write_all(&out)?;
            }
            let (reply, body) = self.reply()?;
            if reply.err != 0 {
                return Err(io::Error::other(format!("request {done}: {reply:?}")));
            }
            on(done, &body);
            done += 1;
        }
        Ok(())
    }

    /// Reads until so many events have come in all.
    pub fn wait_events(&mut self, count: u64) -> io::Result<()> {
        while self.events < count {
            let payload = self.frame()?;
            match Frame::decode(&payload).map_err(|error| io::Error::other(error.to_string()))? {
                Frame::Event(event) => {
                    self.events += 1;
                    self.last_event = Some(event);
                }
                Frame::Reply(reply, _) => return Err(io::Error::other(format!("an answer to nothing: {reply:?}"))),
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let bad = |error: proto::JuteError| io::Error::other(error.to_string());
            if let Some((payload, taken)) = next_frame(&self.input[self.taken..]).map_err(bad)? {
                let payload = payload.to_vec();
                self.taken += taken;
                if self.taken == self.input.len() {
                    self.taken = 0;
                    self.input.clear();
                    if self.input.capacity() > 2 * CHUNK {
                        self.input = Vec::new();
                    }
                }
                return Ok(payload);
            }
            self.input.drain(..std::mem::take(&mut self.taken));
            let filled = self.input.len();
            // As much as is there, in few calls: a crowd must not hold a large buffer for each of its members.
            self.input.resize(filled + if filled == 0 { 4096 } else { CHUNK }, 0);
            let read = self.stream.read(&mut self.input[filled..]);
            self.input.truncate(filled + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
