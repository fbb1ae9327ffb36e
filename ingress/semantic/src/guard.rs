//! What forbids to serve one question's answer for the other: one thing is changed on which the answer hangs. Knows words;
//! knows nothing of vectors.
//!
//! A guard errs on the safe side: what it forbids is asked anew, at the price of one call.

use crate::lexicon;
use crate::text::{WordKind, WordRead, Wording};
use std::collections::{BTreeMap, BTreeSet};

/// Why an answer must not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Veto {
    /// Another number.
    Number,
    /// One denies what the other does not.
    Negation,
    /// A word and its opposite.
    Opposite,
    /// Another name.
    Entity,
    /// From here to there, and from there to here.
    Direction,
    /// Another unit.
    Unit,
    /// Other code.
    Code,
    /// All the same but for one word, which says something else.
    OneWord,
}

impl Veto {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Negation => "negation",
            Self::Opposite => "opposite",
            Self::Entity => "entity",
            Self::Direction => "direction",
            Self::Unit => "unit",
            Self::Code => "code",
            Self::OneWord => "one_word",
        }
    }
}

/// Words behind which an argument stands, so that exchanging two of them exchanges what is asked.
const RELATIONS: [&str; 8] = ["from", "into", "than", "before", "after", "over", "under", "minus"];

/// What ends an argument too.
const ENDS: [&str; 3] = ["to", "by", "and"];

/// What stands between the items of a list.
const LISTING: [&str; 8] = ["and", "or", "vs", "versus", "a", "an", "the", "being"];

/// The most words of an argument.
const ARGUMENT: usize = 3;

/// What forbids, if anything does.
pub(crate) fn find(a: &Wording, b: &Wording) -> Option<Veto> {
    let (code_a, code_b) = (code(a), code(b));
    if !code_a.is_subset(&code_b) && !code_b.is_subset(&code_a) {
        return Some(Veto::Code);
    }
    if is_another_number(a, b) {
        return Some(Veto::Number);
    }
    let (only_a, only_b) = (a.lacking(b), b.lacking(a));
    if is_negated(a, b, (&only_a, &only_b)) {
        return Some(Veto::Negation);
    }
    let mut pairs = only_a.iter().flat_map(|a| only_b.iter().map(move |b| (*a, *b)));
    if pairs.any(|(a, b)| lexicon::are_opposites(&a.text, &b.text) || lexicon::are_opposites(&a.stem, &b.stem))
        || are_opposed(a, b)
    {
        return Some(Veto::Opposite);
    }
    let is_unit = |word: &&WordRead| lexicon::is_unit(&word.text) || lexicon::is_unit(&word.stem);
    if only_a.iter().any(is_unit) && only_b.iter().any(is_unit) {
        return Some(Veto::Unit);
    }
    if is_another_name(a, b, &only_a, &only_b) {
        return Some(Veto::Entity);
    }
    if is_exchanged(a, b) || is_reversed(a, b) || is_reversed(b, a) {
        return Some(Veto::Direction);
    }
    (is_one_word(a, b, &only_a, &only_b)).then_some(Veto::OneWord)
}

/// What is code in it, in lower case and without what is no letter or digit at its ends; signs alone are none.
fn code(question: &Wording) -> BTreeSet<String> {
    let bare = |word: &WordRead| {
        let is_sign = |c: char| !c.is_alphanumeric() && !"+#".contains(c);
        word.text.trim_matches(is_sign).to_lowercase()
    };
    question.of(WordKind::Code).map(bare).filter(|code| !code.is_empty()).collect()
}

/// Whether a denial is all that one has besides the other. Where both say it in words of their own, `how do I stop` and
/// `how do I not`, it is for the verifier to judge.
fn is_negated(a: &Wording, b: &Wording, (only_a, only_b): (&[&WordRead], &[&WordRead])) -> bool {
    let says = |words: &[&WordRead]| words.iter().any(|word| !lexicon::is_negation(&word.text));
    match (a.negations, b.negations) {
        (a, b) if a == b => false,
        (0, _) | (_, 0) => !says(only_a) || !says(only_b),
        _ => !says(only_a) && !says(only_b),
    }
}

/// Whether a number in one stands in the place of another in the other.
fn is_another_number(a: &Wording, b: &Wording) -> bool {
    has_number(a, b) && has_number(b, a)
}

/// Whether a number stands in the one more often than in the other.
fn has_number(one: &Wording, other: &Wording) -> bool {
    more(one, other).iter().any(|word| word.kind == WordKind::Number)
}

