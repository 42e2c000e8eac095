//! Accounts and their rights on the target: real logins before and after.
use std::collections::BTreeMap;
use std::time::Duration;

use dts_core::accounts::{AccountEntry, AccountReport, AccountResult, AccountState, LoginOutcome};
use dts_core::cutover::{CutoverOptions, CutoverStep, StepName};
use dts_core::data::{Account, GateKind};
use dts_core::migration::{Hooks, Migration, MigrationOptions, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_core::target::account_journal::{AccountJournal, AccountRecord};
use dts_core::transform::{Route, Transform};
use dts_core::wire::{AccountPasswords, Secret};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

use crate::gate::end_at;
use crate::support::{Generation, Pair, StopAtEnd, run, select, wait_until};

const SHOP: &str = "CREATE DATABASE shop; CREATE DATABASE crm; \
    CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(20), secret VARCHAR(20)); \
    CREATE TABLE shop.items (id INT PRIMARY KEY); CREATE TABLE crm.t (id INT PRIMARY KEY); \
    INSERT INTO shop.orders VALUES (1, 'one', 'hidden'); \
    CREATE PROCEDURE shop.count_orders() READS SQL DATA SELECT COUNT(*) FROM shop.orders";

fn carrying(mut options: MigrationOptions) -> Migration {
    options.objects.accounts = true;
    Migration::new(options)
}

fn listed(migration: &Migration) -> BTreeMap<String, AccountEntry> {
    let report: AccountReport = migration.accounts(&StopToken::new()).unwrap();
    for entry in &report.accounts {
        let notes: Vec<&str> = entry.notes.iter().map(|note| note.text.as_str()).collect();
        eprintln!(
            "{:24} {:10} {:9} {notes:?} {:?}",
            entry.account,
            entry.result.name(),
            entry.state.name(),
            entry.statements
        );
    }
    report.accounts.into_iter().map(|entry| (entry.account.to_string(), entry)).collect()
}

#[track_caller]
fn expect(
    entries: &BTreeMap<String, AccountEntry>,
    account: &str,
    result: AccountResult,
    state: AccountState,
) {
    let entry = entries.get(account).unwrap_or_else(|| panic!("no {account}"));
    assert_eq!((entry.result, entry.state), (result, state), "{account}: {:?}", entry.notes);
}

fn can_log_in(server: &Server, user: &str, password: &str) -> bool {
    match server.try_conn(user, password) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("{user}: {error}");
            false
        }
    }
}

