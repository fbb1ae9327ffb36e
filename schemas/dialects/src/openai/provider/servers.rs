//! Fits a request in OpenAI's dialect to what its server, and this model there, accepts: the caller's own bytes and what was
//! translated alike. Knows the servers by their quirks and by the fields that they lack.

use super::{choices, lacking, turns};
use crate::json::{Fields, RawObject};
use crate::provider::{FormatRequest, Quirk};
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};

/// The quirks that more than messages are changed for.
const OF_CHOICES: [Quirk; 8] = [
    Quirk::SomeParameters,
    Quirk::ChoiceInWords,
    Quirk::SchemaOnly,
    Quirk::ForcedUnthinking,
    Quirk::ForcedNotEnabled,
    Quirk::ThinksInStreams,
    Quirk::OneThought,
    Quirk::ThreeEfforts,
];

/// The request as it takes it, with what was left out added to `dropped`; `None` when it takes it as it is.
///
/// # Errors
/// When it is no JSON object.
pub(crate) fn fit(
    body: &str,
    fields: &Fields<'_>,
    ask: &FormatRequest<'_>,
    dropped: &mut Vec<String>,
) -> Result<Option<String>, Failure> {
    let listed = lacking::listed(fields, ask);
    let is_chat = ask.wanted.operation == Operation::Chat && fields.last("messages").is_some();
    let has = |quirk| {
        let matters = quirk != Quirk::ThoughtsKept || keeps_thoughts(fields);
        is_chat && matters && ask.settings.has_at(quirk, ask.model.as_str())
    };
    let may_choose = OF_CHOICES.into_iter().any(has);
    let may_turn = turns::OF_MESSAGES.into_iter().any(has);
    let is_whole = !ask.wanted.delivery.is_stream() && fields.last("stream_options").is_some();
    if listed.is_empty() && !may_choose && !may_turn && !is_whole {
        return Ok(None);
    }
    let bad = |error: serde_json::Error| Failure::gateway(FailureKind::BadRequest, error.to_string());
    let mut request = RawObject::read(body.as_bytes()).map_err(bad)?;
    let mut is_changed = lacking::strike(&mut request, &listed, ask, dropped);
    if is_whole {
        // They may stand beside a stream alone, and say nothing else.
        request.remove("stream_options");
        is_changed = true;
    }
    let messages = request.get("messages").filter(|_| may_turn).and_then(|messages| turns::fit(messages, has));
    if let Some(messages) = messages {
        request.set("messages", &messages);
        is_changed = true;
    }
    is_changed |= may_choose && choices::fit(&mut request, has, ask.wanted.delivery, dropped);
    Ok(is_changed.then(|| request.to_text()))
}

/// Whether the conversation has tools, and the model thinks in it.
fn keeps_thoughts(fields: &Fields<'_>) -> bool {
    let is_off =
        fields.get("thinking").is_some_and(|thinking| Fields::of(thinking).last("type") == Some("\"disabled\""));
    let has_calls = || fields.last("messages").is_some_and(|messages| messages.contains("\"tool_calls\""));
    !is_off && (fields.last("tools").is_some() || has_calls())
}
