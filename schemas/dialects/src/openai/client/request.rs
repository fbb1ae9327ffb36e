//! Reads the requests of OpenAI's endpoints, as far as the pipeline must know them, and checks the types of what every
//! provider would trip over. The body's bytes travel on untouched.
//! Source: <https://platform.openai.com/docs/api-reference>; rerank: <https://docs.cohere.com/reference/rerank>.

use super::chat;
use crate::client::fields::{Rule, measure, text, unmeasured, wrong};
use crate::client::{ClientRequest, Endpoint, Purpose, WrongRequest};
use crate::json::{Fields, JsonKind, items, kind};
use bytes::Bytes;
use penstock_schemas::envelope::{Delivery, Dialect, Operation};
use penstock_schemas::extent::Extent;
use penstock_schemas::form::MultipartForm;

/// The model of a moderation that names none.
/// Source: <https://platform.openai.com/docs/api-reference/moderations/create#moderations-create-model>.
const MODERATION_MODEL: &str = "omni-moderation-latest";

/// Reads a request.
pub(crate) fn read(
    endpoint: Endpoint,
    body: Bytes,
    content_type: Option<String>,
) -> Result<ClientRequest, WrongRequest> {
    let operation = endpoint.operation;
    if operation.takes_form() {
        return read_form(endpoint, body, content_type);
    }
    let fields = Fields::of_body(text(&body)?)?;
    let extent = measure(Dialect::Openai, operation, &body)?;
    fields.check(|name| rule(operation, name))?;
    let model = endpoint.model.or(fields.text("model")?.filter(|model| !model.is_empty()));
    let default = (operation == Operation::Moderations).then(|| MODERATION_MODEL.to_owned());
    let model = model.or(default).ok_or(WrongRequest::MissingField("model"))?;
    for required in required(operation) {
        if fields.get(required).is_none() {
            return Err(WrongRequest::MissingField(required));
        }
    }
    check_content(operation, &fields)?;
    // OpenAI's newer name for it: <https://platform.openai.com/docs/guides/safety-best-practices>.
    let user = fields.text("user")?.or(fields.text("safety_identifier")?);
    let delivery = delivery(operation, &fields);
    Ok(ClientRequest {
        dialect: Dialect::Openai,
        operation,
        model,
        user,
        delivery,
        body,
        content_type: None,
        extent,
        purpose: Purpose::Answer,
    })
}

fn read_form(endpoint: Endpoint, body: Bytes, content_type: Option<String>) -> Result<ClientRequest, WrongRequest> {
    let Endpoint { operation, model, .. } = endpoint;
    let kind = content_type.as_deref().unwrap_or_default();
    let form = MultipartForm::read(&body, kind).map_err(|error| wrong("body", format!("as a form, {error}")))?;
    let text = |name: &'static str| match form.value(name).map(std::str::from_utf8) {
        Some(Err(_)) => Err(wrong(name, "it must be UTF-8".to_owned())),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        None => Ok(None),
    };
    let model = model.or(text("model")?.map(ToOwned::to_owned)).ok_or(WrongRequest::MissingField("model"))?;
    // A provider may take a file for the value; and this one would not be changed to the target's model.
    if form.has_file("model") {
        return Err(wrong("model", "it must not be a file".to_owned()));
    }
    let is_image = operation.makes_images();
    let (file, others) = if is_image { ("image", "image[]") } else { ("file", "file") };
    if !form.has_file(file) && !form.has_file(others) {
        return Err(WrongRequest::MissingField(file));
    }
    if operation == Operation::ImageEdits && text("prompt")?.is_none() {
        return Err(WrongRequest::MissingField("prompt"));
    }
    // What the SDKs write for true; some write Python's.
    let delivery = match text("stream")? {
        Some("true" | "True" | "1") => Delivery::Stream,
        None | Some("false" | "False" | "0") => Delivery::Whole,
        Some(_) => return Err(wrong("stream", "it must be true or false".to_owned())),
    };
    let extent = Extent::of_form(operation, &form, body.len()).map_err(unmeasured)?;
    Ok(ClientRequest {
        dialect: Dialect::Openai,
        operation,
        model,
        user: None,
        delivery,
        body,
        content_type,
        extent,
        purpose: Purpose::Answer,
    })
}

/// What a request must hold besides its model.
fn required(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::Chat => &["messages"],
        Operation::Completions | Operation::Images => &["prompt"],
        Operation::Embeddings | Operation::Moderations | Operation::Speech => &["input"],
        Operation::Rerank => &["query", "documents"],
        Operation::Transcriptions
        | Operation::Translations
        | Operation::ImageEdits
        | Operation::ImageVariations
        | Operation::CountTokens
        | Operation::Realtime => &[],
    }
}