/// The number of a refusal, 0 when it worked.
fn answer(server: &Server, user: &str, password: &str, sql: &str) -> u16 {
    match server.conn(user, password).query_drop(sql) {
        Ok(()) => 0,
        Err(mysql::Error::MySqlError(error)) => error.code,
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// All that the target keeps of accounts, with the times of the last changes, to see that nothing was done again.
fn everything(server: &Server) -> Vec<String> {
    [
        "SELECT CONCAT_WS(' ', User, Host, HEX(authentication_string), password_last_changed, account_locked, Select_priv, Super_priv) \
         FROM mysql.user ORDER BY User, Host",
        "SELECT CONCAT_WS(' ', User, Host, Db, Select_priv, Insert_priv) FROM mysql.db ORDER BY User, Host, Db",
        "SELECT CONCAT_WS(' ', User, Host, Db, Table_name, Table_priv, Timestamp) FROM mysql.tables_priv ORDER BY User, Host, Table_name",
        "SELECT CONCAT_WS(' ', User, Host, Routine_name, Proc_priv, Timestamp) FROM mysql.procs_priv ORDER BY User, Host",
        "SELECT CONCAT_WS(' ', FROM_USER, TO_USER) FROM mysql.role_edges ORDER BY FROM_USER, TO_USER",
        "SELECT CONCAT_WS(' ', user, host, record, changed_at) FROM __dts__.account ORDER BY user, host",
    ]
    .iter()
    .flat_map(|sql| server.query::<String>(sql))
    .collect()
}

fn grants(server: &Server, account: &str) -> Vec<String> {
    let mut grants = server.query::<String>(&format!("SHOW GRANTS FOR {account}"));
    grants.sort();
    grants
}

#[test]
fn accounts_of_56_on_97_are_locked_until_somebody_sets_their_passwords() {
    let pair = Pair::start(Generation::Old);
    pair.source.exec(SHOP);
    pair.source.exec(
        "CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT, INSERT ON shop.* TO app@'%'; \
         CREATE USER col@'%' IDENTIFIED BY 'Col-Login-1'; GRANT SELECT (id, note), UPDATE (note) ON shop.orders TO col@'%'; \
         CREATE USER proc@'%' IDENTIFIED BY 'Proc-Login-1'; GRANT EXECUTE ON PROCEDURE shop.count_orders TO proc@'%'; \
         CREATE USER dba@'%' IDENTIFIED BY 'Dba-Login-1'; GRANT SUPER, PROCESS, FILE ON *.* TO dba@'%' WITH GRANT OPTION; \
         CREATE USER empty@'%'; GRANT SELECT ON shop.orders TO empty@'%'; \
         CREATE USER limited@'%' IDENTIFIED BY 'x'; GRANT SELECT ON `sh%`.* TO limited@'%' REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 100; \
         CREATE USER ''@'10.1.2.3'; GRANT SELECT ON shop.items TO ''@'10.1.2.3'; \
         CREATE USER sha@'%' IDENTIFIED WITH sha256_password; SET old_passwords = 2; SET PASSWORD FOR sha@'%' = PASSWORD('Sha-Login-1'); \
         GRANT SELECT ON shop.* TO sha@'%'; \
         CREATE USER crm@'%' IDENTIFIED BY 'x'; GRANT ALL ON crm.* TO crm@'%'; \
         CREATE USER proxied@'%' IDENTIFIED BY 'x'; GRANT SELECT ON shop.* TO proxied@'%'; GRANT PROXY ON proxied@'%' TO app@'%'; \
         CREATE USER replicator@'%' IDENTIFIED BY 'x'; GRANT ALL ON *.* TO replicator@'%'; \
         CREATE USER ancient@'%' IDENTIFIED WITH mysql_old_password; SET old_passwords = 1; \
         SET PASSWORD FOR ancient@'%' = PASSWORD('x'); GRANT SELECT ON shop.* TO ancient@'%'; \
         GRANT SELECT ON mysql.db TO app@'%'",
    );
    // Somebody else's account, and one that is already as it should be.
    pair.target.exec(
        "CREATE USER proc@'%' IDENTIFIED BY 'other'; GRANT DELETE ON *.* TO proc@'%'; \
         GRANT PROXY ON ''@'' TO root@'127.0.0.1' WITH GRANT OPTION",
    );
    let migration = carrying(pair.options("accounts", &["shop"]));
    let waiting = listed(&migration);
    expect(&waiting, "'app'@'%'", AccountResult::Degraded, AccountState::Waiting);
    let report = run(&migration, Until::Synced);
    assert!(
        report.rewrites.iter().any(|line| line.contains("'app'@'%'") && line.contains("locked")),
        "{:?}",
        report.rewrites
    );

    let entries = listed(&migration);
    use AccountResult::{Degraded, Impossible, Normal, Skipped};
    use AccountState::{Carried, Untouched};
    for (account, result, state) in [
        ("'app'@'%'", Degraded, Carried),
        ("'col'@'%'", Degraded, Carried),
        ("'proc'@'%'", Impossible, Untouched),
        ("'dba'@'%'", Degraded, Carried),
        ("'empty'@'%'", Normal, Carried),
        ("'limited'@'%'", Degraded, Carried),
        ("''@'10.1.2.3'", Normal, Carried),
        ("'sha'@'%'", Normal, Carried),
        ("'ancient'@'%'", Degraded, Carried),
        ("'crm'@'%'", Skipped, Untouched),
        ("'replicator'@'%'", Skipped, Untouched),
        ("'root'@'localhost'", Skipped, Untouched),
    ] {
        expect(&entries, account, result, state);
    }
    assert_eq!(grants(&pair.target, "proc@'%'"), ["GRANT DELETE ON *.* TO `proc`@`%`"]);

    // Nobody gets in with a password that is not theirs, and the statements of the list let them in.
    assert!(can_log_in(&pair.source, "app", "App-Login-1"));
    assert!(!can_log_in(&pair.target, "app", "App-Login-1") && !can_log_in(&pair.target, "app", ""));
    assert!(can_log_in(&pair.target, "empty", ""));
    // The libraries do not speak sha256_password; the server's own client does.
    let by_client = |password: &str| {
        let mut client = pair.target.installation().client_program("mysql").unwrap();
        let socket = pair.target.socket().to_str().unwrap();
        client.args([
            "--no-defaults",
            "-usha",
            &format!("-p{password}"),
            "-S",
            socket,
            "-Ne",
            "SELECT id FROM shop.orders",
        ]);
        let ended = client.output().unwrap();
        (ended.status.success(), String::from_utf8_lossy(&ended.stdout).trim().to_owned())
    };
    assert_eq!(by_client("Sha-Login-1"), (true, "1".to_owned()));
    assert!(!by_client("wrong").0);
    for (user, password) in [("app", "App-Login-1"), ("col", "Col-Login-1"), ("dba", "Dba-Login-1")] {
        let statements = &entries[&format!("'{user}'@'%'")].statements;
        assert_eq!(statements.len(), 1, "{statements:?}");
        pair.target.exec(&statements[0].replace('…', password));
        assert!(can_log_in(&pair.target, user, password));
    }
    for (server, select, secret) in [(&pair.source, 0, 1142), (&pair.target, 0, 1142)] {
        assert_eq!(answer(server, "app", "App-Login-1", "SELECT * FROM shop.orders"), select);
        assert_eq!(answer(server, "app", "App-Login-1", "DELETE FROM shop.orders"), secret);
        assert_eq!(answer(server, "col", "Col-Login-1", "SELECT id, note FROM shop.orders"), 0);
        assert_eq!(answer(server, "col", "Col-Login-1", "SELECT secret FROM shop.orders"), 1143);
        assert_eq!(answer(server, "empty", "", "SELECT * FROM shop.items"), 1142);
    }
    let of_dba = grants(&pair.target, "dba@'%'").join(" ");
    assert!(
        of_dba.contains("SYSTEM_VARIABLES_ADMIN") && of_dba.contains("PROCESS") && !of_dba.contains("SUPER"),
        "{of_dba}"
    );
    assert!(of_dba.contains("WITH GRANT OPTION"), "{of_dba}");
    let limited = pair.target.query_one::<String>("SHOW CREATE USER limited@'%'");
    assert!(limited.contains("REQUIRE SSL") && limited.contains("MAX_QUERIES_PER_HOUR 100"), "{limited}");
    assert!(
        grants(&pair.target, "app@'%'").contains(&"GRANT PROXY ON `proxied`@`%` TO `app`@`%`".to_owned())
    );
    let ledger = pair.target.query::<String>("SELECT record FROM __dts__.account").join("\n");
    let hash = pair.source.query_one::<String>("SELECT Password FROM mysql.user WHERE User = 'app'");
    assert!(
        hash.len() == 41 && !ledger.contains(&hash) && !ledger.contains("$5$"),
        "a hash is in the ledger"
    );

    // The operator's passwords are noticed and stay; once more changes nothing.
    let entries = listed(&migration);
    expect(&entries, "'dba'@'%'", Normal, Carried);
    assert!(entries["'app'@'%'"].notes.iter().all(|note| !note.text.contains("locked")));
    run(&migration, Until::Synced);
    let before = everything(&pair.target);
    // A time of the server has seconds.
    std::thread::sleep(Duration::from_millis(1100));
    run(&migration, Until::Synced);
    assert_eq!(everything(&pair.target), before);
    assert!(can_log_in(&pair.target, "app", "App-Login-1"));
}

/// What somebody does on the source while the task is in sync.
#[test]
fn changes_of_accounts_are_carried_while_in_sync_and_those_of_the_target_stay() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(SHOP);
    pair.source.exec(
        "CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT, INSERT ON shop.* TO app@'%'; \
         CREATE USER gone@'%' IDENTIFIED BY 'x'; GRANT SELECT ON shop.* TO gone@'%'; \
         CREATE USER old_name@'%' IDENTIFIED BY 'Name-Login-1'; GRANT SELECT ON shop.* TO old_name@'%'",
    );
    let mut options = pair.options("following", &["shop"]);
    options.accounts_every = Duration::from_millis(200);
    let migration = carrying(options);
    run(&migration, Until::Synced);
    assert!(can_log_in(&pair.target, "app", "App-Login-1"), "the hash is kept");
    let (stop, progress) = (StopToken::new(), Progress::new());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
        let _guard = StopAtEnd(&stop);
        pair.target.exec("GRANT DROP ON shop.* TO app@'%'");
        pair.source.exec(
            "GRANT DELETE ON shop.* TO app@'%'; REVOKE INSERT ON shop.* FROM app@'%'; ALTER USER app@'%' IDENTIFIED BY 'App-Login-2' \
             WITH MAX_USER_CONNECTIONS 7; DROP USER gone@'%'; RENAME USER old_name@'%' TO new_name@'%'; \
             CREATE USER late@'%' IDENTIFIED BY 'Late-Login-1' ACCOUNT LOCK; GRANT SELECT (id) ON shop.orders TO late@'%'",
        );
        wait_until("the new account", || {
            pair.target.query_one::<u64>("SELECT COUNT(*) FROM mysql.columns_priv WHERE User = 'late'") == 1
        });
        wait_until("the dropped ones", || {
            pair.target.query_one::<u64>("SELECT COUNT(*) FROM mysql.user WHERE User IN ('gone', 'old_name')")
                == 0
        });
        wait_until("the new password", || can_log_in(&pair.target, "app", "App-Login-2"));
        // Once more in the same second, as the server keeps it.
        let changed = "SELECT password_last_changed FROM mysql.user WHERE User = 'app'";
        let second = pair.source.query_one::<String>(changed);
        pair.source.exec(&format!(
            "ALTER USER app@'%' IDENTIFIED BY 'App-Login-3'; \
             UPDATE mysql.user SET password_last_changed = '{second}' WHERE User = 'app'; FLUSH PRIVILEGES"
        ));
        wait_until("the password after it", || can_log_in(&pair.target, "app", "App-Login-3"));
        wait_until("the changed rights", || {
            grants(&pair.target, "app@'%'")
                .contains(&"GRANT SELECT, DELETE, DROP ON `shop`.* TO `app`@`%`".to_owned())
        });
        assert!(can_log_in(&pair.target, "new_name", "Name-Login-1"));
        assert!(!can_log_in(&pair.target, "late", "Late-Login-1"), "locked as on the source");
        let limits = "SELECT max_user_connections FROM mysql.user WHERE User = 'app'";
        assert_eq!(pair.target.query_one::<u64>(limits), 7);
        let entries = listed(&migration);
        expect(&entries, "'app'@'%'", AccountResult::Normal, AccountState::Carried);
        assert!(
            entries["'app'@'%'"].notes.iter().any(|note| note.text.contains("DROP on shop.*")),
            "{:?}",
            entries["'app'@'%'"]
        );
        stop.stop();
        assert!(running.join().unwrap().unwrap_err().is_interrupted());
    });

    // A last time when the task is completed.
    pair.source.exec("CREATE USER last@'%' IDENTIFIED BY 'Last-Login-1'; GRANT SELECT ON shop.* TO last@'%'");
    migration.complete(false, &StopToken::new(), &Progress::new()).unwrap();
    assert_eq!(answer(&pair.target, "last", "Last-Login-1", "SELECT * FROM shop.orders"), 0);
}

