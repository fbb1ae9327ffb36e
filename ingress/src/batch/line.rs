//! One line of a batch's input file, as OpenAI writes it: which request it is, or what is wrong with it.
//! Source: <https://platform.openai.com/docs/api-reference/batch/request-input>.

use crate::refusal::Refusal;
use bytes::Bytes;
use penstock_dialects::client::{ClientRequest, Endpoint, WrongRequest};
use penstock_dialects::google::client as google;
use penstock_schemas::batch::BatchError;
use penstock_schemas::envelope::{Dialect, Operation};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The longest `custom_id`, in bytes.
const CUSTOM_ID: usize = 512;

/// The paths that a batch may be for.
const ENDPOINTS: [(&str, Dialect, Operation); 7] = [
    ("/v1/chat/completions", Dialect::Openai, Operation::Chat),
    ("/v1/completions", Dialect::Openai, Operation::Completions),
    ("/v1/embeddings", Dialect::Openai, Operation::Embeddings),
    ("/v1/moderations", Dialect::Openai, Operation::Moderations),
    ("/v1/images/generations", Dialect::Openai, Operation::Images),
    ("/v1/responses", Dialect::Responses, Operation::Chat),
    ("/v1/messages", Dialect::Anthropic, Operation::Chat),
];

/// What a path of a batch asks for.
pub(crate) fn endpoint(path: &str) -> Option<Endpoint> {
    if let Some(rest) = path.strip_prefix("/v1beta/models/") {
        // Gemini's name the model in the path.
        return google::read_path(rest).filter(|endpoint| endpoint.operation == Operation::Chat);
    }
    let (_, dialect, operation) = ENDPOINTS.iter().find(|(known, ..)| *known == path)?;
    Some(Endpoint::new(*dialect, *operation))
}

/// The paths, for a message.
pub(crate) fn endpoints() -> String {
    ENDPOINTS.map(|(path, ..)| path).join(", ")
}

/// A line that names its request.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) custom_id: String,
    /// The request.
    pub(super) body: Bytes,
}

/// A line that cannot be run.
#[derive(Debug)]
pub(super) struct BadLine {
    /// Its `custom_id`, where one can be read.
    pub(super) custom_id: Option<String>,
    /// What is wrong; without its number.
    pub(super) error: BatchError,
}

impl BadLine {
    pub(super) fn new(custom_id: Option<String>, code: &str, message: impl Into<String>, param: Option<&str>) -> Self {
        let param = param.map(ToOwned::to_owned);
        Self { custom_id, error: BatchError { code: code.to_owned(), message: message.into(), line: None, param } }
    }

    /// For a request that is refused before it is sent.
    pub(super) fn refused(custom_id: String, refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::UnknownModel { .. } => "model_not_found",
            Refusal::ModelForbidden { .. } => "model_not_allowed",
            Refusal::NoTarget { .. } => "no_target",
            Refusal::Wrong(WrongRequest::MissingField(_)) => "missing_required_parameter",
            Refusal::Unpriced { .. } => "model_has_no_price",
            _ => "invalid_request",
        };
        let param = refusal.param().map(|param| format!("body.{param}"));
        Self::new(Some(custom_id), code, refusal.to_string(), param.as_deref())
    }
}

#[derive(Deserialize)]
struct Fields<'a> {
    custom_id: Option<String>,
    method: Option<String>,
    url: Option<String>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// Only what a bad line's result needs.
#[derive(Deserialize)]
struct Name {
    custom_id: Option<String>,
}

impl Line {
    /// Reads a line of a batch for `path`.
    ///
    /// # Errors
    /// When it is not a request for that path.
    pub(super) fn read(line: &Bytes, path: &str) -> Result<Self, BadLine> {
        let text = std::str::from_utf8(line).map_err(|error| {
            let at = error.valid_up_to() + 1;
            BadLine::new(None, "invalid_utf8", format!("the line is not UTF-8: byte {at} is wrong"), None)
        })?;
        // Some editors put a byte order mark in front of a file.
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
        let custom_id = fields.custom_id.filter(|id| !id.is_empty());
        let wrong =
            |code: &str, message: String, param| Err(BadLine::new(custom_id.clone(), code, message, Some(param)));
        let missing = |param: &'static str| wrong("missing_required_parameter", format!("`{param}` is missing"), param);
        let Some(id) = &custom_id else { return missing("custom_id") };
        if id.len() > CUSTOM_ID {
            return Err(BadLine::new(
                None,
                "invalid_custom_id",
                format!("`custom_id` must be at most {CUSTOM_ID} bytes long"),
                Some("custom_id"),
            ));
        }
        match fields.method.as_deref() {
            None => return missing("method"),
            Some(method) if !method.eq_ignore_ascii_case("post") => {
                return wrong("invalid_method", "`method` must be POST".to_owned(), "method");
            }
            Some(_) => {}
        }
        match fields.url.as_deref() {
            None => return missing("url"),
            Some(url) if url != path => {
                let url: String = url.chars().take(100).collect();
                return wrong("invalid_url", format!("`url` is {url}, and the batch is for {path}"), "url");
            }
            Some(_) => {}
        }
        let Some(body) = fields.body else { return missing("body") };
        if !body.get().starts_with('{') {
            return wrong("invalid_body", "`body` must be an object".to_owned(), "body");
        }
        Ok(Self { body: line.slice_ref(body.get().as_bytes()), custom_id: id.clone() })
    }

