//! Chat completions that callers asked to be stored, with what was asked. Kept beside the responses, by their own ids, which
//! providers make: so what they are kept under is a digest of that. Knows nothing of HTTP.

use super::shelf::Shelf;
use super::{PATIENCE, read_metadata, unavailable};
use crate::cache::put_together;
use crate::refusal::Refusal;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use penstock_dialects::json::RawObject;
use penstock_dialects::responses::client::{fields, value};
use penstock_runtime::bus::Version;
use penstock_runtime::heavy;
use penstock_schemas::conversation::{KeptCompletion, KeptInput};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::frame::Summary;
use penstock_schemas::place;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tokio::time::timeout;
use tracing::warn;

/// What refusals call the id in the path.
pub(crate) const PARAM: &str = "completion_id";

/// How many one list looks through for what it wants.
const LOOKED_THROUGH: usize = 5_000;

/// How many bytes one list has, but for what the last one adds.
const PAGE_BYTES: usize = 32 * 1024 * 1024;

/// Those that are fetched at once.
const AT_ONCE: usize = 4;

/// What is to be kept of a request and its answer.
pub(crate) struct CompletionToKeep {
    shelf: Shelf,
    /// The model that was asked for.
    model: String,
    metadata: BTreeMap<String, String>,
    messages: KeptInput,
}

/// Which completions a list is to show.
pub(crate) struct CompletionFilter {
    pub(crate) is_newest_first: bool,
    /// The id of the one behind which it begins.
    pub(crate) after: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) metadata: Vec<(String, String)>,
}

impl CompletionToKeep {
    /// Of a request that asks for that.
    ///
    /// # Errors
    /// When its notes are not what they may be.
    pub(super) fn of(body: &[u8], model: &str, shelf: Shelf) -> Result<Self, Refusal> {
        let fields = fields(body)?;
        let metadata = read_metadata(&fields)?;
        let messages = value(&fields, "messages")?.unwrap_or_default();
        Ok(Self { shelf, model: model.to_owned(), metadata, messages })
    }

    /// Keeps an answer, whole or as the events of its stream. A store that does not take it costs the caller nothing but that.
    pub(super) async fn keep(self, answer: Bytes, summary: &Summary) {
        let is_stream = !answer.starts_with(b"{");
        let whole = if is_stream {
            heavy(answer.len(), || put_together(std::slice::from_ref(&answer), summary)).await
        } else {
            Some(answer)
        };
        let Some((id, completion)) = whole.and_then(|whole| named(&whole)) else { return };
        let Self { shelf, model, metadata, messages } = self;
        let kept = KeptCompletion { completion, model, metadata, messages };
        match timeout(PATIENCE, shelf.set(&place::completion(&id), &kept)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => warn!(completion = id, "a completion was not kept: it is too large"),
            Ok(Err(error)) => warn!(completion = id, %error, "a completion was not kept"),
            Err(_) => warn!(completion = id, "a completion was not kept: the store did not answer"),
        }
    }
}

/// A completion with its id; `None` when it has none.
fn named(completion: &[u8]) -> Option<(String, Box<RawValue>)> {
    let fields = RawObject::read(completion).ok()?;
    let id: String = serde_json::from_str(fields.get("id")?.get()).ok()?;
    let completion = serde_json::from_slice(completion).ok()?;
    (!id.is_empty()).then_some((id, completion))
}

/// One of them.
///
/// # Errors
/// When there is none, when the key may not use its model, or the store does not answer.
pub(crate) async fn find(shelf: &Shelf, id: &str) -> Result<(KeptCompletion, Version), Refusal> {
    let found = shelf.find::<KeptCompletion>(&place::completion(id)).await?;
    let (kept, version) = found.ok_or_else(|| unknown(id, PARAM))?;
    shelf.check_model(&kept.model)?;
    Ok((kept, version))
}

/// Gives one other notes.
///
/// # Errors
/// When it is not found, cannot be kept so, or the store does not answer.
pub(crate) async fn change(
    shelf: &Shelf,
    id: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<KeptCompletion, Refusal> {
    let changing = async {
        loop {
            let (mut kept, version) = find(shelf, id).await?;
            metadata.clone_into(&mut kept.metadata);
            let name = place::completion(id);
            if shelf.exchange(&name, &kept, Some(version)).await?.is_some() {
                return Ok(kept);
            }
            if shelf.is_still(&name, version).await.map_err(|error| unavailable(&error))? {
                let why = "the completion cannot be kept: it is too large, or the disk is nearly full";
                return Err(Failure::gateway(FailureKind::TooLarge, why).into());
            }
        }
    };
    let late = || Err(Refusal::NotReady("too many others change this completion at the same time"));
    timeout(PATIENCE, changing).await.unwrap_or_else(|_| late())
}

/// Forgets one.
///
/// # Errors
/// When it is not found, or the store does not answer.
pub(crate) async fn remove(shelf: &Shelf, id: &str) -> Result<(), Refusal> {
    find(shelf, id).await?;
    shelf.remove(&place::completion(id)).await
}

/// So many of those that are wanted and that the key may see, by their ids, as far as this process has heard of them; and
/// whether there are more.
///
/// # Errors
/// When the one behind which they begin is not found, or the store does not answer.
pub(crate) async fn find_all(
    shelf: &Shelf,
    wanted: &CompletionFilter,
    limit: usize,
) -> Result<(Vec<(String, KeptCompletion)>, bool), Refusal> {
    let mut names = shelf.names(place::is_completion);
    if wanted.is_newest_first {
        names.reverse();
    }
    let start = match &wanted.after {
        None => 0,
        Some(after) => {
            let name = place::completion(after);
            names.iter().position(|one| *one == name).map(|at| at + 1).ok_or_else(|| unknown(after, "after"))?
        }
    };
    let names = names.into_iter().skip(start).take(LOOKED_THROUGH);
    let fetch = |name: String| {
        let shelf = shelf.for_one();
        async move { shelf.find::<KeptCompletion>(&name).await }
    };
    let mut fetched = stream::iter(names.map(fetch)).buffered(AT_ONCE);
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(kept) = fetched.next().await {
        let Some((kept, _)) = kept? else { continue };
        if !wanted.takes(&kept) || shelf.check_model(&kept.model).is_err() {
            continue;
        }
        let Some((id, _)) = named(kept.completion.get().as_bytes()) else { continue };
        // What was asked is not listed, and may be long.
        let kept = KeptCompletion { messages: Vec::new(), ..kept };
        if found.len() == limit || bytes >= PAGE_BYTES {
            return Ok((found, true));
        }
        bytes += kept.completion.get().len();
        found.push((id, kept));
    }
    Ok((found, false))
}

impl CompletionFilter {
    fn takes(&self, kept: &KeptCompletion) -> bool {
        self.model.as_ref().is_none_or(|model| *model == kept.model)
            && self.metadata.iter().all(|(name, value)| kept.metadata.get(name) == Some(value))
    }
}

/// That a project has no such completion; another project's is none.
pub(crate) fn unknown(id: &str, param: &str) -> Refusal {
    let id: String = id.chars().take(128).collect();
    let mut failure = Failure::gateway(FailureKind::NotFound, format!("Chat completion with id '{id}' not found."));
    failure.param = Some(param.to_owned());
    failure.into()
}