/// Each task carries the rights on what it carries.
#[test]
fn accounts_can_be_shared_by_tasks() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(SHOP);
    pair.source.exec("CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT ON shop.* TO app@'%'; GRANT INSERT ON crm.* TO app@'%'");
    let (shop, crm) = (carrying(pair.options("shop", &["shop"])), carrying(pair.options("crm", &["crm"])));
    run(&shop, Until::Synced);
    assert_eq!(grants(&pair.target, "app@'%'").len(), 2);
    run(&crm, Until::Synced);
    assert_eq!(grants(&pair.target, "app@'%'"), grants(&pair.source, "app@'%'"));
    for migration in [&shop, &crm] {
        let entries = listed(migration);
        assert_eq!(entries["'app'@'%'"].result, AccountResult::Normal);
        assert_eq!(entries["'app'@'%'"].state, AccountState::Carried);
    }
    shop.end(&StopToken::new()).unwrap();
    shop.clean(true, &StopToken::new()).unwrap();
    assert_eq!(answer(&pair.target, "app", "App-Login-1", "INSERT INTO crm.t VALUES (1)"), 0);
}

#[test]
fn accounts_of_97_keep_roles_dynamic_privileges_and_passwords() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(SHOP);
    for server in [&pair.source, &pair.target] {
        server.exec("SET GLOBAL partial_revokes = ON");
    }
    pair.source.exec(
        "CREATE ROLE reader, boss; GRANT SELECT ON shop.* TO reader; GRANT reader TO boss WITH ADMIN OPTION; \
         CREATE USER app@'%' IDENTIFIED BY 'App-Login-1' FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME 2 PASSWORD HISTORY 5 \
         PASSWORD EXPIRE INTERVAL 90 DAY COMMENT 'of the shop'; GRANT reader, boss TO app@'%'; SET DEFAULT ROLE reader TO app@'%'; \
         CREATE USER ops@'%' IDENTIFIED BY 'Ops-Login-1'; GRANT BINLOG_ADMIN ON *.* TO ops@'%' WITH GRANT OPTION; \
         GRANT CONNECTION_ADMIN, SELECT ON *.* TO ops@'%'; REVOKE SELECT ON mysql.* FROM ops@'%'; REVOKE SELECT ON shop.* FROM ops@'%'; \
         CREATE USER col@'%' IDENTIFIED BY 'Col-Login-1'; GRANT SELECT (id), INSERT (id, note) ON shop.orders TO col@'%'; \
         CREATE USER expired@'%' IDENTIFIED BY 'x' PASSWORD EXPIRE; GRANT SELECT ON shop.* TO expired@'%'; \
         CREATE USER two@'%' IDENTIFIED BY 'Two-Login-1'; GRANT SELECT ON shop.* TO two@'%'; \
         ALTER USER two@'%' IDENTIFIED BY 'Two-Login-2' RETAIN CURRENT PASSWORD",
    );
    let rename = [("shop", "shop_new"), ("shop.orders", "shop_new.orders2")];
    let transform = Transform::new(select(&["shop"]), Route::new(rename).unwrap()).unwrap();
    let migration = carrying(pair.options_with("roles", transform));
    run(&migration, Until::Synced);
    let entries = listed(&migration);
    for account in ["'app'@'%'", "'ops'@'%'", "'col'@'%'", "'reader'@'%'", "'boss'@'%'", "'expired'@'%'"] {
        expect(&entries, account, AccountResult::Normal, AccountState::Carried);
    }
    expect(&entries, "'two'@'%'", AccountResult::Degraded, AccountState::Carried);

    // The default role is active, the other one is not.
    assert_eq!(answer(&pair.target, "app", "App-Login-1", "SELECT * FROM shop_new.orders2"), 0);
    let mut session = pair.target.conn("app", "App-Login-1");
    assert_eq!(session.query_first::<String, _>("SELECT CURRENT_ROLE()").unwrap().unwrap(), "`reader`@`%`");
    assert_eq!(answer(&pair.target, "ops", "Ops-Login-1", "SELECT * FROM shop_new.items"), 1142);
    assert_eq!(answer(&pair.target, "col", "Col-Login-1", "SELECT id FROM shop_new.orders2"), 0);
    assert_eq!(answer(&pair.target, "col", "Col-Login-1", "SELECT note FROM shop_new.orders2"), 1143);
    assert!(
        can_log_in(&pair.target, "two", "Two-Login-2") && !can_log_in(&pair.target, "two", "Two-Login-1")
    );
    let renamed = |lines: Vec<String>| -> Vec<String> {
        let mut lines: Vec<String> = lines
            .into_iter()
            .map(|line| {
                line.replace("`shop`.`orders`", "`shop_new`.`orders2`").replace("`shop`", "`shop_new`")
            })
            .collect();
        lines.sort();
        lines
    };
    for account in ["app@'%'", "ops@'%'", "col@'%'", "reader", "boss", "expired@'%'"] {
        assert_eq!(grants(&pair.target, account), renamed(grants(&pair.source, account)), "{account}");
        let create = |server: &Server| server.query_one::<String>(&format!("SHOW CREATE USER {account}"));
        assert_eq!(create(&pair.target), create(&pair.source));
    }
    run(&migration, Until::Synced);
    let before = everything(&pair.target);
    // A time of the server has seconds.
    std::thread::sleep(Duration::from_millis(1100));
    run(&migration, Until::Synced);
    assert_eq!(everything(&pair.target), before);

    // A stopped task takes its accounts with it.
    migration.end(&StopToken::new()).unwrap();
    migration.clean(true, &StopToken::new()).unwrap();
    let left = pair
        .target
        .query::<String>("SELECT User FROM mysql.user WHERE User IN ('app', 'reader', 'boss', 'col', 'two')");
    assert!(left.is_empty(), "{left:?}");
}

