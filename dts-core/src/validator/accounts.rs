//! Accounts: whether both sides show them, and what would become of each.
use std::collections::BTreeMap;

use crate::data::Account;
use crate::error::{Error, Side};
use crate::format::counted;
use crate::server::accounts::{self as catalog, AccountCatalog};
use crate::server::{Flavor, is_system_account};
use crate::stop::StopToken;
use crate::transform::account::{AccountFate, AccountTransform, MappedAccount};
use crate::validator::finding::Verdict;
use crate::validator::options::EndpointKind;
use crate::validator::privileges::quoted_account;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

const GROUP: &str = "objects";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "accounts_readable",
        accounts_readable,
        "Where accounts are carried: both sides are MySQL, the source shows its accounts (mysql.user or mysql.user_view) and their \
         rights, and the target shows its own (SELECT on mysql.*). Fails otherwise; warns where the source hides a part of the \
         rights.",
    )
    .not_ignorable("without them no account can be carried"),
    Check::warns(
        GROUP,
        "accounts",
        accounts,
        "Where accounts are carried: every one will be on the target as it is on the source. Warns otherwise, with what each loses: \
         a password that the target's login plugins cannot look at (the account is locked there until somebody sets one), and \
         privileges that the target does not know or does not give. Accounts of the servers and of the task are skipped.",
    ),
];

/// Reads the accounts of a side; the error when it does not show them.
fn read(survey: &Survey, side: Side, stop: &StopToken) -> Result<Result<AccountCatalog, Error>, Blocked> {
    let mut connection = survey.connect(side, stop)?;
    Ok(catalog::accounts(&mut connection))
}

fn accounts_readable(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let expected = "accounts and rights of both sides can be read";
    if !survey.options.accounts {
        return Ok(Verdict::not_needed("accounts are not carried (objects.accounts)"));
    }
    let mut warned = None;
    for side in [Side::Source, Side::Target] {
        let facts = survey.facts(side)?;
        if facts.flavor != Flavor::MySql {
            return Ok(Verdict::fail(expected, format!("the {side} is {}", facts.flavor))
                .message("accounts are carried between MySQL servers only")
                .fix("Set objects.accounts = false and create the accounts by hand."));
        }
        let grant =
            format!("On the {side}: GRANT SELECT ON mysql.* TO {};", quoted_account(&facts.current_user));
        let read = match read(survey, side, stop)? {
            Ok(read) => read,
            Err(error) => {
                return Ok(Verdict::fail(expected, error.to_string())
                    .message(format!("the {side}'s accounts cannot be read"))
                    .fix(format!("{grant} Or set objects.accounts = false.")));
            }
        };
        if read.hidden.is_empty() {
            continue;
        }
        let seen = format!("hidden on the {side}: mysql.{}", read.hidden.join(", mysql."));
        if side == Side::Target {
            return Ok(Verdict::fail(expected, seen)
                .message("what the accounts of the target have cannot be compared with what they should have")
                .fix(grant));
        }
        warned = Some(
            Verdict::warn(expected, seen)
                .message("the rights that are kept there cannot be carried; every account is degraded")
                .fix(grant),
        );
    }
    Ok(warned.unwrap_or_else(|| Verdict::pass(expected, "all")))
}

/// What becomes of each account of the source; `None` when the source does not show them.
pub(super) fn fates(
    survey: &Survey,
    stop: &StopToken,
) -> Result<Option<BTreeMap<Account, AccountFate>>, Blocked> {
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let Ok(theirs) = read(survey, Side::Source, stop)? else { return Ok(None) };
    let from = catalog::describe_source(&mut survey.connect(Side::Source, stop)?, source, &theirs)?;
    let is_managed = survey.kind(Side::Target) == EndpointKind::TencentDb;
    let to = catalog::describe_target(&mut survey.connect(Side::Target, stop)?, target, is_managed)?;
    let transform = AccountTransform { transform: survey.transform()?, source: &from, target: &to };
    let is_system = |account: &Account| is_system_account(&account.user);
    Ok(Some(transform.all(&theirs.accounts, &is_system, &|_| false)))
}

fn accounts(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let expected = "every account is on the target as on the source";
    if !survey.options.accounts {
        return Ok(Verdict::not_needed("accounts are not carried (objects.accounts)"));
    }
    let Some(fates) = fates(survey, stop)? else {
        return Err(Blocked::new("accounts_readable failed"));
    };
    let (mut carried, mut skipped) = (0, 0);
    let mut affected = Vec::new();
    for (name, fate) in &fates {
        match fate {
            AccountFate::Skipped(_) => skipped += 1,
            AccountFate::Carried(mapped) => {
                carried += 1;
                let losses = losses(mapped);
                if !losses.is_empty() {
                    affected.push(format!("{name}: degraded: {}", losses.join("; ")));
                }
            }
        }
    }
    let seen = format!(
        "{} of {} as on the source; {skipped} skipped",
        carried - affected.len(),
        counted(carried, "account", "accounts")
    );
    if affected.is_empty() {
        return Ok(Verdict::pass(expected, seen));
    }
    let withheld = fates
        .values()
        .filter(|fate| matches!(fate, AccountFate::Carried(mapped) if mapped.is_withheld))
        .count();
    let fix = if withheld == 0 {
        "Nothing, if the applications can do without what is lost."
    } else {
        "Set a password for each locked account on the target before the cut-over: `dts accounts NAME` prints the statements. Or give \
         the accounts a login plugin on the source that both sides have."
    };
    Ok(Verdict::warn(expected, seen)
        .message(
            "these accounts can do less on the target, or are locked there until somebody sets a password",
        )
        .fix(fix)
        .objects(affected))
}

fn losses(mapped: &MappedAccount) -> Vec<String> {
    let withheld = mapped.is_withheld.then(|| {
        "locked, without its password: the target has not the login plugin that knows it".to_owned()
    });
    let notes = mapped.notes.iter().filter(|note| note.is_loss).map(|note| note.text.clone());
    withheld.into_iter().chain(notes).collect()
}
