//! Whether a provider says that a request does not fit into the model's context window. Most have no code for it, and clients
//! and fallbacks live by it: this is the one place where the words of a message decide what kind of failure it is. Knows
//! nothing of who asked.

use penstock_schemas::failure::FailureKind;

/// What stands in such messages, in small letters, and whose words they are. Each names the prompt or the window, so that no
/// rate of tokens per minute is meant.
const PHRASES: [&str; 22] = [
    // Anthropic: <https://platform.claude.com/docs/en/build-with-claude/context-windows>.
    "prompt is too long",
    "exceed context limit",
    // Bedrock; its Nova models.
    "input is too long for requested model",
    "number of input tokens exceeds maximum length",
    // OpenAI, vLLM, Mistral, DeepSeek, OpenRouter and Together.
    "maximum context length",
    "exceeds the context window",
    // vLLM: <https://github.com/vllm-project/vllm/blob/main/vllm/v1/engine/input_processor.py>.
    "longer than the maximum model length",
    // SGLang: <https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/managers/tokenizer_manager.py>.
    "longer than the model's context length",
    "exceeds the maximum allowed length",
    // TGI: <https://github.com/huggingface/text-generation-inference/blob/main/router/src/validation.rs>.
    "`inputs` tokens + `max_new_tokens` must be",
    // llama.cpp, LM Studio and Ollama.
    "exceeds the available context size",
    "greater than the context length",
    "exceeded max context length",
    "input length exceeds the context length",
    // Google: <https://ai.google.dev/gemini-api/docs/tokens>.
    "exceeds the maximum number of tokens allowed",
    // xAI.
    "maximum prompt length is",
    // Groq and Cerebras.
    "reduce the length of the messages",
    // Cohere: <https://docs.cohere.com/reference/errors>.
    "total number of tokens in the prompt cannot exceed",
    // Moonshot, MiniMax, Z.ai and Alibaba.
    "exceeded model token limit",
    "context window exceeds limit",
    "prompt exceeds max length",
    "range of input length should be",
];

/// The kind, told more closely by the message. Only what is about the request itself, or of no certain kind, is doubted: a
/// limit on tokens per minute is none on the window.
pub fn refine(kind: FailureKind, message: &str) -> FailureKind {
    let is_open = matches!(
        kind,
        FailureKind::BadRequest
            | FailureKind::TooLarge
            | FailureKind::Unprocessable
            | FailureKind::Broken
            | FailureKind::ServerError
    );
    if is_open && is_told(message) { FailureKind::ContextTooLong } else { kind }
}

/// Whether the message says so.
pub fn is_told(message: &str) -> bool {
    let message = message.to_lowercase();
    PHRASES.iter().any(|phrase| message.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_does_not_fit_is_told_in_each_providers_words() {
        for message in [
            "prompt is too long: 215000 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "Input is too long for requested model.",
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
            "The input (600013 tokens) is longer than the model's context length (4096 tokens).",
            "Input length (600013 tokens) exceeds the maximum allowed length (536826 tokens).",
            "the request exceeds the available context size, try increasing it",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            "Please reduce the length of the messages or completion.",
            "Prompt contains 9000 tokens, too large for model with 8192 maximum context length",
        ] {
            assert_eq!(refine(FailureKind::BadRequest, message), FailureKind::ContextTooLong, "{message}");
        }
    }

    #[test]
    fn a_limit_on_tokens_per_minute_or_on_the_answer_is_none_on_the_prompt() {
        for (kind, message) in [
            (FailureKind::RateLimited, "This request would exceed your rate limit; the maximum context length is 9"),
            (FailureKind::RateLimited, "Too many tokens, please wait before trying again."),
            (
                FailureKind::BadRequest,
                "max_tokens: 99999999 > 64000, which is the maximum allowed number of output tokens",
            ),
            (FailureKind::ProviderAuth, "prompt is too long for this plan"),
        ] {
            assert_eq!(refine(kind, message), kind, "{message}");
        }
    }
}
