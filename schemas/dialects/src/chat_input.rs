//! Chats that were written as the responses endpoint takes them, with `input` and without `messages`: some clients send either to
//! either path. Knows nothing of what is asked.

use crate::client::WrongRequest;
use crate::json::Fields;
use crate::responses;
use bytes::Bytes;
use memchr::memmem;

/// The body as a chat; any other stays as it is.
///
/// # Errors
/// What of the input is wrong, or cannot be said in a chat.
pub(crate) fn as_chat(body: Bytes) -> Result<Bytes, WrongRequest> {
    if memmem::find(&body, b"\"input\"").is_none() {
        return Ok(body);
    }
    let fields = std::str::from_utf8(&body).ok().and_then(|text| Fields::read(text).ok()).unwrap_or_default();
    if fields.get("messages").is_some() || fields.get("input").is_none() {
        return Ok(body);
    }
    match responses::client::agnostic(&body) {
        // What reads the body next refuses it, with the message that any broken body gets.
        Err(WrongRequest::InvalidJson(_)) => Ok(body),
        chat => chat,
    }
}
