//! Spells a request: the model's name and what a stream needs are put into the caller's bytes, and every other byte stays
//! as it came.

use super::glance::values;
use super::{LONGEST_ID, copies, lacking, own_models, ranking, servers};
use crate::json::{Edit, Fields, text};
use crate::provider::{FormatRequest, Quirk, RequestPath, Spelled, json_headers, unsupported};
use crate::tool_ids;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use memchr::memmem::Finder;
use penstock_schemas::chat::ChatRequest;
use penstock_schemas::envelope::{Delivery, Operation};
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::form;
use std::sync::LazyLock;

/// The request for the operation's own path.
pub(super) fn spell(ask: &FormatRequest<'_>) -> Result<Spelled, Failure> {
    let (operation, delivery) = (ask.wanted.operation, ask.wanted.delivery);
    let path = RequestPath::fixed(path(operation)?);
    let mut dropped = Vec::new();
    let (body, headers) = match operation {
        operation if operation.takes_form() => as_form(ask, &mut dropped)?,
        _ => (json(ask, &mut dropped)?, json_headers(delivery)),
    };
    let headers = if operation == Operation::Speech { of_audio(headers) } else { headers };
    Ok(Spelled { path, headers, body, dropped })
}

/// Where an operation is asked for. Rerank is none of OpenAI's: its copies agree on this name, as in
/// <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#re-rank-api> and
/// <https://docs.together.ai/reference/rerank-1>.
fn path(operation: Operation) -> Result<&'static str, Failure> {
    Ok(match operation {
        Operation::Chat => "chat/completions",
        Operation::Completions => "completions",
        Operation::Embeddings => "embeddings",
        Operation::Moderations => "moderations",
        Operation::Images => "images/generations",
        Operation::ImageEdits => "images/edits",
        Operation::ImageVariations => "images/variations",
        Operation::Speech => "audio/speech",
        Operation::Transcriptions => "audio/transcriptions",
        Operation::Translations => "audio/translations",
        Operation::Rerank => "rerank",
        Operation::Realtime => return Err(unsupported("realtime", "a session is no request")),
        Operation::CountTokens => return Err(unsupported("count_tokens", "this provider does not count tokens")),
    })
}

/// With the model's name put in, and a usage report asked for on every stream of text: the ledger needs it.
fn json(ask: &FormatRequest<'_>, dropped: &mut Vec<String>) -> Result<Bytes, Failure> {
    let is_own_chat = ask.wanted.operation == Operation::Chat && ask.settings.has(Quirk::CustomTools);
    let written = if ask.wanted.operation == Operation::Chat { write_arguments(ask.body) } else { None };
    let body = written.as_ref().unwrap_or(ask.body);
    let shortened = is_own_chat.then(|| shorten_ids(body)).flatten();
    let body = text(shortened.as_ref().unwrap_or(body))?;
    let operation = ask.wanted.operation;
    let fitted = if super::has_choices(operation) { copies::fit(body, operation, ask.settings)? } else { None };
    let body = fitted.as_deref().unwrap_or(body);
    let thinks = ask.wanted.operation == Operation::Chat && own_models::thinks(ask.settings, ask.model.as_str());
    let ranked = if operation == Operation::Rerank { ranking::fit(body, ask.settings) } else { None };
    let body = ranked.as_deref().unwrap_or(body);
    let settled = if thinks { copies::fit_thinker(body, ask.model.as_str(), dropped)? } else { None };
    let body = settled.as_deref().unwrap_or(body);
    let fields = Fields::read(body)?;
    let taken = servers::fit(body, &fields, ask, dropped)?;
    let (body, fields) = match &taken {
        Some(taken) => (taken.as_str(), Fields::read(taken)?),
        None => (body, fields),
    };
    let mut edit = Edit::of(body);
    edit.set(&fields, "model", &serde_json::json!(ask.model.as_str()).to_string());
    let is_encoded = fields.last("encoding_format") == Some("\"base64\"");
    if ask.wanted.operation == Operation::Embeddings && is_encoded && ask.settings.has(Quirk::FloatVectors) {
        edit.set(&fields, "encoding_format", "\"float\"");
    }
    if super::has_choices(ask.wanted.operation) && ask.wanted.delivery.is_stream() {
        edit.set(&fields, "stream", "true");
        if !ask.settings.has(Quirk::NoStreamOptions) {
            edit.set(&fields, "stream_options", &with_usage(fields.last("stream_options"))?);
        }
    } else if ask.wanted.delivery == Delivery::Whole && fields.last("stream").is_some() {
        edit.set(&fields, "stream", "false");
    }
    Ok(edit.finish().into())
}

