//! Views: created when the tables are there, each after those that it reads.
use crate::data::ObjectKind;
use crate::error::Result;
use crate::stop::StopToken;
use crate::structure::object::{ObjectMaker, Planned};

/// Creates views in the order that works.
///
/// What a view reads may be renamed, lie in another database or be hidden behind a function, so the order is found by
/// trying: who lacks something waits for the next round. A round without success ends it; what is left cannot be created.
///
/// Returns how many were created.
pub(super) fn create(maker: &mut ObjectMaker<'_>, views: Vec<Planned>, stop: &StopToken) -> Result<usize> {
    debug_assert!(views.iter().all(|view| view.definition.kind == ObjectKind::View), "only views");
    let mut waiting = views;
    let mut created = 0;
    loop {
        let count = waiting.len();
        let mut lacking = Vec::new();
        let mut answers = Vec::new();
        for view in waiting {
            stop.check()?;
            match maker.create(&view, None)? {
                None => created += 1,
                Some(answer) if lacks_something(answer.code) => {
                    lacking.push(view);
                    answers.push(answer);
                }
                Some(answer) => maker.refuse(&view, &answer),
            }
        }
        if lacking.is_empty() || lacking.len() == count {
            for (view, answer) in lacking.iter().zip(&answers) {
                maker.refuse(view, answer);
            }
            return Ok(created);
        }
        waiting = lacking;
    }
}

/// ER_NO_SUCH_TABLE, ER_VIEW_INVALID, ER_BAD_FIELD_ERROR and ER_SP_DOES_NOT_EXIST may mend themselves when other objects
/// are there.
fn lacks_something(code: u16) -> bool {
    matches!(code, 1146 | 1356 | 1054 | 1305)
}