/// Whether a word that one has more often than the other is the opposite of one that the other has more often: fillers too,
/// `good` and `bad`, and also where both stand in both: `good or bad` and `bad or bad`.
fn are_opposed(a: &Wording, b: &Wording) -> bool {
    let (more_a, more_b) = (more(a, b), more(b, a));
    more_b.iter().any(|b| {
        more_a.iter().any(|a| lexicon::are_opposites(&a.text, &b.text) || lexicon::are_opposites(&a.stem, &b.stem))
    })
}

/// The words that stand in one more often than in the other.
fn more<'a>(one: &'a Wording, other: &Wording) -> Vec<&'a WordRead> {
    let often = |question: &Wording, stem: &str| question.words.iter().filter(|word| word.stem == stem).count();
    one.words.iter().filter(|word| often(one, &word.stem) > often(other, &word.stem)).collect()
}

/// A name on both sides, none of which is short for the other.
fn is_another_name(a: &Wording, b: &Wording, only_a: &[&WordRead], only_b: &[&WordRead]) -> bool {
    let is_name = |word: &&&WordRead| word.kind == WordKind::Name || lexicon::is_place(&word.text);
    let is_other = |word: &&&WordRead, question: &Wording| !is_short_for(&word.text, question);
    only_a.iter().filter(is_name).any(|word| is_other(&word, b))
        && only_b.iter().filter(is_name).any(|word| is_other(&word, a))
}

/// Whether a word is the beginning of one in the question, or begins with one, or is made of the first letters of several.
fn is_short_for(word: &str, question: &Wording) -> bool {
    let is_part = |other: &str| {
        let (short, long) = if word.len() < other.len() { (word, other) } else { (other, word) };
        short.len() >= 3 && long.starts_with(short)
    };
    let letters: String = question.words.iter().filter_map(|word| word.text.chars().next()).collect();
    (2..=5).contains(&word.len()) && letters.contains(word)
        || question.words.iter().any(|other| other.kind != WordKind::Filler && is_part(&other.text))
}

/// Whether two parts of a question have changed places around what stands between them, all else being the same: `why did A
/// leave B`; or all that says something, `how do I convert A to B`. What is only enumerated may stand in any order.
fn is_exchanged(a: &Wording, b: &Wording) -> bool {
    let all = |question: &Wording| -> Vec<WordRead> { question.words.clone() };
    let says = |word: &WordRead| {
        let text = word.text.as_str();
        word.kind != WordKind::Filler || RELATIONS.contains(&text) || ENDS.contains(&text)
    };
    let telling =
        |question: &Wording| -> Vec<WordRead> { question.words.iter().filter(|word| says(word)).cloned().collect() };
    let (told_a, told_b) = (telling(a), telling(b));
    are_exchanged(&all(a), &all(b)) || are_exchanged(&told_a, &told_b) || has_turned(&told_a, &told_b)
}

/// Whether two words stand around a relation in one, and around the same the other way in the other: `A to B`, however the rest
/// is said.
fn has_turned(a: &[WordRead], b: &[WordRead]) -> bool {
    let says = |word: &WordRead| word.kind != WordKind::Filler;
    let related = |words: &[WordRead]| says(&words[0]) && !says(&words[1]) && says(&words[2]);
    a.windows(3).filter(|a| related(a) && a[0].stem != a[2].stem).any(|a| {
        let is_turned = |b: &[WordRead]| a[0].stem == b[2].stem && a[1].stem == b[1].stem && a[2].stem == b[0].stem;
        !LISTING.contains(&a[1].text.as_str()) && b.windows(3).any(is_turned)
    })
}

fn are_exchanged(a: &[WordRead], b: &[WordRead]) -> bool {
    let is_same = |(a, b): &(&WordRead, &WordRead)| a.stem == b.stem;
    let before = a.iter().zip(b).take_while(is_same).count();
    if a.len() != b.len() || before == a.len() {
        return false;
    }
    let behind = a.iter().rev().zip(b.iter().rev()).take_while(is_same).count();
    let (a, b) = (&a[before..a.len() - behind], &b[before..b.len() - behind]);
    let says = |part: &[WordRead]| part.iter().any(|word| word.kind != WordKind::Filler);
    let is_told = |first: usize, last: usize| {
        let (one, rest) = a.split_at(first);
        let (middle, other) = rest.split_at(rest.len() - last);
        let is_list = middle.iter().all(|word| LISTING.contains(&word.text.as_str()));
        let turned = other.iter().chain(middle).chain(one);
        !is_list && says(one) && says(other) && turned.zip(b).all(|pair| is_same(&pair))
    };
    (1..=ARGUMENT).any(|first| (1..=ARGUMENT).any(|last| first + last < a.len() && is_told(first, last)))
}