    /// The request, as the pipeline reads it.
    ///
    /// # Errors
    /// When it cannot be read, or wants what a batch does not have.
    pub(super) fn ask(&self, endpoint: Endpoint) -> Result<ClientRequest, BadLine> {
        let asked = endpoint.read(self.body.clone(), None);
        let asked = asked.map_err(|wrong| BadLine::refused(self.custom_id.clone(), &Refusal::from(wrong)))?;
        if asked.delivery.is_stream() {
            let why = "a line of a batch is answered in one piece: leave `stream` out";
            return Err(BadLine::new(Some(self.custom_id.clone()), "invalid_request", why, Some("body.stream")));
        }
        Ok(asked)
    }
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
}

/// The model that a request names, or the path that it is for.
pub(super) fn model(path: &str, body: &Bytes) -> Option<String> {
    if let Some(model) = endpoint(path).and_then(|endpoint| endpoint.model) {
        return Some(model);
    }
    serde_json::from_slice::<Model<'_>>(body).ok().map(|body| body.model.into_owned())
}

fn unreadable(text: &str, error: &serde_json::Error) -> BadLine {
    // The id may be readable where another field is not.
    let custom_id = serde_json::from_str::<Name>(text).ok().and_then(|name| name.custom_id);
    let why = error.to_string();
    let why = why.replace(" at line 1 column", " at column");
    BadLine::new(
        custom_id.filter(|id| id.len() <= CUSTOM_ID),
        "invalid_json_line",
        format!("the line is not a request: {why}"),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn code(line: &str) -> (Option<String>, String, Option<String>) {
        let bad = match Line::read(&Bytes::copy_from_slice(line.as_bytes()), CHAT) {
            Ok(line) => line.ask(endpoint(CHAT).unwrap()).unwrap_err(),
            Err(bad) => bad,
        };
        (bad.custom_id, bad.error.code, bad.error.param)
    }

    #[test]
    fn a_line_names_its_request() {
        let line =
            r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body": {"model":"m","messages":[]}}"#;
        for line in [line.to_owned(), format!("\u{FEFF}{line}")] {
            let read = Line::read(&line.into(), CHAT).unwrap();
            assert_eq!(read.custom_id, "a");
            assert_eq!(read.body, r#"{"model":"m","messages":[]}"#);
        }
    }

    #[test]
    fn each_sort_of_bad_line_has_its_code_and_its_place() {
        let a = || Some("a".to_owned());
        let some = |param: &str| Some(param.to_owned());
        let missing = || "missing_required_parameter".to_owned();
        assert_eq!(code("{"), (None, "invalid_json_line".to_owned(), None));
        assert_eq!(code(r#"{"custom_id":"a"}"#), (a(), missing(), some("method")));
        assert_eq!(code(r#"{"method":"POST"}"#), (None, missing(), some("custom_id")));
        assert_eq!(code(r#"{"custom_id":"a","method":7}"#), (a(), "invalid_json_line".to_owned(), None));
        assert_eq!(code(r#"{"custom_id":"a","custom_id":"b"}"#), (None, "invalid_json_line".to_owned(), None));
        assert_eq!(code(r#"{"custom_id":"a","method":"GET"}"#), (a(), "invalid_method".to_owned(), some("method")));
        let other = r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}}"#;
        assert_eq!(code(other), (a(), "invalid_url".to_owned(), some("url")));
        let chat = |body: &str| format!(r#"{{"custom_id":"a","method":"POST","url":"{CHAT}","body":{body}}}"#);
        assert_eq!(code(&chat("[]")), (a(), "invalid_body".to_owned(), some("body")));
        assert_eq!(code(&chat("{}")), (a(), missing(), some("body.model")));
        let stream = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}"#;
        assert_eq!(code(&chat(stream)), (a(), "invalid_request".to_owned(), some("body.stream")));
    }

    #[test]
    fn bytes_that_are_no_text_are_told_with_their_place() {
        let bad = Line::read(&Bytes::from_static(b"{\"custom_id\":\"\xff\"}"), CHAT).unwrap_err();
        assert_eq!((bad.error.code.as_str(), bad.error.message.contains("byte 15")), ("invalid_utf8", true));
    }
}
