//! What to do about a finding: statements and console steps to copy, as the kind of server needs them.
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
