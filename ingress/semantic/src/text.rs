//! A question as the guards and the verifier read it: its words with what kind each is. Knows no other question.

use crate::lexicon;
use crate::stem::stem;
use std::collections::BTreeSet;

/// The most characters of a question that are read, and the most words: longer ones are for the exact cache alone.
const CHARACTERS: usize = 4096;
const WORDS: usize = 512;

/// What a word is, as far as it is seen from itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordKind {
    /// It holds the sentence together.
    Filler,
    /// It carries meaning.
    Content,
    /// It names one thing: a person, a place, a product.
    Name,
    /// It counts or measures.
    Number,
    /// It is of a programming language, an address or a formula.
    Code,
}

/// Words behind which `not` asks for both sides.
const ASKING_BOTH: [&str; 3] = ["or", "why", "if"];

/// Words that hold sentences together, and are names when they are written as such: a language, a month, a state.
const NAMED: [&str; 3] = ["go", "may", "will"];
const SHOUTED: [&str; 3] = ["US", "IT", "WHO"];

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WordRead {
    /// In lower case; of a number, its value as digits.
    pub text: String,
    /// Without its ending.
    pub stem: String,
    /// What it is.
    pub kind: WordKind,
}

/// A question that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Wording {
    pub(crate) words: Vec<WordRead>,
    /// The stems of what is no filler.
    pub(crate) stems: BTreeSet<String>,
    pub(crate) negations: usize,
}

impl Wording {
    /// Reads a question.
    pub fn read(text: &str) -> Self {
        let end = text.char_indices().nth(CHARACTERS).map_or(text.len(), |(at, _)| at);
        let text = text[..end].replace(['\u{2019}', '\u{2018}'], "'");
        let shouted =
            text.chars().filter(|c| c.is_lowercase()).count() * 3 < text.chars().filter(|c| c.is_uppercase()).count();
        let is_loud = shouted || is_titled(&text);
        let mut words: Vec<WordRead> = Vec::new();
        let mut negations = 0;
        let mut is_start = true;
        for token in text.split_whitespace() {
            if words.len() >= WORDS {
                break;
            }
            let bare = token.trim_matches(|c: char| !c.is_alphanumeric() && !"#+$€£%°".contains(c));
            if is_code(token) {
                words.push(word(token.trim_matches(|c: char| ".,?!\"'`".contains(c)).to_owned(), WordKind::Code));
            } else {
                for part in
                    bare.split(|c: char| "-/,;:()\"&".contains(c) && !is_joined(bare)).filter(|part| !part.is_empty())
                {
                    let lower = part.to_lowercase();
                    negations += usize::from(lexicon::is_negation(&lower));
                    let has_capital = part.chars().any(char::is_uppercase) && !is_loud;
                    let usual = if has_capital && !is_start { WordKind::Name } else { WordKind::Content };
                    words.extend(plain(part, &lower, usual));
                    is_start = false;
                }
            }
            is_start = token.ends_with(['.', '?', '!', ':']) || (is_start && bare.is_empty());
        }
        // `Is it so or not?` denies nothing.
        for at in 1..words.len() {
            if words[at].text == "not" && ASKING_BOTH.contains(&words[at - 1].text.as_str()) {
                words[at].kind = WordKind::Filler;
                negations -= 1;
            }
        }
        let stems = words.iter().filter(|word| word.kind != WordKind::Filler).map(|word| word.stem.clone()).collect();
        Self { words, stems, negations }
    }

    /// The words of a kind.
    pub(crate) fn of(&self, kind: WordKind) -> impl Iterator<Item = &WordRead> {
        self.words.iter().filter(move |word| word.kind == kind)
    }

    /// The words that say something and that the other question lacks.
    pub(crate) fn lacking(&self, other: &Self) -> Vec<&WordRead> {
        let says = self.words.iter().filter(|word| word.kind != WordKind::Filler);
        says.filter(|word| !other.has(word)).collect()
    }

    fn has(&self, word: &WordRead) -> bool {
        self.stems.contains(&word.stem)
            || (word.text.len() > 4 && self.stems.iter().any(|stem| is_typo(stem, &word.stem)))
    }
}

/// A number such as `1,000` or `3.12`, a date, a time: its signs do not separate words.
fn is_joined(bare: &str) -> bool {
    bare.chars().all(|c| c.is_ascii_digit() || ".,:/-%$€£".contains(c))
}

/// Whether most words begin with a capital, which then says nothing.
fn is_titled(text: &str) -> bool {
    let words =
        || text.split_whitespace().skip(1).filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() > 3);
    let capital =
        words().filter(|word| word.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_uppercase)).count();
    words().count() > 2 && capital * 10 >= words().count() * 7
}

fn is_code(token: &str) -> bool {
    let inner = token.trim_matches(|c: char| ".,?!\"'();:".contains(c));
    inner.contains(['_', '`', '{', '}', '[', ']', '=', '<', '>', '\\', '|', '~', '^', '@', '*', '#'])
        || inner.contains("://")
        || inner.contains("::")
        || inner.contains("->")
        || inner.contains("()")
        || (inner.contains('.')
            && inner.split('.').all(|part| part.chars().any(char::is_alphabetic) && part.len() > 1)
            && !inner.split('.').skip(1).all(|part| part.starts_with(char::is_uppercase)))
        || (inner.starts_with('/') && inner.len() > 1)
        || (inner.len() > 1 && inner.starts_with('-') && inner.chars().nth(1).is_some_and(char::is_alphabetic))
}

fn word(text: String, kind: WordKind) -> WordRead {
    let stem = if kind == WordKind::Content || kind == WordKind::Name { stem(&text) } else { text.clone() };
    WordRead { text, stem, kind }
}

/// A word without code in it; a number that stands at its unit is two.
fn plain(part: &str, lower: &str, usual: WordKind) -> Vec<WordRead> {
    let lower = lower.strip_suffix("'s").unwrap_or(lower);
    if let Some(number) = lexicon::number(lower) {
        return vec![word(number, WordKind::Number)];
    }
    let digits = part.chars().take_while(|c| c.is_ascii_digit() || ".,".contains(*c)).count();
    if digits > 0 && part[digits..].chars().all(char::is_alphabetic) && part.len() > digits {
        let number = part[..digits].replace(',', "");
        return vec![word(number, WordKind::Number), word(lower[digits..].to_owned(), WordKind::Content)];
    }
    if part.chars().any(|c| c.is_ascii_digit()) {
        return vec![word(lower.replace(',', ""), WordKind::Number)];
    }
    let is_named = usual == WordKind::Name && (NAMED.contains(&lower) || SHOUTED.contains(&part));
    if lexicon::is_filler(lower) && !is_named {
        return vec![word(lower.to_owned(), WordKind::Filler)];
    }
    let kind = if lexicon::is_place(lower) { WordKind::Name } else { usual };
    vec![word(lower.to_owned(), kind)]
}

/// Whether two long words differ by one letter that is more, less, other or in another place: but not at the beginning, where
/// such a letter turns a word into its opposite.
pub(crate) fn is_typo(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().min(b.len()) < 6 || a.len().abs_diff(b.len()) > 1 || a[0] != b[0] {
        return false;
    }
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same..], &b[same..]);
    match a.len().cmp(&b.len()) {
        std::cmp::Ordering::Less => a == &b[1..],
        std::cmp::Ordering::Greater => &a[1..] == b,
        std::cmp::Ordering::Equal => {
            a.is_empty() || a[1..] == b[1..] || (a.len() > 1 && a[0] == b[1] && a[1] == b[0] && a[2..] == b[2..])
        }
    }
}
