//! Words without their endings, so that `questions` and `question` are one. Knows no lexicon: English rules alone.

/// The word without the commonest endings of English.
pub(crate) fn stem(word: &str) -> String {
    let is_short = word.len() <= 3;
    let cut = |ending: &str, least: usize| word.strip_suffix(ending).filter(|rest| rest.len() >= least);
    if is_short || !word.is_ascii() {
        return word.to_owned();
    }
    let stem = if let Some(rest) = cut("ies", 2) {
        format!("{rest}y")
    } else if let Some(rest) = cut("sses", 2) {
        format!("{rest}ss")
    } else if let Some(rest) = cut("ing", 3).or(cut("ed", 3)) {
        undoubled(rest)
    } else if let Some(rest) = cut("es", 3).filter(|rest| rest.ends_with(['x', 'h', 'z'])) {
        rest.to_owned()
    } else if let Some(rest) = cut("s", 3).filter(|rest| !rest.ends_with(['s', 'u', 'i'])) {
        rest.to_owned()
    } else if let Some(rest) = cut("ly", 4) {
        rest.to_owned()
    } else {
        word.to_owned()
    };
    stem.strip_suffix('e').filter(|rest| rest.len() >= 3).map_or(stem.clone(), ToOwned::to_owned)
}

fn undoubled(rest: &str) -> String {
    let mut last = rest.chars().rev();
    let is_double = last.next() == last.next() && !rest.ends_with(['l', 's', 'z']);
    if is_double { rest[..rest.len() - 1].to_owned() } else { rest.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for (form, word) in [
            ("questions", "question"),
            ("stopped", "stop"),
            ("making", "make"),
            ("cities", "city"),
            ("classes", "class"),
            ("boxes", "box"),
        ] {
            assert_eq!(stem(form), stem(word), "{form}");
        }
        assert_ne!(stem("bus"), stem("bu"));
    }
}
