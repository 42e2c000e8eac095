use super::*;
use crate::data::{RoutineKind, TableName};
use crate::transform::{ObjectSelection, Route};

fn transform(rename: &[(&str, &str)]) -> Transform {
    let selection = ObjectSelection::new(&["shop", "my_db"], &[], &[]).unwrap();
    Transform::new(selection, Route::new(rename.iter().copied()).unwrap()).unwrap()
}

fn source() -> AccountSource {
    AccountSource {
        own: Account::new("dts", "%"),
        databases: ["shop", "my_db", "myxdb", "crm"].map(str::to_owned).to_vec(),
        has_dynamic_privileges: false,
        wildcards_are_literal: false,
        hidden: Vec::new(),
    }
}

fn target() -> AccountTarget {
    let words = "SELECT INSERT UPDATE DELETE PROCESS EXECUTE SUPER FILE CONNECTION_ADMIN SYSTEM_VARIABLES_ADMIN SET_ANY_DEFINER";
    AccountTarget {
        own: Account::new("mover", "10.0.0.%"),
        seen_from: "10.0.0.7".into(),
        privileges: words.split(' ').map(str::to_owned).collect(),
        plugins: BTreeSet::from(["caching_sha2_password".to_owned()]),
        attributes: BTreeSet::from([
            Attribute::Require,
            Attribute::Limits,
            Attribute::Expired,
            Attribute::Lock,
        ]),
        wildcards_are_literal: false,
        is_managed: false,
    }
}

fn account(user: &str, grants: impl IntoIterator<Item = Grant>) -> AccountDefinition {
    AccountDefinition {
        account: Account::new(user, "%"),
        plugin: "mysql_native_password".into(),
        auth: AuthString(b"*HASH".to_vec()),
        has_more_secrets: false,
        attributes: BTreeMap::new(),
        grants: grants.into_iter().collect(),
        unknown: Vec::new(),
    }
}

fn on(database: &str, privilege: &str) -> Grant {
    Grant::new(Scope::Database(database.into()), privilege)
}

fn table(database: &str, table: &str, privilege: &str) -> Grant {
    Grant::new(Scope::Table(TableName::new(database, table)), privilege)
}

fn fate(
    definition: &AccountDefinition,
    transform: &Transform,
    source: &AccountSource,
    target: &AccountTarget,
) -> AccountFate {
    let all = AccountTransform { transform, source, target };
    all.all(std::slice::from_ref(definition), &|account| account.user == "mysql.sys", &|_| false)
        .remove(&definition.account)
        .unwrap()
}

fn carried(definition: &AccountDefinition, transform: &Transform) -> MappedAccount {
    match fate(definition, transform, &source(), &target()) {
        AccountFate::Carried(mapped) => *mapped,
        AccountFate::Skipped(reason) => panic!("skipped: {reason}"),
    }
}

fn shown(mapped: &MappedAccount) -> Vec<String> {
    mapped.definition.grants.iter().map(ToString::to_string).collect()
}

#[test]
fn names_follow_the_tasks_renames() {
    let rename = [("shop", "shop_new"), ("shop.orders", "archive.orders2")];
    let mapped = carried(
        &account(
            "app",
            [
                on("shop", "SELECT"),
                table("shop", "items", "INSERT"),
                table("shop", "orders", "UPDATE"),
                Grant::new(Scope::Column(TableName::new("shop", "orders"), "id".into()), "SELECT"),
                Grant::new(Scope::Routine(RoutineKind::Procedure, TableName::new("shop", "p")), "EXECUTE"),
                table("crm", "t", "SELECT"),
            ],
        ),
        &transform(&rename),
    );
    assert_eq!(
        shown(&mapped),
        [
            r"SELECT on shop\_new.*",
            "SELECT on archive.orders2",
            "UPDATE on archive.orders2",
            "INSERT on shop_new.items",
            "SELECT on archive.orders2 (id)",
            "EXECUTE on PROCEDURE shop_new.p",
        ]
    );
    assert!(
        mapped.notes.iter().any(|note| note.text.contains("crm.t") && !note.is_loss),
        "{:?}",
        mapped.notes
    );
}

