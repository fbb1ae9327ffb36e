//! Which session a request belongs to: the agent's run or the conversation that its many requests are parts of, as the client
//! says it already. In this order, the first that is there:
//!
//! 1. `x-penstock-session`.
//! 2. Headers of clients: `x-claude-code-session-id` (Claude Code), `session-id`, `session_id`, `thread-id` (Codex),
//!    `x-session-id`, `x-session-affinity` (opencode), `x-litellm-session-id`, `langfuse_session_id`.
//! 3. The body: `metadata.session_id`, `metadata.langfuse_session_id`, `litellm_session_id`, `metadata.user_id` of Claude
//!    Code (`…_session_ID`, or JSON with `session_id`), `client_metadata.session_id` or `thread_id` (Codex),
//!    `request.session_id` and `session_id` (Gemini CLI).
//! 4. `conversation` of OpenAI's responses, then `prompt_cache_key`.
//!
//! What follows an earlier response by its id has the session of that response: see `conversation`. Knows nothing of what a
//! session is used for.

use crate::http::body::header;
use crate::refusal::Refusal;
use axum::http::HeaderMap;
use bytes::Bytes;
use memchr::memmem;
use penstock_dialects::client::WrongRequest;
use penstock_schemas::session::{LONGEST, Session, SessionSource};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The caller's own word.
const OWN: &str = "x-penstock-session";

/// Those of clients. Sources: the clients themselves, as they were recorded in front of this gateway.
const CLIENTS: [&str; 8] = [
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "thread-id",
    "x-session-id",
    "x-session-affinity",
    "x-litellm-session-id",
    "langfuse_session_id",
];

/// What a body that names a session has in it somewhere: others are not read for it.
const WORDS: [&[u8]; 4] = [b"session", b"\"prompt_cache_key\"", b"\"conversation\"", b"\"thread_id\""];

/// The fields of a body that may name one.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    client_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    litellm_session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    conversation: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'a RawValue>,
}

/// The session that a request says it is a part of.
///
/// # Errors
/// When the caller's own word is longer than a session's name may be. What clients write by themselves is passed over then.
pub(crate) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Option<Session>, Refusal> {
    if let Some(own) = headers.get(OWN) {
        let own = own.to_str().ok().and_then(|text| Session::parse(text, SessionSource::Header));
        let why = || format!("it must be 1 to {LONGEST} printable characters");
        return own.map(Some).ok_or_else(|| Refusal::Wrong(WrongRequest::WrongHeader { header: OWN, why: why() }));
    }
    let of_client = CLIENTS.iter().find_map(|name| Session::parse(header(headers, name)?, SessionSource::Client));
    Ok(of_client.or_else(|| of_body(body)))
}

/// The session that a body names.
pub(crate) fn of_body(body: &Bytes) -> Option<Session> {
    if !WORDS.iter().any(|word| memmem::find(body, word).is_some()) {
        return None;
    }
    let fields: Fields<'_> = serde_json::from_slice(body).ok()?;
    let text = |value: Option<&RawValue>| serde_json::from_str::<String>(value?.get()).ok();
    let within = |value: Option<&RawValue>, names: &[&str]| {
        let object: Value = serde_json::from_str(value?.get()).ok()?;
        names.iter().find_map(|name| Some(object.get(name)?.as_str()?.to_owned()))
    };
    let of_metadata = within(fields.metadata, &["session_id", "langfuse_session_id"])
        .or_else(|| text(fields.litellm_session_id))
        .or_else(|| of_user(&within(fields.metadata, &["user_id"])?))
        .or_else(|| within(fields.client_metadata, &["session_id", "thread_id"]))
        .or_else(|| within(fields.request, &["session_id"]))
        .or_else(|| text(fields.session_id));
    let of_conversation = || text(fields.conversation).or_else(|| within(fields.conversation, &["id"]));
    of_metadata
        .and_then(|id| Session::parse(&id, SessionSource::Metadata))
        .or_else(|| Session::parse(&of_conversation()?, SessionSource::Conversation))
        .or_else(|| Session::parse(&text(fields.prompt_cache_key)?, SessionSource::PromptCacheKey))
}

/// Claude Code's session in what it sends as its user: `user_…_account_…_session_ID`, or JSON.
fn of_user(user: &str) -> Option<String> {
    if let Some((_, session)) = user.rsplit_once("_session_") {
        return Some(session.to_owned());
    }
    let object: Value = serde_json::from_str(user).ok()?;
    Some(object.get("session_id")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn named(headers: &[(&'static str, &'static str)], body: &str) -> String {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        match read(&HeaderMap::from_iter(headers), &Bytes::copy_from_slice(body.as_bytes())) {
            Ok(Some(session)) => format!("{} {}", session.source.as_str(), session.id),
            Ok(None) => "none".to_owned(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn a_session_is_what_the_client_says_already_in_a_stated_order() {
        let all = r#"{"metadata":{"session_id":"m"},"prompt_cache_key":"p","conversation":{"id":"conv_1"}}"#;
        for (headers, body, expected) in [
            (&[("x-penstock-session", "own"), ("session_id", "codex")][..], all, "header own"),
            (&[("x-claude-code-session-id", "cc")], all, "client cc"),
            (&[("session_id", "codex")], all, "client codex"),
            (&[], all, "metadata m"),
            (&[], r#"{"metadata":{"user_id":"user_ab_account__session_0a-1"}}"#, "metadata 0a-1"),
            (&[], r#"{"metadata":{"user_id":"{\"device_id\":\"d\",\"session_id\":\"0b\"}"}}"#, "metadata 0b"),
            (&[], r#"{"litellm_session_id":"l"}"#, "metadata l"),
            (&[], r#"{"client_metadata":{"thread_id":"t"},"prompt_cache_key":"p"}"#, "metadata t"),
            (&[], r#"{"request":{"session_id":"g"}}"#, "metadata g"),
            (&[], r#"{"conversation":"conv_2","prompt_cache_key":"p"}"#, "conversation conv_2"),
            (&[], r#"{"prompt_cache_key":"p"}"#, "prompt_cache_key p"),
            (&[], r#"{"messages":[{"content":"about a session"}]}"#, "none"),
            (&[], r#"{"metadata":{"session_id":7}}"#, "none"),
            (&[], r#"{"metadata":{"session_id":""}}"#, "none"),
            (&[], "session", "none"),
            (&[], "{}", "none"),
        ] {
            assert_eq!(named(headers, body), expected, "{headers:?} {body}");
        }
        let long = format!(r#"{{"prompt_cache_key":"{}"}}"#, "x".repeat(LONGEST + 1));
        assert_eq!(named(&[], &long), "none", "what clients write by themselves is passed over when it is too long");
        assert!(named(&[("x-penstock-session", "")], "{}").contains("x-penstock-session"));
    }
}
