//! Changes the text of views, stored programs, triggers and events, as `SHOW CREATE` prints it.
//!
//! Only the head of a statement is touched; the body stays as somebody wrote it.
use crate::sql::quote;
use crate::sql::token::{Dialect, Edits, TokenKind, Tokens};

/// Flags of `sql_mode` that MySQL 8.0 removed. They are only ever printed beside the flags that they stand for, or did not
/// matter to a stored object's meaning, so they can go.
pub(crate) const REMOVED_SQL_MODES: [&str; 12] = [
    "DB2",
    "MAXDB",
    "MSSQL",
    "MYSQL323",
    "MYSQL40",
    "NO_AUTO_CREATE_USER",
    "NO_FIELD_OPTIONS",
    "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
    "ORACLE",
    "POSTGRESQL",
    "NOT_USED",
];

/// Returns a `sql_mode` without the flags that MySQL 8.0 and later refuse, and these flags.
///
/// `ANSI` stands for `ONLY_FULL_GROUP_BY` too since 5.7; where it came from 5.6, only the flags that it stood for there are
/// left. They are always printed beside it.
///
/// ```
/// use dts_core::sql::stored::without_removed_modes;
///
/// let (kept, removed) = without_removed_modes("PIPES_AS_CONCAT,ANSI_QUOTES,ORACLE,NO_AUTO_CREATE_USER");
/// assert_eq!((kept.as_str(), removed), ("PIPES_AS_CONCAT,ANSI_QUOTES", vec!["ORACLE", "NO_AUTO_CREATE_USER"]));
/// ```
pub fn without_removed_modes(sql_mode: &str) -> (String, Vec<&str>) {
    let is_old_ansi = !sql_mode.split(',').any(|flag| flag == "ONLY_FULL_GROUP_BY");
    let (removed, kept): (Vec<&str>, Vec<&str>) = sql_mode
        .split(',')
        .filter(|flag| !flag.is_empty())
        .filter(|flag| *flag != "ANSI" || !is_old_ansi)
        .partition(|flag| REMOVED_SQL_MODES.iter().any(|removed| removed.eq_ignore_ascii_case(flag)));
    (kept.join(","), removed)
}

/// Returns how a text is split that was written under this `sql_mode`.
pub fn dialect_of(sql_mode: &str) -> Dialect {
    let has = |wanted: &str| sql_mode.split(',').any(|flag| flag.eq_ignore_ascii_case(wanted));
    Dialect { ansi_quotes: has("ANSI_QUOTES"), no_backslash_escapes: has("NO_BACKSLASH_ESCAPES") }
}

/// Makes the account that runs the statement the definer. A view's `SQL SECURITY DEFINER` becomes `INVOKER`; for procedures
/// and functions that is a statement of its own (`ALTER PROCEDURE … SQL SECURITY INVOKER`), because it is not in their text.
///
/// `None` when the text names no definer.
pub fn with_current_user(statement: &str, dialect: Dialect) -> Option<String> {
    let tokens = Tokens::new(statement, dialect)?;
    let mut edits = Edits::default();
    let at =
        (0..tokens.len()).find(|at| tokens.is(*at, "DEFINER") && tokens.is_punctuation(*at + 1, b'='))?;
    let mut end = at + 3;
    if tokens.is_punctuation(end, b'@') {
        end += 2;
    }
    edits.replace(tokens.span(at + 2..end), "CURRENT_USER");
    // Behind the definer in the head of a view.
    if tokens.are(end, &["SQL", "SECURITY", "DEFINER"]) {
        edits.replace(tokens.span(end + 2..end + 3), "INVOKER");
    }
    Some(edits.apply(statement))
}

/// Writes the name and the comment into the head of a procedure, function or event; `keyword` is the one before the name.
///
/// `SHOW CREATE` prints these as if they were in the character set that the text was written in, while the server keeps
/// them in UTF-8: where that is another character set they come out as other characters (seen on 5.6 and 9.7).
pub fn with_name_and_comment(
    statement: &str,
    dialect: Dialect,
    keyword: &str,
    name: &str,
    comment: &str,
) -> Option<String> {
    let tokens = Tokens::new(statement, dialect)?;
    let at = (0..tokens.len()).find(|at| tokens.is(*at, keyword))? + 1;
    let mut edits = Edits::default();
    edits.replace(tokens.span(at..at + 1), quote::identifier(name));
    if !comment.is_empty() {
        // A program with a comment has it before its body, and nothing before it looks alike.
        let at = (at..tokens.len()).find(|at| tokens.is(*at, "COMMENT") && tokens.is_text(*at + 1))? + 1;
        let literal = if dialect.no_backslash_escapes {
            format!("'{}'", comment.replace('\'', "''"))
        } else {
            quote::string_literal(comment)
        };
        edits.replace(tokens.span(at..at + 1), literal);
    }
    Some(edits.apply(statement))
}

