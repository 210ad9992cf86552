//! The thread that does the log writes of the epoll backend, so that its loop never waits for a disk.
//!
//! It exists from the first write until the reactor is dropped, does one write after the other in the order given, and tells the
//! loop by an eventfd. Kept out: anything else that blocks.

use std::{
    fs::File,
    io,
    sync::{Arc, mpsc},
    thread::{Builder, JoinHandle},
};

use aligned::AlignedBuf;

use crate::{Waker, durable};

pub(super) struct Job {
    pub(super) token: u64,
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) buffer: AlignedBuf,
    pub(super) sync: bool,
}

pub(super) struct Done {
    pub(super) token: u64,
    pub(super) result: io::Result<usize>,
    pub(super) buffer: AlignedBuf,
}

pub(super) struct Helper {
    /// `None` only while dropping.
    jobs: Option<mpsc::Sender<Job>>,
    done: mpsc::Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    /// Starts the thread; it wakes `bell` after each write.
    pub(super) fn start(bell: Waker) -> io::Result<Helper> {
        let (jobs, to_do) = mpsc::channel::<Job>();
        let (tell, done) = mpsc::channel();
        let thread = Builder::new().name("log-writes".into()).spawn(move || {
            for job in to_do {
                let result = durable::write(&job.file, &job.buffer, job.offset, job.sync);
                if tell.send(Done { token: job.token, result, buffer: job.buffer }).is_err() {
                    return;
                }
                bell.wake();
            }
        })?;
        Ok(Helper { jobs: Some(jobs), done, thread: Some(thread) })
    }

    pub(super) fn give(&self, job: Job) {
        let taken = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        assert!(taken, "the helper takes jobs for as long as it is kept");
    }

    pub(super) fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

impl Drop for Helper {
    /// Waits for the writes that were given.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and there is nobody left to tell.
            thread.join().ok();
        }
    }
}
