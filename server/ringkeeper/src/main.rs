//! `ringkeeper`: configuration → placement → run. Arguments and files are ZooKeeper's; `--help` tells the rest.

mod background;
mod clock;
mod ensemble;
mod letter;
mod links;
mod memory;
mod oracle;
mod placement;
mod ports;
mod server;
mod snapshots;
mod views;
mod words;
mod worker;

use std::io::IsTerminal;
use std::process::ExitCode;

use config::{Errors, ExitStatus, Invocation, Level, Loaded, Refusal, Start};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let invocation = match Invocation::parse(std::env::args_os().skip(1)) {
        Ok(invocation) => invocation,
        Err(refusal) => {
            match &refusal {
                Refusal::Answer(text) => print!("{text}"),
                Refusal::Usage(text) => eprint!("{text}"),
            }
            return refusal.exit_status().into();
        }
    };
    start_logging();
    end_on_panic();
    raise_descriptor_limit();
    let _ = hear_of_file_size_limits();
    let loaded = match load(&invocation) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return errors.exit_status().into();
        }
    };
    for warning in &loaded.warnings {
        match warning.level {
            Level::Warning => tracing::warn!("{warning}"),
            Level::Note => tracing::debug!("{warning}"),
        }
    }
    match server::run(loaded.config) {
        Ok(()) => ExitStatus::Finished.into(),
        Err(failure) => {
            tracing::error!("{failure}");
            failure.status.into()
        }
    }
}

/// One readable line per event on standard error; `RUST_LOG` chooses what.
fn start_logging() {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // The reader of the log may go away, or its disk be full; a complaint on the same way would end the process.
        .log_internal_errors(false)
        .init();
}

/// A stage that has broken a rule takes the process with it: nothing may go on answering from doubtful state.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Each connection takes a descriptor, so as many are asked for as the system allows, as the JVM does.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Where `ulimit -f` holds, a write beyond it fails like any other, which is handled; the signal would end the process without
/// a word.
fn hear_of_file_size_limits() -> std::io::Result<signal_hook::SigId> {
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default())
}

fn load(invocation: &Invocation) -> Result<Loaded, Errors> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match &invocation.start {
        Start::File(path) => {
            let name = path.display().to_string();
            let text = std::fs::read(path).map_err(|error| Errors::unreadable(&name, &error))?;
            let read = config::load(invocation, Some((&name, &text)), &environment, &|path| std::fs::read(path));
            read.map(|mut loaded| {
                if let Some(ensemble) = &mut loaded.config.ensemble {
                    ensemble.static_file = Some(path.clone());
                }
                loaded
            })
        }
        Start::Embedded | Start::Bare(_) => config::load(invocation, None, &environment, &|path| std::fs::read(path)),
    }
}
