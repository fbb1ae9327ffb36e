//! Spells a request: the model's name and what a stream needs are put into the caller's bytes, and every other byte stays
//! as it came.

use crate::providers::{Spelled, json_headers};
use bytes::Bytes;
use penstock_schemas::envelope::Delivery;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::ModelId;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The request for `chat/completions`, with a usage report asked for on every stream: the ledger needs it.
pub(super) fn spell(request: &Bytes, model: &ModelId, delivery: Delivery) -> Result<Spelled, Failure> {
    let body = text(request)?;
    let fields = Fields::read(body)?;
    let mut edit = Edit::of(body);
    edit.set(&fields, "model", &serde_json::json!(model.as_str()).to_string());
    if delivery.is_stream() {
        edit.set(&fields, "stream", "true");
        edit.set(&fields, "stream_options", &with_usage(fields.last("stream_options"))?);
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

fn text(request: &Bytes) -> Result<&str, Failure> {
    std::str::from_utf8(request)
        .map_err(|_| Failure::gateway(FailureKind::BadRequest, "the request is not valid UTF-8"))
}

/// The fields of a JSON object, in their order, their values unread.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Fields<'a> {
    fn read(object: &'a str) -> Result<Self, Failure> {
        serde_json::from_str(object).map_err(|error| {
            Failure::gateway(FailureKind::BadRequest, format!("the request is not a JSON object: {error}"))
        })
    }

    /// The field's value; the last one counts when it comes twice.
    fn last(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name, value.get()));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A copy of an object's text in the making, with some values changed.
struct Edit<'a> {
    object: &'a str,
    /// Where something changes, in the object's text: from, to, and what stands there instead.
    changes: Vec<(usize, usize, String)>,
    added: String,
}

impl<'a> Edit<'a> {
    fn of(object: &'a str) -> Self {
        Self { object, changes: Vec::new(), added: String::new() }
    }

    /// Gives the field this value wherever it stands, or adds it at the end.
    fn set(&mut self, fields: &Fields<'a>, name: &str, value: &str) {
        let before = self.changes.len();
        for (_, old) in fields.0.iter().filter(|(key, _)| key == name) {
            let from = old.as_ptr() as usize - self.object.as_ptr() as usize; // `old` is a part of `object`
            self.changes.push((from, from + old.len(), value.to_owned()));
        }
        if self.changes.len() == before {
            let comma = if fields.0.is_empty() && self.added.is_empty() { "" } else { "," };
            self.added.push_str(&format!("{comma}\"{name}\":{value}"));
        }
    }

    fn finish(mut self) -> String {
        let end = self.object.rfind('}').unwrap_or(self.object.len());
        self.changes.push((end, end, std::mem::take(&mut self.added)));
        self.changes.sort_unstable_by_key(|(from, _, _)| *from);
        let longer: usize = self.changes.iter().map(|(_, _, value)| value.len()).sum();
        let mut out = String::with_capacity(self.object.len() + longer);
        let mut copied = 0;
        for (from, to, value) in &self.changes {
            out.push_str(&self.object[copied..*from]);
            out.push_str(value);
            copied = *to;
        }
        out.push_str(&self.object[copied..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(request: &str, delivery: Delivery) -> String {
        let model = ModelId::parse("up\"stream").unwrap();
        let spelled = spell(&Bytes::copy_from_slice(request.as_bytes()), &model, delivery).unwrap();
        String::from_utf8(spelled.body.to_vec()).unwrap()
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
        let model = ModelId::parse("m").unwrap();
        for request in [&b"[]"[..], b"", b"{", b"{\"a\":\xff}", b"{\"stream_options\":1}"] {
            let failure = spell(&Bytes::copy_from_slice(request), &model, Delivery::Stream).unwrap_err();
            assert_eq!(failure.kind, FailureKind::BadRequest);
        }
    }
}
