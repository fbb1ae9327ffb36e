//! Spells a request. Knows which fields Bedrock has under another name, which it cannot express, and which change nothing.

use super::answer::SEQUENCE_PATHS;
use super::content::Blocks;
use super::family::Family;
use super::format::{self, Shape, Thinks};
use super::messages;
use super::names::{DocumentNames, is_call_id};
use super::reasoning::{self, Room};
use super::tools::{self, Wish};
use super::wire::{Block, InferenceConfig, Request};
use crate::claude::{Claude, Sampling};
use crate::fit::{Fit, OTHERS_OWN, is_nothing, wrong};
use crate::openai::provider::parts::{lift_shown, tell_of_others};
use crate::provider::{Form, FormatRequest, RequestPath, Spelled, json_headers};
use crate::tool_pairs::paired;
use crate::{message_marks, tool_ids};
use bytes::Bytes;
use http::HeaderValue;
use http::header::ACCEPT;
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::envelope::Operation;
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::{Map, Value, json};

/// The longest answer, when neither the caller nor the catalogue says.
const USUAL_LIMIT: u64 = 4096;

/// How long an id is that stands for one that is not allowed.
const MADE_ID: usize = 24;

/// Fields of Converse that a caller may write as they are.
const OWN: [&str; 4] = ["guardrailConfig", "performanceConfig", RESPONSE_FIELDS, "promptVariables"];

/// Which of the model's own fields the answer is to have.
const RESPONSE_FIELDS: &str = "additionalModelResponseFieldPaths";

/// Fields without which the answer means the same.
const HARMLESS: [&str; 10] = [
    "seed",
    "store",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "prediction",
    "verbosity",
    "cache_control",
    "user",
];

/// The request for one answer.
///
/// # Errors
/// When it cannot be read or expressed.
pub(super) fn spell(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    if ask.wanted.operation != Operation::Chat {
        let why = format!("Bedrock is not asked for {} by this version", ask.wanted.operation);
        return Err(Failure::gateway(FailureKind::Unsupported, why));
    }
    let mut fit = Fit::new(ask.unsupported);
    let body: Bytes = match ask.wanted.form {
        Form::Own => ask.body.clone(),
        Form::Agnostic => {
            let request = serde_json::from_slice(ask.body).map_err(|error| unreadable(&error))?;
            let request = translate(request, ask, &mut fit)?;
            serde_json::to_vec(&request).map_err(|error| unreadable(&error))?.into()
        }
    };
    let is_stream = ask.wanted.delivery.is_stream();
    let mut headers = json_headers(ask.wanted.delivery);
    if is_stream {
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.amazon.eventstream"));
    }
    let verb = if is_stream { "/converse-stream" } else { "/converse" };
    let path = RequestPath::fixed("model").step(ask.model.as_str())?.then(verb);
    Ok(Spelled { path, headers, body, dropped: fit.dropped() })
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::gateway(FailureKind::BadRequest, format!("the request is no chat request: {error}"))
}

fn translate(mut request: ChatRequest, ask: &FormatRequest<'_>, fit: &mut Fit) -> Result<Request, Failure> {
    let name = ask.model.as_str();
    let (family, claude) = (Family::of(name), Claude::of(name));
    let is_forced = family.is_forced(name);
    let mut extra = std::mem::take(&mut request.extra);
    extra.retain(|name, value| !is_nothing(name, value));
    let mut fields = additional(&mut extra)?;
    let mut config = inference(&request, family, &mut extra, fit)?;
    let mut shape = format::shape(request.response_format.take(), family, is_forced, fit)?;
    request.messages = paired(std::mem::take(&mut request.messages), |field| fit.omit(field));
    message_marks::lower(&mut request.messages);
    tool_ids::unique(&mut request.messages);
    tool_ids::map(&mut request.messages, MADE_ID, is_call_id);
    let mut blocks = Blocks { family, fit: &mut *fit, names: DocumentNames::default() };
    let goes_on = claude.goes_on || !family.is_claude();
    let mut conversation =
        messages::read(lift_shown(tell_of_others(std::mem::take(&mut request.messages))), &mut blocks, goes_on)?;
    let room = Room {
        limit: config.max_tokens.or(ask.card.and_then(|card| card.max_output)).unwrap_or(USUAL_LIMIT),
        is_forced: is_forced && (matches!(shape, Shape::Tool(_)) || tools::is_forcing(request.tool_choice.as_ref())),
        is_unthought: conversation.is_unthought(),
    };
    let thinks = reasoning::spell(&request, (family, claude), room, &mut fields, fit)?;
    if fields.get("thinking").is_some_and(|thinking| thinking.get("budget_tokens").is_some()) {
        config.max_tokens = Some(room.limit); // a budget must be below it, so it must be said
    }
    if let Some(top_k) = extra.shift_remove("top_k") {
        spell_top_k(top_k, family, &mut fields, fit)?;
    }
    if family.is_claude() {
        without_sampling(claude, thinks, &mut config, &mut fields, fit);
    }
    let output_config = ask_for(&mut shape, &mut conversation.system);
    let wish = Wish {
        tools: request.tools.take().unwrap_or_default(),
        choice: request.tool_choice.take(),
        called: conversation.called,
    };
    let said = tools::config(wish, &mut shape, (family, is_forced), fit)?;
    conversation.system.extend(said.words.map(Block::Text));
    let mut others = others(extra, fit)?;
    if family.is_claude() && !config.stop_sequences.is_empty() {
        // Bedrock names the stop sequence that ended the answer only when it is asked to.
        others.entry(RESPONSE_FIELDS).or_insert_with(|| json!(SEQUENCE_PATHS));
    }
    Ok(Request {
        system: conversation.system,
        messages: conversation.turns,
        inference_config: config,
        tool_config: said.config,
        output_config,
        additional_model_request_fields: fields,
        others,
    })
}

