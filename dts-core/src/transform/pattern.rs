//! Names and name patterns as a task file writes them: `shop`, `crm_*`, `` `my.db`.orders ``.

/// Splits at the dots outside backticks; `None` when a backtick is not closed or a part is empty.
pub(super) fn split_name(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    for character in text.trim().chars() {
        match character {
            '.' if !is_quoted => parts.push(String::new()),
            _ => {
                is_quoted ^= character == '`';
                parts.last_mut()?.push(character);
            }
        }
    }
    (!is_quoted && parts.iter().all(|part| !part.is_empty() && part != "``")).then_some(parts)
}

/// A pattern for one name, with `*` for any characters and `?` for one. In backticks everything stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    One(char),
    AnyOne,
    AnyMany,
}

impl Pattern {
    /// Reads one part of what [`split_name`] returned.
    pub(super) fn parse(part: &str) -> Self {
        let mut tokens = Vec::new();
        let mut characters = part.chars().peekable();
        let mut is_quoted = false;
        while let Some(character) = characters.next() {
            match character {
                // A doubled backtick inside backticks is one backtick.
                '`' if is_quoted && characters.next_if_eq(&'`').is_some() => tokens.push(Token::One('`')),
                '`' => is_quoted = !is_quoted,
                '*' if !is_quoted => tokens.push(Token::AnyMany),
                '?' if !is_quoted => tokens.push(Token::AnyOne),
                other => tokens.push(Token::One(other)),
            }
        }
        Pattern { tokens }
    }

    /// Returns the name, when the pattern has no wildcard.
    pub(super) fn as_name(&self) -> Option<String> {
        self.tokens
            .iter()
            .map(|token| match token {
                Token::One(character) => Some(*character),
                Token::AnyOne | Token::AnyMany => None,
            })
            .collect()
    }

    /// Returns whether the pattern is `*` alone.
    pub(super) fn is_everything(&self) -> bool {
        !self.tokens.is_empty() && self.tokens.iter().all(|token| *token == Token::AnyMany)
    }

    /// Makes the pattern fit names that were changed by [`lower`].
    pub(super) fn lower(&mut self) {
        for token in &mut self.tokens {
            if let Token::One(character) = token {
                *character = lower_character(*character);
            }
        }
    }

    /// Returns whether the whole name fits.
    pub(super) fn matches(&self, name: &str) -> bool {
        // Greedy with one place to return to: after a failure the last `*` takes one character more.
        let mut rest = name.chars();
        let mut token = 0;
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let mut ahead = rest.clone();
            let next = ahead.next();
            match (self.tokens.get(token), next) {
                (None, None) => return true,
                (Some(Token::AnyMany), _) => {
                    token += 1;
                    retry = Some((token, rest.clone()));
                }
                (Some(Token::AnyOne), Some(_)) => {
                    token += 1;
                    rest = ahead;
                }
                (Some(Token::One(wanted)), Some(found)) if *wanted == found => {
                    token += 1;
                    rest = ahead;
                }
                _ => {
                    let Some((after, from)) = &mut retry else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    token = *after;
                    rest = from.clone();
                }
            }
        }
    }
}

/// Returns the name in lower case, character by character, as servers fold names.
pub(super) fn lower(name: &str) -> String {
    name.chars().map(lower_character).collect()
}

/// The server's folding keeps the number of characters, unlike Unicode's full mapping.
fn lower_character(character: char) -> char {
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_split_outside_backticks() {
        assert_eq!(split_name("shop.orders").unwrap(), ["shop", "orders"]);
        assert_eq!(split_name("`my.db`.t").unwrap(), ["`my.db`", "t"]);
        assert_eq!(split_name("`a``.b`").unwrap(), ["`a``.b`"]);
        for wrong in ["", ".", "a.", ".b", "`a", "``.b"] {
            assert_eq!(split_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wildcards_match_and_backticks_stop_them() {
        let matches = |pattern: &str, name: &str| Pattern::parse(pattern).matches(name);
        assert!(matches("crm_*", "crm_") && matches("crm_*", "crm_eu") && !matches("crm_*", "crm"));
        assert!(matches("t?", "t订") && !matches("t?", "t") && !matches("t?", "t12"));
        assert!(matches("*a*b", "xaxbb") && !matches("*a*b", "ba"));
        assert!(matches("`a*`", "a*") && !matches("`a*`", "ab"));
        assert!(matches("`a``b`*", "a`bc"));
    }

    /// The definition, without cleverness.
    fn naive(tokens: &[Token], name: &[char]) -> bool {
        match tokens {
            [] => name.is_empty(),
            [Token::AnyMany, rest @ ..] => (0..=name.len()).any(|taken| naive(rest, &name[taken..])),
            [Token::AnyOne, rest @ ..] => !name.is_empty() && naive(rest, &name[1..]),
            [Token::One(wanted), rest @ ..] => name.first() == Some(wanted) && naive(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*?]{1,8}", name in "[ab]{0,10}") {
            let pattern = Pattern::parse(&pattern);
            let characters: Vec<char> = name.chars().collect();
            prop_assert_eq!(pattern.matches(&name), naive(&pattern.tokens, &characters));
        }
    }
}
