//! Requests in every client dialect, and what may be done to them: names twice and in other letters, other types, huge
//! numbers, fields of other dialects, deeper places, parts and tools. The same on every run.

use penstock_schemas::envelope::{Dialect, Operation};

/// Numbers that look random and are the same on every run.
pub(crate) struct Dice(u64);

impl Dice {
    /// Those of a case.
    pub(crate) fn new(case: u64) -> Self {
        Self((case + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 1).unwrap_or(0) % bound.max(1)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Names that multiply cost somewhere.
const NAMES: [&str; 40] = [
    "n",
    "best_of",
    "candidateCount",
    "candidate_count",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "maxOutputTokens",
    "max_new_tokens",
    "min_tokens",
    "num_predict",
    "num_generations",
    "num_images",
    "sampleCount",
    "thinking",
    "reasoning",
    "thinkingConfig",
    "budget_tokens",
    "thinkingBudget",
    "reasoning_effort",
    "generationConfig",
    "generation_config",
    "documents",
    "prediction",
    "tools",
    "functions",
    "web_search_options",
    "search_parameters",
    "plugins",
    "service_tier",
    "modalities",
    "audio",
    "size",
    "quality",
    "stream",
    "extra_body",
    "options",
    "metadata",
    "cachedContent",
    "max_tool_calls",
];

/// Values of every type, small and huge, and whole options.
const VALUES: [&str; 34] = [
    "0",
    "1",
    "2",
    "7",
    "128",
    "100.0",
    "1e3",
    "1.5",
    "-1",
    "-0",
    "99999",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999",
    "1e400",
    "null",
    "true",
    "\"5\"",
    "\"128\"",
    "\"many\"",
    "[]",
    "{}",
    "[128]",
    "{\"n\":128}",
    "{\"max_tokens\":9000}",
    "{\"type\":\"enabled\",\"budget_tokens\":3000}",
    "{\"thinkingBudget\":4000}",
    "{\"maxOutputTokens\":9000,\"candidateCount\":8}",
    "{\"max_output_tokens\":1}",
    "{\"type\":\"content\",\"content\":\"predicted words\"}",
    "{\"a\":{\"b\":{\"n\":50}}}",
    "{\"mode\":\"auto\"}",
    "\"priority\"",
    "\"4096x4096\"",
];

/// Tools, of the caller's and of each provider's.
const TOOLS: [&str; 9] = [
    r#"{"type":"function","function":{"name":"web_search","parameters":{"type":"object"}}}"#,
    r#"{"name":"f","input_schema":{"type":"object","properties":{"a":{"type":"web_search"}}}}"#,
    r#"{"type":"web_search_20250305","name":"web_search"}"#,
    r#"{"type":"web_search_20250305","name":"web_search","max_uses":40}"#,
    r#"{"type":"web_search"}"#,
    r#"{"type":"function","name":"f","parameters":{}}"#,
    r#"{"functionDeclarations":[{"name":"googleSearch"}]}"#,
    r#"{"googleSearch":{}}"#,
    r#"{"code_execution":{}}"#,
];

/// Parts of messages.
const PARTS: [&str; 10] = [
    r#"{"type":"text","text":"{\"type\": \"file\"}"}"#,
    r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#,
    r#"{"type":"image_url","image_url":"data:image/png;base64,AAAA"}"#,
    r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA","filename":"a.pdf"}}"#,
    r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}"#,
    r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}"#,
    r#"{"type":"input_image","image_url":"data:image/png;base64,AAAA"}"#,
    r#"{"type":"input_file","file_data":"data:application/pdf;base64,AAAA","filename":"a.pdf"}"#,
    r#"{"inlineData":{"mimeType":"image/png","data":"AAAA"}}"#,
    r#"{"inline_data":{"mime_type":"application/pdf","data":"AAAA"}}"#,
];

/// A request that may be spoilt, as text: an object of it may hold a name twice.
pub(crate) fn mutated(dice: &mut Dice) -> (Dialect, Operation, String) {
    let (dialect, operation, mut fields) = base(dice);
    for _ in 0..dice.below(5) {
        match dice.below(9) {
            0..4 => fields.push((name(dice), dice.one(&VALUES).to_owned())),
            4 => {
                let at = dice.below(fields.len());
                let twin = (fields[at].0.clone(), dice.one(&VALUES).to_owned());
                fields.push(twin);
            }
            5 => {
                let at = dice.below(fields.len());
                fields[at].1 = dice.one(&VALUES).to_owned();
            }
            6 => fields.push(("generationConfig".to_owned(), nested(dice))),
            7 => fields.push(("tools".to_owned(), format!("[{},{}]", dice.one(&TOOLS), dice.one(&TOOLS)))),
            _ => fields.push((dice.one(&["thinking", "reasoning", "extra_body", "options"]).to_owned(), nested(dice))),
        }
    }
    if dice.below(3) == 0 {
        let from = dice.below(fields.len());
        fields.rotate_left(from);
    }
    (dialect, operation, object(&fields))
}

fn object(fields: &[(String, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn nested(dice: &mut Dice) -> String {
    let fields: Vec<_> = (0..=dice.below(3)).map(|_| (name(dice), dice.one(&VALUES).to_owned())).collect();
    object(&fields)
}

/// A name that multiplies cost, sometimes in other letters.
fn name(dice: &mut Dice) -> String {
    let name = dice.one(&NAMES);
    match dice.below(12) {
        0 => name.to_ascii_uppercase(),
        1 => name.replacen('n', "\\u006e", 1),
        2 => name.replacen('k', "\\u212a", 1),
        _ => name.to_owned(),
    }
}

fn base(dice: &mut Dice) -> (Dialect, Operation, Vec<(String, String)>) {
    let fields =
        |text: &[(&str, String)]| text.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let said = "words ".repeat(dice.below(60) + 1);
    let (text, part) = (format!("\"{said}\""), dice.one(&PARTS));
    let limit = (dice.below(3000) + 1).to_string();
    let model = || ("model", "\"m\"".to_owned());
    let messages = |content: String| ("messages", format!(r#"[{{"role":"user","content":{content}}}]"#));
    let content = match dice.below(3) {
        0 => format!(r#"[{{"type":"text","text":{text}}},{part}]"#),
        _ => text.clone(),
    };
    match dice.below(9) {
        0 => (Dialect::Openai, Operation::Chat, fields(&[model(), messages(content)])),
        1 | 2 => (Dialect::Openai, Operation::Chat, fields(&[model(), messages(content), ("max_tokens", limit)])),
        3 => (Dialect::Anthropic, Operation::Chat, fields(&[model(), messages(content), ("max_tokens", limit)])),
        4 => {
            let items = format!(r#"[{{"role":"user","content":{content}}}]"#);
            (Dialect::Responses, Operation::Chat, fields(&[model(), ("input", items), ("max_output_tokens", limit)]))
        }
        5 | 6 => {
            let part = if part.contains("nline") { format!(",{part}") } else { String::new() };
            let contents = format!(r#"[{{"role":"user","parts":[{{"text":{text}}}{part}]}}]"#);
            let config = format!(r#"{{"maxOutputTokens":{limit}}}"#);
            (Dialect::Google, Operation::Chat, fields(&[("contents", contents), ("generationConfig", config)]))
        }
        7 => {
            let prompts = format!("[{text},{text},{text}]");
            let prompt = if dice.below(2) == 0 { text } else { prompts };
            (Dialect::Openai, Operation::Completions, fields(&[model(), ("prompt", prompt), ("max_tokens", limit)]))
        }
        _ if dice.below(2) == 0 => {
            (Dialect::Openai, Operation::Embeddings, fields(&[model(), ("input", format!("[{text},{text}]"))]))
        }
        _ => (Dialect::Openai, Operation::Images, fields(&[model(), ("prompt", text), ("n", "2".to_owned())])),
    }
}
