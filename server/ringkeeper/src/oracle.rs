//! The oracle of an ensemble of two: a file that some other program writes, whose first character says whether this member may do without
//! the other (docs/decisions/0029-an-oracle-for-two.md).
//!
//! It is read anew for each question, on a thread of its own, because it may lie where reading takes long. What always holds: every
//! question gets one answer; whatever cannot be read is a no, which is said when it begins and when it ends.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use clients::Mailbox;
use quorum::effect::Inquiry;

use crate::letter::Letter;

/// Where questions are put. The thread ends with it.
pub struct Oracle {
    questions: Sender<Inquiry>,
}

impl Oracle {
    /// Starts the thread that reads this file; its answers go to the write stage.
    pub fn start(path: PathBuf, write_stage: Arc<Mailbox<Letter>>) -> io::Result<Oracle> {
        let (questions, asked) = mpsc::channel();
        thread::Builder::new().name("oracle".to_owned()).spawn(move || answer(&path, &asked, &write_stage))?;
        Ok(Oracle { questions })
    }

    /// The answer comes as a letter.
    pub fn ask(&self, question: Inquiry) {
        // The thread ends only with this.
        let _ = self.questions.send(question);
    }
}

fn answer(path: &Path, asked: &Receiver<Inquiry>, write_stage: &Mailbox<Letter>) {
    let mut unreadable = false;
    while let Ok(question) = asked.recv() {
        let read = says_yes(path);
        match &read {
            Err(error) if !unreadable => {
                tracing::error!(
                    "the oracle {} cannot be read, which counts as a no: {error}; this member does not serve without the other",
                    path.display()
                );
            }
            Ok(yes) if unreadable => {
                tracing::info!("the oracle {} can be read again: {}", path.display(), if *yes { "yes" } else { "no" });
            }
            _ => {}
        }
        unreadable = read.is_err();
        write_stage.send(Letter::OracleSays(question, read.unwrap_or(false)));
    }
}

/// Whether the first character of the file is a 1. An empty file says no.
fn says_yes(path: &Path) -> io::Result<bool> {
    let mut first = [0];
    let length = File::open(path)?.read(&mut first)?;
    Ok(length == 1 && first == *b"1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_begins_with_1_says_yes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oracle");
        assert!(says_yes(&path).is_err(), "there is none");
        for (text, yes) in
            [("1", true), ("1\n", true), ("10", true), ("0", false), ("", false), (" 1", false), ("yes", false)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(says_yes(&path).unwrap(), yes, "{text:?}");
        }
        assert!(says_yes(dir.path()).is_err(), "a directory");
    }
}
