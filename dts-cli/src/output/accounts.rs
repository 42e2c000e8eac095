//! What became of accounts, for programs and for people.
use dts_core::accounts::{AccountReport, AccountResult, LoginCheck, LoginOutcome};
use serde::Serialize;

use super::format::counted;
use super::table::{Tone, cell, fit_to, render, table};

/// `dts accounts --json`.
#[derive(Debug, Serialize)]
pub(crate) struct AccountsDocument {
    task: String,
    /// Whether the task carries accounts at all.
    carries_accounts: bool,
    accounts: Vec<AccountDocument>,
    counts: CountsDocument,
    remarks: Vec<String>,
}

/// One account.
#[derive(Debug, Serialize)]
struct AccountDocument {
    account: String,
    user: String,
    host: String,
    result: &'static str,
    state: &'static str,
    /// It is locked on the target.
    locked: bool,
    reasons: Vec<ReasonDocument>,
    /// What an operator can run on the target; `…` stands for a password.
    statements: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ReasonDocument {
    text: String,
    /// The account can do less on the target than on the source.
    loss: bool,
}

#[derive(Debug, Serialize)]
struct CountsDocument {
    normal: usize,
    degraded: usize,
    impossible: usize,
    skipped: usize,
}

impl AccountsDocument {
    pub(crate) fn new(task: &str, carries_accounts: bool, report: &AccountReport) -> Self {
        let accounts = report.accounts.iter().map(|entry| AccountDocument {
            account: entry.account.to_string(),
            user: entry.account.user.clone(),
            host: entry.account.host.clone(),
            result: entry.result.name(),
            state: entry.state.name(),
            locked: entry.is_locked,
            reasons: entry
                .notes
                .iter()
                .map(|note| ReasonDocument { text: note.text.clone(), loss: note.is_loss })
                .collect(),
            statements: entry.statements.clone(),
        });
        AccountsDocument {
            task: task.to_owned(),
            carries_accounts,
            accounts: accounts.collect(),
            counts: CountsDocument {
                normal: report.count(AccountResult::Normal),
                degraded: report.count(AccountResult::Degraded),
                impossible: report.count(AccountResult::Impossible),
                skipped: report.count(AccountResult::Skipped),
            },
            remarks: report.remarks.clone(),
        }
    }

    /// Returns whether nothing needs to be looked at.
    pub(crate) fn is_clean(&self) -> bool {
        self.counts.degraded == 0 && self.counts.impossible == 0
    }
}

/// Returns the list, the reasons, and what to run.
pub(crate) fn list(document: &AccountsDocument, color: bool) -> String {
    let mut out = table(&["account", "result", "state", "reasons"], color);
    fit_to(&mut out, 140);
    for account in &document.accounts {
        let tone = match account.result {
            "normal" => Tone::Good,
            "degraded" => Tone::Doubtful,
            "impossible" => Tone::Bad,
            _ => Tone::Faint,
        };
        let reasons: Vec<&str> = account.reasons.iter().map(|reason| reason.text.as_str()).collect();
        out.add_row([
            cell(&account.account, Tone::Plain),
            cell(account.result, tone),
            cell(account.state, Tone::Plain),
            cell(reasons.join("; "), Tone::Plain),
        ]);
    }
    let mut text = format!("{}\n", render(out));
    for remark in &document.remarks {
        text.push_str(&format!("\nnote: {remark}"));
    }
    let statements: Vec<&str> =
        document.accounts.iter().flat_map(|account| &account.statements).map(String::as_str).collect();
    if !statements.is_empty() {
        text.push_str("\nto run on the target, with the passwords in the place of '…':\n");
        statements.iter().for_each(|statement| text.push_str(&format!("  {statement}\n")));
    }
    let counts = &document.counts;
    text.push_str(&format!(
        "\n{}: {}: {} normal, {} degraded, {} impossible, {} skipped",
        document.task,
        counted(document.accounts.len() as u64, "account"),
        counts.normal,
        counts.degraded,
        counts.impossible,
        counts.skipped
    ));
    text.push_str(&if document.carries_accounts {
        format!("\nnext: dts accounts {} verify", document.task)
    } else {
        "\nthis task carries no accounts (objects.accounts = false): this is what would become of them"
            .to_owned()
    });
    text
}

/// `dts accounts verify --json`.
#[derive(Debug, Serialize)]
pub(crate) struct LoginsDocument {
    task: String,
    /// `ok`, `failed`, or `incomplete` when logins were left out.
    pub(crate) conclusion: &'static str,
    accounts: Vec<LoginDocument>,
}

#[derive(Debug, Serialize)]
struct LoginDocument {
    account: String,
    login: &'static str,
    message: String,
    /// The server's number of a refusal.
    server_error: Option<u16>,
    result: Option<&'static str>,
}

impl LoginsDocument {
    pub(crate) fn new(task: &str, report: &AccountReport, checks: &[LoginCheck]) -> Self {
        let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
        let conclusion = match (count(LoginOutcome::Failed), count(LoginOutcome::NotTried)) {
            (0, 0) => "ok",
            (0, _) => "incomplete",
            _ => "failed",
        };
        let accounts = checks.iter().map(|check| LoginDocument {
            account: check.account.to_string(),
            login: check.outcome.name(),
            message: check.message.clone(),
            server_error: check.server_error,
            result: report
                .accounts
                .iter()
                .find(|entry| entry.account == check.account)
                .map(|entry| entry.result.name()),
        });
        LoginsDocument { task: task.to_owned(), conclusion, accounts: accounts.collect() }
    }
}

/// Returns how each login went.
pub(crate) fn logins(document: &LoginsDocument, color: bool) -> String {
    let mut out = table(&["account", "login", "seen"], color);
    fit_to(&mut out, 140);
    for account in &document.accounts {
        let tone = match account.login {
            "ok" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        out.add_row([
            cell(&account.account, Tone::Plain),
            cell(account.login.replace('_', " "), tone),
            cell(&account.message, Tone::Plain),
        ]);
    }
    let number = |login: &str| document.accounts.iter().filter(|account| account.login == login).count();
    format!(
        "{}\n\n{}: {} logged in, {} failed, {} not tried",
        render(out),
        document.task,
        number("ok"),
        number("failed"),
        number("not_tried")
    )
}
