//! What can be told of a question from its characters: how long it is, of what kind, and what an answer to it has to mind. Knows no
//! model and no vector.

/// Features of a text.
pub const TEXT_FEATURES: usize = 19;

/// Features of what a request holds besides its question.
pub(super) const SHAPE_FEATURES: usize = 5;

/// Words that turn a statement around.
const NEGATIONS: [&str; 7] = ["not", "except", "false", "never", "none", "least", "no"];

/// Words of conditions and quantities.
const QUANTITIES: [&str; 16] = [
    "if", "each", "every", "all", "both", "only", "either", "unless", "total", "more", "less", "than", "least", "most",
    "must", "half",
];

/// Words that ask for more than a fact.
const TASKS: [&str; 16] = [
    "prove",
    "derive",
    "explain",
    "why",
    "analyze",
    "compare",
    "evaluate",
    "design",
    "calculate",
    "determine",
    "estimate",
    "justify",
    "infer",
    "assume",
    "optimal",
    "complexity",
];

/// The most of a text that is looked at, in bytes.
const TEXT: usize = 4096;

/// What a request holds besides its question.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestShape {
    /// Its whole length, in tokens, estimated.
    pub tokens: u64,
    /// Answers of the model in it.
    pub turns: u64,
    /// Images in it.
    pub images: u64,
    /// Tools, as 1, or none, as 0.
    pub tools: u8,
    /// A schema that the answer has to follow, as 1, or none, as 0.
    pub schema: u8,
}

impl RequestShape {
    /// As features: all 0 for a lone question.
    #[expect(clippy::cast_precision_loss, reason = "features need no more digits")]
    pub(super) fn features(&self, text: &str) -> [f32; SHAPE_FEATURES] {
        let own = text.len() as f32 / 4.0 + 1.0;
        let rest = (self.tokens as f32 / own).max(1.0).ln() / 3.0;
        let turns = (self.turns as f32).ln_1p() / 2.0;
        [
            rest.min(3.0),
            turns.min(3.0),
            f32::from(u8::from(self.images > 0)),
            f32::from(self.tools),
            f32::from(self.schema),
        ]
    }
}

#[derive(Default)]
struct Counts {
    chars: u32,
    digits: u32,
    numbers: u32,
    operators: u32,
    brackets: u32,
    lines: u32,
    sentences: u32,
    words: u32,
    letters: u32,
    capitals: u32,
    negations: u32,
    quantities: u32,
    tasks: u32,
    blanks: u32,
    longest: u32,
    hashes: Vec<u32>,
    is_choice: bool,
    is_question: bool,
    is_table: bool,
    is_quoted: bool,
}

