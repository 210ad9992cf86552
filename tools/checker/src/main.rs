//! Judges the history of a real ensemble: what its clients asked, what they were answered, and what is there at the end.
//!
//! Every write has a zxid, and the zxids say what the order of all writes is; so each rule is a comparison, not a search.
//! It knows nothing of servers and shares no code with them; `tools/suites/ensemble` writes histories in the format of
//! [`history`].
#![forbid(unsafe_code)]

mod history;
mod rules;
mod timeline;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::history::History;
use crate::rules::RULES;

#[derive(Parser, Debug)]
#[command(about = "Judges what the clients of an ensemble saw")]
struct Cli {
    /// JSON lines.
    #[arg(required_unless_present = "rules")]
    history: Option<PathBuf>,
    /// A rule that does not hold in this run, for a reason that the caller knows.
    #[arg(long)]
    skip: Vec<String>,
    /// A member whose syncs may stay behind, as those of a Java leader may: it answers them before it has applied what it has committed.
    #[arg(long)]
    lax_sync: Vec<i64>,
    /// List the rules.
    #[arg(long)]
    rules: bool,
    /// Violations to print.
    #[arg(long, default_value_t = 25)]
    show: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Some(path) = cli.history.filter(|_| !cli.rules) else {
        for (name, demand) in RULES {
            println!("{name:22} {demand}");
        }
        return ExitCode::SUCCESS;
    };
    if let Some(unknown) = cli.skip.iter().find(|name| !RULES.iter().any(|(rule, _)| rule == name)) {
        eprintln!("there is no rule {unknown}; see --rules");
        return ExitCode::from(2);
    }
    let history = match File::open(&path).and_then(|file| History::read(BufReader::new(file))) {
        Ok(history) => history,
        Err(problem) => {
            eprintln!("{}: {problem}", path.display());
            return ExitCode::from(2);
        }
    };
    let mut violations = rules::judge(&history);
    violations.retain(|violation| !cli.skip.iter().any(|skipped| skipped == violation.rule));
    violations.retain(|violation| {
        let lax = |(line, op): (usize, &history::Op)| line == violation.line && cli.lax_sync.contains(&op.member);
        violation.rule != "sync-is-current" || !history.ops().any(lax)
    });
    for violation in violations.iter().take(cli.show) {
        println!("{}: line {}: {}", violation.rule, violation.line, violation.text);
    }
    let answered = history.ops().filter(|(_, op)| op.returned.is_some()).count();
    let writes = history.ops().filter(|(_, op)| op.op.writes() && op.succeeded()).count();
    let open = history.ops().filter(|(_, op)| op.returned.is_none()).count();
    println!(
        "{answered} answers, {writes} of them writes that were done, {open} writes without an answer: {} violations",
        violations.len()
    );
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
