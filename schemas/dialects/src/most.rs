//! How many choices, calls of tools and open blocks an answer may have: readers and writers of streams look them up in lists,
//! for each piece that comes.

use penstock_schemas::chat::CompletionChunk;
use penstock_schemas::failure::{Failure, FailureKind};

/// Choices of a stream. OpenAI's `n` is at most 128; completions of texts have `n` for each of their prompts.
/// Source: <https://platform.openai.com/docs/api-reference/completions/create>.
pub(crate) const CHOICES: usize = 8_192;

/// Calls of tools of a stream.
pub(crate) const CALLS: usize = 1_024;

/// Blocks of a stream that are open at once.
pub(crate) const BLOCKS: usize = 128;

/// Refuses a chunk of the agnostic form that is of one choice or call too many.
///
/// # Errors
/// When it is.
pub(crate) fn check(chunk: &CompletionChunk) -> Result<(), Failure> {
    let is_over = |index: u32, most: usize| usize::try_from(index).is_ok_and(|index| index >= most);
    for choice in &chunk.choices {
        if is_over(choice.index, CHOICES) {
            return Err(too_many_choices());
        }
        let calls = choice.delta.tool_calls.iter().flatten();
        if calls.filter_map(|call| call.index).any(|index| is_over(index, CALLS)) {
            return Err(too_many_calls());
        }
    }
    Ok(())
}

/// That a stream has more choices.
pub(crate) fn too_many_choices() -> Failure {
    too_many("choices", CHOICES)
}

/// That a stream has more calls.
pub(crate) fn too_many_calls() -> Failure {
    too_many("calls of tools", CALLS)
}

/// That a stream has more open blocks.
pub(crate) fn too_many_blocks() -> Failure {
    too_many("open blocks", BLOCKS)
}

fn too_many(what: &str, most: usize) -> Failure {
    Failure::provider(FailureKind::Broken, format!("the provider's stream has more than {most} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::provider::other_way::event;
    use crate::provider::{Form, Wanted};
    use penstock_schemas::envelope::{Delivery, Dialect, Operation};
    use serde_json::{Value, json};

    /// How many events of a stream are read before it is refused, and with what.
    fn read(dialect: Dialect, form: Form, event_at: impl Fn(usize) -> Value) -> (usize, String) {
        let mut reader =
            crate::format_of(dialect).stream(Wanted { operation: Operation::Chat, form, delivery: Delivery::Stream });
        (0..2 * CHOICES)
            .find_map(|at| Some((at, reader.read(&event(&event_at(at))).err()?.message)))
            .expect("a stream without an end is refused")
    }

    fn called(at: usize) -> Value {
        let call = json!({"index": at, "id": format!("c{at}"), "type": "function", "function": {"name": "f", "arguments": "{}"}});
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": [call]}, "finish_reason": null}]})
    }

    #[test]
    fn a_stream_with_calls_without_end_is_refused_by_every_reader_that_keeps_them() {
        let without_ids = |at: usize| {
            let mut chunk = called(at);
            chunk["choices"][0]["delta"]["tool_calls"][0].as_object_mut().unwrap().shift_remove("id");
            chunk
        };
        let block = |kind: &'static str| {
            move |at: usize| {
                let block = json!({"type": kind, "id": format!("c{at}"), "name": "f", "input": {}, "thinking": ""});
                json!({"type": "content_block_start", "index": at, "content_block": block})
            }
        };
        let closed = |at: usize| {
            if at.is_multiple_of(2) {
                block("tool_use")(at / 2)
            } else {
                json!({"type": "content_block_stop", "index": at / 2})
            }
        };
        let cohere = |at: usize| {
            let call =
                json!({"id": format!("c{at}"), "type": "function", "function": {"name": "f", "arguments": "{}"}});
            json!({"type": "tool-call-start", "index": at, "delta": {"message": {"tool_calls": call}}})
        };
        let calls = too_many_calls().message;
        assert_eq!(read(Dialect::Openai, Form::Own, called), (CALLS, calls.clone()));
        assert_eq!(read(Dialect::Openai, Form::Agnostic, called), (CALLS, calls.clone()));
        assert_eq!(read(Dialect::Openai, Form::Own, without_ids), (CALLS, calls.clone()));
        assert_eq!(read(Dialect::Cohere, Form::Agnostic, cohere), (CALLS, calls.clone()));
        assert_eq!(read(Dialect::Anthropic, Form::Agnostic, closed), (2 * CALLS, calls));
        for form in [Form::Own, Form::Agnostic] {
            assert_eq!(read(Dialect::Anthropic, form, block("tool_use")), (BLOCKS, too_many_blocks().message));
        }
    }

    #[test]
    fn a_stream_with_choices_without_end_is_refused() {
        let choice =
            |at: usize| json!({"choices": [{"index": at, "delta": {"role": "assistant"}, "finish_reason": null}]});
        let candidate =
            |at: usize| json!({"candidates": [{"index": at, "content": {"role": "model", "parts": [{"text": "a"}]}}]});
        let choices = (CHOICES, too_many_choices().message);
        assert_eq!(read(Dialect::Openai, Form::Own, choice), choices);
        assert_eq!(read(Dialect::Google, Form::Own, candidate), choices);
        assert_eq!(read(Dialect::Google, Form::Agnostic, candidate), choices);
    }

    #[test]
    fn a_writer_takes_no_chunk_of_one_too_many() {
        let most = u32::try_from(CALLS).unwrap();
        let chunk = |at: u32| serde_json::from_value(called(at as usize)).unwrap();
        assert!(check(&chunk(most - 1)).is_ok());
        assert_eq!(check(&chunk(most)).unwrap_err().message, too_many_calls().message);
    }
}
