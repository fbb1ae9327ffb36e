//! The faults: what the first link does in each row, and what is to come of it. Knows nothing of how that is found out.

use bytes::Bytes;
use penstock_tests::{Gate, Part, Reply, words};
use std::time::Duration;

/// One fault.
pub(super) struct Row {
    pub fault: &'static str,
    pub streamed: bool,
    /// `None`: nobody listens where the first link should be.
    pub reply: Option<Reply>,
    pub expected: Expected,
}

/// What is to come of it.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// The next link answers; this is recorded of the first one.
    Elsewhere(&'static str),
    /// The same, and the first one's answer says what it used.
    Paid(&'static str),
    /// The client gets this text, and then a typed error.
    Broken { text: &'static str, failure: &'static str },
    /// The first link's answer is whole all the same.
    Served,
}

use Expected::{Broken, Elsewhere, Paid, Served};

/// Every fault, whole and streamed where it can be both.
pub(super) fn all() -> Vec<Row> {
    let mut rows = before_the_answer();
    rows.extend(refusals());
    rows.extend(nonsense());
    rows.extend(silence());
    rows.extend(broken_off());
    rows.extend(excess());
    rows
}

fn whole(fault: &'static str, reply: Reply, expected: Expected) -> Row {
    Row { fault, streamed: false, reply: Some(reply), expected }
}

fn streamed(fault: &'static str, reply: Reply, expected: Expected) -> Row {
    Row { fault, streamed: true, reply: Some(reply), expected }
}

fn both(fault: &'static str, reply: &Reply, expected: Expected) -> [Row; 2] {
    [whole(fault, reply.clone(), expected), streamed(fault, reply.clone(), expected)]
}

fn before_the_answer() -> Vec<Row> {
    let refused = Row { fault: "connection refused", streamed: false, reply: None, expected: Elsewhere("connect") };
    let mut rows = vec![refused];
    rows.extend(both("reset before headers", &Reply::reset(), Elsewhere("broken")));
    rows.extend(both("headers never come", &Reply::answer("late").held(&Gate::new()), Elsewhere("timeout")));
    let enormous = Reply::answer("hello").header("x-enormous", &"x".repeat(1024 * 1024));
    rows.extend(both("enormous headers", &enormous, Elsewhere("broken")));
    rows
}

fn refusals() -> Vec<Row> {
    let later = Reply::error(429).header("retry-after", "30");
    let mut rows = Vec::from(both("429 with Retry-After: 30", &later, Elsewhere("429 rate_limited")));
    rows.extend(both("429 without Retry-After", &Reply::error(429), Elsewhere("429 rate_limited")));
    rows.extend(both("500", &Reply::error(500), Elsewhere("500 server_error")));
    rows.extend(both("503", &Reply::error(503), Elsewhere("503 overloaded")));
    rows.extend(both("529", &Reply::error(529), Elsewhere("529 overloaded")));
    rows.extend(both("401", &Reply::error(401), Elsewhere("401 provider_auth")));
    rows
}

fn nonsense() -> Vec<Row> {
    let error = words::error("The server had an error", "server_error", None, None);
    let body = Reply::whole(200, error.to_string());
    let mut rows = Vec::from(both("200 with an error body", &body, Elsewhere("200 server_error")));
    let event = format!("data: {error}\n\n");
    let first = Reply::stream([words::role(), event]);
    rows.push(streamed("200 with an error event first", first, Elsewhere("200 server_error")));
    rows.push(whole("malformed JSON", Reply::whole(200, "{\"choices\": ["), Elsewhere("200 broken")));
    let half = Reply::stream([words::role(), "data: {\"choices\": [\n\n".to_owned()]);
    rows.push(streamed("malformed JSON", half, Elsewhere("200 broken")));
    let empty = format!("{{\"id\":\"1\",\"object\":\"chat.completion\",\"choices\":[],\"usage\":{}}}", words::USAGE);
    rows.push(whole("empty choices", Reply::whole(200, empty), Paid("200 broken")));
    let empty = Reply::stream([words::event("", "null"), words::DONE.to_owned()]);
    rows.push(streamed("empty choices", empty, Elsewhere("200 broken")));
    let said = Reply::answer("hello").header("content-encoding", "gzip");
    rows.extend(both("wrong content encoding: gzip said, none used", &said, Served));
    // The beginning of a gzip file.
    let zipped = Reply::whole(200, Bytes::from_static(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\x56\x4a\xce\xc8\xcf\xcc\x4e"));
    rows.extend(both("wrong content encoding: gzip unasked", &zipped, Elsewhere("200 broken")));
    rows
}

fn silence() -> Vec<Row> {
    let late = [words::role().into(), Part::Pause(Duration::from_secs(9)), words::content("late").into()];
    let stalled = [words::role().into(), words::content("one ").into(), words::content("two ").into(), Part::Silence];
    let text = Broken { text: "one two ", failure: "timeout" };
    vec![
        streamed(
            "role only, then silence",
            Reply::stream([words::role().into(), Part::Silence]),
            Elsewhere("200 timeout"),
        ),
        streamed("slow first token", Reply::stream(late), Elsewhere("200 timeout")),
        streamed("stall in the middle", Reply::stream(stalled), text),
    ]
}

fn broken_off() -> Vec<Row> {
    let json = |parts: Vec<Part>| Reply::stream(parts).header("content-type", "application/json");
    let half = words::whole("hello").split_at(60).0.to_owned();
    let tokens = || [words::role(), words::content("one "), words::content("two ")].map(Part::from);
    // What has come goes out before a wait; without one the client has nothing yet.
    let seen = || tokens().into_iter().chain([Part::Pause(Duration::from_millis(300))]);
    let at_once = Reply::stream(tokens().into_iter().chain([Part::Cut]));
    let cut = Reply::stream(seen().chain([Part::Cut]));
    let unfinished = Reply::stream(seen());
    let finished = Reply::stream([words::role(), words::content("hello"), words::finish(), words::usage()]);
    let twice: Vec<String> =
        words::stream("hello").into_iter().chain([words::finish(), words::DONE.to_owned()]).collect();
    let broken = Broken { text: "one two ", failure: "broken" };
    vec![
        whole("cut in the middle", json(vec![half.into(), Part::Cut]), Elsewhere("200 broken")),
        streamed("cut after 2 tokens in one packet", at_once, Elsewhere("200 broken")),
        streamed("cut after 2 tokens", cut, broken),
        streamed("ends without finish_reason and [DONE]", unfinished, broken),
        streamed("ends without [DONE]", finished, Served),
        streamed("duplicate terminal event", Reply::stream(twice), Served),
    ]
}

fn excess() -> Vec<Row> {
    let a_second = |text: String| {
        let bytes = text.into_bytes().into_iter();
        bytes.flat_map(|byte| [Part::Send(vec![byte].into()), Part::Pause(Duration::from_secs(1))]).collect::<Vec<_>>()
    };
    let slow = Reply::stream(a_second(words::whole("hello"))).header("content-type", "application/json");
    let slow_stream = Reply::stream(a_second(words::stream("hello").concat()));
    let mut slow_end = vec![Part::from(words::role()), words::content("one ").into()];
    slow_end.extend(a_second(words::content("two ")));
    let endless = Part::Endless(words::content("word ").into());
    let endless_body = Reply::stream(["{\"choices\": [".into(), Part::Endless("[".into())]);
    vec![
        whole("one byte a second", slow, Elsewhere("200 timeout")),
        streamed("one byte a second", slow_stream, Elsewhere("200 timeout")),
        streamed(
            "one byte a second after a token",
            Reply::stream(slow_end),
            Broken { text: "one ", failure: "timeout" },
        ),
        whole("endless answer", endless_body.header("content-type", "application/json"), Elsewhere("200 timeout")),
        streamed(
            "endless stream",
            Reply::stream([words::role().into(), endless]),
            Broken { text: "…", failure: "timeout" },
        ),
    ]
}
