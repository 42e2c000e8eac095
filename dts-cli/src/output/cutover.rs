//! What a cut-over saw, for people.
use dts_core::cutover::CutoverStep;

use super::json::CutoverDocument;

/// Returns a step as soon as it is done.
pub(crate) fn step(step: &CutoverStep) -> String {
    let mut lines = step.saw.iter();
    let first = lines.next().map(String::as_str).unwrap_or_default();
    let mut text = format!("{:<13} {:>8.3} s  {first}", step.name.name(), step.took.as_secs_f64());
    for line in lines {
        text.push_str(&format!("\n{:<26}{line}", ""));
    }
    text
}

/// Returns how it ended and what is next.
pub(crate) fn done(document: &CutoverDocument) -> String {
    let task = &document.task;
    let (opened, closed) = if document.back { ("source", "target") } else { ("target", "source") };
    if document.dry_run {
        let gate = if document.back { "" } else { " --gate GATE" };
        let command = if document.back { "rollback" } else { "cutover" };
        return format!("{task}: nothing was changed. Next: dts {command} {task}{gate}");
    }
    let mut text = format!("{task}: the {opened} is open");
    match document.write_stop_seconds {
        Some(seconds) => text.push_str(&format!("; writes stopped for {seconds:.3} s")),
        None => text.push_str(&format!("; an earlier call had closed the {closed}")),
    }
    let mut line = |name: &str, value: &str| text.push_str(&format!("\n  {name:<16} {value}"));
    line("source position", document.source_position.as_deref().unwrap_or("-"));
    line("target position", document.target_position.as_deref().unwrap_or("-"));
    for rewrite in &document.rewrites {
        line("rewritten", rewrite);
    }
    text.push_str(&match (document.back, document.reverse) {
        (true, _) => format!(
            "\nnext: start the application against the source; the target stays closed and follows it again as long as the task runs \
             (one that rests goes on with: dts resume {task})"
        ),
        (false, true) => format!(
            "\nnext: start the application against the target; the source stays closed and follows it as long as the task runs. \
             To come back: dts rollback {task}; to stay: dts complete {task}"
        ),
        (false, false) => "\nnext: start the application against the target; the source stays closed".to_owned(),
    });
    text
}

#[cfg(test)]
mod tests {
    use dts_core::cutover::CutoverReport;

    use super::*;
    use crate::args::assert_can_be_typed;

    #[test]
    fn what_is_next_can_be_typed() {
        for (back, reverse, dry_run) in [
            (false, false, false),
            (false, true, false),
            (true, false, false),
            (false, true, true),
            (true, false, true),
        ] {
            let mut report = CutoverReport::default();
            (report.reverse, report.dry_run) = (reverse, dry_run);
            let text = done(&CutoverDocument::new("shop", back, &report));
            assert!(text.contains("dts ") || (!back && !reverse && !dry_run), "{text}");
            assert_can_be_typed(&text);
        }
    }
}
