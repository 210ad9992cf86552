//! The few socket calls that need no waiting, alike for both backends.
//!
//! Kept out: receiving, sending and accepting, which are what the backends differ in.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    net::{Shutdown, getpeername, shutdown, sockopt::set_tcp_nodelay},
};

/// Prepares a connected stream: small replies leave at once.
///
/// io_uring wants a blocking descriptor (it answers `EAGAIN` on a non-blocking one instead of waiting), epoll the other.
pub(crate) fn prepare_stream(stream: &OwnedFd, blocking: bool) -> io::Result<()> {
    set_blocking(stream, blocking)?;
    // Refused by anything that is not TCP, and there not needed.
    set_tcp_nodelay(stream, true).ok();
    Ok(())
}

pub(crate) fn set_blocking(socket: impl AsFd, blocking: bool) -> io::Result<()> {
    let flags = fcntl_getfl(&socket)?;
    let mut wanted = flags;
    wanted.set(OFlags::NONBLOCK, !blocking);
    if wanted != flags {
        fcntl_setfl(&socket, wanted)?;
    }
    Ok(())
}

/// The client's address, unless it is gone already.
pub(crate) fn peer(stream: &OwnedFd) -> Option<SocketAddr> {
    getpeername(stream).ok()?.and_then(|address| SocketAddr::try_from(address).ok())
}

/// Says goodbye and closes. What the kernel still holds to be sent is sent.
pub(crate) fn finish(stream: OwnedFd) {
    // Fails when the client is gone already; then there is nobody to tell.
    shutdown(&stream, Shutdown::Write).ok();
}

/// Ends both directions, so that whatever waits on the stream ends as well.
pub(crate) fn cut(stream: &OwnedFd) {
    // Fails when the client is gone already; then whatever waits ends by that.
    shutdown(stream, Shutdown::Both).ok();
}

/// Whether an accept failed because of one client only, so that the next may be tried at once.
pub(crate) fn concerns_one_client(error: &io::Error) -> bool {
    // accept(2): Linux passes the new socket's pending network errors on to accept.
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EAGAIN
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}