/// A chat whose calls have objects as arguments, with the texts that OpenAI and its copies take.
fn write_arguments(body: &Bytes) -> Option<Bytes> {
    static ARGUMENTS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""arguments""#));
    if !values(&ARGUMENTS, body).any(|value| value.starts_with(b"{")) {
        return None;
    }
    let request: ChatRequest = serde_json::from_slice(body).ok()?;
    serde_json::to_vec(&request).ok().map(Bytes::from)
}

/// A chat whose calls have ids that are longer than OpenAI itself takes, with others: a history that another model wrote.
fn shorten_ids(body: &Bytes) -> Option<Bytes> {
    static ID: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""tool_call_id""#));
    let is_long = |value: &[u8]| value.iter().skip(1).take(LONGEST_ID + 1).all(|byte| *byte != b'"');
    if !values(&ID, body).any(|value| value.starts_with(b"\"") && is_long(value)) {
        return None;
    }
    let mut request: ChatRequest = serde_json::from_slice(body).ok()?;
    tool_ids::map(&mut request.messages, LONGEST_ID, |id| id.len() <= LONGEST_ID);
    serde_json::to_vec(&request).ok().map(Bytes::from)
}

/// A form with the model's name put in, and without what the model lacks.
fn as_form(ask: &FormatRequest<'_>, dropped: &mut Vec<String>) -> Result<(Bytes, HeaderMap), Failure> {
    let content_type = ask.content_type.unwrap_or_default();
    let form = form_of(ask.body, content_type)?;
    let mut body = form.with("model", ask.model.as_str());
    for name in lacking::parts(&form, ask, dropped) {
        let left = form_of(&body, content_type)?.without(name);
        body = left;
    }
    let mut headers = json_headers(ask.wanted.delivery);
    if ask.wanted.delivery == Delivery::Whole {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*")); // subtitles are text
    }
    let content_type = HeaderValue::from_str(content_type).map_err(|error| no_form(&error.to_string()))?;
    headers.insert(CONTENT_TYPE, content_type);
    Ok((body.into(), headers))
}

fn form_of<'a>(body: &'a [u8], content_type: &str) -> Result<form::MultipartForm<'a>, Failure> {
    form::MultipartForm::read(body, content_type).map_err(|error| no_form(&error.to_string()))
}

fn no_form(why: &str) -> Failure {
    Failure::gateway(FailureKind::BadRequest, format!("the request is not a form: {why}"))
}

fn of_audio(mut headers: HeaderMap) -> HeaderMap {
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers
}

