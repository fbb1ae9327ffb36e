//! The words of an answer out of the bytes that were sent of it, whichever dialect they are in. Knows of each dialect only
//! under which names it has the model's words.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memchr2, memmem};

/// As many bytes are kept as they came; then their words are gathered, which are a twentieth of them.
const KEPT: usize = 16 * 1024;

/// The most words that are kept, in bytes: some 16,000 tokens. Of those beyond only the length is noted.
const LONGEST: usize = 64 * 1024;

/// The names under which the model's words stand.
const WORDS: [&[u8]; 11] = [
    b"content",
    b"text",
    b"reasoning_content",
    b"reasoning",
    b"thinking",
    b"arguments",
    b"partial_json",
    b"refusal",
    b"name",
    b"delta",
    b"tool_plan",
];

/// The names under which a call's arguments stand as an object.
const OBJECTS: [&[u8]; 2] = [b"input", b"args"];

/// Values that are not counted: copies of other values, quotations, and results of a provider's own tools.
const OTHERS: [&[u8]; 16] = [
    b"reasoning_details",
    b"logprobs",
    b"usage",
    b"error",
    b"annotations",
    b"citations",
    b"citationMetadata",
    b"documents",
    b"executed_tools",
    b"groundingMetadata",
    b"results",
    b"search_info",
    b"search_results",
    b"sources",
    b"tools",
    b"web_search",
];

/// What was sent of an answer so far.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// All of an answer in one piece.
    whole: Bytes,
    raw: BytesMut,
    words: Words,
}

/// The words so far.
#[derive(Debug, Default)]
struct Words {
    text: String,
    /// The bytes of those that are not kept.
    more: u64,
}

impl Words {
    fn add(&mut self, text: &str) {
        if self.text.len() + text.len() <= LONGEST {
            return self.text.push_str(text);
        }
        let room = LONGEST.saturating_sub(self.text.len());
        let kept = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.text.push_str(&text[..kept]);
        self.more += (text.len() - kept) as u64;
    }
}

impl Sent {
    /// Notes bytes that were sent.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        if self.raw.len() > KEPT
            && let Some(line) = memchr::memrchr(b'\n', &self.raw)
        {
            gather_lines(&self.raw.split_to(line + 1), &mut self.words);
        }
    }

    /// Notes bytes that were sent, which are whole events, and gathers their words at once.
    pub(crate) fn gather(&mut self, bytes: &[u8]) {
        gather_lines(bytes, &mut self.words);
    }

    /// The length of the words that were gathered, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.words.text.len() as u64 + self.words.more
    }

    /// Notes a whole answer.
    pub(crate) fn whole(answer: &Bytes) -> Self {
        Self { whole: answer.clone(), ..Self::default() }
    }

    /// The length of all words in it, in bytes.
    pub(crate) fn all_words(&mut self) -> u64 {
        gather_lines(&std::mem::take(&mut self.whole), &mut self.words);
        gather_lines(&std::mem::take(&mut self.raw), &mut self.words);
        self.length()
    }

    /// Tokens of the words, as `count` counts those of a text. Words that were not kept are taken for what the others are.
    pub(crate) fn tokens(mut self, count: impl FnOnce(&str) -> u64) -> u64 {
        self.all_words();
        let Words { text, more } = self.words;
        let (counted, length) = (count(&text), text.len() as u64);
        if more == 0 { counted } else { counted.saturating_mul(length + more) / length.max(1) }
    }
}

fn gather_lines(bytes: &[u8], words: &mut Words) {
    if !bytes.starts_with(b"data:") && !bytes.starts_with(b"event:") && !bytes.starts_with(b":") {
        return gather(bytes, words);
    }
    let mut start = 0;
    for end in memchr_iter(b'\n', bytes).chain([bytes.len()]) {
        let line = &bytes[start..end];
        start = end + 1;
        // The responses dialect says everything once more when it is complete.
        let says_again =
            memmem::find(line, b"\"type\":\"response.").is_some() && memmem::find(line, b".delta\"").is_none();
        if !says_again && let Some(data) = line.strip_prefix(b"data:") {
            gather(data, words);
        }
    }
}

