//! The events of a client: what begins a response, what changes the session, what only passes. An event or a field that costs
//! money without being counted, or that is not known here, is refused by name.

use super::OWN_EVENT;
use super::turns::{self, Turns};
use super::wrong_event::WrongEvent;
use penstock_schemas::envelope::Unsupported;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Events that cost nothing.
const FREE: [&str; 8] = [
    "input_audio_buffer.clear",
    "input_audio_buffer.commit",
    "conversation.item.create",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "output_audio_buffer.clear",
    "response.cancel",
];

/// The longest id of an event, in bytes. OpenAI's own limit is 512 characters.
const EVENT_ID: usize = 512;

/// Where a session asks for what was said as text, in the API as it is and as it was before.
const TRANSCRIPTIONS: [(&str, &[&str]); 2] = [
    ("session.audio.input.transcription", &["audio", "input", "transcription"]),
    ("session.input_audio_transcription", &["input_audio_transcription"]),
];

/// What an event is for.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// It goes on as it came.
    Free,
    /// The same, and it is something to be heard: a turn may come of it.
    Audio,
    /// It begins a response: this goes on in its place.
    Create {
        /// The id by which an error names it.
        event_id: String,
        /// The event.
        event: String,
    },
    /// It changes the session: this goes on in its place.
    Update {
        /// The event.
        event: String,
        /// What it says of turns; `None`: nothing.
        turns: Option<Turns>,
    },
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    event_id: Option<Cow<'a, str>>,
    // Read to be refused where they come twice.
    #[serde(borrow, default, rename = "session")]
    _session: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "response")]
    _response: Option<&'a RawValue>,
}

/// Reads an event of a client. `own_id` names a response that the client gives no name; `models` are the names of the
/// session's model, the provider's own first; `unsupported` says whether transcription is refused or left out.
///
/// # Errors
/// When it cannot be read in one way only, or does what cannot be had here.
pub fn read_client(
    text: &[u8],
    own_id: &str,
    models: &[&str],
    unsupported: Unsupported,
) -> Result<ClientEvent, WrongEvent> {
    let raw: RawEvent<'_> = serde_json::from_slice(text)
        .map_err(|error| WrongEvent::new("invalid_event", format!("the event cannot be read: {error}")))?;
    let event_id = raw.event_id.as_deref();
    if event_id.is_some_and(|id| id.len() > EVENT_ID || id.starts_with(OWN_EVENT)) {
        let why = format!("it has at most {EVENT_ID} bytes, and does not begin with `{OWN_EVENT}`");
        return Err(WrongEvent { param: Some("event_id".to_owned()), ..WrongEvent::new("invalid_value", why) });
    }
    let named = |wrong: WrongEvent| WrongEvent { event_id: event_id.map(ToOwned::to_owned), ..wrong };
    match &*raw.r#type {
        "response.create" => create(text, event_id.unwrap_or(own_id)).map_err(named),
        "input_audio_buffer.append" => Ok(ClientEvent::Audio),
        "session.update" => update(text, models, unsupported).map_err(named),
        kind if FREE.contains(&kind) => Ok(ClientEvent::Free),
        kind => {
            let short: String = kind.chars().take(100).collect();
            let why = format!("events of the type `{short}` are not supported");
            Err(named(WrongEvent { param: Some("type".to_owned()), ..WrongEvent::new("invalid_value", why) }))
        }
    }
}

/// The event as it is checked is what goes on: nothing in it can be read in another way then.
fn object(text: &[u8]) -> Result<Map<String, Value>, WrongEvent> {
    serde_json::from_slice(text)
        .map_err(|error| WrongEvent::new("invalid_event", format!("the event cannot be read: {error}")))
}

fn create(text: &[u8], event_id: &str) -> Result<ClientEvent, WrongEvent> {
    let mut event = object(text)?;
    match event.get("response") {
        None | Some(Value::Null) => {}
        Some(Value::Object(response)) => check(response, "response")?,
        Some(_) => return Err(no_object("response")),
    }
    event.insert("event_id".to_owned(), json!(event_id));
    Ok(ClientEvent::Create { event_id: event_id.to_owned(), event: Value::Object(event).to_string() })
}

fn update(text: &[u8], models: &[&str], unsupported: Unsupported) -> Result<ClientEvent, WrongEvent> {
    let mut event = object(text)?;
    let Some(Value::Object(session)) = event.get_mut("session") else { return Err(no_object("session")) };
    check(session, "session")?;
    match session.get("type") {
        None | Some(Value::Null) => {}
        Some(kind) if kind == "realtime" => {}
        Some(_) => return Err(WrongEvent::unsupported("session.type", "only sessions of the type `realtime` are")),
    }
    if let Some(model) = session.get_mut("model").filter(|model| !model.is_null()) {
        if !models.iter().any(|name| *model == *name) {
            let why = "the model of a session is the one that it was connected with";
            return Err(WrongEvent::unsupported("session.model", why));
        }
        *model = json!(models.first());
    }
    for (place, pointer) in TRANSCRIPTIONS {
        let Some(asked) = find(session, pointer).filter(|asked| !asked.is_null()) else { continue };
        if unsupported == Unsupported::Refuse {
            let why = "what another model writes down in a session is not counted here: leave it out, use \
                       /v1/audio/transcriptions, or ask the operator to have it left out (unsupported = \"drop\")";
            return Err(WrongEvent::unsupported(place, why));
        }
        *asked = Value::Null;
    }
    let turns = turns::steer(session)?;
    Ok(ClientEvent::Update { event: Value::Object(event).to_string(), turns })
}

