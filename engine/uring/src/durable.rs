//! What a durable write is, beyond one system call: it goes on after a short write, and syncs exactly once, with the last byte.
//!
//! Both backends advance by the same rule; the blocking form is what the epoll backend's helper thread and older kernels use.
//! Kept out: retrying after an error. A log that failed to reach the disk is for its owner to judge.

use std::{
    fs::File,
    io::{self, IoSlice},
};

use aligned::PAGE;
use rustix::{
    fs::{OFlags, fcntl_getfl, fdatasync},
    io::{Errno, ReadWriteFlags, pwrite, pwritev2, retry_on_intr},
};

/// How far a write of `len` bytes is, after `more` bytes were written to the `written` before.
///
/// # Errors
/// When it makes no progress. With O_DIRECT only whole pages count, as the next part has to start on one.
pub(crate) fn advance(file: &File, written: usize, more: usize, len: usize) -> io::Result<usize> {
    let mut now = written + more;
    if now < len && fcntl_getfl(file)?.contains(OFlags::DIRECT) {
        now -= now % PAGE;
    }
    if now <= written && now < len {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "a write to a file made no progress"));
    }
    Ok(now)
}

/// Writes all of `bytes` at `offset`, durably if `sync`; blocks until it is done.
pub(crate) fn write(file: &File, bytes: &[u8], offset: u64, sync: bool) -> io::Result<usize> {
    let mut flags = if sync { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
    let mut written = 0;
    let mut sync_apart = false;
    while written < bytes.len() {
        let (rest, at) = (&bytes[written..], offset + written as u64);
        let more = if flags.is_empty() {
            retry_on_intr(|| pwrite(file, rest, at))
        } else {
            retry_on_intr(|| pwritev2(file, &[IoSlice::new(rest)], at, flags))
        };
        match more {
            // Not known to this kernel or file system (pwritev2(2)): the same in two steps.
            Err(Errno::NOSYS | Errno::OPNOTSUPP) if !flags.is_empty() => {
                flags = ReadWriteFlags::empty();
                sync_apart = true;
            }
            more => written = advance(file, written, more?, bytes.len())?,
        }
    }
    if sync_apart {
        fdatasync(file)?;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_lands_at_its_offset_with_and_without_sync() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        assert_eq!(write(&file, b"world", 6, true).expect("a write"), 5);
        assert_eq!(write(&file, b"hello ", 0, false).expect("a write"), 6);
        let mut text = String::new();
        io::Read::read_to_string(&mut file, &mut text).expect("a read");
        assert_eq!(text, "hello world");
    }

    #[test]
    fn no_progress_is_an_error_and_not_a_loop() {
        let file = tempfile::tempfile().expect("a temporary file");
        assert_eq!(advance(&file, 10, 0, 20).expect_err("no progress").kind(), io::ErrorKind::WriteZero);
        assert_eq!(advance(&file, 10, 5, 20).expect("progress"), 15);
        assert_eq!(advance(&file, 0, 0, 0).expect("nothing to do"), 0);
    }
}