/// The features, as they are: [`super::Basis`] makes them comparable.
#[expect(clippy::cast_precision_loss, reason = "features need no more digits")]
pub fn text_features(text: &str) -> [f32; TEXT_FEATURES] {
    let end = (0..=TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let mut counts = count(&text[..end]);
    counts.hashes.sort_unstable();
    counts.hashes.dedup();
    let log = |count: u32| (count as f32).ln_1p();
    let (words, chars) = (counts.words as f32 + 1.0, counts.chars as f32 + 1.0);
    let most = |count: u32, most: u32| count.min(most) as f32 / most as f32;
    let flag = |is: bool| f32::from(u8::from(is));
    [
        log(counts.chars),
        log(counts.sentences),
        log(counts.lines),
        log(counts.numbers),
        counts.digits as f32 / chars,
        log(counts.operators),
        counts.letters as f32 / words,
        counts.hashes.len() as f32 / words,
        flag(counts.is_choice),
        flag(counts.is_question),
        most(counts.negations, 3),
        most(counts.quantities, 6),
        (counts.capitals as f32 / words).min(0.5),
        flag(counts.is_table),
        most(counts.brackets, 20),
        most(counts.tasks, 3),
        log(counts.longest),
        flag(counts.blanks > 0),
        flag(counts.is_quoted),
    ]
}

fn count(text: &str) -> Counts {
    let mut counts = Counts { lines: 1, ..Counts::default() };
    let mut word = String::new();
    let mut sentence = 0;
    let mut before = ' ';
    let mut underscores = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        counts.chars += 1;
        if c.is_alphabetic() {
            if word.is_empty() && c.is_uppercase() {
                counts.capitals += 1;
            }
            word.extend(c.to_lowercase());
        } else {
            // `A. ` or `B) ` behind a space: one of several answers.
            let is_label = word.len() == 1 && matches!(word.as_bytes()[0], b'a'..=b'd') && before.is_ascii_uppercase();
            counts.is_choice |= is_label && matches!(c, '.' | ')') && chars.peek() == Some(&' ');
            sentence += u32::from(!word.is_empty());
            counts.take(&mut word);
        }
        counts.digits += u32::from(c.is_ascii_digit());
        counts.numbers += u32::from(c.is_ascii_digit() && !before.is_ascii_digit() && !matches!(before, '.' | ','));
        counts.operators += u32::from("+-*/=<>^%$".contains(c));
        counts.brackets += u32::from("(){}[];\\".contains(c));
        counts.lines += u32::from(c == '\n');
        counts.is_table |= c == '|';
        counts.is_question |= c == '?';
        counts.is_quoted |= matches!(c, '"' | '\u{201c}');
        underscores = if c == '_' { underscores + 1 } else { 0 };
        counts.blanks += u32::from(underscores == 4);
        let is_end = matches!(c, '.' | '!' | '?');
        counts.sentences += u32::from(is_end && chars.peek().is_none_or(|next| next.is_whitespace()));
        if is_end || c == '\n' {
            counts.longest = counts.longest.max(sentence);
            sentence = 0;
        }
        before = c;
    }
    sentence += u32::from(!word.is_empty());
    counts.take(&mut word);
    counts.longest = counts.longest.max(sentence);
    counts
}

impl Counts {
    /// A word is over.
    fn take(&mut self, word: &mut String) {
        if word.is_empty() {
            return;
        }
        self.words += 1;
        self.letters += u32::try_from(word.chars().count()).unwrap_or(u32::MAX);
        let is_one_of = |list: &[&str]| u32::from(list.contains(&word.as_str()));
        self.negations += is_one_of(&NEGATIONS);
        self.quantities += is_one_of(&QUANTITIES);
        self.tasks += is_one_of(&TASKS);
        self.blanks += is_one_of(&["blank"]);
        let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        self.hashes.push(word.bytes().fold(0x811c_9dc5, hash));
        word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_holds_is_counted() {
        let text = "If 3 boxes hold 1,200.5 nails, how many are NOT in \"boxes\"?\nA. 400 (all)\nB. none";
        let counts = count(text);
        assert_eq!((counts.numbers, counts.digits, counts.lines, counts.sentences), (3, 9, 3, 3));
        assert_eq!((counts.negations, counts.quantities, counts.brackets), (2, 2, 2), "not, none; if, all");
        assert!(counts.is_choice && counts.is_question && counts.is_quoted && !counts.is_table);
        assert!(!count("Vitamin A. helps").is_table && !count("Plan b.c").is_choice);
        assert_eq!(text_features(""), text_features(""), "an empty text has features too");
        assert!(text_features("").iter().all(|feature| feature.is_finite()));
    }

    #[test]
    fn a_long_text_is_looked_at_in_part() {
        let long = "é".repeat(100_000);
        assert!(text_features(&long)[0] < 8.0, "{}", text_features(&long)[0]);
    }

    #[test]
    fn a_lone_question_has_no_shape() {
        let text = "x".repeat(400);
        let shape = RequestShape { tokens: 101, ..RequestShape::default() };
        assert_eq!(shape.features(&text), [0.0; SHAPE_FEATURES]);
        let shape = RequestShape { tokens: 5000, turns: 3, images: 1, tools: 1, schema: 1 };
        assert!(shape.features(&text).iter().all(|feature| *feature > 0.5 && *feature <= 3.0));
    }
}
