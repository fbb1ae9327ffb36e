//! A whole answer in OpenAI's dialect to a request for a message: some routers write no other. Knows nothing of
//! streams. Source: <https://github.com/decolua/9router/issues/3199>.

use super::answer::{Message, read as read_json};
use super::odd;
use crate::call_arguments;
use crate::openai::provider::Openai;
use crate::provider::{Form, ProviderFormat, Wanted, Whole};
use bytes::Bytes;
use memchr::memmem;
use penstock_schemas::chat::Completion;
use penstock_schemas::failure::Failure;
use serde_json::{Value, json};

/// The answer, in the form that is wanted; `None` when it is none of OpenAI's.
pub(super) fn read(wanted: Wanted, message: &Message<'_>, body: &Bytes) -> Option<Result<Whole, Failure>> {
    let is_one = message.content.is_none() && memmem::find(body, b"\"choices\"").is_some();
    is_one.then(|| {
        let whole = Openai.read_whole(Wanted { form: Form::Agnostic, ..wanted }, body)?;
        if wanted.form == Form::Agnostic {
            return Ok(whole);
        }
        let said = message_of(read_json(&whole.bytes)?);
        let spelt = odd::whole(&read_json(&said)?, &said, false);
        Ok(Whole { bytes: spelt.unwrap_or(said).into(), ..whole })
    })
}

/// What of a message is its own; what each has is added where it is spelt.
fn message_of(completion: Completion) -> Vec<u8> {
    let (mut content, mut reason) = (Vec::new(), Value::Null);
    if let Some(choice) = completion.choices.into_iter().next() {
        reason = choice.finish_reason.into();
        let said = choice.message;
        if let Some(thought) = said.reasoning_content {
            content.push(json!({ "type": "thinking", "thinking": thought, "signature": "" }));
        }
        if let Some(text) = said.content.map(|content| content.text()).filter(|text| !text.is_empty()) {
            content.push(json!({ "type": "text", "text": text }));
        }
        for call in said.tool_calls.unwrap_or_default() {
            let function = call.function.unwrap_or_default();
            let input = call_arguments::object(&function);
            content.push(json!({ "type": "tool_use", "id": call.id, "name": function.name, "input": input }));
        }
    }
    let usage = completion
        .usage
        .map(|usage| json!({ "input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens }));
    let message = json!({ "id": completion.id, "model": completion.model, "content": content, "stop_reason": reason, "usage": usage });
    message.to_string().into_bytes()
}
