//! How much of a text was said before in it: models that got stuck say the same again and again.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How much of a text is looked at, in bytes.
const LOOKED_AT: usize = 64 << 10;

/// What is compared: so many words in a row, or characters where a text has hardly any blanks.
const WORDS: usize = 5;
const CHARACTERS: usize = 12;

/// The least number of such rows: of fewer, a share says nothing.
const LEAST: usize = 50;

/// The share of its rows of words that stood before them too; `None` for a short text.
pub(super) fn share(text: &str) -> Option<f64> {
    let end = (0..=LOOKED_AT.min(text.len())).rev().find(|end| text.is_char_boundary(*end))?;
    let text = &text[..end];
    let words: Vec<&str> = text.split_whitespace().collect();
    let characters = text.chars().count();
    if words.len() * CHARACTERS * 2 < characters {
        let characters: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        return of(&characters, CHARACTERS);
    }
    of(&words, WORDS)
}

fn of<T: Hash>(parts: &[T], together: usize) -> Option<f64> {
    let count = parts.windows(together).len();
    if count < LEAST {
        return None;
    }
    let mut seen = HashSet::with_capacity(count);
    let again = parts.windows(together).filter(|row| !seen.insert(hash(row))).count();
    Some(again as f64 / count as f64)
}

fn hash<T: Hash>(row: &[T]) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_goes_round_in_circles_is_told_from_one_that_goes_on() {
        let plain: String = (0..200).map(|number| format!("word{number} ")).collect();
        assert_eq!(share(&plain), Some(0.0));
        let stuck = "I will now look at the file. ".repeat(60);
        assert!(share(&stuck).unwrap() > 0.9, "{:?}", share(&stuck));
        let late = format!("{plain}{}", "and so on ".repeat(100));
        assert!((0.5..0.7).contains(&share(&late).unwrap()), "{:?}", share(&late));
        let dense: String = ('\u{4e00}'..'\u{5000}').collect();
        assert_eq!(share(&dense), Some(0.0));
        assert!(share(&"北方的天气".repeat(100)).unwrap() > 0.9);
        assert_eq!(share("short"), None);
        assert!(share(&"é".repeat(LOOKED_AT)).is_some());
    }
}
