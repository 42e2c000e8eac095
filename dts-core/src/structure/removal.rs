//! Takes away what a task has created, for a task that was given up.
use crate::data::{ObjectKind, TableName};
use crate::error::{Result, Stage};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::ledger::Ledger;
use crate::wire::Connection;

/// Drops every table, view, stored program, trigger and event that the ledger names as the task's, and nothing else:
/// databases stay, and so do tables that came by schema changes since. Returns what was dropped, in order. Can be repeated.
///
/// # Errors
/// What the target answered; what was dropped before stays dropped.
pub fn drop_created(target: &TargetEndpoint, ledger: &Ledger, stop: &StopToken) -> Result<Vec<String>> {
    drop_all(target, ledger, stop).map_err(|error| error.in_stage(Stage::Structure))
}

fn drop_all(target: &TargetEndpoint, ledger: &Ledger, stop: &StopToken) -> Result<Vec<String>> {
    let mut connection = target.control(stop)?;
    // Those that do something by themselves first; tables last, with all that hangs on them.
    let order = [
        ObjectKind::Event,
        ObjectKind::Trigger,
        ObjectKind::View,
        ObjectKind::Procedure,
        ObjectKind::Function,
    ];
    let objects = drop_objects(ledger, &mut connection, &order, stop)?;
    let mut dropped: Vec<String> = objects.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    connection.execute("SET SESSION foreign_key_checks = 0", "preparing to drop tables")?;
    for table in ledger.tables(&mut connection)? {
        stop.check()?;
        let sql = format!("DROP TABLE IF EXISTS {}", quote::table(&table.target));
        connection
            .execute(sql, "dropping a table of the task")
            .map_err(|error| error.for_table(&table.target))?;
        dropped.push(format!("table {}", table.target));
    }
    Ok(dropped)
}

/// Drops the objects of these kinds that the ledger names as the task's. Their records stay.
pub(super) fn drop_objects(
    ledger: &Ledger,
    connection: &mut Connection,
    kinds: &[ObjectKind],
    stop: &StopToken,
) -> Result<Vec<(ObjectKind, TableName)>> {
    let mut dropped = Vec::new();
    for &kind in kinds {
        for name in ledger.objects(connection, kind)? {
            stop.check()?;
            let sql = format!("DROP {} IF EXISTS {}", kind.keyword(), quote::table(&name));
            connection.execute(sql, "dropping an object of the task")?;
            dropped.push((kind, name));
        }
    }
    Ok(dropped)
}
