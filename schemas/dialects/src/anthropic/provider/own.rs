//! Removes from a caller's own request what Anthropic's newer models refuse: sampling parameters, empty text blocks, unsigned
//! thoughts, cache marks on thoughts, and signatures on calls. Older models, or those of others, took or wrote them. The rest
//! is unchanged.
//! Sources: <https://platform.claude.com/docs/en/about-claude/models/migration-guide>,
//! <https://github.com/anthropics/claude-code/issues/54013>, <https://github.com/Wei-Shaw/sub2api/issues/225>,
//! <https://github.com/diegosouzapw/OmniRoute/issues/2454>, <https://github.com/ENTERPILOT/GoModel/pull/964>.

use crate::claude::{Claude, Sampling};
use crate::fit::Fit;
use crate::json::{Fields, JsonKind, RawObject, items, kind};
use crate::openai::provider::glance::values;
use memchr::memmem::{self, Finder};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::value::{RawValue, to_raw_value};
use std::sync::LazyLock;

/// Where proxies of Gemini write the signature of a call.
const SIGNED_CALL: [&str; 2] = ["signature", "thought_signature"];

/// The request as this model takes it; `None` when it takes it as it is.
pub(super) fn fitted(body: &str, fields: &Fields<'_>, model: &str, fit: &mut Fit) -> Result<Option<String>, Failure> {
    let fixed = fixed(fields, model);
    let has_odd_blocks = has_empty_text(body) || has_marked_thoughts(body) || has_odd_signatures(body);
    if fixed.is_empty() && !has_odd_blocks {
        return Ok(None);
    }
    let bad = |error: serde_json::Error| Failure::gateway(FailureKind::BadRequest, error.to_string());
    let mut request = RawObject::read(body.as_bytes()).map_err(bad)?;
    let mut is_changed = !fixed.is_empty();
    for name in fixed {
        let is_usual = fields.last(name).is_some_and(|value| matches!(value, "1" | "1.0" | "null"));
        request.remove(name);
        if !is_usual {
            fit.omit(name);
        }
    }
    let messages = request.get("messages").filter(|_| has_odd_blocks);
    if let Some(messages) = messages.and_then(|messages| messages_without(messages, fit)) {
        request.set("messages", &messages);
        is_changed = true;
    }
    Ok(is_changed.then(|| request.to_text()))
}