/// The caller's stream options, with a usage report asked for.
fn with_usage(options: Option<&str>) -> Result<String, Failure> {
    let options = options.filter(|options| *options != "null").unwrap_or("{}");
    let fields = Fields::read(options).map_err(|_| {
        let mut failure = Failure::gateway(FailureKind::BadRequest, "`stream_options` is not a JSON object");
        failure.param = Some("stream_options".into());
        failure
    })?;
    let mut edit = Edit::of(options);
    edit.set(&fields, "include_usage", "true");
    Ok(edit.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Form, FormatSettings, Wanted};
    use penstock_schemas::envelope::Unsupported;
    use penstock_schemas::name::ModelId;
    use serde_json::Value;

    fn try_spell(request: &[u8], operation: Operation, delivery: Delivery) -> Result<Spelled, Failure> {
        spell(&FormatRequest {
            wanted: Wanted { operation, form: Form::Own, delivery },
            body: &Bytes::copy_from_slice(request),
            content_type: Some("multipart/form-data; boundary=b"),
            headers: &std::collections::BTreeMap::new(),
            model: &ModelId::parse("up-stream").unwrap(),
            card: None,
            settings: &FormatSettings::default(),
            unsupported: Unsupported::Refuse,
        })
    }

    fn spelt(request: &str, delivery: Delivery) -> String {
        let spelled = try_spell(request.as_bytes(), Operation::Chat, delivery).unwrap();
        String::from_utf8(spelled.body.to_vec()).unwrap()
    }

    /// What is sent of a request of the caller's own to a provider with these quirks.
    fn own(operation: Operation, request: &Value, quirks: Vec<Quirk>) -> Value {
        let spelled = spell(&FormatRequest {
            wanted: Wanted { operation, form: Form::Own, delivery: Delivery::Whole },
            body: &request.to_string().into(),
            content_type: None,
            headers: &std::collections::BTreeMap::new(),
            model: &ModelId::parse("m").expect("it is a name"),
            card: None,
            settings: &FormatSettings { quirks, ..FormatSettings::default() },
            unsupported: Unsupported::Refuse,
        });
        serde_json::from_slice(&spelled.expect("it can be spelt").body).expect("it is JSON")
    }

    #[test]
    fn ids_of_calls_that_another_model_made_fit_openai_itself() {
        let id = format!("functions.f:0|fc_{}", "a".repeat(60));
        let call =
            |id: &str| serde_json::json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let request = |id: &str| {
            serde_json::json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [call(id)]},
                {"role": "tool", "tool_call_id": id, "content": "x"}]})
        };
        let sent = |id: &str, quirks| own(Operation::Chat, &request(id), quirks);
        let short = sent(&id, vec![Quirk::CustomTools]);
        let new = short["messages"][1]["tool_call_id"].as_str().unwrap();
        assert!(new.len() == 40 && short["messages"][0]["tool_calls"][0]["id"] == new, "{short}");
        assert_eq!(sent(&id, Vec::new()), request(&id), "a copy may take it");
        let fits = "c".repeat(40);
        assert_eq!(sent(&fits, vec![Quirk::CustomTools]), request(&fits));
    }

    #[test]
    fn vectors_are_asked_for_as_numbers_where_there_are_no_others() {
        let request = serde_json::json!({"model": "a", "input": "x", "encoding_format": "base64"});
        let sent = |quirks| own(Operation::Embeddings, &request, quirks);
        assert_eq!(sent(vec![Quirk::FloatVectors])["encoding_format"], "float");
        assert_eq!(sent(Vec::new())["encoding_format"], "base64");
    }

    #[test]
    fn documents_are_ranked_in_the_servers_own_words() {
        let request = serde_json::json!({"model": "a", "query": "q", "documents": ["x", {"text": "y"}, {"title": "z"}],
            "top_n": 1, "return_documents": true});
        let sent = |quirks| own(Operation::Rerank, &request, quirks);
        let texts = serde_json::json!({"model": "m", "query": "q", "texts": ["x", "y", r#"{"title":"z"}"#], "return_text": true});
        assert_eq!(sent(vec![Quirk::RankedTexts]), texts);
        let top = sent(vec![Quirk::RankedTopK]);
        assert_eq!((&top["top_k"], top.get("top_n"), &top["documents"]), (&1.into(), None, &request["documents"]));
        assert_eq!(sent(Vec::new())["top_n"], 1);
    }

    #[test]
    fn arguments_that_are_objects_are_sent_as_texts() {
        let request = r#"{"model":"a","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":{"n":1}}}]}]}"#;
        let sent: Value = serde_json::from_str(&spelt(request, Delivery::Whole)).unwrap();
        assert_eq!(sent["messages"][0]["tool_calls"][0]["function"]["arguments"], "{\"n\":1}");
    }

    #[test]
    fn each_operation_has_its_path_and_only_text_streams_are_asked_for_usage() {
        let request = r#"{"model":"a","stream":true}"#;
        let told = r#"{"model":"up-stream","stream":true}"#;
        let asked = r#"{"model":"up-stream","stream":true,"stream_options":{"include_usage":true}}"#;
        for (operation, path, sent) in [
            (Operation::Completions, "completions", asked),
            (Operation::Embeddings, "embeddings", told),
            (Operation::Moderations, "moderations", told),
            (Operation::Images, "images/generations", told),
            (Operation::Speech, "audio/speech", told),
            (Operation::Rerank, "rerank", told),
        ] {
            let spelled = try_spell(request.as_bytes(), operation, Delivery::Stream).unwrap();
            assert_eq!((spelled.path.as_str(), &*spelled.body), (path, sent.as_bytes()));
        }
        let refused = try_spell(request.as_bytes(), Operation::CountTokens, Delivery::Whole).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Unsupported);
    }

    #[test]
    fn a_form_changes_in_its_model_alone() {
        let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\n\0\u{ff}\r\n\
            --b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nMODEL\r\n--b--\r\n";
        let spelled = try_spell(form.as_bytes(), Operation::Translations, Delivery::Whole).unwrap();
        assert_eq!(spelled.path.as_str(), "audio/translations");
        assert_eq!(spelled.body, form.replace("MODEL", "up-stream").as_bytes());
        assert_eq!(spelled.headers[CONTENT_TYPE], "multipart/form-data; boundary=b");
        let broken = try_spell(b"--b", Operation::Transcriptions, Delivery::Whole).unwrap_err();
        assert_eq!(broken.kind, FailureKind::BadRequest);
    }

    #[test]
    fn only_the_model_changes_and_every_other_byte_stays() {
        for (request, sent) in [
            (r#"{"model":"chat","messages":[]}"#, r#"{"model":"up-stream","messages":[]}"#),
            (
                "{ \"x\" : 1.50e0 ,\n \"model\" :  \"chat\" , \"y\":\"\\u00e9é\" } ",
                "{ \"x\" : 1.50e0 ,\n \"model\" :  \"up-stream\" , \"y\":\"\\u00e9é\" } ",
            ),
            (
                r#"{"model":"a","messages":[{"model":"b"}],"model":"c"}"#,
                r#"{"model":"up-stream","messages":[{"model":"b"}],"model":"up-stream"}"#,
            ),
            (r#"{"mod\u0065l":"a"}"#, r#"{"mod\u0065l":"up-stream"}"#),
            (r#"{}"#, r#"{"model":"up-stream"}"#),
            (r#"{"model":"a","stream":true}"#, r#"{"model":"up-stream","stream":false}"#),
        ] {
            assert_eq!(spelt(request, Delivery::Whole), sent);
        }
    }

    #[test]
    fn a_stream_reports_its_usage_and_keeps_its_other_options() {
        for (request, sent) in [
            (r#"{"stream":true}"#, r#"{"stream":true,"model":"up-stream","stream_options":{"include_usage":true}}"#),
            (
                r#"{"model":"a","stream":true,"stream_options":null}"#,
                r#"{"model":"up-stream","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"a","stream_options":{ "include_obfuscation": false, "include_usage": false },"stream":true}"#,
                r#"{"model":"up-stream","stream_options":{ "include_obfuscation": false, "include_usage": true },"stream":true}"#,
            ),
            (
                r#"{"model":"a","stream":true,"stream_options":{"include_obfuscation":false}}"#,
                r#"{"model":"up-stream","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":true}}"#,
            ),
        ] {
            assert_eq!(spelt(request, Delivery::Stream), sent);
        }
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for request in [&b"[]"[..], b"", b"{", b"{\"a\":\xff}", b"{\"stream_options\":1}"] {
            let failure = try_spell(request, Operation::Chat, Delivery::Stream).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadRequest);
        }
    }
}