/// The account of the task sees what RDS shows, and may give only what a managed server lets it.
#[test]
fn accounts_of_56_on_56_are_read_through_the_view_of_rds() {
    let pair = Pair {
        source: Server::start(ServerOptions::new(Version::Mysql56).rds_like()).unwrap(),
        target: Server::start(ServerOptions::new(Version::Mysql56).rds_like()).unwrap(),
    };
    pair.source.exec(SHOP);
    pair.source.exec(
        "CREATE VIEW mysql.user_view AS SELECT * FROM mysql.user; \
         CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT ON shop.* TO app@'%'; \
         GRANT SELECT (id) ON shop.orders TO app@'%' REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 1000; \
         CREATE USER dba@'%' IDENTIFIED BY 'Dba-Login-1'; GRANT SUPER, PROCESS ON *.* TO dba@'%'; \
         CREATE USER sha@'%' IDENTIFIED WITH sha256_password; SET old_passwords = 2; SET PASSWORD FOR sha@'%' = PASSWORD('Sha-Login-1'); \
         CREATE USER ancient@'%' IDENTIFIED WITH mysql_old_password; SET old_passwords = 1; \
         SET PASSWORD FOR ancient@'%' = PASSWORD('x'); GRANT SELECT ON shop.* TO ancient@'%'; \
         SET old_passwords = 0; GRANT SELECT ON shop.* TO sha@'%'; \
         CREATE USER dts@'%' IDENTIFIED BY 'Dts-1'; \
         GRANT SELECT, SHOW VIEW, EVENT, TRIGGER, LOCK TABLES ON shop.* TO dts@'%'; \
         GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO dts@'%'; GRANT SELECT ON mysql.user_view TO dts@'%'; \
         GRANT SELECT ON mysql.db TO dts@'%'; GRANT SELECT ON mysql.tables_priv TO dts@'%'; GRANT SELECT ON mysql.columns_priv TO dts@'%'; \
         GRANT SELECT ON mysql.procs_priv TO dts@'%'; GRANT SELECT ON mysql.proc TO dts@'%'",
    );
    pair.target.exec(
        "CREATE USER mover@'%' IDENTIFIED BY 'Dts-1'; GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, PROCESS, REFERENCES, INDEX, ALTER, \
         CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, \
         TRIGGER, SHOW DATABASES ON *.* TO mover@'%' WITH GRANT OPTION",
    );
    let mut options = pair.options("rds", &["shop"]);
    for (connection, user) in
        [(&mut options.source.connection, "dts"), (&mut options.target.connection, "mover")]
    {
        connection.user = user.into();
        connection.password = Secret::new("Dts-1");
    }
    options.objects.routines = false;
    let migration = carrying(options);
    run(&migration, Until::Synced);
    let entries = listed(&migration);
    // mysql.proxies_priv is hidden, so all that is carried is degraded.
    expect(&entries, "'app'@'%'", AccountResult::Degraded, AccountState::Carried);
    assert!(entries["'app'@'%'"].notes.iter().any(|note| note.text.contains("proxies_priv")));
    expect(&entries, "'dts'@'%'", AccountResult::Skipped, AccountState::Untouched);
    // What the task's account may not give is refused and told.
    assert!(entries["'dba'@'%'"].notes.iter().any(|note| note.is_loss && note.text.contains("SUPER")));
    assert_eq!(grants(&pair.target, "dba@'%'").len(), 1);
    assert!(grants(&pair.target, "dba@'%'")[0].contains("GRANT PROCESS ON *.*"));
    for (user, password) in [("app", "App-Login-1"), ("dba", "Dba-Login-1"), ("sha", "")] {
        // No client here speaks the plugins of the others.
        if !password.is_empty() {
            assert!(
                can_log_in(&pair.source, user, password) && can_log_in(&pair.target, user, password),
                "{user}"
            );
        }
        let hash = format!(
            "SELECT HEX(CONCAT(Password, COALESCE(authentication_string, ''), plugin)) FROM mysql.user WHERE User = '{user}'"
        );
        assert_eq!(pair.target.query_one::<String>(&hash), pair.source.query_one::<String>(&hash), "{user}");
    }
    assert_eq!(answer(&pair.target, "app", "App-Login-1", "SELECT * FROM shop.orders"), 0);

    // Another password, and rights that were taken away.
    pair.source.exec(
        "SET PASSWORD FOR app@'%' = PASSWORD('App-Login-2'); REVOKE SELECT ON shop.* FROM app@'%'; \
         GRANT USAGE ON *.* TO app@'%' WITH MAX_USER_CONNECTIONS 9",
    );
    run(&migration, Until::Synced);
    assert!(
        can_log_in(&pair.target, "app", "App-Login-2") && !can_log_in(&pair.target, "app", "App-Login-1")
    );
    assert_eq!(answer(&pair.target, "app", "App-Login-2", "SELECT note FROM shop.orders"), 1143);
    assert_eq!(
        pair.target.query_one::<u64>("SELECT max_user_connections FROM mysql.user WHERE User = 'app'"),
        9
    );

    // What can no longer be read is not taken for revoked.
    pair.source.exec("REVOKE SELECT ON mysql.db FROM dts@'%'");
    run(&migration, Until::Synced);
    assert!(grants(&pair.target, "sha@'%'").iter().any(|line| line.contains("GRANT SELECT ON `shop`.*")));
    let entries = listed(&migration);
    assert!(entries["'sha'@'%'"].notes.iter().any(|note| note.is_loss && note.text.contains("mysql.db")));
    // The old hashes cannot be carried at all; nobody gets in, not even without a password.
    assert!(entries["'ancient'@'%'"].notes.iter().any(|note| note.text.contains("without its password")));
    assert!(!can_log_in(&pair.target, "ancient", "") && !can_log_in(&pair.target, "ancient", "x"));
}

