//! Text to the ids of word pieces, as BERT's uncased tokenizer cuts it. Knows the vocabulary; knows nothing of vectors.
//!
//! As `BertNormalizer`, `BertPreTokenizer` and `WordPiece` of Hugging Face's `tokenizers` do it, save that names of special
//! tokens in a text (`[SEP]`) are text. `tests/golden.json` holds ids of that implementation.

use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// The most tokens of a text: what the model was trained with (its `max_seq_length`).
pub const MAX_TOKENS: usize = 256;

/// The most characters of a word that are looked up; a longer one is unknown.
const WORD_CHARACTERS: usize = 100;

/// The most words of a vocabulary.
const WORDS: usize = 100_000;

/// The vocabulary, and how texts are cut by it.
pub struct Tokenizer {
    /// Pieces that begin a word.
    first: HashMap<String, u32>,
    /// Pieces that go on with one, without their `##`.
    further: HashMap<String, u32>,
    words: usize,
    unknown: u32,
    begin: u32,
    end: u32,
}

impl Tokenizer {
    /// Reads a vocabulary: a piece a line, its id is the number of the line from 0.
    ///
    /// # Errors
    /// When it lacks the special pieces, or is far too large.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut first, mut further) = (HashMap::new(), HashMap::new());
        let mut words = 0;
        for (line, id) in text.lines().zip(0_u32..) {
            words += 1;
            match line.strip_prefix("##") {
                Some(piece) if !piece.is_empty() => further.insert(piece.to_owned(), id),
                _ => first.insert(line.to_owned(), id),
            };
        }
        if words > WORDS {
            return Err(format!("{words} words"));
        }
        let special = |name: &str| first.get(name).copied().ok_or_else(|| format!("no {name}"));
        let (unknown, begin, end) = (special("[UNK]")?, special("[CLS]")?, special("[SEP]")?);
        Ok(Self { first, further, words, unknown, begin, end })
    }

    /// How many pieces it knows.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// The ids of a text's pieces between the two that begin and end a text: 2 to [`MAX_TOKENS`].
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = vec![self.begin];
        let mut word = Word::default();
        for character in normalized(text) {
            if ids.len() >= MAX_TOKENS {
                break;
            }
            if character.is_whitespace() {
                self.take(&mut word, &mut ids);
            } else if is_punctuation(character) {
                self.take(&mut word, &mut ids);
                word.push(character);
                self.take(&mut word, &mut ids);
            } else {
                word.push(character);
            }
        }
        self.take(&mut word, &mut ids);
        ids.truncate(MAX_TOKENS - 1);
        ids.push(self.end);
        ids
    }

    /// Appends the pieces of a word, the longest first; one that has an unknown part is unknown as a whole.
    fn take(&self, word: &mut Word, ids: &mut Vec<u32>) {
        let start = ids.len();
        let mut rest = word.text.as_str();
        let mut pieces = &self.first;
        if word.characters > WORD_CHARACTERS {
            ids.push(self.unknown);
            rest = "";
        }
        while !rest.is_empty() {
            let ends = rest.char_indices().map(|(at, character)| at + character.len_utf8()).rev();
            let found = ends.into_iter().find_map(|end| pieces.get(&rest[..end]).map(|id| (*id, end)));
            let Some((id, end)) = found else {
                ids.truncate(start);
                ids.push(self.unknown);
                break;
            };
            ids.push(id);
            rest = &rest[end..];
            pieces = &self.further;
        }
        *word = Word { text: std::mem::take(&mut word.text), characters: 0 };
        word.text.clear();
    }
}

/// A word as far as it was read.
#[derive(Default)]
struct Word {
    text: String,
    characters: usize,
}

impl Word {
    fn push(&mut self, character: char) {
        self.characters += 1;
        if self.characters <= WORD_CHARACTERS {
            self.text.push(character);
        }
    }
}

/// The text without control characters and accents, in lower case, each ideograph a word.
fn normalized(text: &str) -> impl Iterator<Item = char> + '_ {
    let cleaned = text.chars().filter(|character| !is_control(*character));
    let spaced = cleaned.flat_map(|character| {
        let space = is_ideograph(character).then_some(' ');
        space.into_iter().chain([character]).chain(space)
    });
    let plain = spaced.nfd().filter(|character| character.general_category() != GeneralCategory::NonspacingMark);
    plain.flat_map(char::to_lowercase)
}

fn is_control(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => false,
        '\0' | '\u{fffd}' => true,
        _ => character.general_category_group() == GeneralCategoryGroup::Other,
    }
}

fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || character.general_category_group() == GeneralCategoryGroup::Punctuation
}

/// The blocks that BERT calls Chinese characters, which are not separated by spaces.
fn is_ideograph(character: char) -> bool {
    matches!(character,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}' | '\u{2a700}'..='\u{2b73f}'
        | '\u{2b740}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}' | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::parse("[UNK]\n[CLS]\n[SEP]\nun\n##able\n##a\nable\n.\nsep\n[\n]\n北").unwrap()
    }

    #[test]
    fn words_are_cut_into_their_longest_pieces() {
        let cases: [(&str, &[u32]); 8] = [
            ("unable", &[3, 4]),
            ("UNÁBLE able.", &[3, 4, 6, 7]),
            ("una", &[3, 5]),
            ("unknown", &[0]),
            ("un北un", &[3, 11, 3]),
            ("[SEP]", &[9, 8, 10]),
            ("", &[]),
            (" \u{200b}\u{0} ", &[]),
        ];
        for (text, pieces) in cases {
            let expected: Vec<u32> = [&[1], pieces, &[2]].concat();
            assert_eq!(tokenizer().encode(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_word_is_unknown_and_a_long_text_is_cut() {
        assert_eq!(tokenizer().encode(&format!("un{}", "a".repeat(99))), [1, 0, 2]);
        let long = tokenizer().encode(&"un ".repeat(1_000_000));
        assert_eq!((long.len(), long[MAX_TOKENS - 2], long[MAX_TOKENS - 1]), (MAX_TOKENS, 3, 2));
    }

    #[test]
    fn a_vocabulary_without_the_special_pieces_is_refused() {
        assert_eq!(Tokenizer::parse("un\n[UNK]").err().as_deref(), Some("no [CLS]"));
    }
}
