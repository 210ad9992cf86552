//! `crst`: resets what `cons` counts; see [`super::Effect::ResetConnections`].

pub(super) fn text() -> String {
    "Connection stats reset.\n".to_owned()
}
