//! Reads a raw JSON value into a `Value` without failing. Raw JSON may hold what a `Value` cannot: half a surrogate pair
//! (`"\ud800"`), or a number beyond the range of `f64`.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A value with all that stands unread in it. Half a character is read as U+FFFD; what cannot be read at all, as null.
pub fn read_all(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|_| {
        let text = serde_json::to_string(value).unwrap_or_default();
        serde_json::from_str(&with_whole_characters(&text)).unwrap_or_default()
    })
}

/// A value as it stands, but with half a character as U+FFFD. It is not read, so it takes no more memory than its bytes.
pub fn whole_characters(value: &RawValue) -> Box<RawValue> {
    match with_whole_characters(value.get()) {
        Cow::Borrowed(_) => value.to_owned(),
        Cow::Owned(text) => RawValue::from_string(text).unwrap_or_else(|_| value.to_owned()),
    }
}

/// The JSON text with each escape of half a character replaced.
fn with_whole_characters(text: &str) -> Cow<'_, str> {
    let mut whole = String::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr(b'\\', rest.as_bytes())) {
        let escape = at + found;
        // Another escape than `\u` is two bytes long; that of a character beyond the first 65,536, twelve.
        at = match unit(text, escape) {
            None => escape + 2,
            Some(0xd800..0xdc00) if matches!(unit(text, escape + 6), Some(0xdc00..0xe000)) => escape + 12,
            Some(0xd800..0xe000) => {
                whole.push_str(&text[copied..escape]);
                whole.push('\u{fffd}');
                copied = escape + 6;
                copied
            }
            Some(_) => escape + 6,
        };
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    whole.push_str(&text[copied..]);
    Cow::Owned(whole)
}

/// The number of an escape such as `\u00e4`.
fn unit(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use serde_json::value::RawValue;

    #[test]
    fn what_no_text_can_hold_is_read_as_what_one_can_hold() {
        for (raw, read) in [
            (r#"{"a":"x\ud800y"}"#, json!({ "a": "x\u{fffd}y" })),
            (
                r#"["\ud83d\ude00","\\ud800","\udc00\ud800\ud83d\ude00"]"#,
                json!(["😀", "\\ud800", "\u{fffd}\u{fffd}😀"]),
            ),
            (r#"{"\ud800":1}"#, json!({ "\u{fffd}": 1 })),
            (r#""ä\n""#, json!("ä\n")),
            ("1e999", Value::Null),
        ] {
            let unread: Box<RawValue> = serde_json::from_str(raw).unwrap();
            assert_eq!(read_all(&unread), read, "{raw}");
            assert_eq!(read_all(&[&unread, &unread])[1], if read.is_null() { Value::Null } else { read }, "{raw}");
        }
    }
}