/// Runs that died between any two statements.
#[test]
fn accounts_that_were_begun_are_finished() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(SHOP);
    pair.source.exec(
        "CREATE USER one@'%' IDENTIFIED BY 'One-Login-1'; GRANT SELECT ON shop.* TO one@'%'; \
         CREATE USER two@'%' IDENTIFIED BY 'Two-Login-1'; GRANT SELECT ON shop.* TO two@'%'; \
         CREATE USER same@'%' IDENTIFIED BY 'Same-Login-1' REQUIRE SSL; GRANT SELECT ON shop.* TO same@'%'",
    );
    let migration = carrying(pair.options("begun", &["shop"]));
    migration.run(Until::Loaded, &StopToken::new(), &Progress::new()).unwrap();
    let options = crate::support::connection(&pair.target);
    let mut target =
        dts_core::wire::Connection::open(&options, dts_core::error::Side::Target, &StopToken::new()).unwrap();
    let journal = AccountJournal::new("begun");
    let begun = AccountRecord { is_created: true, ..AccountRecord::default() };
    // Written down and not created; created and nothing given; there before and the same.
    journal.write(&mut target, &Account::new("one", "%"), &begun).unwrap();
    journal.write(&mut target, &Account::new("two", "%"), &begun).unwrap();
    pair.target.exec("CREATE USER two@'%' IDENTIFIED BY 'half'");
    pair.source.exec("SET GLOBAL print_identified_with_as_hex = ON");
    pair.target.exec(&pair.source.query_one::<String>("SHOW CREATE USER same@'%'"));
    pair.target.exec("GRANT SELECT ON shop.* TO same@'%'");
    run(&migration, Until::Synced);
    let entries = listed(&migration);
    for (user, password) in [("one", "One-Login-1"), ("two", "Two-Login-1")] {
        expect(&entries, &format!("'{user}'@'%'"), AccountResult::Normal, AccountState::Carried);
        assert_eq!(answer(&pair.target, user, password, "SELECT * FROM shop.orders"), 0);
    }
    expect(&entries, "'same'@'%'", AccountResult::Normal, AccountState::Carried);
    assert!(entries["'same'@'%'"].notes.iter().any(|note| note.text.contains("before the task")));
    // What was there before is not dropped with what dts made.
    migration.end(&StopToken::new()).unwrap();
    migration.clean(true, &StopToken::new()).unwrap();
    assert_eq!(
        pair.target.query::<String>("SELECT User FROM mysql.user WHERE User IN ('one', 'two', 'same')"),
        ["same"]
    );
}

