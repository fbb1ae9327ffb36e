//! A conversation that callers made: what was said in it goes before what a request asks, and what was asked and answered is
//! added to it. It is one value in the bucket of the responses, changed by compare-and-set: of two requests that add to it at
//! once neither loses anything. Knows nothing of HTTP.

use super::shelf::Shelf;
use super::{PATIENCE, no_conversation, unavailable};
use crate::refusal::Refusal;
use penstock_dialects::json::RawObject;
use penstock_runtime::bus::Version;
use penstock_schemas::conversation::{
    ConversationPoint, KeptConversation, KeptInput, KeptItem, conversation_item_id, hex, is_conversation_id,
};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::RequestId;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::HashSet;
use tokio::time::timeout;

/// The most items of a conversation to which more can be added.
pub(crate) const MOST_ITEMS: usize = 10_000;

/// The longest id of an item that a caller may give, in bytes; one that has a longer one is given another.
const ITEM_ID: usize = 128;

/// What one request adds to a conversation, all of it or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Addition {
    /// Of what the ids are made of items that have none.
    hex: String,
    /// The response that says it.
    response: Option<String>,
    items: Vec<NewItem>,
}

#[derive(Clone, Debug)]
struct NewItem {
    id: Option<String>,
    kind: &'static str,
    item: Box<RawValue>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
}

impl NewItem {
    /// An item as it is said again, whose id is `own` where it has none.
    fn of(item: Box<RawValue>, own: Option<String>) -> Self {
        let read = serde_json::from_str(item.get()).unwrap_or(Kind { kind: None, id: None });
        let kind = match read.kind.as_deref().unwrap_or("message") {
            "message" => "msg",
            "reasoning" => "rs",
            "function_call" => "fc",
            "custom_tool_call" => "ctc",
            kind if kind.ends_with("_output") => "fco",
            _ => "item",
        };
        let id = own.or(read.id).filter(|id| (1..=ITEM_ID).contains(&id.len()));
        Self { id, kind, item }
    }
}

impl Addition {
    /// What a caller adds by the request of this id.
    pub(crate) fn of_caller(request: RequestId, items: KeptInput) -> Self {
        let items = items.into_iter().map(|item| NewItem::of(item, None)).collect();
        Self { hex: hex(request), response: None, items }
    }

    /// What a response was asked and says; nothing, when it is not complete.
    pub(super) fn of_turn(id: &str, asked: &KeptInput, response: &[u8], native: bool) -> Option<Self> {
        let fields = RawObject::read(response).ok()?;
        let status: String = serde_json::from_str(fields.get("status")?.get()).ok()?;
        if !matches!(status.as_str(), "completed" | "incomplete") {
            return None;
        }
        let said: KeptInput = serde_json::from_str(fields.get("output")?.get()).ok()?;
        let said = said.into_iter().map(|item| {
            let own = serde_json::from_str::<Kind>(item.get()).ok().and_then(|read| read.id);
            NewItem::of(if native { item } else { nameless(&item) }, own)
        });
        let items = asked.iter().map(|item| NewItem::of(item.clone(), None)).chain(said).collect();
        let hex = id.split('_').nth(1).unwrap_or_default().to_owned();
        Some(Self { hex, response: Some(id.to_owned()), items })
    }

    /// Adds it. Gives the number of items that were there before.
    pub(crate) fn put(&self, kept: &mut KeptConversation) -> usize {
        let before = kept.items.len();
        let mut taken: HashSet<String> = kept.items.iter().map(|item| item.id.clone()).collect();
        for (at, new) in self.items.iter().enumerate() {
            let own = new.id.clone().filter(|id| !taken.contains(id));
            let id = own.unwrap_or_else(|| conversation_item_id(new.kind, &self.hex, at));
            taken.insert(id.clone());
            kept.items.push(KeptItem { id, item: new.item.clone(), response: self.response.clone() });
        }
        before
    }
}

/// A conversation as it is now.
///
/// # Errors
/// When there is none, when the key may not use a model that has spoken in it, or the store does not answer; `param` names who
/// asks.
pub(crate) async fn find(shelf: &Shelf, id: &str, param: &str) -> Result<(KeptConversation, Version), Refusal> {
    if !is_conversation_id(id) {
        return Err(no_conversation(id, param));
    }
    let (kept, version) = shelf.find::<KeptConversation>(id).await?.ok_or_else(|| no_conversation(id, param))?;
    kept.models.iter().try_for_each(|model| shelf.check_model(model))?;
    Ok((kept, version))
}

/// Keeps a new one.
///
/// # Errors
/// When it is too large, or the store does not answer.
pub(crate) async fn create(shelf: &Shelf, id: &str, kept: &KeptConversation) -> Result<(), Refusal> {
    shelf.exchange(id, kept, None).await?.map(drop).ok_or_else(cannot_be_kept)
}

/// Changes one, however many others do so at the same time: `change` is asked anew when another was faster.
///
/// # Errors
/// When it is not found, when `change` refuses, or when it cannot be kept.
pub(crate) async fn change(
    shelf: &Shelf,
    id: &str,
    param: &str,
    change: impl Fn(&mut KeptConversation) -> Result<(), Refusal>,
) -> Result<KeptConversation, Refusal> {
    let changing = async {
        loop {
            let (mut kept, version) = find(shelf, id, param).await?;
            change(&mut kept)?;
            if shelf.exchange(id, &kept, Some(version)).await?.is_some() {
                return Ok(kept);
            }
            if shelf.is_still(id, version).await.map_err(|error| unavailable(&error))? {
                return Err(cannot_be_kept());
            }
        }
    };
    timeout(PATIENCE, changing).await.unwrap_or_else(|_| Err(locked()))
}

