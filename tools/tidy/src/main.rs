//! Prints everything that is against the repository's rules; its status says whether there was anything.
//!
//! Without an argument it looks at the repository from which it was built.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let built_from = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let root = std::env::args_os().nth(1).map_or_else(|| PathBuf::from(built_from), PathBuf::from);
    match tidy::Repository::read(&root) {
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::from(2)
        }
        Ok(repository) => {
            let violations = tidy::check(&repository);
            for violation in &violations {
                println!("{violation}");
            }
            if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}
