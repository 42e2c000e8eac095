//! What views and stored programs say in words that the target reads in another way, or not at all.
use super::words::{first_removal, functions_removed_between};
use super::{GROUP, Scan};
use crate::error::Side;
use crate::server::ServerVersion;
use crate::sql::stored::REMOVED_SQL_MODES;
use crate::sql::{Dialect, Lexeme, LexemeKind, lexemes};
use crate::stop::StopToken;
use crate::validator::definitions::{Program, functions_called};
use crate::validator::finding::Verdict;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check::warns(
        GROUP,
        "upgrade.removed_functions",
        removed_functions,
        "No view, stored program or generated column calls a function that the target no longer has (5.7: OLD_PASSWORD; 8.0: ENCODE, \
         DECODE, ENCRYPT, DES_ENCRYPT, DES_DECRYPT, PASSWORD, JSON_APPEND and the spatial names without ST_; 8.3: \
         WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS; 9.6: MD5, SHA, SHA1). Warns otherwise: stored programs are mostly created and fail when \
         they are used; views and generated columns are refused, which upgrade.views and upgrade.tables tell. Warns too when a text is \
         hidden.",
    ),
    Check::warns(
        GROUP,
        "upgrade.group_by_asc",
        group_by_asc,
        "No view or stored program has GROUP BY … ASC or DESC, gone since 8.0.13. Warns otherwise, and when a text is hidden.",
    ),
    Check::warns(
        GROUP,
        "upgrade.sql_mode_flags",
        sql_mode_flags,
        "No stored program was created under a sql_mode flag that 8.0.11 removed (NO_AUTO_CREATE_USER, ORACLE, …). Warns \
         otherwise: the flag is left out. MAXDB also makes every TIMESTAMP a DATETIME.",
    ),
    Check::warns(
        GROUP,
        "upgrade.empty_dot_table_syntax",
        empty_dot_table_syntax,
        "No stored program names a table as `.table`, gone since 8.0. Warns otherwise, and when a text is hidden; upgrade.syntax tells \
         whether the target takes it.",
    ),
    Check::warns(
        GROUP,
        "upgrade.dollar_sign_name",
        dollar_sign_name,
        "No view or stored program has an unquoted name that begins with $ when the target is 8.0.31 or later. Warns otherwise, and \
         when a text is hidden.",
    ),
];

fn removed_functions(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let gone = functions_removed_between(source, target);
    let ServerVersion(major, minor, patch) = first_removal(source, target);
    let scan = Scan::new((major, minor, patch), "no function that the target lacks")
        .of_texts()
        .trouble(
            "the target refuses views, generated columns and whatever calls PASSWORD (upgrade.views, upgrade.tables, upgrade.syntax tell); \
             it takes other stored programs, and they fail when they are used (1305)",
            "Rewrite them on the source: AES_ENCRYPT for ENCODE, ENCRYPT and DES_…, SHA2() for MD5, SHA1 and PASSWORD, ST_… for \
             spatial functions.",
        );
    scan.run(survey, || {
        let definitions = survey.definitions()?;
        let mut found = Vec::new();
        for program in &definitions.programs {
            let called = functions_called(&program.lexemes(), &gone);
            if !called.is_empty() {
                found.push(format!("{program}: {}", called.join(", ")));
            }
        }
        for column in definitions.columns.iter().filter(|column| !column.expression.is_empty()) {
            let pieces = lexemes(&column.expression, Dialect::default()).unwrap_or_default();
            let called = functions_called(&pieces, &gone);
            if !called.is_empty() {
                found.push(format!("column {}.{}: {}", column.table, column.column, called.join(", ")));
            }
        }
        Ok(found)
    })
}

