//! Session set-up: what every connection must have set, and what is only wished for.
use crate::error::{Error, Result};
use crate::wire::Connection;

/// Sets what must hold; any refusal is an error.
pub(crate) fn require(connection: &mut Connection, statements: &[&str]) -> Result<()> {
    let mut answers = Vec::new();
    connection.execute_all(statements.join(";").as_bytes(), "setting up the session", &mut answers)
}

/// Sets what this server allows and returns the statements that it refused.
///
/// Managed servers refuse some settings and old ones do not know others; none of these is needed for correctness.
/// All statements travel in one packet; the server stops at one that fails, and the rest is sent again without it.
pub(crate) fn wish<'s>(connection: &mut Connection, statements: &[&'s str]) -> Result<Vec<&'s str>> {
    let mut refused = Vec::new();
    let mut rest = statements;
    while !rest.is_empty() {
        let mut answers = Vec::new();
        match connection.execute_all(rest.join(";").as_bytes(), "setting up the session", &mut answers) {
            Ok(()) => break,
            Err(error) if is_refusal(&error) => {
                refused.push(rest[answers.len()]);
                rest = &rest[answers.len() + 1..];
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

fn is_refusal(error: &Error) -> bool {
    error.server_error().is_some()
}