/// Whether what stands behind a relation in one stands elsewhere in the other, and something else behind the relation.
fn is_reversed(a: &Wording, b: &Wording) -> bool {
    let (in_a, in_b) = (arguments(a), arguments(b));
    RELATIONS.iter().any(|relation| {
        let (Some(of_a), Some(of_b)) = (in_a.get(relation), in_b.get(relation)) else { return false };
        let is_apart = of_a.iter().all(|word| !of_b.contains(word));
        is_apart
            && !of_a.is_empty()
            && !of_b.is_empty()
            && of_a.iter().all(|word| b.stems.contains(*word))
            && of_b.iter().all(|word| a.stems.contains(*word))
    })
}

/// The stems behind each relation, as far as the next one.
fn arguments(question: &Wording) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut relation = None;
    for word in &question.words {
        if RELATIONS.contains(&word.text.as_str()) {
            relation = Some(word.text.as_str());
        } else if ENDS.contains(&word.text.as_str()) {
            relation = None;
        } else if word.kind != WordKind::Filler
            && let Some(relation) = relation
        {
            let argument = found.entry(relation).or_default();
            if argument.len() < ARGUMENT {
                argument.push(&word.stem);
            }
        }
    }
    found
}

/// Whether two words are forms of one: `economy` and `economic`.
fn is_same_root(a: &str, b: &str) -> bool {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    same >= 5 && same * 4 >= a.chars().count().max(b.chars().count()) * 3
}

/// Whether all words are the same, in the same order, but for one on each side that says something.
fn is_one_word(a: &Wording, b: &Wording, only_a: &[&WordRead], only_b: &[&WordRead]) -> bool {
    let is_one = only_a.len() == 1 && only_b.len() == 1 && !is_same_root(&only_a[0].stem, &only_b[0].stem);
    let others = |question: &Wording, only: &[&WordRead]| -> Vec<String> {
        question
            .words
            .iter()
            .filter(|word| !only.iter().any(|one| one.text == word.text))
            .map(|word| word.stem.clone())
            .collect()
    };
    is_one && others(a, only_a) == others(b, only_b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veto(a: &str, b: &str) -> Option<Veto> {
        find(&Wording::read(a), &Wording::read(b))
    }

    #[test]
    fn what_the_answer_hangs_on_is_forbidden_and_other_words_are_not() {
        for (a, b, expected) in [
            ("How do I convert Ruby to Go?", "How do I convert Go to Ruby?", Some(Veto::Direction)),
            ("How do I convert feet to yards?", "How can I convert yards to feet?", Some(Veto::Direction)),
            ("How do I convert feet to yards?", "Hi! What is the way to convert yards to feet?", Some(Veto::Direction)),
            ("Why did Ruby overtake Go?", "Why did Go overtake Ruby?", Some(Veto::Direction)),
            ("Which films were copied from India?", "Were films in India copied from others?", None),
            ("Should we believe in astrology and numerology?", "Should we believe in numerology and astrology?", None),
            ("Is time travel possible?", "Is it possible to travel in time?", None),
            ("Can I eat eggs?", "Can't I eat eggs?", Some(Veto::Negation)),
            ("Is the price fair without tax?", "Isn't the price fair without tax?", Some(Veto::Negation)),
            ("How do I stop wasting time?", "How do I make sure that I don't waste time?", None),
            ("Should I buy it?", "Should I buy it or not?", None),
            ("Bread for 5 people?", "Bread for 6 people?", Some(Veto::Number)),
            ("What are good phones in 2016?", "What are good phones?", None),
            ("Who is the king of Spain?", "Who is the king of Sweden?", Some(Veto::Entity)),
            ("How old is the EU?", "How old is the European Union?", None),
            ("How many km is it?", "How many miles is it?", Some(Veto::Unit)),
            ("What does foo_bar() do?", "What does foo_baz() do?", Some(Veto::Code)),
            ("What does `foo_bar` do?", "What does foo_bar do?", None),
            ("Best way to learn chess?", "Worst way to learn chess?", Some(Veto::Opposite)),
            ("Best way to learn chess?", "Best way to learn guitar?", Some(Veto::OneWord)),
            ("What is an economy crisis?", "What is an economic crisis?", None),
        ] {
            assert_eq!((veto(a, b), veto(b, a)), (expected, expected), "{a} | {b}");
        }
    }
}
