//! Whether two answers to what may be the same question say the same. Knows no question and no threshold.
//!
//! It errs on the safe side: two answers that it takes for different raise the threshold.

use crate::guard;
use crate::text::Wording;

/// The longest answers of which every word is compared: of longer ones, two that say the same differ in many.
const SHORT: usize = 60;

/// The least cosine of short answers that say the same, and of longer ones.
const LEAST: (f32, f32) = (0.7, 0.8);

/// Whether two answers are the same but for letter case, signs and white space: then they need no vectors.
pub fn is_same_text(a: &str, b: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let bare = text.to_lowercase().replace(|c: char| !c.is_alphanumeric() && !"+-%$€£.".contains(c), " ");
        bare.split_whitespace().map(|word| word.trim_matches('.').to_owned()).filter(|word| !word.is_empty()).collect()
    };
    words(a) == words(b)
}

/// Whether two answers whose vectors have this cosine say the same.
pub fn is_same_answer(a: &str, b: &str, cosine: f32) -> bool {
    if is_same_text(a, b) {
        return true;
    }
    let (a, b) = (Wording::read(a), Wording::read(b));
    if a.words.len().max(b.words.len()) > SHORT {
        return cosine >= LEAST.1;
    }
    cosine >= LEAST.0 && guard::find(&a, &b).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_answers_that_differ_in_one_fact_are_different() {
        for (a, b, cosine, is_same) in [
            ("Canberra.", "canberra", 0.0, true),
            ("It takes 5 days.", "It takes 6 days.", 0.97, false),
            ("Yes, it is allowed.", "No, it is not allowed.", 0.9, false),
            ("The capital is Vienna.", "The capital is Canberra.", 0.75, false),
            ("Open the settings and reset the password there.", "Reset the password in the settings.", 0.9, true),
            ("Open the settings and reset the password there.", "Bake it for an hour.", 0.1, false),
        ] {
            assert_eq!(is_same_answer(a, b, cosine), is_same, "{a} | {b}");
        }
        let long = "A long answer says many things. ".repeat(20);
        let other = format!("{long} It ends otherwise, with 7 more words.");
        assert!(is_same_answer(&long, &other, 0.95) && !is_same_answer(&long, &other, 0.7));
    }
}