/// `GROUP BY a DESC`: ASC or DESC before what can follow the list, at the same depth of brackets.
fn has_group_by_order(program: &Program) -> bool {
    const ENDS: [&str; 9] = ["HAVING", "ORDER", "LIMIT", "UNION", "INTO", "FOR", "END", "PROCEDURE", "WITH"];
    let pieces = program.lexemes();
    let is = |at: usize, word: &str| {
        pieces.get(at).is_some_and(|piece: &Lexeme<'_>| {
            piece.kind == LexemeKind::Word && piece.text.eq_ignore_ascii_case(word)
        })
    };
    (0..pieces.len()).filter(|at| is(*at, "GROUP") && is(at + 1, "BY")).any(|start| {
        let mut depth = 0_i32;
        for (at, piece) in pieces.iter().enumerate().skip(start + 2) {
            match piece.text {
                "(" => depth += 1,
                ")" => depth -= 1,
                ";" => return false,
                _ if depth == 0 && ENDS.iter().any(|word| is(at, word)) => return false,
                _ if depth == 0 && (is(at, "ASC") || is(at, "DESC")) => return true,
                _ => {}
            }
            if depth < 0 {
                return false;
            }
        }
        false
    })
}

fn group_by_asc(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 13), "no GROUP BY … ASC or DESC")
        .of_texts()
        .trouble(
            "the target's grammar does not have it; upgrade.views and upgrade.syntax tell what it refuses",
            "Write GROUP BY … ORDER BY … instead, on the source.",
        )
        .run(survey, || programs_where(survey, has_group_by_order))
}

fn sql_mode_flags(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let has = |program: &Program| {
        program
            .sql_mode
            .split(',')
            .any(|flag| REMOVED_SQL_MODES.contains(&flag.to_ascii_uppercase().as_str()))
    };
    Scan::new((8, 0, 11), "no sql_mode flag that the target lacks")
        .trouble(
            "the flags are left out on the target; MAXDB, ORACLE and the like also change how the text is read",
            "Nothing must be done for NO_AUTO_CREATE_USER. For others create the programs anew on the source with SET SESSION \
             sql_mode = '…' of flags that both have.",
        )
        .run(survey, || programs_where(survey, has))
}

fn empty_dot_table_syntax(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    const BEFORE: [&str; 8] = ["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "SELECT", "DELETE", "REPLACE"];
    let has = |program: &Program| {
        program.lexemes().windows(2).any(|pair| {
            pair[1].text == "."
                && (pair[0].text == ","
                    || (pair[0].kind == LexemeKind::Word
                        && BEFORE.iter().any(|word| word.eq_ignore_ascii_case(pair[0].text))))
        })
    };
    Scan::new((8, 0, 0), "no `.table`")
        .of_texts()
        .trouble(
            "the target's grammar does not have it",
            "Leave the dot out, or write the database before it, on the source.",
        )
        .run(survey, || programs_where(survey, has))
}

fn dollar_sign_name(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let has = |program: &Program| {
        program.lexemes().iter().any(|piece| piece.kind == LexemeKind::Word && piece.text.starts_with('$'))
    };
    Scan::new((8, 0, 31), "no unquoted name that begins with $")
        .of_texts()
        .trouble(
            "such names are deprecated on the target and will be refused",
            "Put backticks around them on the source.",
        )
        .run(survey, || programs_where(survey, has))
}

fn programs_where(survey: &Survey, has: impl Fn(&Program) -> bool) -> Result<Vec<String>, Blocked> {
    Ok(survey
        .definitions()?
        .programs
        .iter()
        .filter(|program| has(program))
        .map(ToString::to_string)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ObjectKind, TableName};

    fn program(body: &str) -> Program {
        Program {
            kind: ObjectKind::Procedure,
            name: TableName::new("d", "p"),
            definer: String::new(),
            sql_mode: String::new(),
            body: body.to_owned(),
            trigger: None,
        }
    }

    #[test]
    fn group_by_with_an_order_of_its_own() {
        for (body, has) in [
            ("SELECT a FROM t GROUP BY a DESC", true),
            ("SELECT a FROM t GROUP BY a, (b) ASC HAVING a", true),
            ("SELECT a FROM t GROUP BY a ORDER BY a DESC", false),
            ("SELECT (SELECT 1 FROM t GROUP BY a) FROM u ORDER BY 1 DESC", false),
            ("BEGIN SELECT a FROM t GROUP BY a; SELECT b FROM t ORDER BY b DESC; END", false),
        ] {
            assert_eq!(has_group_by_order(&program(body)), has, "{body}");
        }
    }
}
