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
const RELATIONS: [&str; 10] = ["from", "to", "into", "than", "before", "after", "over", "under", "by", "minus"];

/// The most words of an argument.
const ARGUMENT: usize = 3;

/// What forbids, if anything does.
pub(crate) fn find(a: &Wording, b: &Wording) -> Option<Veto> {
    if of_kind(a, WordKind::Code) != of_kind(b, WordKind::Code) {
        return Some(Veto::Code);
    }
    if is_another_number(a, b) {
        return Some(Veto::Number);
    }
    if (a.negations > 0) != (b.negations > 0) {
        return Some(Veto::Negation);
    }
    let (only_a, only_b) = (a.lacking(b), b.lacking(a));
    let mut pairs = only_a.iter().flat_map(|a| only_b.iter().map(move |b| (*a, *b)));
    if pairs.any(|(a, b)| lexicon::are_opposites(&a.text, &b.text) || lexicon::are_opposites(&a.stem, &b.stem))
        || are_opposed(a, b)
    {
        return Some(Veto::Opposite);
    }
    let is_unit = |word: &&WordRead| lexicon::is_unit(&word.text) || lexicon::is_unit(&word.stem);
    if only_a.iter().any(is_unit) || only_b.iter().any(is_unit) {
        return Some(Veto::Unit);
    }
    if is_another_name(&only_a, &only_b) {
        return Some(Veto::Entity);
    }
    let is_turned = only_a.is_empty() && only_b.is_empty() && said(a) != said(b);
    if is_turned || is_reversed(a, b) || is_reversed(b, a) {
        return Some(Veto::Direction);
    }
    (is_one_word(a, b, &only_a, &only_b)).then_some(Veto::OneWord)
}

/// The words of a kind, without the signs around them.
fn of_kind(question: &Wording, kind: WordKind) -> BTreeSet<&str> {
    question.of(kind).map(|word| word.text.trim_matches(|c: char| "`\"'()*".contains(c))).collect()
}

/// Whether a number stands in one more often than in the other.
fn is_another_number(a: &Wording, b: &Wording) -> bool {
    let is_number = |word: &&WordRead| word.kind == WordKind::Number;
    more(a, b).iter().any(is_number) || more(b, a).iter().any(is_number)
}

/// What it says, in its order.
fn said(question: &Wording) -> Vec<&str> {
    let says = question.words.iter().filter(|word| word.kind != WordKind::Filler);
    says.map(|word| word.stem.as_str()).collect()
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

/// A name on both sides, or a place on one: who asks for India does not ask for the world.
fn is_another_name(only_a: &[&WordRead], only_b: &[&WordRead]) -> bool {
    let is_place = |word: &&WordRead| lexicon::is_place(&word.text);
    let is_name = |word: &&WordRead| word.kind == WordKind::Name;
    only_a.iter().chain(only_b).any(is_place) || (only_a.iter().any(is_name) && only_b.iter().any(is_name))
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

/// Whether all words are the same, in the same order, but for one on each side that says something.
fn is_one_word(a: &Wording, b: &Wording, only_a: &[&WordRead], only_b: &[&WordRead]) -> bool {
    let is_one = only_a.len() == 1 && only_b.len() == 1;
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
