//! Whether the accounts can really log in on the target.
use super::report::{AccountReport, AccountResult};
use crate::data::Account;
use crate::error::{Error, ErrorKind, Result, Side};
use crate::stop::StopToken;
use crate::transform::account::host_matches;
use crate::wire::{Connection, ConnectionOptions, Secret};

/// How the login of an account went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginOutcome {
    /// It logged in and is the account that was meant.
    Ok,
    /// The server refused it, or took it for another account.
    Failed,
    /// It was not tried.
    NotTried,
}

impl LoginOutcome {
    /// Returns the name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            LoginOutcome::Ok => "ok",
            LoginOutcome::Failed => "failed",
            LoginOutcome::NotTried => "not_tried",
        }
    }
}

/// The login of one account.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginCheck {
    /// Its name.
    pub account: Account,
    /// How it went.
    pub outcome: LoginOutcome,
    /// What was seen.
    pub message: String,
    /// The server's number of a refusal.
    pub server_error: Option<u16>,
}

/// Tries the accounts of a report that take part. `password` supplies the password of an account, `None` when the operator has
/// none; it is asked only where a login is possible from here.
///
/// `target`: how the task itself connects; address, TLS and timeouts are taken from it. `seen_from`: from where the target sees
/// these sessions come.
///
/// # Errors
/// What `password` returned; [`ErrorKind::Interrupted`]; when the target cannot be reached at all. A refusal is an outcome.
pub(super) fn try_all(
    report: &AccountReport,
    target: &ConnectionOptions,
    seen_from: &str,
    password: &mut dyn FnMut(&Account) -> Result<Option<Secret>>,
    stop: &StopToken,
) -> Result<Vec<LoginCheck>> {
    let mut checks = Vec::new();
    for entry in report.accounts.iter().filter(|entry| entry.result != AccountResult::Skipped) {
        stop.check()?;
        let account = &entry.account;
        let mut check = LoginCheck {
            account: account.clone(),
            outcome: LoginOutcome::NotTried,
            message: String::new(),
            server_error: None,
        };
        if entry.is_locked {
            check.message = "is locked on the target".into();
            // One that is locked on the source as well is as it should be.
            if entry.result != AccountResult::Normal {
                check.outcome = LoginOutcome::Failed;
            }
        } else if !host_matches(&account.host, seen_from) {
            check.message =
                format!("may only come from {}; this machine is seen as {seen_from}", account.host);
        } else if let Some(password) = password(account)? {
            check = one(account, target, password, stop)?;
        } else {
            check.message = "no password was supplied".into();
        }
        checks.push(check);
    }
    Ok(checks)
}

/// Logs in once.
fn one(
    account: &Account,
    target: &ConnectionOptions,
    password: Secret,
    stop: &StopToken,
) -> Result<LoginCheck> {
    let mut options = target.clone();
    options.user.clone_from(&account.user);
    options.password = password;
    let tried = Connection::open(&options, Side::Target, stop).and_then(|mut connection| {
        // An account whose password has expired may log in and can do nothing (1820).
        let row = connection.query_row("SELECT CURRENT_USER()", "asking who is logged in")?;
        Ok(row.map(|row| Account::parse(&row.string(0))))
    });
    let (outcome, message, server_error) = match tried {
        Ok(Some(seen)) if seen == *account => (LoginOutcome::Ok, "logged in".to_owned(), None),
        Ok(seen) => {
            let seen = seen.map_or_else(|| "nobody".to_owned(), |seen| seen.to_string());
            let message = format!(
                "logged in, but the target takes it for {seen}: from this machine that account comes first"
            );
            (LoginOutcome::Failed, message, None)
        }
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => {
            (LoginOutcome::NotTried, error.kind().to_string(), None)
        }
        Err(error) => {
            let code = error.server_error().map(|answer| answer.code);
            (LoginOutcome::Failed, explained(error, code)?, code)
        }
    };
    Ok(LoginCheck { account: account.clone(), outcome, message, server_error })
}

/// What a refusal means; an error that is not about the account stays one.
fn explained(error: Error, code: Option<u16>) -> Result<String> {
    let text = match code {
        Some(1045) => {
            "refused: wrong password (or another account of this name comes first from this machine)"
        }
        Some(1820 | 1862) => "its password has expired",
        Some(3118) => "is locked",
        Some(3159) => "must come over TLS: set target.tls.mode = \"required\"",
        Some(1226) => "its resource limits do not allow another session",
        Some(1251 | 1524) => "its login plugin cannot be used",
        Some(3955) => "is locked after failed logins",
        Some(code) => return Ok(format!("refused with error {code}")),
        None if matches!(error.kind(), ErrorKind::Tls { .. } | ErrorKind::Protocol { .. }) => {
            return Ok(error.to_string());
        }
        None => return Err(error),
    };
    Ok(text.to_owned())
}
