//! One line with everything, of fixed order, so that it can be found and cut by programs.
use dts_core::checker::CheckCounts;
use dts_core::data::Position;
use dts_core::progress::Step;
use jiff::Timestamp;

use super::View;
use crate::output::format::percent;

/// Returns the line. `-` stands for what is not known or does not apply.
pub(super) fn status_line(view: &View<'_>) -> String {
    let View { name, state, snapshot, rates, check: _ } = view;
    let seconds = |value: Option<std::time::Duration>| {
        value.map_or("-".to_owned(), |v| format!("{:.1}", v.as_secs_f64()))
    };
    let copied = snapshot.tables.iter().filter(|table| table.rows_done >= table.rows_estimated).count();
    format!(
        "{:.0} task={name} state={state} step={} tables={copied}/{} rows={}/{} percent={:.1} rows_per_s={:.0} mib_per_s={:.1} \
         eta_s={} lag_s={} spool_mib={:.1} transactions={} tx_per_s={:.0} retries={} position={}",
        Timestamp::now(),
        snapshot.step.map_or("-", Step::name),
        snapshot.tables.len(),
        snapshot.rows_done,
        snapshot.rows_estimated,
        match snapshot.step {
            Some(Step::IndexBuild) => 100.0 * snapshot.index_part(),
            _ => 100.0 * snapshot.load_part(),
        },
        rates.rows,
        mib(rates.bytes),
        seconds(rates.eta),
        seconds(snapshot.lag),
        {
            #[allow(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
            mib(snapshot.spool_bytes as f64)
        },
        snapshot.transactions_applied,
        rates.transactions,
        snapshot.retries,
        snapshot.applied_position.as_ref().map_or("-".to_owned(), Position::to_string),
    )
}

/// Returns the line of a comparison.
pub(crate) fn check_line(name: &str, counts: &CheckCounts) -> String {
    format!(
        "{:.0} task={name} check tables={}/{} rows={}/{} percent={:.1} chunks={} chunks_different={} differences={}",
        Timestamp::now(),
        counts.tables_done,
        counts.tables,
        counts.rows_compared,
        counts.rows_estimated.max(counts.rows_compared),
        percent(counts.rows_compared, counts.rows_estimated.max(counts.rows_compared)),
        counts.chunks_done,
        counts.chunks_different,
        counts.differences,
    )
}

fn mib(bytes: f64) -> f64 {
    bytes / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use dts_core::migration::State;
    use dts_core::progress::Progress;

    use super::*;
    use crate::output::progress::Rates;

    #[test]
    fn the_order_is_fixed() {
        let snapshot = Progress::new().snapshot();
        let view = View {
            name: "shop",
            state: State::Running,
            snapshot: &snapshot,
            rates: Rates::default(),
            check: None,
        };
        let line = status_line(&view);
        let (_, rest) = line.split_once(' ').unwrap();
        assert_eq!(
            rest,
            "task=shop state=running step=- tables=0/0 rows=0/0 percent=100.0 rows_per_s=0 mib_per_s=0.0 eta_s=- lag_s=- \
             spool_mib=0.0 transactions=0 tx_per_s=0 retries=0 position=-"
        );
    }
}
