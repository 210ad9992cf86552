//! Waiting for a server: it is asked again and again until it answers, or has taken too long.

use std::ops::ControlFlow::{self, Break, Continue};
use std::thread;
use std::time::{Duration, Instant};

/// What a server may take for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Between two questions of [`until_ok`]. A port nobody listens on refuses at once, so that asking often costs a server nothing.
pub const PAUSE: Duration = Duration::from_millis(1);

/// What `ask`, called with `pause` between, breaks with; or, after [`PATIENCE`], the problem that it went on with last.
///
/// # Errors
///
/// That problem, or the one that `ask` breaks with.
pub fn until<T>(pause: Duration, mut ask: impl FnMut() -> ControlFlow<Result<T, String>, String>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match ask() {
            Break(answer) => return answer,
            Continue(problem) if begun.elapsed() > PATIENCE => return Err(problem),
            Continue(_) => thread::sleep(pause),
        }
    }
}

/// [`until`], without more pause than needs be, and with a question that knows no way out but its answer.
///
/// # Errors
///
/// The last problem, once patience is over.
pub fn until_ok<T>(mut ask: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    until(PAUSE, || match ask() {
        Ok(answer) => Break(Ok(answer)),
        Err(problem) => Continue(problem),
    })
}
