//! Tests of `canonical`: what must and what must not change the canonical form of a request.

use super::*;
use proptest::prelude::*;

const ONE: Defaults = Defaults { temperature: true, top_p: true };

fn form(request: &Value) -> String {
    String::from_utf8(canonical(Operation::Chat, request.to_string().as_bytes(), ONE).unwrap().text).unwrap()
}

fn chat() -> Value {
    json!({
        "model": "m",
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "What is this?" },
                { "type": "image_url", "image_url": { "url": "https://example.org/a.png", "detail": "high" } }] },
            { "role": "assistant", "tool_calls": [{ "id": "c1", "type": "function",
                "function": { "name": "look", "arguments": "{\"at\": 1}" } }] },
            { "role": "tool", "tool_call_id": "c1", "content": "A cat." },
        ],
        "tools": [{ "type": "function", "function": { "name": "look", "parameters":
            { "type": "object", "properties": { "at": { "type": "integer", "minimum": 1.5, "default": null } } } } }],
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "max_completion_tokens": 100,
        "response_format": { "type": "json_object" },
        "reasoning_effort": "low",
    })
}

/// Every place of a value, as a JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, inner)| places(inner, &format!("{at}/{name}"), out)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, inner)| places(inner, &format!("{at}/{i}"), out)),
        _ => out.push(at.to_owned()),
    }
}

#[test]
fn spelling_defaults_and_who_asks_do_not_matter() {
    let plain = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
    let same = [
        json!({ "messages": [{ "content": "Hi", "role": "user" }], "model": "other" }),
        json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Hi", "cache_control": {} }] }] }),
        json!({ "messages": [{ "role": "user", "content": "Hi", "name": null }], "stream": true,
            "stream_options": { "include_usage": true }, "user": "ann", "metadata": { "a": "b" }, "store": true,
            "safety_identifier": "x", "prompt_cache_key": "y" }),
        json!({ "messages": [{ "role": "user", "content": "Hi" }], "n": 1, "temperature": 1.0, "top_p": 1, "stop": null,
            "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": false, "logit_bias": {}, "tools": [],
            "tool_choice": "none", "response_format": { "type": "text" }, "parallel_tool_calls": true, "max_tokens": -1 }),
    ];
    for other in &same {
        assert_eq!(form(other), form(&plain), "{other}");
    }
    let limit = |name: &str, limit: Value| form(&json!({ "messages": [], name: limit }));
    assert_eq!(limit("max_tokens", json!(100.0)), limit("max_completion_tokens", json!(100)));
    assert_eq!(limit("stop", json!("END")), limit("stop", json!(["END"])));
    assert_eq!(limit("temperature", json!(0.70)), limit("temperature", json!(7e-1)));
}

