//! Whole agnostic answers as Google's.

use super::turn::{Candidate, Response, Turn, usage};
use crate::client::{Writer, unreadable};
use bytes::Bytes;
use penstock_schemas::chat::{Choice, Completion, Delta};
use penstock_schemas::failure::Failure;
use penstock_schemas::frame::Summary;
use serde::Deserialize;
use serde_json::json;

/// An answer, in `empty`, which names who answers.
///
/// # Errors
/// When it is not of the agnostic form.
pub(super) fn write(answer: &Bytes, summary: &Summary, empty: Response) -> Result<Bytes, Failure> {
    let completion: Completion = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
    let response = Response {
        candidates: completion.choices.into_iter().map(candidate).collect(),
        usage_metadata: usage(&summary.usage),
        response_id: if completion.id.is_empty() { empty.response_id } else { completion.id },
        model_version: empty.model_version,
    };
    Ok(serde_json::to_vec(&response).expect("an answer has a JSON form").into())
}

fn candidate(choice: Choice) -> Candidate {
    let mut turn = Turn::new(choice.index);
    turn.finishes(choice.finish_reason);
    let message = choice.message;
    let parts = turn.add(Delta {
        role: None,
        content: message.content.map(|content| content.text()),
        refusal: message.refusal,
        reasoning_content: message.reasoning_content,
        reasoning_details: message.reasoning_details,
        tool_calls: message.tool_calls,
        extra: message.extra,
    });
    turn.last(parts, choice.extra.get("logprobs").filter(|logprobs| !logprobs.is_null()))
}

/// How many tokens a request is.
pub(super) struct Counted;

impl Writer for Counted {
    fn whole(&mut self, answer: &Bytes, _summary: &Summary) -> Result<Bytes, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            input_tokens: u64,
        }
        let counted: Answer = serde_json::from_slice(answer).map_err(|error| unreadable(&error))?;
        Ok(json!({ "totalTokens": counted.input_tokens }).to_string().into())
    }

    fn chunk(&mut self, _chunk: &[u8], _out: &mut Vec<u8>) -> Result<(), Failure> {
        Ok(())
    }

    fn end(&mut self, _summary: &Summary, _out: &mut Vec<u8>) {}
}
