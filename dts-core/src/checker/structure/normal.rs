//! Definitions as servers of different versions print them, written in one way.
use crate::sql::{Dialect, LexemeKind, lexemes};

/// Types whose display width newer servers leave out.
const WIDTHS: [&str; 7] = ["tinyint", "smallint", "mediumint", "int", "bigint", "year", "integer"];

/// A word of a text, and what it is.
struct Word {
    kind: LexemeKind,
    text: String,
}

/// Splits a text into words: keywords in lower case, display widths left out except where ZEROFILL shows them, the
/// three-byte UTF-8 under one name, and without the rules of a foreign key that do nothing. `None` when it cannot be split.
fn words(text: &str, dialect: Dialect) -> Option<Vec<Word>> {
    let pieces = lexemes(text, dialect)?;
    let is_zerofill = pieces.iter().any(|piece| piece.text.eq_ignore_ascii_case("zerofill"));
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(piece) = pieces.get(at) {
        at += 1;
        let mut text = piece.text.to_owned();
        let rest = &pieces[at..];
        let next = |ahead: usize| rest.get(ahead).map_or("", |piece| piece.text);
        if piece.kind == LexemeKind::Word {
            text = one_name(&text.to_ascii_lowercase());
            if WIDTHS.contains(&text.as_str()) && !is_zerofill && next(0) == "(" && next(2) == ")" {
                at += 3;
            }
            // ON DELETE NO ACTION, ON UPDATE RESTRICT: InnoDB does the same without.
            let rule = next(0).to_ascii_lowercase();
            if text == "on" && (rule == "delete" || rule == "update") {
                let (first, second) = (next(1).to_ascii_lowercase(), next(2).to_ascii_lowercase());
                if first == "restrict" {
                    at += 2;
                    continue;
                }
                if first == "no" && second == "action" {
                    at += 3;
                    continue;
                }
            }
        }
        words.push(Word { kind: piece.kind, text });
    }
    Some(words)
}

fn join(words: impl IntoIterator<Item = Word>) -> String {
    words.into_iter().map(|word| word.text).collect::<Vec<_>>().join(" ")
}

/// Writes a part of a table's definition in one way. `None` when the text cannot be split.
pub(super) fn definition(text: &str) -> Option<String> {
    words(text, Dialect::default()).map(join)
}

/// As [`definition`], for a column: its character set is said by the server elsewhere, and left out here.
pub(super) fn column(text: &str) -> Option<String> {
    words(text, Dialect::default()).map(|words| join(without_charsets(words)))
}

fn without_charsets(words: Vec<Word>) -> Vec<Word> {
    let mut kept: Vec<Word> = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let is_word = word.kind == LexemeKind::Word;
        match word.text.as_str() {
            "charset" | "collate" if is_word => {
                words.next();
            }
            "character" if is_word && words.peek().is_some_and(|next| next.text == "set") => {
                words.nth(1);
            }
            _ => kept.push(word),
        }
    }
    kept
}

/// Writes the three-byte UTF-8 in one way.
fn one_name(word: &str) -> String {
    match word {
        "utf8" => "utf8mb3".to_owned(),
        "_utf8" => "_utf8mb3".to_owned(),
        other => match other.strip_prefix("utf8_") {
            Some(rest) => format!("utf8mb3_{rest}"),
            None => other.to_owned(),
        },
    }
}

/// Writes a stored object's statement in one way: beside what [`definition`] does without the definer and the security that
/// may change with it, without character sets (newer servers write them out for parameters), without the quotes of names
/// and without the name of the object's own database. `is_view`: as each version prints what it understood, without
/// parentheses and AS.
pub(super) fn statement(text: &str, dialect: Dialect, database: &str, is_view: bool) -> Option<String> {
    let words = without_charsets(words(text, dialect)?);
    let mut kept: Vec<Word> = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(mut word) = words.next() {
        let next_is = |words: &mut std::iter::Peekable<std::vec::IntoIter<Word>>, text: &str| {
            words.peek().is_some_and(|next| next.text == text)
        };
        if word.kind == LexemeKind::QuotedName {
            word.text = unquoted(&word.text);
        }
        if word.kind != LexemeKind::Text {
            word.text = word.text.to_lowercase();
        }
        match (word.kind, word.text.as_str()) {
            (LexemeKind::Word, "definer") if next_is(&mut words, "=") => {
                // = `user` @ `host`, or = current_user ( )
                words.nth(3);
            }
            (LexemeKind::Word, "sql") if next_is(&mut words, "security") => {
                words.nth(1);
            }
            (LexemeKind::Word, "as") | (LexemeKind::Punctuation, "(" | ")") if is_view => {}
            (LexemeKind::Word | LexemeKind::QuotedName, name)
                if name == database.to_lowercase() && next_is(&mut words, ".") =>
            {
                words.next();
            }
            _ => kept.push(word),
        }
    }
    while kept.last().is_some_and(|word| word.text == ";") {
        kept.pop();
    }
    Some(join(kept))
}

/// Takes the quotes off a name; a doubled quote inside stays doubled on both sides alike.
fn unquoted(name: &str) -> String {
    let inner = name.get(1..name.len().saturating_sub(1)).unwrap_or_default();
    inner.replace("``", "`").replace("\"\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_print_one_column_in_two_ways() {
        let one = |text: &str| definition(text).unwrap();
        assert_eq!(one("`a` int(11) NOT NULL DEFAULT '0'"), one("`a` INT NOT NULL DEFAULT '0'"));
        assert_ne!(one("`a` int(5) unsigned zerofill"), one("`a` int unsigned zerofill"));
        assert_ne!(one("`a` varchar(5)"), one("`a` varchar(6)"));
        assert_ne!(one("`a` decimal(5,2)"), one("`a` decimal(5,3)"));
        assert_ne!(one("`a` char(1) DEFAULT 'x'"), one("`a` char(1) DEFAULT 'X'"));
        assert_eq!(
            one("`a` char(1) CHARACTER SET utf8 COLLATE utf8_bin"),
            one("`a` char(1) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin")
        );
        let key = "CONSTRAINT `c` FOREIGN KEY (`a`) REFERENCES `p` (`id`)";
        assert_eq!(one(&format!("{key} ON DELETE NO ACTION ON UPDATE RESTRICT")), one(key));
        assert_ne!(one(&format!("{key} ON DELETE CASCADE")), one(key));
    }

    #[test]
    fn the_definer_does_not_matter_and_the_body_does() {
        let one = |text: &str| statement(text, Dialect::default(), "d", false).unwrap();
        assert_eq!(
            one("CREATE DEFINER=`a`@`%` PROCEDURE `p`(x INT(11)) BEGIN SELECT 1; END"),
            one("CREATE DEFINER=`b`@`h` PROCEDURE `p`(x INT) SQL SECURITY INVOKER BEGIN SELECT 1; END")
        );
        assert_eq!(
            one("CREATE TRIGGER d.x BEFORE INSERT ON `d`.`T` FOR EACH ROW SET NEW.a = 'D';"),
            one("CREATE TRIGGER `x` BEFORE INSERT ON T FOR EACH ROW SET new.a = 'D'")
        );
        assert_ne!(
            one("CREATE PROCEDURE `p`() BEGIN SELECT 1; END"),
            one("CREATE PROCEDURE `p`() BEGIN SELECT 2; END")
        );
    }
}
