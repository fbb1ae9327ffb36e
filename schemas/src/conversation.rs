//! A response that is kept, so that it can be asked for again and a later request can go on from it. What was asked is kept
//! beside it, as a list of items. And a conversation that callers make, to which responses add what was said. Knows nothing of
//! where they are kept.

use crate::UnixMicros;
use crate::name::RequestId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// What the ids of responses begin with.
const PREFIX: &str = "resp_";

/// What the ids of conversations begin with.
const CONVERSATION: &str = "conv_";

/// A kept response.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptResponse {
    /// As the caller got it, or would get it now.
    pub response: Box<RawValue>,
    /// The model that was asked for; absent in what earlier versions kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The responses that it goes on from, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// Whether a provider of the same dialect wrote its items: their ids mean something there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub native: bool,
    /// While it is worked on in the background: when to believe that nobody does so any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<UnixMicros>,
    /// The conversation that it was asked in, and how far that was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationPoint>,
}

/// What a caller asked, item by item.
pub type KeptInput = Vec<Box<RawValue>>;

/// How far a conversation was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationPoint {
    /// The conversation.
    pub id: String,
    /// Its last item; none in an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// A conversation that a caller made. It is kept as one value, so that a change is made to all of it or not at all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KeptConversation {
    /// Seconds since 1970.
    pub created_at: u64,
    /// The caller's notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The models, as they were asked for, whose answers are or were in it: it is for those who may use them all.
    #[serde(default)]
    pub models: BTreeSet<String>,
    /// What was said, the oldest first.
    #[serde(default)]
    pub items: Vec<KeptItem>,
}

/// An item of a conversation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptItem {
    /// Its id, which no other item of the conversation has.
    pub id: String,
    /// As it is said to a model again; an id in it means something to whoever wrote it.
    pub item: Box<RawValue>,
    /// The response that added it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

/// A chat completion that a caller asked to be stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptCompletion {
    /// As the caller got it; of a stream, put together.
    pub completion: Box<RawValue>,
    /// The model that was asked for.
    pub model: String,
    /// The caller's notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// What was asked.
    #[serde(default)]
    pub messages: KeptInput,
}

/// The id of the response to a request: the one that callers see, whoever answers.
pub fn response_id(request: RequestId) -> String {
    format!("{PREFIX}{}", hex(request))
}

/// What a response's id and those of its items have in common.
pub fn hex(request: RequestId) -> String {
    request.0.simple().to_string()
}

/// Whether a text is the id of a response of ours; nothing else is ever looked for in a bucket.
pub fn is_response_id(id: &str) -> bool {
    id.strip_prefix(PREFIX).is_some_and(is_hex)
}

/// The id of the conversation that a request makes.
pub fn conversation_id(request: RequestId) -> String {
    format!("{CONVERSATION}{}", hex(request))
}

/// Whether a text is the id of a conversation of ours.
pub fn is_conversation_id(id: &str) -> bool {
    id.strip_prefix(CONVERSATION).is_some_and(is_hex)
}

/// The id of the item at a place of what a request adds to a conversation: `hex` is the request's. It is longer than those of a response's items, so
/// that nobody takes it for one of them.
pub fn conversation_item_id(kind: &str, hex: &str, at: usize) -> String {
    format!("{kind}_{hex}{at:04x}")
}

/// The response that an item of ours belongs to: `msg_<hex>_0` → `resp_<hex>`.
pub fn response_of_item(id: &str) -> Option<String> {
    let hex = id.split('_').nth(1).filter(|hex| is_hex(hex))?;
    Some(format!("{PREFIX}{hex}"))
}

/// Seconds since 1970 of a request, as its id has them.
pub fn seconds(request: RequestId) -> u64 {
    request.0.get_timestamp().map_or(0, |at| at.to_unix().0)
}

fn is_hex(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_tells_its_response() {
        let request = RequestId("0193e6a0-7c2d-7cc0-8000-000000000001".parse().unwrap());
        let id = response_id(request);
        assert_eq!(id, "resp_0193e6a07c2d7cc08000000000000001");
        assert!(is_response_id(&id) && !is_response_id("resp_abc") && !is_response_id("resp_*"));
        assert_eq!(response_of_item("msg_0193e6a07c2d7cc08000000000000001_0"), Some(id));
        assert_eq!(response_of_item("msg_68abc"), None);
        assert_eq!(response_of_item(&conversation_item_id("msg", &hex(request), 1)), None);
        let conversation = conversation_id(request);
        assert!(
            is_conversation_id(&conversation)
                && !is_conversation_id(&response_id(request))
                && !is_response_id(&conversation)
        );
        assert!(!is_conversation_id("conv_123") && !is_conversation_id("conv_"));
        assert_eq!(seconds(request), 1_734_741_097);
    }
}