/// What is said of sampling and the model fixes.
fn fixed(fields: &Fields<'_>, model: &str) -> Vec<&'static str> {
    let is_said = |name: &&str| fields.get(name).is_some();
    match Claude::of(model).sampling {
        Sampling::Free => Vec::new(),
        Sampling::OneOf if is_said(&"temperature") => ["top_p"].into_iter().filter(is_said).collect(),
        Sampling::OneOf => Vec::new(),
        Sampling::Fixed => ["temperature", "top_p", "top_k"].into_iter().filter(is_said).collect(),
    }
}

fn has_empty_text(body: &str) -> bool {
    static TEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""text""#));
    values(&TEXT, body.as_bytes()).any(|value| value.starts_with(b"\"\""))
}

fn has_marked_thoughts(body: &str) -> bool {
    let has = |word: &str| memmem::find(body.as_bytes(), word.as_bytes()).is_some();
    has("\"signature\"") && has("\"cache_control\"")
}

/// Whether there are more thoughts than signatures, or fewer: proxies of Gemini sign calls, and clients give that back.
fn has_odd_signatures(body: &str) -> bool {
    static TYPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""type""#));
    static SIGNATURE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#"signature""#));
    static THINKING: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""thinking""#));
    let body = body.as_bytes();
    let is_signed = |value: &&[u8]| value.starts_with(b"\"") && !value.starts_with(b"\"\"");
    let signatures = values(&SIGNATURE, body).filter(is_signed).count();
    let may_think = signatures > 0 || THINKING.find(body).is_some();
    may_think && values(&TYPE, body).filter(|value| value.starts_with(b"\"thinking\"")).count() != signatures
}

fn messages_without(messages: &RawValue, fit: &mut Fit) -> Option<Vec<Box<RawValue>>> {
    let (mut is_changed, mut was_marked) = (false, false);
    let mut out = Vec::new();
    for message in items(messages) {
        let content = Fields::of(message).get("content").filter(|content| kind(content) == JsonKind::List);
        let content = content.and_then(|content| blocks_without(content, &mut was_marked));
        match content.zip(RawObject::read(message.get().as_bytes()).ok()) {
            Some((content, mut message)) => {
                message.set("content", &content);
                out.push(to_raw_value(&message).ok()?);
                is_changed = true;
            }
            None => out.push(message.to_owned()),
        }
    }
    if was_marked {
        fit.omit("cache_control");
    }
    is_changed.then_some(out)
}

/// The blocks that say something, thoughts that are signed, without marks; `None` when all are so, or nothing would be left.
fn blocks_without(content: &RawValue, was_marked: &mut bool) -> Option<Vec<Box<RawValue>>> {
    let (mut is_changed, mut out) = (false, Vec::new());
    for block in items(content) {
        let fields = Fields::of(block);
        match fields.last("type") {
            Some("\"text\"") if fields.last("text") == Some("\"\"") => is_changed = true,
            Some("\"thinking\"") if matches!(fields.last("signature"), None | Some("\"\"" | "null")) => {
                is_changed = true;
            }
            Some("\"thinking\"" | "\"redacted_thinking\"") if fields.get("cache_control").is_some() => {
                let mut thought = RawObject::read(block.get().as_bytes()).ok()?;
                thought.remove("cache_control");
                out.push(to_raw_value(&thought).ok()?);
                (is_changed, *was_marked) = (true, true);
            }
            Some("\"tool_use\"") if SIGNED_CALL.iter().any(|name| fields.get(name).is_some()) => {
                let mut call = RawObject::read(block.get().as_bytes()).ok()?;
                SIGNED_CALL.iter().for_each(|name| call.remove(name));
                out.push(to_raw_value(&call).ok()?);
                is_changed = true;
            }
            _ => out.push(block.to_owned()),
        }
    }
    (is_changed && !out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_schemas::envelope::Unsupported;

    #[test]
    fn a_turn_of_nothing_but_empty_text_stays_as_it_came() {
        let mut fit = Fit::new(Unsupported::Refuse);
        let body = r#"{"messages":[{"role":"user","content":[{"type":"text","text":""}]},{"role":"user","content":"\"text\":\"\""}]}"#;
        let fields = Fields::read(body).unwrap();
        assert_eq!(fitted(body, &fields, "claude-opus-4-8", &mut fit).unwrap(), None);
    }

    #[test]
    fn a_call_that_a_proxy_of_gemini_signed_goes_to_claude_without_that() {
        let of = |signed: &str| {
            let thought = r#"{"type":"thinking","thinking":"hm","signature":"Er=="}"#;
            let call = format!(r#"{{"type":"tool_use","id":"c","name":"f","input":{{"signature":"mine"}}{signed}}}"#);
            format!(r#"{{"messages":[{{"role":"assistant","content":[{thought},{call}]}}]}}"#)
        };
        for signed in [r#","signature":"Cq==""#, r#","thought_signature":"Cq==""#] {
            let (body, mut fit) = (of(signed), Fit::new(Unsupported::Refuse));
            let sent = fitted(&body, &Fields::read(&body).unwrap(), "claude-opus-4-8", &mut fit).unwrap();
            assert_eq!(sent, Some(of("")), "{signed}");
        }
    }

    #[test]
    fn a_thought_that_nobody_signed_is_left_out_and_one_that_is_signed_stays() {
        let of = |thought: &str| {
            let turn =
                |blocks: &str| format!(r#"{{"role":"assistant","content":[{blocks}{{"type":"text","text":"b"}}]}}"#);
            let request =
                |blocks: &str| format!(r#"{{"thinking":{{"type":"enabled"}},"messages":[{}]}}"#, turn(blocks));
            let body = request(thought);
            let mut fit = Fit::new(Unsupported::Refuse);
            let sent = fitted(&body, &Fields::read(&body).unwrap(), "claude-opus-4-8", &mut fit).unwrap();
            assert!(sent.as_deref().is_none_or(|sent| sent == request("")), "{sent:?}");
            sent.is_none()
        };
        assert!(of(""));
        assert!(of(r#"{"type":"thinking","thinking":"hm","signature":"Er=="},"#));
        assert!(of(r#"{"type":"redacted_thinking","data":"Er=="},"#));
        for unsigned in ["", r#","signature":"""#, r#","signature":null"#] {
            assert!(!of(&format!(r#"{{"type":"thinking","thinking":"hm"{unsigned}}},"#)), "{unsigned}");
        }
    }
}
