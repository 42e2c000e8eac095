//! What to do about a finding: statements and console steps to copy, as the kind of server needs them.
use std::fmt::Display;

use crate::server::{Flavor, ServerFacts, ServerVersion};
use crate::validator::options::EndpointKind;

/// How to change a global setting for good. `dynamic_since` is the first MySQL version that can change it while running;
/// `None` when none can.
pub(super) fn set_variable(
    kind: EndpointKind,
    facts: &ServerFacts,
    name: &str,
    value: &str,
    dynamic_since: Option<ServerVersion>,
) -> String {
    match kind {
        EndpointKind::AliyunRds => format!(
            "In the RDS console: the instance > Parameters > Modifiable Parameters: set {name} to {value} and choose Apply \
             Changes{}.",
            if dynamic_since.is_none() { " (restarts the instance)" } else { "" }
        ),
        EndpointKind::TencentDb => format!(
            "In the TencentDB console: the instance > Database Management > Parameter Settings: set {name} to {value}."
        ),
        EndpointKind::MySql | EndpointKind::MariaDb => {
            let is_dynamic = match facts.flavor {
                Flavor::MySql => dynamic_since.is_some_and(|since| facts.version >= since),
                Flavor::MariaDb => dynamic_since.is_some(),
            };
            let literal = if value.parse::<u64>().is_ok() || value == "ON" || value == "OFF" {
                value.to_owned()
            } else {
                format!("'{value}'")
            };
            if !is_dynamic {
                format!("In my.cnf under [mysqld]: {name} = {value}, then restart the server.")
            } else if facts.is_mysql_at_least(8, 0, 11) {
                format!("SET PERSIST {name} = {literal};")
            } else {
                format!("SET GLOBAL {name} = {literal}; and in my.cnf under [mysqld]: {name} = {value}")
            }
        }
    }
}

/// Names for a sentence: the first few, and how many more there are.
pub(super) fn few<T: Display>(names: &[T]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// `1 table`, `2 tables`.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_counted() {
        assert_eq!(few(&["a", "b"]), "a, b");
        assert_eq!(few(&[1, 2, 3, 4, 5, 6, 7]), "1, 2, 3, 4, 5 and 2 more");
        assert_eq!((count(1, "table"), count(0, "view")), ("1 table".into(), "0 views".into()));
    }
}
