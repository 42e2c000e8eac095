//! How accounts log in.
use super::GROUP;
use crate::error::Side;
use crate::format::few;
use crate::server::{Flavor, ServerVersion, accounts as catalog};
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::privileges::quoted_account;
use crate::validator::registry::Check;
use crate::validator::stored;
use crate::validator::survey::{Blocked, Survey};

pub(super) const CHECKS: &[Check] = &[Check::warns(
    GROUP,
    "upgrade.auth_methods",
    auth_methods,
    "Where accounts are carried: the login plugin of each is one that the target has and will keep. Warns otherwise: \
         mysql_native_password is gone in 9.0, sha256_password is deprecated.",
)];

fn auth_methods(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    const DEPRECATED: [(&str, ServerVersion); 2] =
        [("sha256_password", ServerVersion(8, 0, 16)), ("mysql_native_password", ServerVersion(8, 0, 34))];
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let expected = "login plugins that the target has and will keep";
    if !survey.options.accounts {
        return Ok(Verdict::not_needed("accounts are not carried (objects.accounts)"));
    }
    let Some(accounts) = stored::carried_accounts(&mut survey.connect(Side::Source, stop)?)? else {
        return Ok(Verdict::hidden(expected, "the source's accounts (mysql.user) to this account")
            .fix(format!("GRANT SELECT ON mysql.user TO {};", quoted_account(&source.current_user))));
    };
    let plugins = catalog::login_plugins(&mut survey.connect(Side::Target, stop)?)?;
    let is_deprecated = |plugin: &str| {
        target.flavor == Flavor::MySql
            && DEPRECATED.iter().any(|(name, since)| *name == plugin && target.version >= *since)
    };
    let found: Vec<String> = accounts
        .iter()
        .filter(|account| !plugins.contains(&account.plugin) || is_deprecated(&account.plugin))
        .map(|account| format!("{}: {}", stored::name_of(&account.account), account.plugin))
        .collect();
    if found.is_empty() {
        return Ok(Verdict::pass(expected, "all"));
    }
    Ok(Verdict::warn(expected, few(&found))
        .message(format!("{} {} does not have these login plugins, or only until a later version", target.flavor, target.version))
        .fix("Create them on the target with a plugin that it keeps: CREATE USER … IDENTIFIED WITH caching_sha2_password BY '…';")
        .objects(found))
}
