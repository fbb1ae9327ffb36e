//! Halves of surrogate pairs in a provider's JSON: `"\ud83d"`, with `"\ude00"` in the next event or nowhere. It is JSON and yet
//! no text, so no parser here takes it. Halves that meet are joined, others become U+FFFD. Knows no dialect: a half at the end
//! of a string waits for an event in which a string begins with the other half.
//! Source: <https://www.rfc-editor.org/rfc/rfc8259#section-8.2>.

use crate::provider::{Form, Observed, ProviderFormat, Step, StreamReader, Wanted, Whole};
use bytes::{Bytes, BytesMut};
use penstock_schemas::failure::Failure;
use penstock_schemas::sse;

/// The length of an escape such as `\ud83d`.
const ESCAPE: usize = 6;

/// What stands for a half whose other half never came.
const REPLACEMENT: &[u8; ESCAPE] = b"\\ufffd";

/// A half without its other half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Half {
    at: usize,
    is_high: bool,
}

/// Reads a whole answer that may hold halves. To a caller of the provider's own dialect the bytes stay as they came.
///
/// # Errors
/// As the format's own.
pub(crate) fn read_whole(format: &dyn ProviderFormat, wanted: Wanted, body: &Bytes) -> Result<Whole, Failure> {
    let Some(mended) = mend(body) else { return format.read_whole(wanted, body) };
    let whole = format.read_whole(wanted, &mended)?;
    let bytes = if wanted.form == Form::Own && whole.bytes == mended { body.clone() } else { whole.bytes };
    Ok(Whole { bytes, ..whole })
}

/// A reader of a stream that may hold halves.
pub(crate) fn reader(format: &dyn ProviderFormat, wanted: Wanted) -> Box<dyn StreamReader> {
    Box::new(Reader { reader: format.stream(wanted), form: wanted.form, held: None })
}

/// A JSON text without halves; `None` when it holds none.
pub(crate) fn mend(json: &Bytes) -> Option<Bytes> {
    let halves = halves(json);
    (!halves.is_empty()).then(|| replaced(json, &halves))
}

#[derive(Debug)]
struct Reader {
    reader: Box<dyn StreamReader>,
    form: Form,
    /// An event with a half at the end of a string, and the place of that half.
    held: Option<(sse::Event, usize)>,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &sse::Event) -> Result<Step, Failure> {
        if self.held.is_none() && memchr::memmem::find(&event.data, b"\\u").is_none() {
            return self.reader.read(event);
        }
        if self.form == Form::Own || event.data.is_empty() {
            return match mend(&event.data) {
                Some(data) => self.reader.read(&sse::Event { data, ..event.clone() }),
                None => self.reader.read(event),
            };
        }
        let mut halves = halves(&event.data);
        let mut data = event.data.clone();
        let before = match self.held.take() {
            None => Step::Hide,
            Some((held, at)) => {
                let low = halves.first().copied().filter(|half| !half.is_high && data[..half.at].ends_with(b"\""));
                let other = low.map(|low| data.slice(low.at..low.at + ESCAPE));
                if let Some(low) = low {
                    data = [&data[..low.at], &data[low.at + ESCAPE..]].concat().into();
                    halves = self::halves(&data);
                }
                self.reader.read(&completed(&held, at, other.as_deref()))?
            }
        };
        let last = halves.last().copied().filter(|half| half.is_high && data.get(half.at + ESCAPE) == Some(&b'"'));
        if let Some(last) = last {
            let data = replaced(&data, &halves[..halves.len() - 1]); // of the same length
            self.held = Some((with_data(event, data), last.at));
            return Ok(before);
        }
        let data = replaced(&data, &halves);
        Ok(both(before, self.reader.read(&with_data(event, data))?))
    }

    fn is_done(&self) -> bool {
        self.held.is_none() && self.reader.is_done()
    }

    fn finish(&mut self) -> Result<Bytes, Failure> {
        let Some((held, at)) = self.held.take() else { return self.reader.finish() };
        let last = match self.reader.read(&completed(&held, at, None))? {
            Step::Hold(bytes) | Step::Content(bytes) => bytes,
            Step::Hide => Bytes::new(),
        };
        Ok([last, self.reader.finish()?].concat().into())
    }

    fn observed(&self) -> &Observed {
        self.reader.observed()
    }
}

/// An event whose half at `at` has met the other one, or never will.
fn completed(event: &sse::Event, at: usize, other: Option<&[u8]>) -> sse::Event {
    let (before, rest) = event.data.split_at(at);
    let (half, after) = rest.split_at(ESCAPE);
    let data = match other {
        Some(other) => [before, half, other, after].concat(),
        None => [before, REPLACEMENT, after].concat(),
    };
    with_data(event, data.into())
}

fn with_data(event: &sse::Event, data: Bytes) -> sse::Event {
    let raw = if data == event.data { event.raw.clone() } else { [b"data: ", &data[..], b"\n\n"].concat().into() };
    sse::Event { raw, event: event.event.clone(), data }
}

/// What to do with two events in one step.
fn both(first: Step, second: Step) -> Step {
    let joined = |a: &Bytes, b: &Bytes| Bytes::from([&a[..], &b[..]].concat());
    match (first, second) {
        (Step::Hide, step) | (step, Step::Hide) => step,
        (Step::Hold(a), Step::Hold(b)) => Step::Hold(joined(&a, &b)),
        (Step::Hold(a) | Step::Content(a), Step::Hold(b) | Step::Content(b)) => Step::Content(joined(&a, &b)),
    }
}