/// What a field may hold. Those that are not listed are the provider's to judge.
fn rule(operation: Operation, field: &str) -> Option<Rule> {
    use Operation::{Chat, Completions, Embeddings, Images, Moderations, Rerank, Speech};
    Some(match (operation, field) {
        (_, "model" | "user" | "safety_identifier") => Rule::Text,
        (Chat, "messages" | "tools") => Rule::List,
        (Chat, "tool_choice") => Rule::TextOrObject,
        (Chat, "max_tokens" | "max_completion_tokens") | (Completions, "max_tokens") => Rule::Limit,
        (Chat | Completions | Images, "n") => Rule::Whole(1),
        (Chat | Completions | Images, "stream") | (Chat, "parallel_tool_calls") => Rule::Bool,
        (Chat | Completions, "stream_options" | "logit_bias") | (Chat, "response_format") => Rule::Object,
        (Chat | Completions, "temperature" | "top_p" | "presence_penalty" | "frequency_penalty")
        | (Speech, "speed") => Rule::Number,
        (Chat | Completions, "stop") | (Completions, "prompt") => Rule::TextOrList,
        (Chat, "reasoning_effort") | (Images, "prompt") | (Speech, "input" | "response_format") => Rule::Text,
        (Embeddings, "input") => Rule::TextOrList,
        (Embeddings, "dimensions") | (Rerank, "top_n") => Rule::Whole(1),
        (Embeddings, "encoding_format") | (Rerank, "query") => Rule::Text,
        (Moderations, "input") => Rule::TextOrList,
        (Speech, "voice") => Rule::TextOrObject,
        (Rerank, "documents") => Rule::List,
        _ => return None,
    })
}

fn check_content(operation: Operation, fields: &Fields<'_>) -> Result<(), WrongRequest> {
    match operation {
        Operation::Chat => chat::check(fields),
        Operation::Embeddings => check_list(fields, "input", Some(JsonKind::Number)),
        Operation::Completions => check_list(fields, "prompt", Some(JsonKind::Number)),
        Operation::Moderations => check_list(fields, "input", None),
        Operation::Rerank => check_list(fields, "documents", None),
        _ => Ok(()),
    }?;
    if let Some(options) = fields.get("stream_options") {
        let options = Fields::of(options);
        options.check(|name| (name == "include_usage").then_some(Rule::Bool)).map_err(|refusal| match refusal {
            WrongRequest::WrongPart { place, why } => wrong(&format!("stream_options.{place}"), why),
            other => other,
        })?;
    }
    Ok(())
}

/// A list of texts, of objects, of lists of numbers, or where `token` says so one list of them: not empty, and not mixed.
fn check_list(fields: &Fields<'_>, name: &'static str, token: Option<JsonKind>) -> Result<(), WrongRequest> {
    let Some(list) = fields.get(name).filter(|value| kind(value) == JsonKind::List) else { return Ok(()) };
    let items = items(list);
    let Some(first) = items.first().map(|item| kind(item)) else {
        return Err(wrong(name, "it must not be empty".to_owned()));
    };
    for (at, item) in items.iter().enumerate() {
        let kind = kind(item);
        let is_token = Some(kind) == token;
        let fits = matches!(kind, JsonKind::Text | JsonKind::Object)
            || is_token
            || (kind == JsonKind::List && token.is_some());
        if !fits {
            return Err(wrong(&format!("{name}[{at}]"), "it must be a string".to_owned()));
        }
        if is_token != (Some(first) == token) {
            return Err(wrong(&format!("{name}[{at}]"), "texts and tokens cannot stand in one list".to_owned()));
        }
    }
    Ok(())
}

