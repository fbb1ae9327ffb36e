//! What a client gets: answers and streams of workers, written in the client's dialect.

use crate::{Input, cut, is_json, provider};
use bytes::Bytes;
use penstock_ingress::fuzzing;
use penstock_schemas::envelope::Dialect;

const CALLERS: [Dialect; 3] = [Dialect::Anthropic, Dialect::Responses, Dialect::Google];

/// Whatever comes from a worker: in the agnostic form, or in the client's own.
pub fn write(mut input: Input<'_>) {
    let (way, at) = (input.number() % 3, input.number());
    match way {
        0 => whole(&input, &input.bytes()),
        1 => stream(&input, input.rest, at),
        _ => own(&input, at),
    }
}

fn own(input: &Input<'_>, at: usize) {
    for caller in CALLERS {
        fuzzing::whole(caller, caller, &input.bytes()).inspect(|answer| input.bounds(answer.len()));
        let once = fuzzing::stream(caller, caller, [input.rest]);
        once.iter().for_each(|out| input.bounds(out.len()));
        assert!(once == fuzzing::stream(caller, caller, cut(input.rest, at)), "{caller:?}: it matters where it is cut");
    }
    let half = input.bytes();
    fuzzing::joined(&[(half.clone(), 2), (half.clone(), 2)]).inspect(|answer| {
        input.bounds(answer.len());
        assert!(!is_json(&half) || is_json(answer), "joined answers are JSON");
    });
}

/// What is written of an agnostic answer is JSON.
pub fn whole(input: &Input<'_>, answer: &Bytes) {
    for caller in CALLERS {
        if let Some(written) = fuzzing::whole(caller, Dialect::Openai, answer) {
            input.bounds(written.len());
            assert!(is_json(&written), "a whole answer is JSON");
        }
    }
}

/// What is written of an agnostic stream is the same wherever it is cut, and its events hold JSON.
pub fn stream(input: &Input<'_>, stream: &[u8], at: usize) {
    for caller in CALLERS {
        let once = fuzzing::stream(caller, Dialect::Openai, [stream]);
        assert!(
            once == fuzzing::stream(caller, Dialect::Openai, cut(stream, at)),
            "{caller:?}: it matters where it is cut"
        );
        if let Some(written) = once {
            input.bounds(written.len());
            holds_json(&written);
        }
    }
}

/// Checks that every event holds JSON, or the word for the end.
pub fn holds_json(stream: &[u8]) {
    for event in provider::data(stream) {
        if !event.data.is_empty() && event.data != "[DONE]" {
            assert!(is_json(&event.data), "an event holds JSON");
        }
    }
}