/// The gate renames accounts of 5.6; the target never sees these names, and nobody is locked out unseen.
#[test]
fn a_cut_over_needs_accounts_that_can_log_in() {
    let pair = Pair::start(Generation::Old);
    pair.source.exec(SHOP);
    pair.source
        .exec("CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT, INSERT ON shop.* TO app@'%'");
    let mut options = pair.options("cut", &["shop"]);
    options.accounts_every = Duration::from_millis(50);
    let migration = carrying(options);
    run(&migration, Until::Synced);
    let cutover = |options: &CutoverOptions| {
        let observer = |step: &CutoverStep| eprintln!("{:12} {:?}", step.name.name(), step.saw);
        migration.cutover(options, Hooks::telling(&observer), true, &StopToken::new())
    };
    let mut options = CutoverOptions::new(GateKind::LockAccounts);
    let error = cutover(&options).unwrap_err().to_string();
    assert!(error.contains("'app'@'%'") && error.contains("cannot log in"), "{error}");
    assert!(can_log_in(&pair.source, "app", "App-Login-1"), "nothing was gated");

    pair.target.exec("ALTER USER app@'%' IDENTIFIED BY 'App-Login-2' ACCOUNT UNLOCK");
    let mut passwords = AccountPasswords::default();
    passwords.add("app", Secret::new("App-Login-1"));
    options.passwords = passwords.clone();
    let error = cutover(&options).unwrap_err().to_string();
    assert!(error.contains("wrong password") && !error.contains("App-Login-1"), "{error}");

    let (report, checks) =
        migration.try_logins(&mut |account| Ok(passwords.of(account)), &StopToken::new()).unwrap();
    assert_eq!(report.count(AccountResult::Impossible), 0);
    assert_eq!(checks.iter().filter(|check| check.outcome == LoginOutcome::Failed).count(), 1, "{checks:?}");
    passwords.add("app", Secret::new("App-Login-2"));
    options.passwords = passwords;
    let report = cutover(&options).unwrap();
    let step = report.steps.iter().find(|step| step.name == StepName::Accounts).unwrap();
    assert!(step.saw.iter().any(|line| line.contains("logged in")), "{:?}", step.saw);
    assert!(!can_log_in(&pair.source, "app", "App-Login-1"), "the source stays closed");
    let users = pair
        .target
        .query::<String>("SELECT User FROM mysql.user WHERE User LIKE 'dts_gate%' OR User = 'app'");
    assert_eq!(users, ["app"]);
    assert_eq!(answer(&pair.target, "app", "App-Login-2", "INSERT INTO shop.orders VALUES (2, '', '')"), 0);
}

