//! A blocking connection with a deadline on every wait.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proto::acl::Acl;
use proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES};
use proto::{Code, JuteError, Op, SessionId, Stat, Xid, Zxid};

use crate::wire::{self, Event, Frame, Reply, Request, Response, next_frame};

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Wanted session timeout, ms.
    pub timeout_ms: i32,
    /// A session to come back to, with its password; `None` asks for a new one.
    pub session: Option<(SessionId, [u8; PASSWORD_BYTES])>,
    /// The newest zxid that the client claims to have seen.
    pub last_zxid_seen: Zxid,
    /// The trailing readOnly byte; `None` leaves it out, as clients of the 3.3 era do.
    pub read_only: Option<bool>,
    /// The longest that any call waits.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            timeout_ms: 10_000,
            session: None,
            last_zxid_seen: Zxid::ZERO,
            read_only: Some(false),
            deadline: Duration::from_secs(10),
        }
    }
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with this error number.
    #[error("the server answered {0:?}")]
    Code(Reply),
    /// The server refused the session: unknown, expired, or the wrong password.
    #[error("the session was refused")]
    Refused,
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// Nothing came in time.
    #[error("nothing came within the deadline")]
    Deadline,
    /// The server's bytes are not the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The socket failed.
    #[error(transparent)]
    Io(io::Error),
}

impl Error {
    /// The code of a refusal by the server.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Code(reply) => reply.code(),
            _ => None,
        }
    }
}

impl From<JuteError> for Error {
    fn from(error: JuteError) -> Error {
        Error::Protocol(error.to_string())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        match error.kind() {
            WouldBlock | TimedOut => Error::Deadline,
            BrokenPipe | ConnectionReset | ConnectionAborted | UnexpectedEof => Error::Closed,
            _ => Error::Io(error),
        }
    }
}

/// A reply with what it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Operation number of the request.
    pub op: i32,
    /// The header.
    pub reply: Reply,
    /// The record, if the header says success.
    pub response: Option<Response>,
}

/// What arrived, in the server's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// The reply to the oldest request that was not yet answered.
    Answer(Answer),
    /// A watch event.
    Event(Event),
}

/// One connection that holds a session. Dropping it closes the socket and leaves the session to expire.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    deadline: Duration,
    info: ConnectResponse,
    next_xid: i32,
    /// Requests without an answer: number and operation.
    outstanding: VecDeque<(Xid, i32)>,
    /// Events that came while a call waited for its answer.
    events: VecDeque<Event>,
    last_zxid: Zxid,
    out: Vec<u8>,
    input: Vec<u8>,
    taken: usize,
}

