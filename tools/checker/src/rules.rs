//! The rules, one module each. A rule looks at a history and its timeline, and tells what breaks it.

pub mod order;
pub mod reads;
pub mod versions;
pub mod watches;

use crate::history::History;
use crate::timeline::Timeline;

/// Something that must not be in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, by the name that `--skip` takes.
    pub rule: &'static str,
    /// The line of the history where it shows.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

/// Every rule with what it demands.
pub const RULES: &[(&str, &str)] = &[
    ("unique-zxid", "no two acknowledged writes have one zxid"),
    ("real-time", "a write that was answered before another was sent has the smaller zxid"),
    (
        "session-order",
        "zxids of one session's replies do not fall, and those of its writes rise in the order of sending",
    ),
    ("sync-is-current", "after a sync, a session is not behind any write that was answered before the sync was sent"),
    ("invented", "every value and every node that is seen was written by somebody"),
    (
        "state",
        "a read, a failed write and the trees at the end show the state at their zxid: nothing acknowledged is lost",
    ),
    ("ephemeral-outlives", "no ephemeral is seen after the end of its session"),
    ("ephemeral-lost", "no ephemeral vanishes while its session lives"),
    ("finals-equal", "all members show the same tree at the end"),
    ("versions", "each set counts exactly once"),
    ("stat", "a write's stat names the write's own zxid"),
    ("watch-unasked", "a watch fires once, and only if it was left"),
    ("watch-without-change", "a watch fires only for a change that came after it was left"),
    ("watch-late", "a watch's event comes before the first reply that shows the change"),
    ("watch-order", "events come in the order of their zxids"),
];

/// All violations of all rules, in the order of the lines.
pub fn judge(history: &History) -> Vec<Violation> {
    let timeline = Timeline::of(history);
    let mut violations = Vec::new();
    let mut tell = |rule: &'static str, line: usize, text: String| {
        assert!(RULES.iter().any(|(name, _)| *name == rule), "rules are in the table");
        violations.push(Violation { rule, line, text });
    };
    order::judge(history, &timeline, &mut tell);
    reads::judge(history, &timeline, &mut tell);
    versions::judge(history, &timeline, &mut tell);
    watches::judge(history, &timeline, &mut tell);
    violations.sort_by_key(|violation| violation.line);
    violations
}

/// How a rule tells a violation: rule, line, text.
pub type Tell<'a> = dyn FnMut(&'static str, usize, String) + 'a;

#[cfg(test)]
pub mod made_up {
    //! Histories by hand.

    use super::judge;
    use crate::history::History;

    /// The rules that a history breaks, each once.
    pub fn broken(lines: &[&str]) -> Vec<&'static str> {
        let text = lines.join("\n");
        let history = History::read(text.as_bytes()).unwrap();
        let mut rules: Vec<_> = judge(&history).into_iter().map(|violation| violation.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// An operation of client `c`, sent at `invoke` and answered at the next moment: `rest` holds the other fields.
    pub fn op(c: &str, invoke: i64, what: &str, path: &str, zxid: i64, rest: &str) -> String {
        let returned = invoke + 1;
        format!(
            r#"{{"t":"op","client":"{c}","session":"{}","member":1,"op":"{what}","path":"{path}","invoke":{invoke},"return":{returned},"zxid":{zxid},"err":0{rest}}}"#,
            session(c)
        )
    }

    /// An operation without a reply.
    pub fn unanswered(c: &str, invoke: i64, what: &str, path: &str, rest: &str) -> String {
        format!(
            r#"{{"t":"op","client":"{c}","session":"{}","member":1,"op":"{what}","path":"{path}","invoke":{invoke},"return":null{rest}}}"#,
            session(c)
        )
    }

    /// A session's record.
    pub fn life(c: &str, at: i64, event: &str, rest: &str) -> String {
        format!(r#"{{"t":"session","client":"{c}","session":"{}","event":"{event}","at":{at}{rest}}}"#, session(c))
    }

    /// A watch event.
    pub fn event(c: &str, kind: i32, path: &str, zxid: i64) -> String {
        format!(
            r#"{{"t":"event","client":"{c}","session":"{}","type":{kind},"path":"{path}","zxid":{zxid},"at":0}}"#,
            session(c)
        )
    }

    /// `,"stat":…`
    pub fn stat(czxid: i64, mzxid: i64, version: i64, owner: i64) -> String {
        format!(r#","stat":{{"czxid":{czxid},"mzxid":{mzxid},"version":{version},"owner":{owner}}}"#)
    }

    /// A read that found a node.
    pub fn get(
        c: &str,
        invoke: i64,
        path: &str,
        zxid: i64,
        value: &str,
        (czxid, mzxid, version): (i64, i64, i64),
    ) -> String {
        op(c, invoke, "get", path, zxid, &format!(r#","value":"{value}"{}"#, stat(czxid, mzxid, version, 0)))
    }

    /// A read that found none.
    pub fn none(c: &str, invoke: i64, path: &str, zxid: i64) -> String {
        op(c, invoke, "get", path, zxid, "").replace(r#""err":0"#, r#""err":-101"#)
    }

    /// A create that was done.
    pub fn create(c: &str, invoke: i64, path: &str, zxid: i64, data: &str) -> String {
        let rest = format!(r#","data":"{data}","created":"{path}"{}"#, stat(zxid, zxid, 0, 0));
        op(c, invoke, "create", path, zxid, &rest)
    }

    /// An ephemeral that was made.
    pub fn ephemeral(c: &str, invoke: i64, path: &str, zxid: i64, data: &str) -> String {
        let owner = i64::from_str_radix(session(c), 16).unwrap();
        let rest = format!(r#","data":"{data}","created":"{path}","ephemeral":true{}"#, stat(zxid, zxid, 0, owner));
        op(c, invoke, "create", path, zxid, &rest)
    }

    /// A set that was done.
    pub fn set(c: &str, invoke: i64, path: &str, zxid: i64, data: &str, (czxid, version): (i64, i64)) -> String {
        op(c, invoke, "set", path, zxid, &format!(r#","data":"{data}"{}"#, stat(czxid, zxid, version, 0)))
    }

    /// A delete that was done.
    pub fn delete(c: &str, invoke: i64, path: &str, zxid: i64) -> String {
        op(c, invoke, "delete", path, zxid, "")
    }

    fn session(c: &str) -> &str {
        match c {
            "a" => "a1",
            "b" => "b1",
            _ => "c1",
        }
    }

    /// `broken` of owned lines.
    pub fn broken_by(lines: &[String]) -> Vec<&'static str> {
        broken(&lines.iter().map(String::as_str).collect::<Vec<_>>())
    }
}
