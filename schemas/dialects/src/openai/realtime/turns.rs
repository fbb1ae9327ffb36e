//! Turns that the provider finds by itself in what it hears (`turn_detection`): it goes on to find them, but does not begin
//! a response at their end. Who asks for one in its place must know whether the client wants that.

use super::wrong_event::WrongEvent;
use serde_json::{Map, Value, json};

/// What a client wants at the end of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// A response.
    Answered,
    /// Nothing: it asks itself. Or there are no turns to be found.
    Unanswered,
}

/// Where the settings stand: in the API as it is, and as it was before.
fn place(session: &mut Map<String, Value>) -> Option<(&'static str, &mut Value)> {
    const OLD: &str = "turn_detection";
    if session.contains_key(OLD) {
        return session.get_mut(OLD).map(|found| ("session.turn_detection", found));
    }
    let input = session.get_mut("audio")?.get_mut("input")?;
    input.get_mut("turn_detection").map(|found| ("session.audio.input.turn_detection", found))
}

/// Switches off that a session's turns are answered by the provider; what it says of them. `None`: nothing.
pub(super) fn steer(session: &mut Map<String, Value>) -> Result<Option<Turns>, WrongEvent> {
    let is_twice = session.contains_key("turn_detection")
        && session.get("audio").and_then(|audio| audio.get("input")?.get("turn_detection")).is_some();
    let Some((place, found)) = place(session) else { return Ok(None) };
    if is_twice {
        return Err(WrongEvent::unsupported(place, "it stands in two places"));
    }
    match found {
        Value::Null => Ok(Some(Turns::Unanswered)),
        Value::Object(settings) => {
            if settings.get("idle_timeout_ms").is_some_and(|timeout| !timeout.is_null()) {
                let place = format!("{place}.idle_timeout_ms");
                return Err(WrongEvent::unsupported(
                    &place,
                    "a response that nobody asks for cannot be paid for before",
                ));
            }
            Ok(Some(switch(settings)))
        }
        _ => Err(WrongEvent::unsupported(place, "it must be an object or null")),
    }
}

fn switch(settings: &mut Map<String, Value>) -> Turns {
    let asked = settings.insert("create_response".to_owned(), json!(false));
    if matches!(asked, Some(Value::Bool(false))) { Turns::Unanswered } else { Turns::Answered }
}

/// The event that switches it off in a session as the provider has begun it; `None`: it answers none by itself.
pub(super) fn switch_off(session: &Map<String, Value>, event_id: &str) -> Option<String> {
    let mut session = session.clone();
    let (_, found) = place(&mut session)?;
    let settings = found.as_object_mut()?;
    // Not every session knows it, and what a session does not know is refused.
    if let Some(timeout) = settings.get_mut("idle_timeout_ms") {
        *timeout = Value::Null;
    }
    switch(settings);
    let settings = found.take();
    let change = if session.contains_key("turn_detection") {
        json!({ "turn_detection": settings })
    } else {
        json!({ "type": "realtime", "audio": { "input": { "turn_detection": settings } } })
    };
    Some(json!({ "event_id": event_id, "type": "session.update", "session": change }).to_string())
}

/// Says of a session what its client wants, where the provider says what it was told. True when that is something else.
pub(super) fn restore(session: &mut Map<String, Value>, wanted: Turns) -> bool {
    let Some((_, Value::Object(settings))) = place(session) else { return false };
    let is_answered = wanted == Turns::Answered;
    settings.insert("create_response".to_owned(), json!(is_answered)) != Some(json!(is_answered))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_provider_never_answers_a_turn_by_itself_and_the_client_sees_what_it_wants() {
        let vad = json!({ "type": "server_vad", "silence_duration_ms": 200 });
        let off = json!({ "type": "server_vad", "silence_duration_ms": 200, "create_response": false });
        for (session, wanted, steered) in [
            (
                json!({ "audio": { "input": { "turn_detection": vad } } }),
                Some(Turns::Answered),
                json!({ "audio": { "input": { "turn_detection": off } } }),
            ),
            (json!({ "turn_detection": vad }), Some(Turns::Answered), json!({ "turn_detection": off })),
            (json!({ "turn_detection": off }), Some(Turns::Unanswered), json!({ "turn_detection": off })),
            (json!({ "turn_detection": null }), Some(Turns::Unanswered), json!({ "turn_detection": null })),
            (json!({ "voice": "x" }), None, json!({ "voice": "x" })),
        ] {
            let mut told = object(session.clone());
            assert_eq!(steer(&mut told).unwrap(), wanted, "{session}");
            assert_eq!(Value::Object(told), steered);
        }
        let mut shown = object(json!({ "audio": { "input": { "turn_detection": off } } }));
        assert!(restore(&mut shown, Turns::Answered) && !restore(&mut shown, Turns::Answered));
        assert_eq!(shown["audio"]["input"]["turn_detection"]["create_response"], true);
    }

    #[test]
    fn a_session_that_has_begun_is_switched_in_the_form_that_it_has() {
        let vad = json!({ "type": "server_vad", "create_response": true, "idle_timeout_ms": 9 });
        for (session, change) in [
            (
                json!({ "audio": { "input": { "turn_detection": vad } }, "model": "m" }),
                "/session/audio/input/turn_detection",
            ),
            (json!({ "turn_detection": vad, "model": "m" }), "/session/turn_detection"),
        ] {
            let event: Value = serde_json::from_str(&switch_off(&object(session), "penstock_0").unwrap()).unwrap();
            let settings = event.pointer(change).unwrap();
            assert_eq!(*settings, json!({ "type": "server_vad", "create_response": false, "idle_timeout_ms": null }));
            assert_eq!(event.pointer("/session/model"), None);
        }
        let semantic = json!({ "turn_detection": { "type": "semantic_vad" } });
        let event: Value = serde_json::from_str(&switch_off(&object(semantic), "penstock_0").unwrap()).unwrap();
        let settings = json!({ "type": "semantic_vad", "create_response": false });
        assert_eq!(event.pointer("/session/turn_detection"), Some(&settings));
        assert_eq!(switch_off(&object(json!({ "audio": { "input": { "turn_detection": null } } })), "x"), None);
    }
}
