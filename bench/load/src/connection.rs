//! One connection under load: a non-blocking socket, what is to be sent, and when each outstanding request was due.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use client::wire::{Frame, next_frame};
use client::{Options, Request, Session};
use proto::Xid;

use crate::workload::Workload;

/// See the module's page.
pub struct Connection {
    number: usize,
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    filled: usize,
    next_xid: i32,
    /// (number, when it was due) of each request without an answer. A ping has no due time.
    outstanding: VecDeque<(Xid, Option<u64>)>,
    /// Did the socket refuse bytes, so that the engine waits until it is writable?
    pub blocked: bool,
    /// When something was last sent, on the engine's clock.
    last_sent_ns: u64,
}

/// A reply that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// When the request was due, on the engine's clock.
    pub due_ns: u64,
    /// Error number.
    pub err: i32,
}

impl Connection {
    /// Connects, establishes a session with the longest timeout that servers give, and stops blocking.
    pub fn open(address: SocketAddr, number: usize) -> Result<Connection, String> {
        let options = Options { timeout_ms: 40_000, ..Options::default() };
        let session = Session::connect(address, &options).map_err(|error| format!("{address}: {error}"))?;
        let stream = session.stream().try_clone().map_err(|error| error.to_string())?;
        Connection::over(stream, number).map_err(|error| format!("{address}: {error}"))
    }

    fn over(stream: TcpStream, number: usize) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection {
            number,
            stream,
            out: Vec::new(),
            sent: 0,
            input: vec![0; 64 * 1024],
            filled: 0,
            next_xid: 1,
            outstanding: VecDeque::new(),
            blocked: false,
            last_sent_ns: 0,
        })
    }

    /// Requests without an answer.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Queues the workload's next request, which was due at `due_ns`.
    pub fn submit(&mut self, workload: &mut Workload, due_ns: u64) {
        let xid = Xid(self.next_xid);
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        workload.put_next(&mut self.out, self.number, xid);
        self.outstanding.push_back((xid, Some(due_ns)));
    }

    /// Queues a ping if nothing was sent for `idle_ns`.
    pub fn keep_alive(&mut self, now_ns: u64, idle_ns: u64) {
        if self.outstanding.is_empty() && now_ns.saturating_sub(self.last_sent_ns) > idle_ns {
            Request::Ping.put_frame(&mut self.out, Xid::PING);
            self.outstanding.push_back((Xid::PING, None));
        }
    }

    /// Sends what the socket takes. True if something is left: wait until it is writable.
    pub fn flush(&mut self, now_ns: u64) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    self.last_sent_ns = now_ns;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(false)
    }

    /// Reads what has arrived, at most one buffer, and calls `done` for each reply.
    pub fn receive(&mut self, mut done: impl FnMut(Done)) -> io::Result<()> {
        let bad = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
        if self.filled == self.input.len() {
            self.input.resize(self.input.len() * 2, 0);
        }
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.filled += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let mut taken = 0;
        while let Some((payload, size)) =
            next_frame(&self.input[taken..self.filled]).map_err(|error| bad(error.to_string()))?
        {
            taken += size;
            let reply = match Frame::decode(payload).map_err(|error| bad(error.to_string()))? {
                Frame::Reply(reply, _) => reply,
                Frame::Event(_) => continue,
            };
            match self.outstanding.pop_front() {
                Some((xid, due)) if xid == reply.xid => {
                    if let Some(due_ns) = due {
                        done(Done { due_ns, err: reply.err });
                    }
                }
                other => return Err(bad(format!("{:?} was answered where {other:?} was due", reply.xid))),
            }
        }
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