/// Adds the words in a piece of JSON, complete or not.
fn gather(json: &[u8], words: &mut Words) {
    let mut at = 0;
    let mut thought: &[u8] = &[];
    while let Some(quote) = memchr(b'"', &json[at..]) {
        let start = at + quote + 1;
        let Some(end) = end_of_text(json, start) else { return };
        let name = &json[start..end];
        at = end + 1;
        let Some(value) = value_behind(json, at) else { continue };
        at = value;
        if OTHERS.contains(&name) {
            at = end_of_value(json, value);
        } else if json[value] == b'"' && WORDS.contains(&name) {
            let Some(end) = end_of_text(json, value + 1) else { return };
            // A thought may stand under both of its names.
            let (spelled, is_thought) = (&json[value..=end], matches!(name, b"reasoning" | b"reasoning_content"));
            let is_again = is_thought && spelled == thought;
            if let Some(text) = serde_json::from_slice::<String>(spelled).ok().filter(|_| !is_again) {
                words.add(&text);
            }
            if is_thought {
                thought = if is_again { &[] } else { spelled };
            }
            at = end + 1;
        } else if json[value] == b'"' {
            let Some(end) = end_of_text(json, value + 1) else { return };
            at = end + 1;
        } else if json[value] == b'{' && OBJECTS.contains(&name) {
            at = end_of_value(json, value);
            words.add(&String::from_utf8_lossy(&json[value..at]));
        }
    }
}

/// Where the text that begins here has its closing quote.
fn end_of_text(json: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let found = at + memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}

/// Where the value of the name that ends here begins; `None` when it was no name.
fn value_behind(json: &[u8], at: usize) -> Option<usize> {
    let rest = json.get(at..)?;
    let colon = rest.iter().position(|byte| !byte.is_ascii_whitespace()).filter(|place| rest[*place] == b':')?;
    let behind = &rest[colon + 1..];
    Some(at + colon + 1 + behind.iter().position(|byte| !byte.is_ascii_whitespace())?)
}

/// Where the value that begins here has ended.
fn end_of_value(json: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => at = end_of_text(json, at + 1).unwrap_or(json.len()),
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return (at + usize::from(depth == 1)).min(json.len()),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sent: Sent) -> String {
        let mut found = String::new();
        sent.tokens(|text| {
            text.clone_into(&mut found);
            0
        });
        found
    }

    fn words(bytes: &str) -> String {
        let mut sent = Sent::default();
        sent.push(bytes.as_bytes());
        text(sent)
    }

    #[test]
    fn each_dialects_words_are_found() {
        for (bytes, found) in [
            (r#"{"id":"a","choices":[{"message":{"role":"assistant","content":"he said \"é\""}}]}"#, "he said \"é\""),
            (
                "data: {\"choices\":[{\"delta\":{\"content\":\"one \"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\" : \"two\",\"x\":\"y\"}}]}\n\ndata: [DONE]\n\n",
                "one two",
            ),
            (r#"{"reasoning_content":"a","reasoning_details":[{"text":"a]\"}"}],"content":"b"}"#, "ab"),
            (r#"{"reasoning":"a","content":null,"reasoning_content":"a"}"#, "a"),
            (
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
                "hi",
            ),
            (r#"{"content":[{"type":"tool_use","name":"f","input":{"a":{"text":"}"}}}]}"#, r#"f{"a":{"text":"}"}}"#),
            (
                "data: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\ndata: {\"type\":\"response.output_text.done\",\"text\":\"hi\"}\n\n",
                "hi",
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"functionCall":{"name":"f","args":{}}}]}}]}"#,
                "af{}",
            ),
            (r#"{"usage":3,"text":"a"}"#, "a"),
            (
                r#"{"content":"a","annotations":[{"url_citation":{"content":"b"}}],"citations":["c"],"refusal":"d"}"#,
                "ad",
            ),
            (r#"{"text":"cut"#, ""),
        ] {
            assert_eq!(words(bytes), found, "{bytes}");
        }
    }

    #[test]
    fn a_long_stream_is_kept_as_its_words() {
        let mut sent = Sent::default();
        for _ in 0..1000 {
            sent.push(
                b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"},\"finish_reason\":null}]}\n\n",
            );
        }
        assert!(sent.raw.len() <= KEPT);
        assert_eq!(text(sent), "word ".repeat(1000));
    }

    #[test]
    fn a_stream_without_an_end_is_counted_and_not_kept() {
        let mut sent = Sent::default();
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "é".repeat(10_000));
        for _ in 0..100 {
            sent.push(event.as_bytes());
        }
        assert!(sent.words.text.len() <= LONGEST && sent.raw.capacity() < LONGEST);
        let tokens = sent.tokens(|text| text.len() as u64);
        assert!((1_999_000..=2_000_000).contains(&tokens), "{tokens}");
    }

    #[test]
    fn no_bytes_are_too_odd() {
        let odd = br#"data: {"a":"\u00","usage":{"x":["]}"]}"content":"#;
        for cut in 0..odd.len() {
            for byte in [b'"', b'\\', b'{', b':', 0xff] {
                let mut bytes = odd.to_vec();
                bytes[cut] = byte;
                let mut sent = Sent::default();
                sent.push(&bytes);
                sent.push(&bytes[..cut]);
                text(sent);
            }
        }
    }
}
