//! `ruok`: is the process there? It says nothing about a service, and has no line's end.

pub(super) fn text() -> String {
    "imok".to_owned()
}