/// Carries accounts beside the changes until they were looked at `passes` times.
fn follow(pair: &Pair, migration: &Migration, passes: u64) {
    // Each pass takes the lock of the accounts once.
    let taken = || {
        pair.target.query_one::<u64>(
            "SELECT CAST(COALESCE(SUM(COUNT_STAR), 0) AS UNSIGNED) FROM performance_schema.events_statements_summary_by_digest \
             WHERE DIGEST_TEXT LIKE 'SELECT `GET_LOCK`%'",
        )
    };
    let (stop, progress) = (StopToken::new(), Progress::new());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
        let _guard = StopAtEnd(&stop);
        let before = taken();
        wait_until("the accounts are looked at", || taken() >= before + passes);
        stop.stop();
        assert!(running.join().unwrap().unwrap_err().is_interrupted());
    });
}

/// A process that dies behind the gate leaves the source's accounts held; a run that goes on does not carry that.
#[test]
fn accounts_that_a_gate_holds_are_not_carried_so() {
    for generation in [Generation::Old, Generation::New] {
        let pair = Pair::start(generation);
        pair.source.exec(SHOP);
        pair.source.exec(
            "CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT, INSERT ON shop.* TO app@'%'",
        );
        let mut options = pair.options("cut", &["shop"]);
        options.accounts_every = Duration::from_millis(50);
        let migration = carrying(options);
        run(&migration, Until::Synced);
        let before = everything(&pair.target);
        let mut wish = CutoverOptions::new(GateKind::LockAccounts);
        wish.ignore_accounts = true;
        end_at("gate", &|hooks| migration.cutover(&wish, hooks, true, &StopToken::new()));
        assert!(!can_log_in(&pair.source, "app", "App-Login-1"));
        follow(&pair, &migration, 5);
        assert_eq!(everything(&pair.target), before, "{generation:?}");
    }
}

/// Two tasks of one source: the gate of the one holds accounts that the other carries.
#[test]
fn accounts_that_the_gate_of_another_task_holds_are_carried_as_they_were() {
    for (generation, gated) in [(Generation::Old, "dts_gate_0"), (Generation::New, "app")] {
        let pair = Pair::start(generation);
        pair.source.exec(SHOP);
        pair.source.exec(
            "CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT, INSERT ON shop.* TO app@'%'; \
             GRANT SELECT ON crm.* TO app@'%'; CREATE USER closed@'%' IDENTIFIED BY 'x'; GRANT SELECT ON crm.* TO closed@'%'",
        );
        let shop = pair.migration("shop", &["shop"]);
        let mut options = pair.options("crm", &["crm"]);
        options.accounts_every = Duration::from_millis(50);
        let crm = carrying(options);
        run(&shop, Until::Synced);
        run(&crm, Until::Synced);
        let on_target = || {
            pair.target.query::<String>(
                "SELECT CONCAT_WS(' ', User, Host, HEX(authentication_string), account_locked) FROM mysql.user ORDER BY User, Host",
            )
        };
        let (accounts, rights) = (on_target(), grants(&pair.target, "app@'%'"));
        let mut wish = CutoverOptions::new(GateKind::LockAccounts);
        wish.reverse = true;
        let there =
            |wish: &CutoverOptions| shop.cutover(wish, Hooks::telling(&|_| {}), true, &StopToken::new());
        there(&wish).unwrap();
        follow(&pair, &crm, 5);
        assert_eq!(on_target(), accounts, "{generation:?}");
        assert_eq!(grants(&pair.target, "app@'%'"), rights, "{generation:?}");

        // What changes meanwhile is carried all the same.
        pair.source.exec(&format!("GRANT INSERT ON crm.* TO {gated}@'%'"));
        follow(&pair, &crm, 3);
        assert_eq!(answer_of_grants(&pair.target), ["INSERT", "SELECT"]);
        let entries = listed(&crm);
        assert!(
            !entries
                .keys()
                .any(|name| name.contains("dts_gate") && entries[name].result != AccountResult::Skipped)
        );
        assert_eq!(entries["'app'@'%'"].state, AccountState::Carried);

        // The other task's own gate names neither those of the first one nor their new names.
        let mut wish_crm = wish.clone();
        wish_crm.ignore_accounts = true;
        crm.cutover(&wish_crm, Hooks::telling(&|_| {}), true, &StopToken::new()).unwrap();
        let back = |migration: &Migration| {
            migration.rollback(&wish, Hooks::telling(&|_| {}), true, &StopToken::new()).unwrap()
        };
        back(&crm);
        back(&shop);
        assert!(can_log_in(&pair.source, "app", "App-Login-1"));
        let users = pair.source.query::<String>("SELECT User FROM mysql.user WHERE User LIKE 'dts_gate%' OR User IN ('app', 'closed') ORDER BY User");
        assert_eq!(users, ["app", "closed"]);
    }
}

fn answer_of_grants(server: &Server) -> Vec<String> {
    server.query(
        "SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE = \"'app'@'%'\" AND TABLE_SCHEMA = 'crm' ORDER BY 1",
    )
}

