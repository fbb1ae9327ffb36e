//! A request that goes on from an earlier response becomes one that says all of it. Knows nothing of models.

use super::completions::CompletionToKeep;
use super::shelf::{Shelf, status};
use super::thread::{self, MOST_ITEMS, nameless};
use super::{ResponseToKeep, ToKeep, unknown};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use penstock_dialects::json::RawObject;
use penstock_dialects::responses::client::{conversation, fields, value, wrong};
use penstock_runtime::memory::Reserved;
use penstock_runtime::{clock, heavy};
use penstock_schemas::conversation::{ConversationPoint, KeptInput, KeptResponse, response_id, response_of_item};
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::session::{Session, SessionSource};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The longest conversation, in responses.
const LONGEST: usize = 1000;

/// Responses that are fetched at once.
const AT_ONCE: usize = 16;

/// How often what was said may be held at once: as it was kept, in the request that says it again, and on its way to the bus.
const COPIES: usize = 3;

/// Gives the request everything that it refers to. What is to be kept of it; nothing when the caller does not want that.
pub(crate) async fn recall(request: &mut Request, ingress: &Shared) -> Result<Option<ToKeep>, Refusal> {
    if request.asked.is_stored_chat() {
        let (asked, shelf) = (&request.asked, Shelf::new(ingress, &request.key));
        let memory = heavy(asked.body.len(), || CompletionToKeep::of(&asked.body, &asked.model, shelf)).await?;
        return Ok(Some(ToKeep::Completion(Box::new(memory))));
    }
    if request.asked.dialect != Dialect::Responses {
        return Ok(None);
    }
    let asked = &mut request.asked;
    let body = asked.body.clone();
    let mut fields = heavy(body.len(), || fields(&body)).await?;
    let is_kept = value(&fields, "store")?.unwrap_or(true);
    let is_background = value(&fields, "background")?.unwrap_or(false);
    if is_background && !is_kept {
        return Err(wrong("background".to_owned(), "a response that is not stored cannot be asked for later").into());
    }
    let is_followed = is_background && asked.delivery.is_stream();
    if is_followed {
        // It is made in one piece, and told of as a stream out of what is kept.
        asked.delivery = Delivery::Whole;
        fields.set("stream", &false);
    }
    let shelf = Shelf::new(ingress, &request.key);
    let mut input = items(&fields)?;
    let mut memory = SaidMemory { bytes: 0, limit: ingress.config.body_limit, reserved: ingress.memory.none() };
    let has_references = resolve(&mut input, &shelf, &mut memory).await?;
    let previous: Option<String> = value(&fields, "previous_response_id")?;
    let conversation = conversation(&fields)?;
    let (mut before, mut history, mut point) = (Vec::new(), Vec::new(), None);
    match (&previous, conversation) {
        (Some(_), Some(_)) => return Err(both()),
        (Some(id), None) => (before, history, memory) = self::history(id, &shelf, memory).await?,
        (None, Some(id)) => (history, point) = so_far(id, &shelf).await?,
        (None, None) => {}
    }
    request.recalled = Some(memory.reserved);
    if request.session.is_none() && (is_kept || previous.is_some()) {
        let first = before.first().or(previous.as_ref()).cloned().unwrap_or_else(|| response_id(request.id));
        request.session = Session::parse(&first, SessionSource::Response).map(Box::new);
    }
    if previous.is_some() || point.is_some() || has_references || is_background {
        let all: Vec<&RawValue> = history.iter().chain(&input).map(|item| &**item).collect();
        let limit = ingress.config.body_limit;
        if all.iter().map(|item| item.get().len()).sum::<usize>() > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        fields.set("input", &all);
        fields.remove("previous_response_id");
        fields.remove("conversation");
        fields.remove("background");
        asked.spell_out(fields.to_vec().into())?;
    }
    let (id, model) = (response_id(request.id), request.asked.model.clone());
    let conversation = point.filter(|_| request.asked.operation == Operation::Chat);
    let is_remembered = is_kept || conversation.is_some();
    let memory =
        ResponseToKeep { shelf, id, model, body, input, before, is_background, is_followed, is_kept, conversation };
    Ok(is_remembered.then(|| ToKeep::Response(Box::new(memory))))
}

/// That a request names two things that it goes on from. The words are OpenAI's.
fn both() -> Refusal {
    let why = "Mutually exclusive parameters. Ensure you are only providing one of: 'previous_response_id' or \
               'conversation'.";
    let mut failure = Failure::gateway(FailureKind::BadRequest, why);
    failure.provider_code = Some("mutually_exclusive_parameters".to_owned());
    failure.into()
}

/// What was said in a conversation, and how far it is.
async fn so_far(id: String, shelf: &Shelf) -> Result<(KeptInput, Option<ConversationPoint>), Refusal> {
    let (kept, _) = thread::find(shelf, &id, "conversation").await?;
    if kept.items.len() >= MOST_ITEMS {
        let why = format!("it has {} items, which is the most: begin another", kept.items.len());
        return Err(wrong("conversation".to_owned(), &why).into());
    }
    let last = kept.items.last().map(|item| item.id.clone());
    Ok((kept.items.into_iter().map(|item| item.item).collect(), Some(ConversationPoint { id, last })))
}