fn replaced(json: &Bytes, halves: &[Half]) -> Bytes {
    if halves.is_empty() {
        return json.clone();
    }
    let mut out = BytesMut::from(&json[..]);
    for half in halves {
        out[half.at..half.at + ESCAPE].copy_from_slice(REPLACEMENT);
    }
    out.freeze()
}

/// The halves in a JSON text. A backslash stands in strings alone, so everything outside of them passes unread.
fn halves(json: &[u8]) -> Vec<Half> {
    let mut halves: Vec<Half> = Vec::new();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &json[at..]) {
        let here = at + found;
        at = here + 2;
        match escape(json, here) {
            Some(0xd800..=0xdbff) => {
                let is_whole = matches!(escape(json, here + ESCAPE), Some(0xdc00..=0xdfff));
                at = here + if is_whole { 2 * ESCAPE } else { ESCAPE };
                if !is_whole {
                    halves.push(Half { at: here, is_high: true });
                }
            }
            Some(0xdc00..=0xdfff) => {
                at = here + ESCAPE;
                halves.push(Half { at: here, is_high: false });
            }
            Some(_) => at = here + ESCAPE,
            None => {}
        }
        if at > json.len() {
            break;
        }
    }
    halves
}

/// The code unit of the JSON escape (`\u` and four hexadecimal digits) that begins here; `None`: none does.
fn escape(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::provider::Openai;
    use penstock_schemas::envelope::{Delivery, Operation};
    use serde_json::{Value, json};

    fn mended(json: &str) -> String {
        let json = Bytes::copy_from_slice(json.as_bytes());
        String::from_utf8(mend(&json).unwrap_or(json).to_vec()).unwrap()
    }

    #[test]
    fn a_half_becomes_a_replacement_character_and_everything_else_stays() {
        for (json, found) in [
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ufffd"}"#),
            (r#"{"a":"\uDE00b"}"#, r#"{"a":"\ufffdb"}"#),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, r#"{"a":"\ufffd\ud83d\ude00"}"#),
            (r#"{"a":"\ud83d\ude00\\ud83d\u00e9\n"}"#, r#"{"a":"\ud83d\ude00\\ud83d\u00e9\n"}"#),
            (r#"{"a":"\\\ud83d"}"#, r#"{"a":"\\\ufffd"}"#),
            (r#"{"a":"\ud8"}"#, r#"{"a":"\ud8"}"#),
            ("\\", "\\"),
            ("\\ud83d", "\\ufffd"),
        ] {
            assert_eq!(mended(json), found);
        }
    }

    fn event(data: &str) -> sse::Event {
        let raw = format!("data: {data}\n\n");
        sse::Event { raw: raw.into(), event: None, data: Bytes::copy_from_slice(data.as_bytes()) }
    }

    /// What is said in a stream of these contents, each as it stands in JSON.
    fn said(contents: &[&str], form: Form) -> String {
        let wanted = Wanted { operation: Operation::Chat, form, delivery: Delivery::Stream };
        let mut reader = reader(&Openai, wanted);
        let mut out = Vec::new();
        let chunk = |content: &str, reason: &str| {
            event(&format!(
                r#"{{"choices":[{{"index":0,"delta":{{"role":"assistant","content":"{content}"}},"finish_reason":{reason}}}]}}"#
            ))
        };
        let last = [chunk("", "\"stop\""), event("[DONE]")];
        for event in contents.iter().map(|content| chunk(content, "null")).chain(last) {
            if let Step::Hold(bytes) | Step::Content(bytes) = reader.read(&event).unwrap() {
                out.extend_from_slice(&bytes);
            }
        }
        out.extend_from_slice(&reader.finish().unwrap());
        let text = String::from_utf8(out).unwrap();
        if form == Form::Own {
            return text;
        }
        let chunks = text.split("\n\n").filter_map(|event| event.strip_prefix("data: {"));
        let content = |chunk: &str| -> String {
            let chunk: Value = serde_json::from_str(&format!("{{{chunk}")).unwrap();
            chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        };
        chunks.map(content).collect()
    }

    #[test]
    fn halves_that_meet_across_events_are_joined() {
        for (contents, whole) in [
            (vec![r"a\ud83d", r"\ude00b"], "a😀b"),
            (vec![r"\ud83d", r"\ude00\ud83d", r"\ude01"], "😀😁"),
            (vec![r"a\ud83d", "b"], "a\u{fffd}b"),
            (vec![r"a\ud83d"], "a\u{fffd}"),
            (vec![r"\ud83d", r"\ud83d", r"\ude00"], "\u{fffd}😀"),
            (vec![r"\ude00", r"a\ude00b"], "\u{fffd}a\u{fffd}b"),
        ] {
            assert_eq!(said(&contents, Form::Agnostic), whole, "{contents:?}");
        }
    }

    #[test]
    fn a_caller_of_the_same_dialect_gets_every_byte_as_it_came() {
        let text = said(&[r"\ud83d", r"\ude00"], Form::Own);
        assert!(text.contains(r#""content":"\ud83d""#) && text.contains(r#""content":"\ude00""#), "{text}");
        let wanted = Wanted { operation: Operation::Chat, form: Form::Own, delivery: Delivery::Whole };
        let body: Bytes = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"\ud83d"},"finish_reason":"stop"}],"x":"\ude00"}"#.into();
        assert_eq!(read_whole(&Openai, wanted, &body).unwrap().bytes, body);
        let agnostic = Wanted { form: Form::Agnostic, ..wanted };
        let whole = read_whole(&Openai, agnostic, &body).unwrap().bytes;
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], json!("\u{fffd}"));
    }
}
