//! Requests as clients write them and a server was seen to refuse, one line of `workers/tests/recorded/requests.jsonl` each,
//! with who reported it: what is sent to that server of the catalogue, and what the caller is told was left out.
//!
//! `sent` says in what that differs from what was asked, as a merge patch (RFC 7396). A line without one is a request that the
//! server takes, or refuses in words of its own: it goes out as it came. Everything is compared, so nothing else may change.

use bytes::Bytes;
use penstock_dialects::provider::{Form, FormatRequest, FormatSettings, Wanted};
use penstock_schemas::envelope::{Delivery, Dialect, Operation, Unsupported};
use penstock_schemas::name::ModelId;
use penstock_workers::catalogue;
use penstock_workers::providers::{self, Adapter};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One line of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    server: String,
    model: String,
    source: String,
    asks: Value,
    #[serde(default)]
    sent: Value,
    #[serde(default)]
    named: Vec<String>,
    /// What the operator says of the server.
    api_version: Option<String>,
    #[serde(default)]
    op: String,
    /// The caller's dialect; absent: OpenAI's chat.
    speaks: Option<Dialect>,
}

impl Recorded {
    fn wanted(&self, form: Form) -> Wanted {
        let operation = match self.op.as_str() {
            "embeddings" => Operation::Embeddings,
            "images" => Operation::Images,
            _ => Operation::Chat,
        };
        let is_stream = self.asks["stream"] == true;
        Wanted { operation, form, delivery: if is_stream { Delivery::Stream } else { Delivery::Whole } }
    }

    fn speaks(&self) -> Dialect {
        self.speaks.unwrap_or(Dialect::Openai)
    }

    /// The request with what each must have.
    fn request(&self) -> Value {
        let user = json!([{ "role": "user", "content": "Hi" }]);
        let (name, value) = match self.speaks() {
            Dialect::Responses => ("input", json!("Hi")),
            Dialect::Google => ("contents", json!([{ "role": "user", "parts": [{ "text": "Hi" }] }])),
            _ => ("messages", user),
        };
        let mut request = json!({ "model": "asked" });
        if self.speaks() == Dialect::Google {
            request = json!({});
        }
        if self.op.is_empty() {
            request[name] = value;
        }
        request.as_object_mut().unwrap().extend(self.asks.as_object().unwrap().clone());
        request
    }

    /// How the server is spoken to: in the caller's dialect where it knows it.
    fn adapter(&self) -> (&'static dyn Adapter, Form, FormatSettings) {
        let entry = catalogue::provider(&self.server).expect("the catalogue knows it").unwrap();
        let knows = |dialect: &Dialect| dialect.form() == self.speaks().form();
        let own = std::iter::once(entry.dialect).chain(entry.also.iter().copied()).find(knows);
        let adapter = providers::at(entry.dialect, own.unwrap_or(entry.dialect)).unwrap();
        let settings = FormatSettings {
            api_version: self.api_version.clone(),
            region: Some("europe-west1".to_owned()),
            project: Some("acme".to_owned()),
            quirks: entry.quirks,
            model_quirks: entry.model_quirks,
            lacks: entry.lacks,
        };
        (adapter, if own.is_some() { Form::Own } else { Form::Agnostic }, settings)
    }

    /// What is sent, and what is said of it.
    fn spelt(&self) -> Result<(Value, Vec<String>), String> {
        let (adapter, form, settings) = self.adapter();
        let ask = FormatRequest {
            wanted: self.wanted(form),
            body: &Bytes::from(self.request().to_string()),
            content_type: None,
            headers: &BTreeMap::new(),
            model: &ModelId::parse(&self.model).unwrap(),
            card: None,
            settings: &settings,
            unsupported: Unsupported::Refuse,
        };
        let spelled = penstock_dialects::spell(adapter, &ask).map_err(|failure| failure.message)?.0;
        Ok((serde_json::from_slice(&spelled.body).unwrap(), spelled.dropped))
    }

    fn expected(&self) -> Value {
        let mut expected = self.request();
        if expected.get("model").is_some() {
            expected["model"] = json!(self.model);
        }
        let reports_usage = self.asks["stream"] == true && self.speaks() == Dialect::Openai;
        if reports_usage {
            expected["stream_options"] = json!({ "include_usage": true });
        }
        patch(&mut expected, &self.sent);
        expected
    }

    fn fault(&self) -> Option<String> {
        let (sent, named) = match self.spelt() {
            Ok(spelt) => spelt,
            Err(why) => return Some(format!("is refused: {why}")),
        };
        let expected = self.expected();
        if sent != expected {
            return Some(format!("is sent as {sent}, not as {expected}"));
        }
        (named != self.named).then(|| format!("names {named:?}, not {:?}", self.named))
    }
}

/// A merge patch.
fn patch(value: &mut Value, changes: &Value) {
    for (name, change) in changes.as_object().into_iter().flatten() {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().shift_remove(name)),
            Value::Object(_) if value[name].is_object() => patch(&mut value[name], change),
            _ => value[name] = change.clone(),
        }
    }
}

#[test]
fn what_a_server_was_seen_to_refuse_is_not_sent_to_it() {
    let (mut faults, mut lines) = (Vec::new(), 0);
    for line in include_str!("../recorded/requests.jsonl").lines() {
        let recorded: Recorded = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        lines += 1;
        if let Some(fault) = recorded.fault() {
            faults
                .push(format!("{} {} {}: {} {fault}", recorded.server, recorded.model, recorded.source, recorded.asks));
        }
    }
    assert!(faults.is_empty(), "{} of {lines} are wrong:\n{}", faults.len(), faults.join("\n"));
}