/// What a request asks, as items.
fn items(fields: &RawObject) -> Result<KeptInput, Refusal> {
    let Some(input) = fields.get("input") else { return Ok(Vec::new()) };
    if input.get().starts_with('"') {
        let mut said = RawObject::default();
        said.set("type", &"message");
        said.set("role", &"user");
        said.set("content", &input);
        return Ok(vec![to_raw_value(&said).expect("fields are JSON")]);
    }
    Ok(value(fields, "input")?.unwrap_or_default())
}

/// What is held of earlier responses, and its place in the process's memory.
struct SaidMemory {
    bytes: usize,
    limit: usize,
    reserved: Reserved,
}

impl SaidMemory {
    /// Makes room for a response and what it was asked, as soon as they are here.
    fn take(&mut self, response: &KeptResponse, asked: &KeptInput) -> Result<(), Refusal> {
        self.grow(response.response.get().len() + asked.iter().map(|item| item.get().len()).sum::<usize>())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        if self.bytes > self.limit {
            return Err(Refusal::BodyTooLarge { limit: self.limit });
        }
        Ok(self.reserved.grow(bytes * COPIES)?)
    }
}

/// Everything up to a response: the names of all responses on the way, what was said, and its place in the memory.
async fn history(id: &str, shelf: &Shelf, memory: SaidMemory) -> Result<(Vec<String>, KeptInput, SaidMemory), Refusal> {
    const PARAM: &str = "previous_response_id";
    let now = clock::now();
    let memory = Mutex::new(memory);
    let fetch = |id: String| {
        let memory = &memory;
        async move {
            let ((response, _), asked) = {
                let shelf = shelf.for_one();
                tokio::try_join!(shelf.get(&id, PARAM, now), shelf.input(&id))?
            };
            memory.lock().unwrap_or_else(PoisonError::into_inner).take(&response, &asked)?;
            Ok::<_, Refusal>((response, asked))
        }
    };
    let (last, asked) = fetch(id.to_owned()).await?;
    if !matches!(status(&last).as_str(), "completed" | "incomplete") {
        return Err(wrong(PARAM.to_owned(), &format!("that response is {}", status(&last))).into());
    }
    let mut names = last.before.clone();
    names.push(id.to_owned());
    if names.len() >= LONGEST {
        return Err(wrong(PARAM.to_owned(), "the conversation is too long: send its items yourself").into());
    }
    let mut turns: Vec<(KeptResponse, KeptInput)> =
        stream::iter(last.before.clone().into_iter().map(fetch)).buffered(AT_ONCE).try_collect().await?;
    turns.push((last, asked));
    // Only the first can have been asked in a conversation: all others go on from a response.
    let mut said = match turns.first().and_then(|(response, _)| response.conversation.as_ref()) {
        Some(point) => thread::up_to(shelf, point, &names[0]).await?,
        None => Vec::new(),
    };
    said.extend(turns.into_iter().flat_map(|(response, input)| input.into_iter().chain(output(&response))));
    Ok((names, said, memory.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// The items of a response, for it to be said again. An id that we gave means nothing to a provider; those of reasoning
/// are sealed, and so never get there.
fn output(response: &KeptResponse) -> KeptInput {
    let fields = RawObject::read(response.response.get().as_bytes()).unwrap_or_default();
    let items: KeptInput =
        fields.get("output").and_then(|output| serde_json::from_str(output.get()).ok()).unwrap_or_default();
    if response.native {
        return items;
    }
    items.into_iter().map(|item| nameless(&item)).collect()
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
}

/// Puts items of ours in the place of references to them; a provider's own it knows itself. Whether there were any. A response
/// is read once, however often it is referred to; an item takes its room each time.
async fn resolve(input: &mut KeptInput, shelf: &Shelf, memory: &mut SaidMemory) -> Result<bool, Refusal> {
    let mut found = false;
    let mut known: HashMap<String, ItemsById> = HashMap::new();
    for (at, item) in input.iter_mut().enumerate() {
        // Most items are none, and some are large.
        if item.get().len() > 1024 || !item.get().contains("item_reference") {
            continue;
        }
        let Ok(Reference { kind: Some(kind), id: Some(id) }) = serde_json::from_str(item.get()) else { continue };
        let Some(response_id) = response_of_item(&id).filter(|_| kind == "item_reference") else { continue };
        let param = format!("input[{at}].id");
        if !known.contains_key(&response_id) {
            let (response, _) = shelf.for_one().get(&response_id, &param, clock::now()).await?;
            let bytes = response.response.get().len();
            memory.grow(bytes)?;
            known.insert(response_id.clone(), heavy(bytes, || items_by_id(&response)).await);
        }
        let named = known.get(&response_id).and_then(|items| items.get(&id));
        let named = named.ok_or_else(|| unknown(&response_id, &param))?;
        memory.grow(named.get().len())?;
        item.clone_from(named);
        found = true;
    }
    Ok(found)
}

/// What a response says, by the ids of its items.
type ItemsById = HashMap<String, Box<RawValue>>;

fn items_by_id(response: &KeptResponse) -> ItemsById {
    let fields = RawObject::read(response.response.get().as_bytes()).unwrap_or_default();
    let items: Option<KeptInput> = fields.get("output").and_then(|output| serde_json::from_str(output.get()).ok());
    let with_id =
        |item: Box<RawValue>| Some((serde_json::from_str::<Reference>(item.get()).ok()?.id?, nameless(&item)));
    items.unwrap_or_default().into_iter().filter_map(with_id).collect()
}
