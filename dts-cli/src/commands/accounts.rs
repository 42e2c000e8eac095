//! `dts accounts`: what became of the source's accounts on the target, and whether they can log in there.
use dts_core::data::Account;
use dts_core::error::{Error, Result};
use dts_core::migration::Migration;
use dts_core::stop::StopToken;
use dts_core::wire::Secret;

use super::prompt::Prompt;
use super::validate::read_task_file;
use crate::args::{AccountsAction, AccountsArgs};
use crate::config::{TaskFile, account_passwords};
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::Console;
use crate::output::accounts::{self, AccountsDocument, LoginsDocument};
use crate::signals;
use crate::store::Store;

/// Lists the accounts, or tries their logins. Both servers are only read, whoever works on the task.
pub(super) fn execute(args: &AccountsArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let file = read_task_file(&store.get(&args.name)?.file, home, console)?;
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    match args.action {
        None => list(&args.name, &file, console, &stop),
        Some(AccountsAction::Verify) => verify(args, &file, console, &stop),
    }
}

fn list(name: &str, file: &TaskFile, console: &Console, stop: &StopToken) -> Result<ExitStatus> {
    let report = Migration::new(file.options.clone()).accounts(stop)?;
    let document = AccountsDocument::new(name, file.options.objects.accounts, &report);
    console.text(&accounts::list(&document, console.has_color()));
    console.document(&document);
    Ok(if document.is_clean() { ExitStatus::Done } else { ExitStatus::Findings })
}

fn verify(args: &AccountsArgs, file: &TaskFile, console: &Console, stop: &StopToken) -> Result<ExitStatus> {
    let migration = Migration::new(file.options.clone());
    let mut warnings = Vec::new();
    let (report, checks) = match &args.passwords {
        Some(path) => {
            let passwords = account_passwords::read(path, &mut warnings)?;
            warnings.iter().for_each(|warning| console.note(&format!("warning: {warning}")));
            let tried = migration.try_logins(&mut |account| Ok(passwords.of(account)), stop)?;
            let names = tried.0.accounts.iter().map(|entry| &entry.account);
            if let Some(name) = passwords.unused(names).first() {
                let expected = "an account of the source, as \"user@host\" or \"user\"";
                return Err(Error::invalid(format!("the name in {}", path.display()), name, expected));
            }
            tried
        }
        None => {
            let Some(mut prompt) = Prompt::open() else {
                return Err(Error::invalid(
                    "--passwords",
                    "missing",
                    "a file: there is no terminal to ask on",
                ));
            };
            let mut ask = |account: &Account| -> Result<Option<Secret>> {
                prompt.ask(&format!("password of {account} (empty: leave it out): "), stop)
            };
            migration.try_logins(&mut ask, stop)?
        }
    };
    let document = LoginsDocument::new(&args.name, &report, &checks);
    console.text(&accounts::logins(&document, console.has_color()));
    console.document(&document);
    Ok(if document.conclusion == "failed" { ExitStatus::Findings } else { ExitStatus::Done })
}