#[test]
fn what_a_provider_takes_for_granted_is_not_what_another_does() {
    let of = |defaults, request: &str| canonical(Operation::Chat, request.as_bytes(), defaults).unwrap().text;
    let (none, one) = (r#"{"messages":[]}"#, r#"{"messages":[],"temperature":1}"#);
    assert_eq!(of(ONE, none), of(ONE, one));
    assert_ne!(of(Defaults::default(), none), of(Defaults::default(), one));
}

#[test]
fn every_single_value_matters() {
    let request = chat();
    let mut all = Vec::new();
    places(&request, "", &mut all);
    all.retain(|place| place != "/model");
    assert!(all.len() > 20, "{all:?}");
    for place in &all {
        let mut changed = request.clone();
        let value = changed.pointer_mut(place).unwrap();
        *value = match &*value {
            Value::String(text) => json!(format!("{text} ")),
            Value::Number(number) => json!(number.as_f64().unwrap() + 0.25),
            _ => json!("something"),
        };
        assert_ne!(form(&changed), form(&request), "{place}");
    }
    let mut turned = request.clone();
    turned["messages"].as_array_mut().unwrap().swap(0, 1);
    assert_ne!(form(&turned), form(&request), "the order of messages matters");
    let mut unknown = request.clone();
    unknown["a_field_of_next_year"] = json!(1);
    assert_ne!(form(&unknown), form(&request));
}

#[test]
fn a_null_inside_a_schema_stays() {
    let of = |schema: Value| {
        form(&json!({ "messages": [], "tools": [{ "type": "function",
        "function": { "name": "f", "parameters": schema } }] }))
    };
    assert_ne!(of(json!({ "const": null })), of(json!({})));
}

#[test]
fn a_field_that_is_there_twice_and_what_is_no_object_have_no_one_form() {
    let none = |text: &str| canonical(Operation::Chat, text.as_bytes(), ONE).is_none();
    assert!(none(r#"{"messages":[],"seed":1,"seed":2}"#));
    assert!(none(r#"{"messages":[{"role":"user","role":"user"}]}"#));
    assert!(none("[]") && none("{") && none(""));
}

#[test]
fn what_a_provider_does_by_itself_is_known() {
    let plain = |request: Value| canonical(Operation::Chat, request.to_string().as_bytes(), ONE).unwrap().is_plain;
    assert!(plain(json!({ "messages": [], "tools": [{ "type": "function", "function": { "name": "f" } }] })));
    assert!(!plain(json!({ "messages": [], "tools": [{ "type": "web_search_20250305", "name": "web_search" }] })));
    assert!(!plain(json!({ "messages": [], "web_search_options": {} })));
}

fn texts() -> impl Strategy<Value = String> {
    // With what JSON must escape, and what looks alike.
    prop::collection::vec(
        prop_oneof![Just('a'), Just(' '), Just('"'), Just('\\'), Just('é'), Just('\u{e9}'), Just('\n')],
        0..8,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

/// The same request with its fields in another order and its texts spelt with escapes.
fn respelt(value: &Value, turn: usize) -> String {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<String> =
                object.iter().map(|(name, inner)| format!(" {} :{}", escaped(name), respelt(inner, turn))).collect();
            if !fields.is_empty() {
                let by = turn % fields.len();
                fields.rotate_left(by);
            }
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(|inner| respelt(inner, turn)).collect();
            format!("[\n{}]", items.join(" ,"))
        }
        Value::String(text) => escaped(text),
        other => other.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let all: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{all}\"")
}

proptest! {
    #[test]
    fn two_requests_have_one_form_when_and_only_when_they_say_the_same(
        texts in prop::collection::vec(texts(), 1..4),
        others in prop::collection::vec(texts(), 1..4),
        seed in 0..3_i64, other_seed in 0..3_i64, turn in 0..5_usize,
    ) {
        let request = |texts: &[String], seed: i64| {
            let messages: Vec<Value> = texts.iter().map(|text| json!({ "role": "user", "content": text })).collect();
            json!({ "messages": messages, "seed": seed, "tools": [{ "type": "function", "function": { "name": "f" } }] })
        };
        let (one, other) = (request(&texts, seed), request(&others, other_seed));
        prop_assert_eq!(form(&one) == form(&other), one == other);
        let again = canonical(Operation::Chat, respelt(&one, turn).as_bytes(), ONE).unwrap().text;
        prop_assert_eq!(String::from_utf8(again).unwrap(), form(&one));
    }
}

#[test]
fn a_question_stands_apart_where_it_is_all_that_is_asked_and_everything_else_is_in_its_frame() {
    let question = |request: Value| canonical(Operation::Chat, request.to_string().as_bytes(), ONE).unwrap().question;
    let user = |content: Value| json!({ "role": "user", "content": content });
    let asked = |messages: Vec<Value>| json!({ "model": "m", "seed": 1, "messages": messages });
    let system = json!({ "role": "system", "content": "Be brief." });
    let sole = question(asked(vec![system.clone(), user(json!("Why?"))])).unwrap();
    assert_eq!(sole.text, "Why?");
    let parts = user(json!([{ "type": "text", "text": "How?" }]));
    let other = question(asked(vec![system.clone(), parts])).unwrap();
    assert_eq!((other.text.as_str(), &other.frame), ("How?", &sole.frame), "the question is not in it");
    for (change, value) in [("seed", json!(2)), ("response_format", json!({ "type": "json_object" }))] {
        let mut changed = asked(vec![system.clone(), user(json!("Why?"))]);
        changed[change] = value;
        assert_ne!(question(changed).unwrap().frame, sole.frame, "{change}");
    }
    assert_ne!(question(asked(vec![user(json!("Why?"))])).unwrap().frame, sole.frame);
    let image =
        json!([{ "type": "text", "text": "What?" }, { "type": "image_url", "image_url": { "url": "https://a.b/c" } }]);
    let answer = json!({ "role": "assistant", "content": "So." });
    for messages in [
        vec![user(image)],
        vec![user(json!("Hi")), answer.clone(), user(json!("Why?"))],
        vec![user(json!("Hi")), user(json!("Why?"))],
        vec![user(json!("Hi")), answer],
        vec![system],
        vec![],
    ] {
        assert_eq!(question(asked(messages.clone())), None, "{messages:?}");
    }
    let mut tools = asked(vec![user(json!("Why?"))]);
    tools["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    assert_eq!(question(tools), None);
}
