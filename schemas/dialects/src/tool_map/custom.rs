//! A tool whose input is free text, as a function of one text, and the text back out of the function's arguments while they
//! come. Source: <https://platform.openai.com/docs/guides/function-calling#custom-tools>.

use penstock_schemas::chat::Function;
use serde_json::{Map, Value, json};

/// The one parameter of the function.
pub(super) const INPUT: &str = "input";

/// The longest text in an argument that is held back until it is understood, in bytes: an escape of two halves.
const ESCAPE: usize = 12;

/// Such a tool.
pub(super) struct FreeText<'a> {
    pub(super) name: &'a str,
    description: Option<&'a str>,
    /// Syntax and definition of the grammar that the text follows.
    grammar: Option<(&'a str, &'a str)>,
}

impl<'a> FreeText<'a> {
    /// Reads `{"name", "description", "format"}`; the grammar stands in `format`, or one level deeper.
    pub(super) fn read(custom: &'a Value) -> Option<Self> {
        let format = custom.get("format");
        let grammar =
            format.and_then(|format| format.get("grammar").filter(|grammar| grammar.is_object()).or(Some(format)));
        let text = |name: &str| grammar.and_then(|grammar| grammar.get(name)?.as_str());
        Some(Self {
            name: custom.get("name")?.as_str()?,
            description: custom.get("description").and_then(Value::as_str),
            grammar: text("syntax").zip(text("definition")),
        })
    }

    /// The function. No provider but OpenAI holds a model to a grammar: the model is told it instead.
    pub(super) fn as_function(&self, name: String) -> Function {
        let mut told: Vec<String> = self.description.into_iter().map(ToOwned::to_owned).collect();
        if let Some((syntax, definition)) = self.grammar {
            told.push(format!("`{INPUT}` is text that follows this {syntax} grammar:\n{definition}"));
        }
        let parameter = json!({ "type": "string", "description": "The whole input of the tool, as plain text." });
        Function {
            name,
            description: (!told.is_empty()).then(|| told.join("\n\n")),
            parameters: Some(json!({
                "type": "object",
                "properties": { INPUT: parameter },
                "required": [INPUT],
                "additionalProperties": false,
            })),
            strict: None,
            extra: Map::new(),
        }
    }
}

/// The text in whole arguments; what is no object with a text is the text itself.
pub(super) fn text_of(arguments: &str) -> String {
    let read = serde_json::from_str::<Value>(arguments).ok();
    let text = read.and_then(|value| Some(value.get(INPUT)?.as_str()?.to_owned()));
    text.unwrap_or_else(|| arguments.to_owned())
}

/// The text of arguments that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Unwrapping {
    /// What came and is not understood yet.
    raw: String,
    place: Place,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the text.
    #[default]
    Head,
    Text,
    /// Behind the text.
    Tail,
    /// The arguments are spelt otherwise: they are read when they are complete.
    Other,
}

impl Unwrapping {
    /// What the next piece adds to the text.
    pub(super) fn add(&mut self, piece: &str) -> String {
        self.raw.push_str(piece);
        if self.place == Place::Head {
            self.open();
        }
        if self.place == Place::Text { self.read() } else { String::new() }
    }

    /// What is left of the text when no more comes.
    pub(super) fn finish(&mut self) -> String {
        let raw = std::mem::take(&mut self.raw);
        match std::mem::replace(&mut self.place, Place::Tail) {
            Place::Tail => String::new(),
            Place::Text => raw, // cut off in the middle of an escape
            Place::Head | Place::Other if raw.trim().is_empty() => String::new(),
            Place::Head | Place::Other => text_of(&raw),
        }
    }