/// Asks for the shape of the answer: in a field of its own, or in words.
fn ask_for(shape: &mut Shape, system: &mut Vec<Block>) -> Option<Value> {
    match shape {
        Shape::Native(config) => Some(config.take()),
        Shape::Words(words) => {
            system.push(Block::Text(std::mem::take(words)));
            None
        }
        Shape::Free | Shape::Tool(_) => None,
    }
}

/// What the caller wrote for the model itself.
fn additional(extra: &mut Map<String, Value>) -> Result<Map<String, Value>, Failure> {
    match extra.shift_remove("additionalModelRequestFields") {
        None => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) => Err(wrong("additionalModelRequestFields", "it is no object")),
    }
}

fn inference(
    request: &ChatRequest,
    family: Family,
    extra: &mut Map<String, Value>,
    fit: &mut Fit,
) -> Result<InferenceConfig, Failure> {
    let mut number = |name: &str| match extra.shift_remove(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            None => Err(wrong(name, "it is no number")),
            Some(number) if (0.0..=1.0).contains(&number) => Ok(Some(value)),
            // Sampling is a hint.
            Some(_) => {
                fit.omit(name);
                Ok(None)
            }
        },
    };
    let (temperature, top_p) = (number("temperature")?, number("top_p")?);
    let mut stop_sequences: Vec<String> = match extra.shift_remove("stop") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(several) => {
            serde_json::from_value(several).map_err(|_| wrong("stop", "it is a text or a list of texts"))?
        }
    };
    stop_sequences.retain(|stop| !stop.is_empty());
    if family.is_claude() && stop_sequences.iter().any(|stop| stop.trim().is_empty()) {
        fit.cannot("stop", "this model takes no white space alone")?;
        stop_sequences.retain(|stop| !stop.trim().is_empty());
    }
    if request.user.is_some() {
        fit.omit("user");
    }
    if request.n.is_some_and(|n| n > 1) {
        fit.cannot("n", "Bedrock gives one answer")?;
    }
    let max_tokens = request.max_completion_tokens.or(request.max_tokens);
    Ok(InferenceConfig { max_tokens, temperature, top_p, stop_sequences })
}

fn spell_top_k(top_k: Value, family: Family, fields: &mut Map<String, Value>, fit: &mut Fit) -> Result<(), Failure> {
    if !top_k.is_u64() {
        return Err(wrong("top_k", "it is no whole number"));
    }
    match family {
        Family::Claude(..) => {
            fields.insert("top_k".to_owned(), top_k);
        }
        // Source: <https://docs.aws.amazon.com/nova/latest/userguide/using-converse-api.html>.
        Family::Nova(_) => {
            fields.insert("inferenceConfig".to_owned(), json!({ "topK": top_k }));
        }
        Family::GptOss | Family::Other => fit.omit("top_k"),
    }
    Ok(())
}

/// Claude thinks at one temperature only, and newer models sample as they do. What is left out is named.
/// Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html>.
fn without_sampling(
    claude: Claude,
    thinks: Thinks,
    config: &mut InferenceConfig,
    fields: &mut Map<String, Value>,
    fit: &mut Fit,
) {
    let is_free = claude.sampling != Sampling::Fixed && thinks == Thinks::No;
    let is_default = |value: &Value| value.as_f64() == Some(1.0);
    if let Some(temperature) = config.temperature.take_if(|temperature| !is_free || is_default(temperature))
        && !is_default(&temperature)
    {
        fit.omit("temperature");
    }
    let is_one_too_many = claude.sampling == Sampling::OneOf && config.temperature.is_some();
    let is_kept = |value: &Value| {
        claude.sampling != Sampling::Fixed && value.as_f64() >= Some(0.95) && !is_one_too_many
            || is_free && !is_one_too_many
    };
    if let Some(top_p) = config.top_p.take_if(|top_p| is_default(top_p) || !is_kept(top_p))
        && !is_default(&top_p)
    {
        fit.omit("top_p");
    }
    if !is_free && fields.shift_remove("top_k").is_some() {
        fit.omit("top_k");
    }
}

/// What is left: Converse's own fields, what changes nothing, and what cannot be expressed.
fn others(extra: Map<String, Value>, fit: &mut Fit) -> Result<Map<String, Value>, Failure> {
    let mut others = Map::new();
    for (name, value) in extra {
        match name.as_str() {
            "metadata" | "requestMetadata" if is_metadata(&value) => {
                others.insert("requestMetadata".to_owned(), value);
            }
            "service_tier" => match value.as_str() {
                Some(tier @ ("default" | "flex" | "priority")) => {
                    others.insert("serviceTier".to_owned(), json!({ "type": tier }));
                }
                Some("auto") => {}
                _ => fit.omit(name),
            },
            own if OWN.contains(&own) => {
                others.insert(name, value);
            }
            harmless if [&HARMLESS[..], &OTHERS_OWN, &["metadata"]].concat().contains(&harmless) => fit.omit(name),
            _ => fit.cannot(name, "Bedrock has nothing like it")?,
        }
    }
    Ok(others)
}

/// Whether Bedrock takes it for the operator's logs.
/// Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_RequestSyntax>.
fn is_metadata(value: &Value) -> bool {
    let is_word = |text: &str, shortest: usize| {
        (shortest..=256).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || " :_@$#=/+,-.".contains(c))
    };
    value.as_object().is_some_and(|fields| {
        (1..=16).contains(&fields.len())
            && fields
                .iter()
                .all(|(name, value)| is_word(name, 1) && value.as_str().is_some_and(|text| is_word(text, 0)))
    })
}
