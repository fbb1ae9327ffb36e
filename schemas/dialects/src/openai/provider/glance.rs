//! Whether a chunk can be passed on unread. Never fooled by what the model writes: within a JSON string a quote is
//! escaped, so a quoted word with a colon behind it is the name of a field.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// The fields whose values decide whether a chunk must be read.
struct Names {
    choices: Finder<'static>,
    index: Finder<'static>,
    /// `null` in most chunks, if there at all.
    telling: [Finder<'static>; 4],
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    choices: Finder::new(r#""choices""#),
    index: Finder::new(r#""index""#),
    // A tool's name stands in the first piece of its call alone.
    telling: [r#""finish_reason""#, r#""usage""#, r#""error""#, r#""name""#].map(Finder::new),
});

/// Whether the chunk holds nothing but a piece of the first choice. When in doubt, it does not.
pub(super) fn is_plain(chunk: &[u8]) -> bool {
    let names = &*NAMES;
    chunk.starts_with(b"{")
        && chunk.ends_with(b"}")
        && values(&names.choices, chunk).next().is_some()
        && values(&names.index, chunk).all(|value| matches!(value, [b'0', b',' | b'}' | b' ', ..]))
        && names.telling.iter().all(|name| values(name, chunk).all(|value| value.starts_with(b"null")))
}

/// What stands behind each field of this name.
pub(crate) fn values<'a>(name: &'a Finder<'static>, chunk: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    name.find_iter(chunk).filter_map(|at| {
        let rest = chunk[at + name.needle().len()..].trim_ascii_start();
        Some(rest.strip_prefix(b":")?.trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_piece_of_the_first_choice_is_plain() {
        for (chunk, plain) in [
            (r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}"#, true),
            (r#"{"choices":[{"index":0,"delta":{"content":"usage"},"finish_reason":null}]}"#, true),
            (r#"{"choices":[{"index":0,"delta":{"content":"\"usage\":{\"error\": 1}"}}]}"#, true),
            (r#"{"choices" : [{"index" : 0 ,"delta":{"content":"a"},"finish_reason" : null}]}"#, true),
            (r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#, false),
            (
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"name\": 1"}}]}}]}"#,
                true,
            ),
            (r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}"#, false),
            (r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#, false),
            (r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"usage": {"prompt_tokens":1}}"#, false),
            (r#"{"choices":[{"index":0,"delta":{"content":"a"}}],"x":{"usage":{}}}"#, false),
            (r#"{"error":{"message":"a"},"choices":[]}"#, false),
            (r#"{"object":"error","message":"\"choices\":[]"}"#, false),
            (r#"{"object":"error","message":"choices"}"#, false),
            (r#"{"choices":[{"index":0,"delta":{"content":"a"#, false),
            ("[DONE]", false),
            ("", false),
        ] {
            assert_eq!(is_plain(chunk.as_bytes()), plain, "{chunk}");
        }
    }
}
