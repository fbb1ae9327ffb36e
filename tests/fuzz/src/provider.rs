//! What goes to a provider and comes from one: requests as each adapter spells them, whole answers, streams, refusals.

use crate::{Input, client, cut, is_json};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use penstock_dialects::framing::Framing;
use penstock_dialects::provider::{Form, FormatRequest, FormatSettings, Quirk, Step, Wanted};
use penstock_schemas::UnixMicros;
use penstock_schemas::envelope::{Delivery, Dialect, Operation, Unsupported};
use penstock_schemas::name::{ModelId, ProviderId};
use penstock_schemas::sse::{self, Event};
use penstock_workers::fuzzing;
use penstock_workers::providers::{self, Adapter, ErrorResponse, quota};
use serde_json::Value;
use std::collections::BTreeMap;

const DIALECTS: [Dialect; 9] = [
    Dialect::Openai,
    Dialect::Responses,
    Dialect::Anthropic,
    Dialect::Google,
    Dialect::Vertex,
    Dialect::Mistral,
    Dialect::Cohere,
    Dialect::Bedrock,
    Dialect::Azure,
];

const OPERATIONS: [Operation; 10] = [
    Operation::Chat,
    Operation::Completions,
    Operation::Embeddings,
    Operation::Moderations,
    Operation::Images,
    Operation::Speech,
    Operation::Transcriptions,
    Operation::Translations,
    Operation::Rerank,
    Operation::CountTokens,
];

const NOW: UnixMicros = UnixMicros(1_795_341_600_000_000);
const KEY: &str = "sk-proj-golden-key";
const FORMS: [Form; 2] = [Form::Agnostic, Form::Own];

