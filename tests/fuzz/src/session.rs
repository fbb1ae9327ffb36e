//! Events of a session over `/v1/realtime`: a client's, and a provider's.

use crate::{Input, is_json};
use penstock_dialects::openai::realtime::{self, ClientEvent, OWN_EVENT};
use penstock_schemas::envelope::Unsupported;

/// Each event that is passed to the provider is JSON, and none tells it to begin responses by itself.
pub fn read(mut input: Input<'_>) {
    let unsupported = input.one(&[Unsupported::Refuse, Unsupported::Drop]);
    let _ = realtime::read_server(input.rest);
    if let Some(named) = realtime::with_model(input.rest, "other") {
        input.bounds(named.len());
        assert!(is_json(named.as_bytes()), "an event is JSON");
    }
    let Ok(read) = realtime::read_client(input.rest, OWN_EVENT, &["m"], unsupported) else { return };
    let (ClientEvent::Update { event, .. } | ClientEvent::Create { event, .. }) = read else { return };
    input.bounds(event.len());
    let event: serde_json::Value = serde_json::from_str(&event).expect("what goes on is JSON");
    let session = &event["session"];
    for turns in [&session["turn_detection"], &session["audio"]["input"]["turn_detection"]] {
        assert!(turns.is_null() || turns["create_response"] == false, "the provider begins a response by itself");
    }
}