impl Session {
    /// Connects and establishes a session.
    pub fn connect(addr: SocketAddr, options: &Options) -> Result<Session, Error> {
        let stream = TcpStream::connect_timeout(&addr, options.deadline)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(options.deadline))?;
        let (session, password) = options.session.unwrap_or((SessionId::NONE, [0; PASSWORD_BYTES]));
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: options.last_zxid_seen,
            timeout_ms: options.timeout_ms,
            session,
            password: password.to_vec(),
            read_only: options.read_only,
        };
        let mut this = Session {
            stream,
            deadline: options.deadline,
            info: ConnectResponse::refusal(None),
            next_xid: 1,
            outstanding: VecDeque::new(),
            events: VecDeque::new(),
            last_zxid: options.last_zxid_seen,
            out: Vec::new(),
            input: Vec::new(),
            taken: 0,
        };
        wire::put_connect(&mut this.out, &request);
        this.flush()?;
        let payload = this.receive_frame(Instant::now() + options.deadline)?;
        this.info = ConnectResponse::decode(&payload)?;
        if this.info.session == SessionId::NONE || this.info.timeout_ms <= 0 {
            return Err(Error::Refused);
        }
        Ok(this)
    }

    /// Connects with a new session and ordinary options.
    pub fn open(addr: SocketAddr) -> Result<Session, Error> {
        Session::connect(addr, &Options::default())
    }

    /// What the server granted: id, password, timeout, and whether it is read-only.
    pub fn info(&self) -> &ConnectResponse {
        &self.info
    }

    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.info.session
    }

    /// Options that come back to this session on a new connection.
    pub fn reattach(&self) -> Options {
        Options {
            timeout_ms: self.info.timeout_ms,
            session: Some((self.info.session, self.info.password)),
            last_zxid_seen: self.last_zxid,
            read_only: self.info.read_only,
            deadline: self.deadline,
        }
    }

    /// The newest zxid in any reply.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// The socket, for tests that need to misuse it.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Changes the longest that a call waits.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Queues a request without waiting; it leaves at the next [`Session::flush`] or wait. Returns its number.
    pub fn submit(&mut self, request: &Request<'_>) -> Xid {
        let xid = match request {
            Request::Ping => wire::xid::PING,
            Request::Auth(..) => wire::xid::AUTH,
            Request::SetWatches { .. } | Request::SetWatches2 { .. } => wire::xid::SET_WATCHES,
            _ => {
                let xid = Xid(self.next_xid);
                self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
                xid
            }
        };
        self.submit_as(xid, request);
        xid
    }

    /// Queues a request under a number of the caller's choice.
    pub fn submit_as(&mut self, xid: Xid, request: &Request<'_>) {
        request.put_frame(&mut self.out, xid);
        self.outstanding.push_back((xid, request.op()));
    }

    /// Queues bytes as they are, framing included. No answer is expected for them.
    pub fn submit_bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Result<(), Error> {
        let sent = self.stream.write_all(&self.out);
        self.out.clear();
        Ok(sent?)
    }

    /// Requests without an answer.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Sends what is queued and waits for the next thing that the server sends. Events that a call put aside come first.
    pub fn receive(&mut self) -> Result<Received, Error> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Received::Event(event));
        }
        self.receive_fresh(Instant::now() + self.deadline)
    }

    /// Waits for the answer to everything that was submitted: one per request, in order. Events are put aside.
    pub fn answers(&mut self) -> Result<Vec<Answer>, Error> {
        let until = Instant::now() + self.deadline;
        let mut answers = Vec::with_capacity(self.outstanding.len());
        while !self.outstanding.is_empty() {
            match self.receive_fresh(until)? {
                Received::Answer(answer) => answers.push(answer),
                Received::Event(event) => self.events.push_back(event),
            }
        }
        Ok(answers)
    }

    /// Submits a request and waits for its answer, whatever it says.
    ///
    /// # Panics
    /// If earlier requests have no answer yet; take those first.
    pub fn call(&mut self, request: &Request<'_>) -> Result<Answer, Error> {
        assert!(self.outstanding.is_empty(), "a call wants all earlier answers taken");
        self.submit(request);
        Ok(self.answers()?.pop().expect("one request has one answer"))
    }

    /// Submits a request and waits for its record; an error number is an error.
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Response, Error> {
        let answer = self.call(request)?;
        answer.response.ok_or(Error::Code(answer.reply))
    }

    /// The next event: one put aside, or one that comes within `wait`. `None` if none does. Submitted requests must have
    /// been answered.
    pub fn next_event(&mut self, wait: Duration) -> Result<Option<Event>, Error> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        match self.receive_fresh(Instant::now() + wait) {
            Ok(Received::Event(event)) => Ok(Some(event)),
            Ok(Received::Answer(answer)) => Err(Error::Protocol(format!("an answer to nothing: {answer:?}"))),
            Err(Error::Deadline) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the server closes, dropping what it still sends. False if it does not within `wait`.
    pub fn wait_closed(&mut self, wait: Duration) -> Result<bool, Error> {
        let until = Instant::now() + wait;
        loop {
            match self.receive_frame(until) {
                Ok(_) => {}
                Err(Error::Closed) => return Ok(true),
                Err(Error::Deadline) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the session and the connection.
    pub fn close(mut self) -> Result<(), Error> {
        self.answers()?;
        self.ask(&Request::CloseSession)?;
        Ok(self.stream.shutdown(Shutdown::Both).or_else(|error| match error.kind() {
            io::ErrorKind::NotConnected => Ok(()),
            _ => Err(error),
        })?)
    }

    /// Creates a znode with an open ACL; `flags` is the number of the create mode. Returns the path that it got.
    pub fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<String, Error> {
        self.create_with(path, Some(data), &wire::open_acl(), flags)
    }

    /// Creates a znode. Returns the path that it got.
    pub fn create_with(&mut self, path: &str, data: Option<&[u8]>, acl: &[Acl], flags: i32) -> Result<String, Error> {
        match self.ask(&Request::Create { op: Op::Create, path, data, acl, flags })? {
            Response::Path(path) => Ok(path),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes a znode; version −1 is any.
    pub fn delete(&mut self, path: &str, version: i32) -> Result<(), Error> {
        self.ask(&Request::Delete(path, version)).map(|_| ())
    }

    /// Replaces the data; version −1 is any.
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, Error> {
        match self.ask(&Request::SetData(path, Some(data), version))? {
            Response::Stat(stat) => Ok(stat),
            other => Err(unexpected(&other)),
        }
    }

    /// Data and stat.
    pub fn get(&mut self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        match self.ask(&Request::GetData(path, watch))? {
            Response::Data(data, stat) => Ok((data, stat)),
            other => Err(unexpected(&other)),
        }
    }

    /// The stat, or `None` if there is no such znode.
    pub fn exists(&mut self, path: &str, watch: bool) -> Result<Option<Stat>, Error> {
        match self.ask(&Request::Exists(path, watch)) {
            Ok(Response::Stat(stat)) => Ok(Some(stat)),
            Ok(other) => Err(unexpected(&other)),
            Err(error) if error.code() == Some(Code::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names of the children, in the server's order, and the stat.
    pub fn children(&mut self, path: &str, watch: bool) -> Result<(Vec<String>, Stat), Error> {
        match self.ask(&Request::GetChildren2(path, watch))? {
            Response::Children(names, stat) => Ok((names, stat)),
            other => Err(unexpected(&other)),
        }
    }

    /// Keeps the session alive.
    pub fn ping(&mut self) -> Result<(), Error> {
        self.ask(&Request::Ping).map(|_| ())
    }

    fn receive_fresh(&mut self, until: Instant) -> Result<Received, Error> {
        self.flush()?;
        let payload = self.receive_frame(until)?;
        let (reply, body) = match Frame::decode(&payload)? {
            Frame::Event(event) => return Ok(Received::Event(event)),
            Frame::Reply(reply, body) => (reply, body),
        };
        let (xid, op) =
            self.outstanding.pop_front().ok_or_else(|| Error::Protocol(format!("an answer to nothing: {reply:?}")))?;
        if reply.xid != xid {
            return Err(Error::Protocol(format!("{:?} was answered where {xid:?} was due", reply.xid)));
        }
        self.last_zxid = self.last_zxid.max(reply.zxid);
        let response = match reply.err {
            0 if Op::from_i32(op).is_some() => Some(Response::decode(op, body)?),
            0 => Some(Response::Empty),
            _ => None,
        };
        Ok(Received::Answer(Answer { op, reply, response }))
    }

    /// The payload of the next frame, uninterpreted. For tests that submitted bytes of their own.
    pub fn receive_frame(&mut self, until: Instant) -> Result<Vec<u8>, Error> {
        loop {
            if let Some((payload, taken)) = next_frame(&self.input[self.taken..])? {
                let payload = payload.to_vec();
                self.taken += taken;
                return Ok(payload);
            }
            self.input.drain(..std::mem::take(&mut self.taken));
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Err(Error::Deadline);
            }
            self.stream.set_read_timeout(Some(wait))?;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn unexpected(response: &Response) -> Error {
    Error::Protocol(format!("an answer of the wrong kind: {response:?}"))
}