    /// Steps over `{"input":"`.
    fn open(&mut self) {
        let mut rest = self.raw.trim_start();
        for token in ["{", "\"input\"", ":", "\""] {
            if rest.len() < token.len() {
                if !token.starts_with(rest) {
                    self.place = Place::Other;
                }
                return;
            }
            let Some(after) = rest.strip_prefix(token) else {
                self.place = Place::Other;
                return;
            };
            rest = if token == "\"" { after } else { after.trim_start() };
        }
        self.raw = rest.to_owned();
        self.place = Place::Text;
    }

    fn read(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.raw.as_str();
        loop {
            let Some(at) = rest.find(['"', '\\']) else {
                text.push_str(rest);
                rest = "";
                break;
            };
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.starts_with('"') {
                self.place = Place::Tail;
                rest = "";
                break;
            }
            let Some((said, length)) = unescape(rest) else { break };
            text.push(said);
            rest = &rest[length..];
        }
        self.raw = rest.to_owned();
        text
    }
}

/// The character of the escape that begins here, and its length; `None` when more must come.
fn unescape(text: &str) -> Option<(char, usize)> {
    let kind = text[1..].chars().next()?;
    let plain = match kind {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => return unicode(text),
        other => other,
    };
    Some((plain, 1 + kind.len_utf8()))
}

fn unicode(text: &str) -> Option<(char, usize)> {
    let half = |at: usize| text.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    if text.len() < ESCAPE / 2 {
        return None;
    }
    let Some(first) = half(2) else { return Some((char::REPLACEMENT_CHARACTER, 2)) };
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), ESCAPE / 2));
    }
    if text.len() < ESCAPE && "\\u".starts_with(text.get(6..8).unwrap_or(&text[6..])) {
        return None;
    }
    let second = text.get(6..8).filter(|mark| *mark == "\\u").and_then(|_| half(8));
    match second.filter(|second| (0xdc00..0xe000).contains(second)) {
        Some(second) => {
            let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), ESCAPE))
        }
        None => Some((char::REPLACEMENT_CHARACTER, ESCAPE / 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_comes_out_whole_however_its_arguments_are_cut() {
        for text in ["", "a", "*** \"x\"\n\tä\u{1}\\u 😀 \u{fffd}", "\\", "{\"input\":\"b\"}"] {
            for arguments in [json!({ INPUT: text }).to_string(), format!(" {{ \"input\" :\n {} }} ", ascii(text))] {
                let characters: Vec<char> = arguments.chars().collect();
                for size in 1..=characters.len() {
                    let mut unwrapping = Unwrapping::default();
                    let pieces = characters.chunks(size).map(|piece| piece.iter().collect::<String>());
                    let mut found: String = pieces.map(|piece| unwrapping.add(&piece)).collect();
                    found.push_str(&unwrapping.finish());
                    assert_eq!(found, text, "{arguments} in pieces of {size}");
                }
            }
        }
    }

    /// As JSON in ASCII alone.
    fn ascii(text: &str) -> String {
        let escaped = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        format!("\"{}\"", escaped.collect::<String>())
    }

    #[test]
    fn arguments_that_are_spelt_otherwise_are_read_at_the_end() {
        let whole = |pieces: &[&str]| {
            let mut unwrapping = Unwrapping::default();
            let early: String = pieces.iter().map(|piece| unwrapping.add(piece)).collect();
            (early, unwrapping.finish())
        };
        let late = |text: &str| (String::new(), text.to_owned());
        assert_eq!(whole(&["{\"reason\":1,", "\"input\":\"x\"}"]), late("x"));
        assert_eq!(whole(&["*** Begin", " Patch"]), late("*** Begin Patch"));
        assert_eq!(whole(&["{\"patch\":1}"]), late("{\"patch\":1}"));
        assert_eq!(whole(&["", "  "]), late(""));
        assert_eq!(whole(&["{\"input\":\"a\\u12"]), ("a".to_owned(), "\\u12".to_owned()));
        assert_eq!(whole(&["{\"input\":\"\\ud83dx\\ud83d\\n\"}"]).0, "\u{fffd}x\u{fffd}\n");
    }
}