/// Refuses what would be charged for and not counted, in a session or a response.
fn check(settings: &Map<String, Value>, place: &str) -> Result<(), WrongEvent> {
    if settings.get("prompt").is_some_and(|prompt| !prompt.is_null()) {
        let why = "what a prompt at the provider holds is not known here; send `instructions` and `tools`";
        return Err(WrongEvent::unsupported(&format!("{place}.prompt"), why));
    }
    match settings.get("tools") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(tools)) if tools.iter().all(|tool| tool["type"] == "function") => Ok(()),
        Some(_) => {
            let why =
                "the provider would call such tools and begin responses by itself; use tools of the type `function`";
            Err(WrongEvent::unsupported(&format!("{place}.tools"), why))
        }
    }
}

/// The value at a place of a session, name by name.
fn find<'a>(session: &'a mut Map<String, Value>, names: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = names.split_first()?;
    rest.iter().try_fold(session.get_mut(*first)?, |value, name| value.get_mut(*name))
}

fn no_object(field: &str) -> WrongEvent {
    let why = format!("`{field}` must be an object");
    WrongEvent { param: Some(field.to_owned()), ..WrongEvent::new("invalid_value", why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &Value) -> Result<ClientEvent, WrongEvent> {
        read_client(event.to_string().as_bytes(), "penstock_1", &["m", "alpha/m"], Unsupported::Refuse)
    }

    fn refused(event: &Value) -> String {
        let wrong = read(event).unwrap_err();
        format!("{} {}", wrong.code, wrong.param.unwrap_or_default())
    }

    #[test]
    fn what_begins_a_response_is_known_and_has_a_name() {
        let created = |event: &Value| match read(event).unwrap() {
            ClientEvent::Create { event_id, event } => (event_id, serde_json::from_str(&event).unwrap()),
            other => panic!("{other:?}"),
        };
        let event = json!({ "type": "response.create", "response": { "conversation": "none" } });
        let (id, sent): (String, Value) = created(&event);
        let named =
            json!({ "type": "response.create", "response": { "conversation": "none" }, "event_id": "penstock_1" });
        assert_eq!((id.as_str(), &sent), ("penstock_1", &named));
        let (id, _) = created(&json!({ "type": "response.create", "event_id": "mine" }));
        assert_eq!(id, "mine");
        assert_eq!(read(&json!({ "type": "input_audio_buffer.append", "audio": "AAAA" })), Ok(ClientEvent::Audio));
        assert_eq!(read(&json!({ "type": "input_audio_buffer.commit" })), Ok(ClientEvent::Free));
    }

    #[test]
    fn what_costs_and_is_not_counted_is_refused_by_name() {
        for (event, why) in [
            (json!({ "type": "transcription_session.update" }), "invalid_value type"),
            (json!({ "type": "response.create", "event_id": "penstock_2" }), "invalid_value event_id"),
            (json!({ "type": "response.create", "response": 1 }), "invalid_value response"),
            (
                json!({ "type": "response.create", "response": { "tools": [{ "type": "mcp" }] } }),
                "unsupported response.tools",
            ),
            (
                json!({ "type": "response.create", "response": { "prompt": { "id": "p" } } }),
                "unsupported response.prompt",
            ),
            (json!({ "type": "session.update" }), "invalid_value session"),
            (json!({ "type": "session.update", "session": { "type": "transcription" } }), "unsupported session.type"),
            (json!({ "type": "session.update", "session": { "model": "other" } }), "unsupported session.model"),
            (
                json!({ "type": "session.update", "session": { "audio": { "input": { "transcription": { "model": "w" } } } } }),
                "unsupported session.audio.input.transcription",
            ),
            (
                json!({ "type": "session.update", "session": { "input_audio_transcription": { "model": "w" } } }),
                "unsupported session.input_audio_transcription",
            ),
            (
                json!({ "type": "session.update", "session": { "turn_detection": { "type": "server_vad", "idle_timeout_ms": 5 } } }),
                "unsupported session.turn_detection.idle_timeout_ms",
            ),
        ] {
            assert_eq!(refused(&event), why, "{event}");
        }
        for twice in [
            &br#"{"type":"session.update","type":"response.create"}"#[..],
            br#"{"type":"response.create","response":{},"response":{"tools":[{"type":"mcp"}]}}"#,
            b"[]",
            b"",
        ] {
            assert_eq!(
                read_client(twice, "penstock_1", &["m"], Unsupported::Refuse).unwrap_err().code,
                "invalid_event"
            );
        }
    }

    #[test]
    fn the_provider_is_told_its_own_name_of_the_model() {
        let update = json!({ "type": "session.update", "session": { "type": "realtime", "model": "alpha/m" } });
        let Ok(ClientEvent::Update { event, turns: None }) = read(&update) else { panic!("it is right") };
        assert!(event.contains(r#""model":"m""#), "{event}");
    }

    #[test]
    fn transcription_is_left_out_where_the_operator_wants_that() {
        let update = json!({ "type": "session.update", "session": { "audio": { "input": { "transcription": { "model": "w" } } } } });
        let read = read_client(update.to_string().as_bytes(), "penstock_1", &["m"], Unsupported::Drop);
        let Ok(ClientEvent::Update { event, turns: None }) = read else { panic!("{read:?}") };
        assert!(event.contains(r#""transcription":null"#), "{event}");
    }
}