/// Returns the text of an event with the status `DISABLE`, whatever it was.
///
/// `None` when the text names no status.
pub fn with_event_disabled(statement: &str, dialect: Dialect) -> Option<String> {
    let tokens = Tokens::new(statement, dialect)?;
    let body = (0..tokens.len()).find(|at| tokens.is(*at, "DO"))?;
    let at = (0..body).find(|at| {
        let is_word = tokens.get(*at).is_some_and(|token| token.kind == TokenKind::Word);
        is_word && tokens.is_any(*at, &["ENABLE", "DISABLE"])
    })?;
    let end = if tokens.is(at + 1, "ON") { at + 3 } else { at + 1 };
    let mut edits = Edits::default();
    edits.replace(tokens.span(at..end), "DISABLE");
    Some(edits.apply(statement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definer_becomes_the_current_account() {
        let default = Dialect::default();
        for (from, to) in [
            (
                "CREATE ALGORITHM=MERGE DEFINER=`a``b`@`10.%` SQL SECURITY DEFINER VIEW `d`.`v` AS select 'DEFINER=x' AS `c`",
                "CREATE ALGORITHM=MERGE DEFINER=CURRENT_USER SQL SECURITY INVOKER VIEW `d`.`v` AS select 'DEFINER=x' AS `c`",
            ),
            (
                "CREATE DEFINER=`r`@`%` PROCEDURE `p`() SELECT 1",
                "CREATE DEFINER=CURRENT_USER PROCEDURE `p`() SELECT 1",
            ),
            ("CREATE DEFINER=`role` EVENT e DO SELECT 1", "CREATE DEFINER=CURRENT_USER EVENT e DO SELECT 1"),
        ] {
            assert_eq!(with_current_user(from, default).as_deref(), Some(to));
        }
        assert_eq!(with_current_user("CREATE PROCEDURE p() SELECT 1", default), None);
        let ansi = dialect_of("REAL_AS_FLOAT,ANSI_QUOTES");
        assert_eq!(
            with_current_user("CREATE DEFINER=\"a\"@\"b\" PROCEDURE \"p\"() SELECT 1", ansi).as_deref(),
            Some("CREATE DEFINER=CURRENT_USER PROCEDURE \"p\"() SELECT 1")
        );
    }

    #[test]
    fn the_head_gets_its_name_and_comment() {
        let shown =
            "CREATE DEFINER=`PROCEDURE`@`%` PROCEDURE `cafÃ©`(a INT)\n    COMMENT 'Ã©'\nSELECT 1 COMMENT";
        let wanted = |literal: &str| {
            format!(
                "CREATE DEFINER=`PROCEDURE`@`%` PROCEDURE `café`(a INT)\n    COMMENT {literal}\nSELECT 1 COMMENT"
            )
        };
        for (mode, literal) in [("", r"'\\ it\'s é'"), ("NO_BACKSLASH_ESCAPES", r"'\ it''s é'")] {
            assert_eq!(
                with_name_and_comment(shown, dialect_of(mode), "PROCEDURE", "café", "\\ it's é").unwrap(),
                wanted(literal)
            );
        }
    }

    #[test]
    fn ansi_of_5_6_gets_no_new_flag() {
        for (from, to) in [
            ("PIPES_AS_CONCAT,ANSI_QUOTES,ANSI", "PIPES_AS_CONCAT,ANSI_QUOTES"),
            ("ANSI_QUOTES,ONLY_FULL_GROUP_BY,ANSI", "ANSI_QUOTES,ONLY_FULL_GROUP_BY,ANSI"),
            ("", ""),
        ] {
            assert_eq!(without_removed_modes(from), (to.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn events_are_disabled_in_their_head_only() {
        for status in ["ENABLE", "DISABLE", "DISABLE ON SLAVE", "DISABLE ON REPLICA"] {
            let text = |status: &str| {
                format!(
                    "CREATE DEFINER=`r`@`%` EVENT `enable` ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01 00:00:00' ON COMPLETION \
                     NOT PRESERVE {status} COMMENT 'ENABLE' DO ALTER EVENT x ENABLE"
                )
            };
            assert_eq!(with_event_disabled(&text(status), Dialect::default()).unwrap(), text("DISABLE"));
        }
    }
}
