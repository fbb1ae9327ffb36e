//! Whether an answer may need mending, by a look at its bytes. Never fooled by what the model writes, as `glance`.

use super::super::frame::AnswerKind;
use super::super::glance::values;
use super::REASONS;
use memchr::memmem::Finder;
use std::sync::LazyLock;

struct Names {
    role: Finder<'static>,
    kind: Finder<'static>,
    reason: Finder<'static>,
    calls: Finder<'static>,
    delta: Finder<'static>,
    message: Finder<'static>,
    choices: Finder<'static>,
    index: Finder<'static>,
    content: Finder<'static>,
    logprobs: Finder<'static>,
    thought: Finder<'static>,
    thoughts: Finder<'static>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names {
    role: Finder::new(r#""role""#),
    kind: Finder::new(r#""type""#),
    reason: Finder::new(r#""finish_reason""#),
    calls: Finder::new(r#""tool_calls""#),
    delta: Finder::new(r#""delta""#),
    message: Finder::new(r#""message""#),
    choices: Finder::new(r#""choices""#),
    index: Finder::new(r#""index""#),
    content: Finder::new(r#""content""#),
    logprobs: Finder::new(r#""logprobs""#),
    thought: Finder::new(r#""reasoning""#),
    thoughts: Finder::new(r#""reasoning_content""#),
});

/// Whether a choice has a reason to stop.
pub(super) fn stops(json: &[u8]) -> bool {
    values(&NAMES.reason, json).any(|value| value.starts_with(b"\""))
}

/// Whether it has a message, and no delta.
pub(super) fn has_messages_alone(json: &[u8]) -> bool {
    let has = |name| values(name, json).any(|value| value.starts_with(b"{"));
    !has(&NAMES.delta) && has(&NAMES.message)
}

/// Whether it is worth the time to read it.
pub(super) fn may_be_odd(json: &[u8], piece: AnswerKind) -> bool {
    let names = &*NAMES;
    let is_chunk = piece == AnswerKind::Chunk;
    let some = || values(&names.choices, json).any(|value| !value[1..].trim_ascii_start().starts_with(b"]"));
    // In a chunk nothing has stopped yet where there is no reason; a whole answer has one.
    let is_reason = |value: &[u8]| match value.strip_prefix(b"\"") {
        Some(word) => REASONS
            .iter()
            .any(|reason| word.strip_prefix(reason.as_bytes()).is_some_and(|rest| rest.starts_with(b"\""))),
        None => is_chunk,
    };
    let is_role = |value: &[u8]| value.starts_with(b"\"assistant\"") || value.starts_with(b"n");
    let is_text = |value: &[u8]| value.starts_with(b"\"") || value.starts_with(b"n");
    let is_frame = values(&names.choices, json).all(|value| value.starts_with(b"["))
        && values(&names.choices, json).next().is_some()
        && (values(&names.index, json).next().is_some() || !some());
    let is_delta = !is_chunk
        || values(&names.delta, json).all(|value| value.starts_with(b"{"))
            && (values(&names.delta, json).next().is_some() || !some());
    let is_told =
        is_chunk || values(&names.content, json).next().is_some() && values(&names.reason, json).next().is_some();
    !(is_frame
        && is_delta
        && is_told
        && values(&names.reason, json).all(is_reason)
        && values(&names.role, json).all(is_role)
        && values(&names.content, json).all(is_text)
        && values(&names.logprobs, json).all(|value| value.starts_with(b"n") || is_number(value))
        && values(&names.kind, json).all(|value| !value.starts_with(b"\"\""))
        && !values(&names.calls, json).any(|value| is_call(value, piece))
        && !thinks_elsewhere(json))
}

/// Whether there are calls, or a word in their place that no chunk has.
fn is_call(value: &[u8], piece: AnswerKind) -> bool {
    match value {
        [b'[', rest @ ..] => piece == AnswerKind::Whole || !rest.trim_ascii_start().starts_with(b"]"),
        [b'{', ..] => true,
        _ => piece == AnswerKind::Chunk,
    }
}

/// The likelihood of one token may be called so too.
fn is_number(value: &[u8]) -> bool {
    value.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
}

/// Whether a thought stands under the name that the newer copies have for it alone.
fn thinks_elsewhere(json: &[u8]) -> bool {
    let thinks = |name: &'static Finder<'static>| {
        values(name, json).any(|value| value.starts_with(b"\"") && !value.starts_with(b"\"\""))
    };
    thinks(&NAMES.thought) && !thinks(&NAMES.thoughts)
}