fn adapter(input: &mut Input<'_>) -> &'static dyn Adapter {
    providers::of(input.one(&DIALECTS)).expect("every dialect has an adapter")
}

/// A request that an adapter spells is JSON and of a bounded size; what of it must be read besides is read.
pub fn spell(mut input: Input<'_>) {
    let adapter = adapter(&mut input);
    let operation = input.one(&OPERATIONS);
    let options = input.number();
    let form = FORMS[options & 1];
    let unsupported = if options & 2 == 0 { Unsupported::Refuse } else { Unsupported::Drop };
    let delivery = if options & 4 == 0 { Delivery::StreamWithUsage } else { Delivery::Whole };
    let quirks = match options >> 3 & 3 {
        0 => vec![],
        1 => vec![Quirk::MaxTokens, Quirk::TopK],
        2 => vec![
            Quirk::LeadingSystem,
            Quirk::InTurn,
            Quirk::SomeContent,
            Quirk::TextContent,
            Quirk::SomeParameters,
            Quirk::ChoiceInWords,
            Quirk::SchemaOnly,
            Quirk::ForcedUnthinking,
            Quirk::ThinksInStreams,
            Quirk::OneThought,
            Quirk::NoEmptyTurns,
            Quirk::ThoughtsKept,
            Quirk::ThreeEfforts,
        ],
        _ => vec![Quirk::MaxCompletionTokens],
    };
    let settings = FormatSettings {
        region: Some("us-east-1".to_owned()),
        project: Some("acme".to_owned()),
        quirks,
        ..FormatSettings::default()
    };
    let body = input.bytes();
    let asked = serde_json::from_slice::<Value>(&body).ok();
    let model = asked.and_then(|asked| ModelId::parse(asked["model"].as_str()?).ok());
    let model = model.unwrap_or_else(|| ModelId::parse("some-model").expect("it is a name"));
    let ask = FormatRequest {
        wanted: Wanted { operation, form, delivery },
        body: &body,
        content_type: matches!(operation, Operation::Transcriptions).then_some("multipart/form-data; boundary=x"),
        headers: &BTreeMap::new(),
        model: &model,
        card: None,
        settings: &settings,
        unsupported,
    };
    if let Ok((spelled, _)) = penstock_dialects::spell(adapter, &ask) {
        input.bounds(spelled.body.len());
        if operation == Operation::Chat {
            assert!(is_json(&spelled.body) || form == Form::Own && !is_json(&body), "a chat request is JSON");
        }
    }
    if let Some(text) = input.text() {
        input.bounds(fuzzing::inlined(text).len());
        let _ = fuzzing::credentials(text);
    }
}

/// An answer that is read is JSON, and every client's dialect can be made of it.
pub fn answer(mut input: Input<'_>) {
    let adapter = adapter(&mut input);
    let (operation, form) = (input.one(&OPERATIONS), input.one(&FORMS));
    let body = input.bytes();
    input.bounds(fuzzing::words(&body).len());
    let Ok(whole) = adapter.read_whole(Wanted { operation, form, delivery: Delivery::Whole }, &body) else { return };
    input.bounds(whole.bytes.len());
    if operation == Operation::Chat && form == Form::Agnostic {
        assert!(is_json(&whole.bytes), "an agnostic answer is JSON");
        client::whole(&input, &whole.bytes);
    }
}

/// A stream says the same wherever it is cut; what an adapter makes of it is a stream of JSON that every client can have.
pub fn stream(mut input: Input<'_>) {
    let adapter = adapter(&mut input);
    let (form, at, is_raw) = (input.one(&FORMS), input.number(), input.number() & 1 == 1);
    // A checksum would keep nearly everything from the readers: unless `is_raw`, messages come as events.
    let framing = if is_raw { adapter.framing() } else { Framing::ServerSentEvents };
    let whole = events(framing, &[input.rest]);
    assert_eq!(whole, events(framing, &cut(input.rest, at)), "it matters where the stream is cut");
    assert_eq!(fuzzing::words_sent([input.rest]), fuzzing::words_sent(cut(input.rest, at)));
    let mut reader = adapter.stream(Wanted { operation: Operation::Chat, form, delivery: Delivery::StreamWithUsage });
    let mut out = Vec::new();
    for event in &whole.0 {
        match reader.read(event) {
            Ok(Step::Hold(bytes) | Step::Content(bytes)) => out.extend_from_slice(&bytes),
            Ok(Step::Hide) => {}
            Err(_) => return,
        }
        let _ = (reader.is_done(), reader.observed());
    }
    if let Ok(last) = reader.finish() {
        out.extend_from_slice(&last);
    }
    input.bounds(out.len());
    if form == Form::Agnostic {
        client::holds_json(&out);
        client::stream(&input, &out, at);
    }
}

/// The events of a stream, and why it cannot be read on.
fn events(framing: Framing, pieces: &[&[u8]]) -> (Vec<Event>, Option<String>) {
    let mut cutter = framing.cutter(1 << 20);
    let mut events = Vec::new();
    for piece in pieces {
        cutter.push(&Bytes::copy_from_slice(piece));
        loop {
            match cutter.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error.to_string())),
            }
        }
    }
    match cutter.finish() {
        Ok(last) => events.extend(last),
        Err(error) => return (events, Some(error.to_string())),
    }
    (events, None)
}

/// A refusal is understood, however odd, in few words, without the key; and so is what its headers say of limits.
pub fn refuse(mut input: Input<'_>) {
    let adapter = adapter(&mut input);
    let status = [100, 302, 400, 401, 403, 404, 424, 429, 500, 529, 999][input.number() % 11];
    let Some(text) = input.text() else { return };
    let (head, body) = text.split_once("\n\n").unwrap_or(("", text));
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_str(value).ok()?))
    };
    let headers: HeaderMap = head.lines().take(100).filter_map(header).collect();
    let provider = ProviderId::parse("alpha").expect("it is a name");
    let failure = adapter.refuse(&ErrorResponse {
        provider: &provider,
        key: Some(KEY),
        status,
        headers: &headers,
        body: body.as_bytes(),
        now: NOW,
    });
    let told = serde_json::to_string(&failure).expect("a failure has a JSON form");
    assert!(!told.contains(KEY), "the key is told: {told}");
    input.bounds(told.len());
    let _ = quota::read(&headers, NOW);
}

/// Server-sent events as JSON, where they hold any.
pub fn data(stream: &[u8]) -> Vec<Event> {
    let mut parser = sse::Parser::new(1 << 26);
    parser.push(stream);
    let mut events = Vec::new();
    while let Ok(Some(event)) = parser.next_event() {
        events.push(event);
    }
    events
}