/// After a way back the target's accounts stay held; that is neither carried nor undone, and what is new comes.
#[test]
fn accounts_are_carried_to_a_target_that_a_way_back_has_closed() {
    let pair = Pair {
        source: Server::start(ServerOptions::new(Version::Mysql56)).unwrap(),
        target: Server::start(ServerOptions::new(Version::Mysql56)).unwrap(),
    };
    pair.source.exec(SHOP);
    pair.source.exec(
        "CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT ON shop.* TO app@'%'; \
         CREATE USER gone@'%' IDENTIFIED BY 'x'; GRANT SELECT ON shop.* TO gone@'%'",
    );
    let migration = carrying(pair.options("back", &["shop"]));
    run(&migration, Until::Synced);
    let mut wish = CutoverOptions::new(GateKind::LockAccounts);
    wish.reverse = true;
    migration.cutover(&wish, Hooks::telling(&|_| {}), true, &StopToken::new()).unwrap();
    migration.rollback(&wish, Hooks::telling(&|_| {}), true, &StopToken::new()).unwrap();
    assert!(
        can_log_in(&pair.source, "app", "App-Login-1") && !can_log_in(&pair.target, "app", "App-Login-1")
    );
    pair.source.exec(
        "SET PASSWORD FOR app@'%' = PASSWORD('App-Login-2'); GRANT INSERT ON shop.* TO app@'%'; DROP USER gone@'%'; \
         CREATE USER late@'%' IDENTIFIED BY 'Late-Login-1'; GRANT SELECT ON shop.* TO late@'%'",
    );
    run(&migration, Until::Synced);
    assert!(
        !can_log_in(&pair.target, "app", "App-Login-1") && !can_log_in(&pair.target, "app", "App-Login-2")
    );
    migration.cutover(&wish, Hooks::telling(&|_| {}), true, &StopToken::new()).unwrap();
    assert_eq!(answer(&pair.target, "app", "App-Login-2", "INSERT INTO shop.orders VALUES (9, '', '')"), 0);
    assert!(
        can_log_in(&pair.target, "late", "Late-Login-1") && !can_log_in(&pair.source, "app", "App-Login-2")
    );
    let users = pair
        .target
        .query::<String>("SELECT User FROM mysql.user WHERE User LIKE 'dts_gate%' OR User = 'gone'");
    assert!(users.is_empty(), "{users:?}");
}

/// A run that dies between a grant and the record of it.
#[test]
fn accounts_lose_a_right_that_was_given_and_not_written_down_yet() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(SHOP);
    pair.source.exec("CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT ON shop.* TO app@'%'");
    let migration = carrying(pair.options("died", &["shop"]));
    run(&migration, Until::Synced);
    pair.source.exec("GRANT DELETE ON shop.* TO app@'%'; ALTER USER app@'%' WITH MAX_USER_CONNECTIONS 7");
    // The last record of the account is what a run that dies does not get to.
    pair.target.exec(
        "CREATE TRIGGER __dts__.dies BEFORE UPDATE ON __dts__.account FOR EACH ROW BEGIN \
         IF NEW.record LIKE '%\"is_done\":true%' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'died'; END IF; END",
    );
    let outcome = migration.run(Until::Synced, &StopToken::new(), &Progress::new());
    eprintln!("{outcome:?}");
    assert!(
        grants(&pair.target, "app@'%'")[0].contains("SELECT, DELETE")
            || grants(&pair.target, "app@'%'")[1].contains("DELETE")
    );
    pair.source.exec("REVOKE DELETE ON shop.* FROM app@'%'; ALTER USER app@'%' WITH MAX_USER_CONNECTIONS 0");
    pair.target.exec("DROP TRIGGER __dts__.dies");
    run(&migration, Until::Synced);
    assert_eq!(grants(&pair.target, "app@'%'"), grants(&pair.source, "app@'%'"));
    assert_eq!(
        pair.target.query_one::<u64>("SELECT max_user_connections FROM mysql.user WHERE User = 'app'"),
        0
    );
    let entries = listed(&migration);
    expect(&entries, "'app'@'%'", AccountResult::Normal, AccountState::Carried);
}

/// What somebody does on the target stays, a DROP USER, too.
#[test]
fn an_account_that_was_dropped_on_the_target_is_told_and_stays_away() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(SHOP);
    pair.source.exec("CREATE USER app@'%' IDENTIFIED BY 'App-Login-1'; GRANT SELECT ON shop.* TO app@'%'");
    let migration = carrying(pair.options("dropped", &["shop"]));
    run(&migration, Until::Synced);
    pair.target.exec("DROP USER app@'%'");
    run(&migration, Until::Synced);
    assert!(!can_log_in(&pair.target, "app", "App-Login-1"), "it came back");
    let entries = listed(&migration);
    expect(&entries, "'app'@'%'", AccountResult::Impossible, AccountState::Untouched);
    let entry = &entries["'app'@'%'"];
    assert!(entry.notes.iter().any(|note| note.text.contains("dropped on the target")), "{entry:?}");
    // A cut-over does not lock it out unseen.
    let wish = CutoverOptions::new(GateKind::LockAccounts);
    let error = migration.cutover(&wish, Hooks::telling(&|_| {}), true, &StopToken::new()).unwrap_err();
    assert!(error.to_string().contains("'app'@'%'"), "{error}");

    // The statement of the list has it carried again.
    pair.target.exec(&entry.statements[0]);
    run(&migration, Until::Synced);
    assert!(can_log_in(&pair.target, "app", "App-Login-1"));
    // Dropped on both sides it is forgotten.
    pair.target.exec("DROP USER app@'%'");
    pair.source.exec("DROP USER app@'%'");
    run(&migration, Until::Synced);
    assert!(!listed(&migration).contains_key("'app'@'%'"));
    assert_eq!(pair.target.query_one::<u64>("SELECT COUNT(*) FROM __dts__.account WHERE user = 'app'"), 0);
}
