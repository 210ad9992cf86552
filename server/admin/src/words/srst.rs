//! `srst`: resets what `srvr` counts; see [`super::Effect::ResetServer`].

pub(super) fn text() -> String {
    "Server stats reset.\n".to_owned()
}