#[test]
fn wildcards_keep_their_meaning() {
    // An unescaped `_` is a wildcard, as the server reads it.
    let mapped = carried(
        &account("app", [on("my_db", "SELECT"), on(r"my\_db", "INSERT"), on("s%", "DELETE")]),
        &transform(&[]),
    );
    assert_eq!(shown(&mapped), [r"INSERT on my\_db.*", "SELECT on my_db.*", "DELETE on s%.*"]);
    let mapped = carried(&account("app", [on("my_db", "SELECT")]), &transform(&[("my_db", "new_db")]));
    assert_eq!(shown(&mapped), [r"SELECT on new\_db.*"]);

    // On a target where wildcards stand for themselves each database has its own grant, and the other way round.
    let literal = AccountTarget { wildcards_are_literal: true, ..target() };
    let definition = account("app", [on("s%", "SELECT"), on(r"my\_db", "INSERT")]);
    let AccountFate::Carried(mapped) = fate(&definition, &transform(&[]), &source(), &literal) else {
        panic!()
    };
    assert_eq!(shown(&mapped), ["INSERT on my_db.*", "SELECT on shop.*"]);
    let from = AccountSource { wildcards_are_literal: true, ..source() };
    let AccountFate::Carried(mapped) =
        fate(&account("app", [on("my_db", "SELECT")]), &transform(&[]), &from, &target())
    else {
        panic!()
    };
    assert_eq!(shown(&mapped), [r"SELECT on my\_db.*"]);
}

#[test]
fn super_is_split_and_a_managed_server_gives_none() {
    let definition =
        account("dba", [Grant::new(Scope::Global, "SUPER"), Grant::new(Scope::Global, "PROCESS")]);
    let mapped = carried(&definition, &transform(&[]));
    assert_eq!(
        shown(&mapped),
        [
            "CONNECTION_ADMIN on *.*",
            "PROCESS on *.*",
            "SET_ANY_DEFINER on *.*",
            "SYSTEM_VARIABLES_ADMIN on *.*",
        ]
    );
    let passing =
        account("dba", [Grant::new(Scope::Global, "SUPER"), Grant::new(Scope::Global, Grant::OPTION)]);
    let mapped = carried(&passing, &transform(&[]));
    assert!(shown(&mapped).contains(&"CONNECTION_ADMIN on *.* with grant option".to_owned()));
    let managed = AccountTarget { is_managed: true, ..target() };
    let AccountFate::Carried(mapped) = fate(&definition, &transform(&[]), &source(), &managed) else {
        panic!()
    };
    assert_eq!(shown(&mapped), ["PROCESS on *.*"]);
    assert!(mapped.notes.iter().any(|note| note.is_loss && note.text.contains("SUPER")));
    let mapped = carried(
        &account("x", [Grant::new(Scope::Global, "CREATE TABLESPACE"), on("shop", "SELECT")]),
        &transform(&[]),
    );
    assert!(mapped.notes.iter().any(|note| note.is_loss && note.text.contains("CREATE TABLESPACE")));
}

#[test]
fn a_password_that_the_target_cannot_look_at_is_withheld() {
    let mut definition = account("app", [on("shop", "SELECT")]);
    let mapped = carried(&definition, &transform(&[]));
    assert!(mapped.is_withheld && mapped.loses_login && mapped.definition.auth.is_empty());
    assert_eq!(mapped.login_statement.unwrap(), "ALTER USER 'app'@'%' IDENTIFIED BY '…' ACCOUNT UNLOCK;");
    definition.attributes.insert(Attribute::Lock, "ACCOUNT LOCK".into());
    assert!(!carried(&definition, &transform(&[])).loses_login);

    // No password is none on the target, too; but an account that the operating system vouches for has one.
    let mut empty = account("open", [on("shop", "SELECT")]);
    empty.auth = AuthString::default();
    let mapped = carried(&empty, &transform(&[]));
    assert_eq!((mapped.is_withheld, mapped.definition.plugin.as_str()), (false, "caching_sha2_password"));
    empty.plugin = "auth_socket".into();
    assert!(carried(&empty, &transform(&[])).is_withheld);

    let mut kept = account("new", [on("shop", "SELECT")]);
    kept.plugin = "caching_sha2_password".into();
    assert!(!carried(&kept, &transform(&[])).is_withheld);
}

