//! Spells a request: the model's name and what a stream needs are put into the caller's bytes, and every other byte stays
//! as it came.

use super::copies;
use crate::providers::edit::{Edit, Fields, text};
use crate::providers::{Ask, Quirk, Spelled, json_headers};
use penstock_schemas::failure::{Failure, FailureKind};
use std::borrow::Cow;

/// The request for `chat/completions`, with a usage report asked for on every stream: the ledger needs it.
pub(super) fn spell(ask: &Ask<'_>) -> Result<Spelled, Failure> {
    let delivery = ask.wanted.delivery;
    let body = text(ask.body)?;
    let fitted = copies::fit(body, ask.settings)?;
    let body = fitted.as_deref().unwrap_or(body);
    let fields = Fields::read(body)?;
    let mut edit = Edit::of(body);
    edit.set(&fields, "model", &serde_json::json!(ask.model.as_str()).to_string());
    if delivery.is_stream() {
        edit.set(&fields, "stream", "true");
        if !ask.settings.has(Quirk::NoStreamOptions) {
            edit.set(&fields, "stream_options", &with_usage(fields.last("stream_options"))?);
        }
    } else if fields.last("stream").is_some() {
        edit.set(&fields, "stream", "false");
    }
    let (path, headers) = (Cow::Borrowed("chat/completions"), json_headers(delivery));
    Ok(Spelled { path, headers, body: edit.finish().into(), dropped: Vec::new() })
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
    use crate::providers::{Form, Settings, Wanted};
    use bytes::Bytes;
    use penstock_schemas::envelope::{Delivery, Operation, Unsupported};
    use penstock_schemas::name::ModelId;

    fn try_spell(request: &[u8], delivery: Delivery) -> Result<Spelled, Failure> {
        spell(&Ask {
            wanted: Wanted { operation: Operation::Chat, form: Form::Own, delivery },
            body: &Bytes::copy_from_slice(request),
            content_type: None,
            model: &ModelId::parse("up\"stream").unwrap(),
            card: None,
            settings: &Settings::default(),
            unsupported: Unsupported::Refuse,
        })
    }

    fn spelt(request: &str, delivery: Delivery) -> String {
        String::from_utf8(try_spell(request.as_bytes(), delivery).unwrap().body.to_vec()).unwrap()
    }

    #[test]
    fn only_the_model_changes_and_every_other_byte_stays() {
        for (request, sent) in [
            (r#"{"model":"chat","messages":[]}"#, r#"{"model":"up\"stream","messages":[]}"#),
            (
                "{ \"x\" : 1.50e0 ,\n \"model\" :  \"chat\" , \"y\":\"\\u00e9é\" } ",
                "{ \"x\" : 1.50e0 ,\n \"model\" :  \"up\\\"stream\" , \"y\":\"\\u00e9é\" } ",
            ),
            (
                r#"{"model":"a","messages":[{"model":"b"}],"model":"c"}"#,
                r#"{"model":"up\"stream","messages":[{"model":"b"}],"model":"up\"stream"}"#,
            ),
            (r#"{"mod\u0065l":"a"}"#, r#"{"mod\u0065l":"up\"stream"}"#),
            (r#"{}"#, r#"{"model":"up\"stream"}"#),
            (r#"{"model":"a","stream":true}"#, r#"{"model":"up\"stream","stream":false}"#),
        ] {
            assert_eq!(spelt(request, Delivery::Whole), sent);
        }
    }

    #[test]
    fn a_stream_reports_its_usage_and_keeps_its_other_options() {
        for (request, sent) in [
            (r#"{"stream":true}"#, r#"{"stream":true,"model":"up\"stream","stream_options":{"include_usage":true}}"#),
            (
                r#"{"model":"a","stream":true,"stream_options":null}"#,
                r#"{"model":"up\"stream","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"a","stream_options":{ "include_obfuscation": false, "include_usage": false },"stream":true}"#,
                r#"{"model":"up\"stream","stream_options":{ "include_obfuscation": false, "include_usage": true },"stream":true}"#,
            ),
            (
                r#"{"model":"a","stream":true,"stream_options":{"include_obfuscation":false}}"#,
                r#"{"model":"up\"stream","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":true}}"#,
            ),
        ] {
            assert_eq!(spelt(request, Delivery::Stream), sent);
        }
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for request in [&b"[]"[..], b"", b"{", b"{\"a\":\xff}", b"{\"stream_options\":1}"] {
            let failure = try_spell(request, Delivery::Stream).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadRequest);
        }
    }
}
