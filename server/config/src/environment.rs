//! How a setting is called as an environment variable.
//!
//! `RINGKEEPER_` and then the name in capitals, with `_` for every `.` and `-` and before every capital that begins a
//! word: `snapCount` is `RINGKEEPER_SNAP_COUNT`, `autopurge.purgeInterval` is `RINGKEEPER_AUTOPURGE_PURGE_INTERVAL`,
//! `skipACL` is `RINGKEEPER_SKIP_ACL`, `emulate353TTLNodes` is `RINGKEEPER_EMULATE353_TTL_NODES`. The `ringkeeper.` of our
//! own settings is not said twice: `ringkeeper.backend` is `RINGKEEPER_BACKEND`.

/// The name of the environment variable for a setting.
pub fn variable(name: &str) -> String {
    let name: Vec<char> = name.strip_prefix("ringkeeper.").unwrap_or(name).chars().collect();
    let mut variable = String::from("RINGKEEPER_");
    for (at, &character) in name.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| name[at]);
        let begins_word = character.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && name.get(at + 1).is_some_and(char::is_ascii_lowercase))
            });
        if begins_word {
            variable.push('_');
        }
        variable.push(if matches!(character, '.' | '-') { '_' } else { character.to_ascii_uppercase() });
    }
    variable
}

/// Whether a variable was put there by a container platform rather than by somebody who configures a server: for a
/// service called `ringkeeper`, or `ringkeeper-…`, Kubernetes sets its address in variables that begin like ours.
pub fn is_service_link(variable: &str, value: &str) -> bool {
    value.starts_with("tcp://")
        || value.starts_with("udp://")
        || variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || ["_TCP", "_UDP"].iter().any(|protocol| {
            ["", "_PROTO", "_PORT", "_ADDR"].iter().any(|what| variable.ends_with(&format!("{protocol}{what}")))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::honoured::SETTINGS;
    use std::collections::BTreeSet;

    #[test]
    fn words_of_a_name_are_told_apart() {
        for (name, expected) in [
            ("snapCount", "RINGKEEPER_SNAP_COUNT"),
            ("autopurge.purgeInterval", "RINGKEEPER_AUTOPURGE_PURGE_INTERVAL"),
            ("skipACL", "RINGKEEPER_SKIP_ACL"),
            ("4lw.commands.whitelist", "RINGKEEPER_4LW_COMMANDS_WHITELIST"),
            ("emulate353TTLNodes", "RINGKEEPER_EMULATE353_TTL_NODES"),
            ("jute.maxbuffer", "RINGKEEPER_JUTE_MAXBUFFER"),
            ("DigestAuthenticationProvider.digestAlg", "RINGKEEPER_DIGEST_AUTHENTICATION_PROVIDER_DIGEST_ALG"),
            ("ringkeeper.backend", "RINGKEEPER_BACKEND"),
        ] {
            assert_eq!(variable(name), expected);
        }
    }

    #[test]
    fn no_two_settings_share_a_variable_and_none_looks_like_a_service_link() {
        let variables: BTreeSet<String> = SETTINGS.iter().map(|setting| variable(setting.name)).collect();
        assert_eq!(variables.len(), SETTINGS.len());
        for variable in variables {
            assert!(!is_service_link(&variable, "1"), "{variable}");
        }
    }
}