#[test]
fn the_tasks_own_logins_are_not_taken_over() {
    let skipped = |user: &str, host: &str| {
        let mut definition = account(user, [on("shop", "SELECT")]);
        definition.account.host = host.into();
        matches!(fate(&definition, &transform(&[]), &source(), &target()), AccountFate::Skipped(_))
    };
    assert!(
        skipped("dts", "%") && skipped("mover", "10.0.0.7") && skipped("mover", "%") && skipped("root", "%")
    );
    assert!(skipped("mysql.sys", "localhost"));
    assert!(skipped("", "10.0.0.7") && skipped("", "10.0.%"));
    assert!(
        !skipped("", "localhost")
            && !skipped("", "%")
            && !skipped("dts", "localhost")
            && !skipped("app", "%")
    );
}

#[test]
fn accounts_without_rights_on_the_task_take_no_part() {
    let fate_of = |grants: Vec<Grant>| fate(&account("other", grants), &transform(&[]), &source(), &target());
    assert!(
        matches!(fate_of(vec![on("crm", "SELECT")]), AccountFate::Skipped(reason) if reason.contains("crm"))
    );
    assert!(matches!(fate_of(Vec::new()), AccountFate::Carried(_)));
    // The server's own tables are not carried, and that is said.
    let AccountFate::Carried(mapped) = fate_of(vec![table("mysql", "user", "SELECT")]) else { panic!() };
    assert!(mapped.notes.iter().any(|note| note.is_loss && note.text.contains("mysql.user")));
}

#[test]
fn partial_revokes_never_widen() {
    let grants = || {
        [
            Grant::new(Scope::Global, "SELECT"),
            Grant::new(Scope::Except("shop".into()), "SELECT"),
            Grant::new(Scope::Except("mysql".into()), "SELECT"),
        ]
    };
    let from = AccountSource { wildcards_are_literal: true, has_dynamic_privileges: true, ..source() };
    let AccountFate::Carried(mapped) = fate(&account("a", grants()), &transform(&[]), &from, &target())
    else {
        panic!()
    };
    assert_eq!(shown(&mapped), [r"SELECT on my\_db.*"]);
    assert!(mapped.notes.iter().any(|note| note.is_loss));
    let to = AccountTarget { wildcards_are_literal: true, ..target() };
    let renamed = transform(&[("shop", "shop2")]);
    let AccountFate::Carried(mapped) = fate(&account("a", grants()), &renamed, &from, &to) else { panic!() };
    assert_eq!(shown(&mapped), ["SELECT on *.*", "SELECT on all but mysql.*", "SELECT on all but shop2.*"]);
}

#[test]
fn roles_that_are_not_carried_are_not_given() {
    let (transform, from, to) = (transform(&[]), source(), target());
    let all = AccountTransform { transform: &transform, source: &from, target: &to };
    let role = |name: &str| Grant::new(Scope::Role(Account::new(name, "%")), Grant::MEMBER);
    let accounts = [
        account("reader", [on("shop", "SELECT")]),
        account("crm_reader", [on("crm", "SELECT")]),
        account("app", [role("reader"), role("crm_reader")]),
    ];
    let fates = all.all(&accounts, &|_| false, &|_| false);
    let AccountFate::Carried(mapped) = &fates[&Account::new("app", "%")] else { panic!() };
    assert_eq!(shown(mapped), ["MEMBER on role 'reader'@'%'"]);
    assert!(mapped.notes.iter().any(|note| note.text.contains("crm_reader")));
    // One that was carried before goes on being carried.
    let fates = all.all(&accounts, &|_| false, &|account| account.user == "crm_reader");
    assert!(matches!(fates[&Account::new("crm_reader", "%")], AccountFate::Carried(_)));
}

#[test]
fn hosts_match_as_on_the_server() {
    for (pattern, from) in [
        ("%", "10.0.0.7"),
        ("", "anything"),
        ("10.0.%", "10.0.0.7"),
        ("LocalHost", "localhost"),
        ("192.58.197.0/255.255.255.0", "192.58.197.9"),
        ("192.58.197.0/24", "192.58.197.9"),
    ] {
        assert!(host_matches(pattern, from), "{pattern} {from}");
    }
    for (pattern, from) in [
        ("localhost", "127.0.0.1"),
        ("10.0._", "10.0.12"),
        ("192.58.197.0/24", "192.58.198.9"),
        ("1.2.3.4/x", "1.2.3.4"),
    ] {
        assert!(!host_matches(pattern, from), "{pattern} {from}");
    }
}