/// Forgets one.
///
/// # Errors
/// When it is not found, or the store does not answer.
pub(crate) async fn remove(shelf: &Shelf, id: &str, param: &str) -> Result<(), Refusal> {
    find(shelf, id, param).await?;
    shelf.remove(id).await
}

/// Adds what was asked and answered, unless it is there already: an answer that is made again is said once.
pub(super) async fn add_turn(shelf: &Shelf, id: &str, model: &str, turn: &Addition) -> Result<(), Refusal> {
    let add = |kept: &mut KeptConversation| {
        if !kept.items.iter().any(|item| item.response == turn.response) {
            kept.models.insert(model.to_owned());
            turn.put(kept);
        }
        Ok(())
    };
    change(shelf, id, "conversation", add).await.map(drop)
}

/// What had been said when a response was asked in the conversation; nothing, when that is gone.
pub(super) async fn up_to(shelf: &Shelf, point: &ConversationPoint, response: &str) -> Result<KeptInput, Refusal> {
    let (Some(last), Some((kept, _))) = (&point.last, shelf.find::<KeptConversation>(&point.id).await?) else {
        return Ok(Vec::new());
    };
    kept.models.iter().try_for_each(|model| shelf.check_model(model))?;
    let last = kept.items.iter().position(|item| item.id == *last).map(|at| at + 1);
    // Where the last one was taken away, all before the response's own.
    let own = || kept.items.iter().position(|item| item.response.as_deref() == Some(response));
    let end = last.or_else(own).unwrap_or(kept.items.len());
    Ok(kept.items.into_iter().take(end).map(|item| item.item).collect())
}

/// An item without the id that we gave it, which means nothing to a provider; that of a thought is sealed, and so never gets
/// there.
pub(super) fn nameless(item: &RawValue) -> Box<RawValue> {
    let Ok(mut fields) = RawObject::read(item.get().as_bytes()) else { return item.to_owned() };
    if fields.get("type").is_none_or(|kind| kind.get() != "\"reasoning\"") {
        fields.remove("id");
    }
    to_raw_value(&fields).expect("fields are JSON")
}

fn cannot_be_kept() -> Refusal {
    let why = "the conversation cannot be kept: it is too large, or the disk is nearly full";
    Failure::gateway(FailureKind::TooLarge, why).into()
}

/// OpenAI's word for it.
fn locked() -> Refusal {
    let why = "too many others change this conversation at the same time: send the request again";
    let mut failure = Failure::gateway(FailureKind::Conflict, why);
    failure.provider_code = Some("conversation_locked".to_owned());
    failure.param = Some("conversation".to_owned());
    failure.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn items(items: &[Value]) -> KeptInput {
        items.iter().map(|item| to_raw_value(item).unwrap()).collect()
    }

    fn ids(kept: &KeptConversation) -> Vec<&str> {
        kept.items.iter().map(|item| item.id.as_str()).collect()
    }

    #[test]
    fn every_item_of_a_conversation_has_an_id_of_its_own() {
        let request = RequestId("0193e6a0-7c2d-7cc0-8000-000000000001".parse().unwrap());
        let long = "x".repeat(ITEM_ID + 1);
        let added = Addition::of_caller(
            request,
            items(&[
                json!({ "role": "user", "content": "Hi" }),
                json!({ "type": "message", "id": "msg_own", "role": "user", "content": "Hi" }),
                json!({ "type": "message", "id": "msg_own", "role": "user", "content": "again" }),
                json!({ "type": "function_call", "id": long, "call_id": "c", "name": "f", "arguments": "{}" }),
                json!({ "type": "function_call_output", "id": "", "call_id": "c", "output": "1" }),
            ]),
        );
        let mut kept = KeptConversation::default();
        assert_eq!(added.put(&mut kept), 0);
        let hex = hex(request);
        let expected = [
            format!("msg_{hex}0000"),
            "msg_own".to_owned(),
            format!("msg_{hex}0002"),
            format!("fc_{hex}0003"),
            format!("fco_{hex}0004"),
        ];
        assert_eq!(ids(&kept), expected);
    }

    #[test]
    fn only_a_complete_answer_is_a_turn_and_our_own_ids_are_not_said_again() {
        let asked = items(&[json!({ "role": "user", "content": "Hi" })]);
        let of = |status: &str, native: bool| {
            let output = json!([
                { "id": "rs_1_0", "type": "reasoning", "summary": [] },
                { "id": "msg_1_1", "type": "message", "role": "assistant", "content": [] },
            ]);
            let response = json!({ "status": status, "output": output }).to_string();
            Addition::of_turn("resp_1", &asked, response.as_bytes(), native)
        };
        assert!(of("failed", false).is_none() && of("in_progress", true).is_none() && of("cancelled", true).is_none());
        for (status, native) in [("completed", false), ("incomplete", true)] {
            let mut kept = KeptConversation::default();
            of(status, native).unwrap().put(&mut kept);
            assert_eq!(ids(&kept), ["msg_10000", "rs_1_0", "msg_1_1"]);
            let said: Vec<bool> = kept.items.iter().map(|item| item.item.get().contains("\"id\"")).collect();
            assert_eq!(said, [false, true, native]);
            assert!(kept.items.iter().all(|item| item.response.as_deref() == Some("resp_1")));
        }
    }
}