fn delivery(operation: Operation, fields: &Fields<'_>) -> Delivery {
    let with_usage =
        || fields.get("stream_options").is_some_and(|options| Fields::of(options).is_true("include_usage"));
    match operation {
        // Audio is passed on as it comes, whoever asks for it.
        Operation::Speech => Delivery::Stream,
        Operation::Chat | Operation::Completions if fields.is_true("stream") && with_usage() => {
            Delivery::StreamWithUsage
        }
        Operation::Chat | Operation::Completions | Operation::Images if fields.is_true("stream") => Delivery::Stream,
        _ => Delivery::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(operation: Operation, body: &str) -> Result<ClientRequest, WrongRequest> {
        read(Endpoint::new(Dialect::Openai, operation), Bytes::copy_from_slice(body.as_bytes()), None)
    }

    #[test]
    fn what_the_pipeline_must_know_is_read() {
        let head =
            asked(Operation::Chat, r#"{"model":"m","messages":[{"role":"user"}],"stream":true,"user":"u","n":null}"#);
        let head = head.unwrap();
        assert_eq!((head.model.as_str(), head.user.as_deref(), head.delivery), ("m", Some("u"), Delivery::Stream));
        let options = r#"{"model":"m","prompt":"a","stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(asked(Operation::Completions, options).unwrap().delivery, Delivery::StreamWithUsage);
        assert_eq!(asked(Operation::Speech, r#"{"model":"m","input":"a"}"#).unwrap().delivery, Delivery::Stream);
        assert_eq!(asked(Operation::Moderations, r#"{"input":"a"}"#).unwrap().model, MODERATION_MODEL);
        for input in [json!("a"), json!(["a", "b"]), json!([1, 2]), json!([[1], [2, 3]]), json!([{"text": "a"}])] {
            let body = json!({"model": "m", "input": input, "dimensions": 8, "encoding_format": "base64"});
            assert_eq!(asked(Operation::Embeddings, &body.to_string()).unwrap().delivery, Delivery::Whole, "{body}");
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn what_is_wrong_is_named() {
        use Operation::{Chat, Completions, Embeddings, Images, Moderations, Rerank, Speech};
        for (operation, body, message) in [
            (Chat, "{", "the body is not valid JSON: EOF while parsing an object at line 1 column 1"),
            (Chat, "[]", "the body is not valid JSON: it must be an object"),
            (Chat, "{}", "the field `model` is missing"),
            (Chat, r#"{"model":3,"messages":[{}]}"#, "the field `model` is not valid: it must be a string"),
            (
                Chat,
                r#"{"model":"\ud800","messages":[{}]}"#,
                "the field `model` is not valid: unexpected end of hex escape at line 1 column 8",
            ),
            (Chat, r#"{"model":"m"}"#, "the field `messages` is missing"),
            (Chat, r#"{"model":"m","messages":"hi"}"#, "the field `messages` is not valid: it must be a list"),
            (
                Chat,
                r#"{"model":"m","messages":[{}],"n":0}"#,
                "the field `n` is not valid: it must be a whole number of at least 1",
            ),
            (
                Chat,
                r#"{"model":"m","messages":[{}],"max_tokens":1.5}"#,
                "the field `max_tokens` is not valid: it must be a whole number that is not negative",
            ),
            (
                Completions,
                r#"{"model":"m","prompt":"a","stream_options":{"include_usage":1}}"#,
                "the field `stream_options.include_usage` is not valid: it must be true or false",
            ),
            (Completions, r#"{"model":"m"}"#, "the field `prompt` is missing"),
            (Embeddings, r#"{"model":"m","input":null}"#, "the field `input` is missing"),
            (
                Embeddings,
                r#"{"model":"m","input":{}}"#,
                "the field `input` is not valid: it must be a string or a list",
            ),
            (Embeddings, r#"{"model":"m","input":[]}"#, "the field `input` is not valid: it must not be empty"),
            (
                Embeddings,
                r#"{"model":"m","input":["a",null]}"#,
                "the field `input[1]` is not valid: it must be a string",
            ),
            (
                Embeddings,
                r#"{"model":"m","input":["a",1]}"#,
                "the field `input[1]` is not valid: texts and tokens cannot stand in one list",
            ),
            (
                Embeddings,
                r#"{"model":"m","input":"a","dimensions":"8"}"#,
                "the field `dimensions` is not valid: it must be a whole number of at least 1",
            ),
            (Moderations, r#"{"input":[1]}"#, "the field `input[0]` is not valid: it must be a string"),
            (Images, r#"{"model":"m","prompt":["a"]}"#, "the field `prompt` is not valid: it must be a string"),
            (Speech, r#"{"model":"m","voice":"v"}"#, "the field `input` is missing"),
            (Rerank, r#"{"model":"m","query":"q"}"#, "the field `documents` is missing"),
            (
                Rerank,
                r#"{"model":"m","query":"q","documents":[]}"#,
                "the field `documents` is not valid: it must not be empty",
            ),
        ] {
            assert_eq!(asked(operation, body).unwrap_err().to_string(), message, "{body}");
        }
    }

    #[test]
    fn a_form_is_read_for_its_model_and_whether_it_streams() {
        let form = |parts: &[(&str, &str)]| {
            let part = |(name, value): &(&str, &str)| {
                format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
            };
            let body: String = parts.iter().map(part).collect();
            let body = body.replace("name=\"file\"", "name=\"file\"; filename=\"a.wav\"") + "--b--\r\n";
            let endpoint = Endpoint::new(Dialect::Openai, Operation::Transcriptions);
            read(endpoint, body.into(), Some("multipart/form-data; boundary=b".to_owned()))
        };
        let file = ("file", "RIFF");
        let asked = form(&[file, ("model", "m"), ("stream", "True")]).unwrap();
        assert_eq!((asked.model.as_str(), asked.delivery), ("m", Delivery::Stream));
        for (parts, message) in [
            (
                &[][..],
                "the field `body` is not valid: as a form, it holds no part that begins with the boundary of its content type",
            ),
            (&[file][..], "the field `model` is missing"),
            (&[file, ("model", "")][..], "the field `model` is missing"),
            (&[("model", "m")][..], "the field `file` is missing"),
            (
                &[file, ("model", "m"), ("stream", "maybe")][..],
                "the field `stream` is not valid: it must be true or false",
            ),
        ] {
            assert_eq!(form(parts).unwrap_err().to_string(), message);
        }
    }
}
