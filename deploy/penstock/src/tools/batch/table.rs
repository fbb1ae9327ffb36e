//! Batches from and into tables: rows of a CSV, TSV or Parquet file, or of a SELECT, become lines by a template; answers become
//! rows. Sends nothing.

use super::word;
use crate::up::programs;
use anyhow::{Context, bail};
use penstock_clickhouse::{FileFormat, TableFiles};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// A row: its columns by name.
pub(super) type TableRow = Map<String, Value>;

/// The columns of a table of answers, as ClickHouse names them.
const ANSWER: &str = "custom_id String, status_code Nullable(UInt16), model Nullable(String), content Nullable(String), \
                      finish_reason Nullable(String), input_tokens Nullable(UInt64), output_tokens Nullable(UInt64), \
                      error Nullable(String)";

/// How a row becomes a request.
#[derive(clap::Args)]
pub(super) struct TemplateOptions {
    /// The model of every line
    #[arg(long)]
    model: Option<String>,
    /// What is asked of each row; `{column}` stands for the row's value
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// The system message, with the same
    #[arg(long, value_name = "TEXT", requires = "prompt")]
    system: Option<String>,
    /// The most tokens of an answer
    #[arg(long, value_name = "TOKENS", requires = "prompt")]
    max_tokens: Option<u32>,
    /// Instead of a prompt: a file with the request's body as JSON, in whose texts `{column}` stands for the row's value
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    template: Option<PathBuf>,
    /// The column whose values are the lines' `custom_id` [default: the number of the row, from 1]
    #[arg(long, value_name = "COLUMN")]
    id: Option<String>,
}

impl TemplateOptions {
    /// Whether there is anything to make lines with.
    pub(super) fn is_given(&self) -> bool {
        self.prompt.is_some() || self.template.is_some()
    }

    /// The template that the options describe, for this path.
    pub(super) fn template(&self, endpoint: &str) -> anyhow::Result<Template> {
        let body = match (&self.template, &self.prompt) {
            (Some(file), _) => self.body_of_file(file)?,
            (None, Some(prompt)) => {
                let model = self.model.as_deref().context("say which --model is asked")?;
                self.body_of_prompt(endpoint, model, prompt)?
            }
            (None, None) => {
                bail!("a table needs --prompt 'Translate into French: {{column}}' and --model, or --template FILE")
            }
        };
        Ok(Template { endpoint: endpoint.to_owned(), body, id: self.id.clone() })
    }

    fn body_of_file(&self, file: &Path) -> anyhow::Result<Value> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
        let mut body: Value = serde_json::from_str(&text).with_context(|| format!("{shown} is not JSON"))?;
        let fields =
            body.as_object_mut().with_context(|| format!("{shown} is not a JSON object: it is a request's body"))?;
        if let Some(model) = &self.model {
            fields.insert("model".to_owned(), model.as_str().into());
        }
        Ok(body)
    }

    fn body_of_prompt(&self, endpoint: &str, model: &str, prompt: &str) -> anyhow::Result<Value> {
        let message = |role: &str, text: &str| json!({ "role": role, "content": text });
        let system = self.system.as_deref();
        let mut body = match endpoint {
            "/v1/chat/completions" => {
                let messages: Vec<Value> =
                    system.map(|text| message("system", text)).into_iter().chain([message("user", prompt)]).collect();
                json!({ "model": model, "messages": messages })
            }
            "/v1/messages" => json!({ "model": model, "max_tokens": 1024, "messages": [message("user", prompt)] }),
            "/v1/responses" | "/v1/embeddings" | "/v1/moderations" => json!({ "model": model, "input": prompt }),
            "/v1/completions" | "/v1/images/generations" => json!({ "model": model, "prompt": prompt }),
            other => bail!("--prompt has no form for {other}: say --template FILE"),
        };
        let (system_field, most_field) = match endpoint {
            "/v1/messages" => (Some("system"), "max_tokens"),
            "/v1/responses" => (Some("instructions"), "max_output_tokens"),
            _ => (None, "max_tokens"),
        };
        match (system_field, system) {
            (Some(field), Some(text)) => body[field] = text.into(),
            (None, Some(_)) if endpoint != "/v1/chat/completions" => bail!("{endpoint} takes no --system"),
            _ => {}
        }
        if let Some(most) = self.max_tokens {
            body[most_field] = most.into();
        }
        Ok(body)
    }
}

/// A request with holes for a row's values.
pub(super) struct Template {
    endpoint: String,
    body: Value,
    id: Option<String>,
}

impl Template {
    /// The line for a row, which is the `number`th from 1.
    fn line(&self, number: usize, row: &TableRow) -> anyhow::Result<String> {
        let id = match &self.id {
            Some(column) => plain(row.get(column).with_context(|| unknown(column, row))?),
            None => number.to_string(),
        };
        let mut body = self.body.clone();
        fill(&mut body, row)?;
        Ok(json!({ "custom_id": id, "method": "POST", "url": self.endpoint, "body": body }).to_string())
    }

    /// The lines for rows.
    pub(super) fn lines(&self, rows: &[TableRow]) -> anyhow::Result<Vec<u8>> {
        let mut lines = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let line = self.line(at + 1, row).with_context(|| format!("row {}", at + 1))?;
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
        }
        if lines.is_empty() {
            bail!("there are no rows");
        }
        Ok(lines)
    }
}

/// Puts a row's values into the texts of a template.
fn fill(value: &mut Value, row: &TableRow) -> anyhow::Result<()> {
    match value {
        Value::String(text) => *text = filled(text, row)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, row))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill(field, row))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

/// `{column}` becomes the row's value; `{{` and `}}` are braces.
fn filled(text: &str, row: &TableRow) -> anyhow::Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
        } else if brace == "{" {
            let (column, after) =
                rest.split_once('}').with_context(|| format!("a `{{` without its `}}` in: {text}"))?;
            out.push_str(&plain(row.get(column).with_context(|| unknown(column, row))?));
            rest = after;
        } else {
            bail!("a `}}` without its `{{` in: {text} (write `}}}}` for the character itself)");
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown(column: &str, row: &TableRow) -> String {
    let columns: Vec<&str> = row.keys().map(String::as_str).collect();
    format!("there is no column `{column}`, only {}", columns.join(", "))
}

/// A value as it stands in a text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The rows of a file, whose name says what it is.
pub(super) fn read(file: &Path, format: FileFormat) -> anyhow::Result<Vec<TableRow>> {
    let shown = file.display();
    let place = file.canonicalize().with_context(|| format!("{shown} cannot be opened"))?;
    let mut bytes = Vec::new();
    let take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    let read = TableFiles::open(&programs::engine()?)?.read(&place, format, take);
    read.map_err(|reason| anyhow::anyhow!("{shown} cannot be read as {format:?}: {reason}"))?;
    rows(&bytes).with_context(|| format!("{shown} has a row that cannot be read"))
}

/// The rows of a file of JSON objects, one a line.
pub(super) fn read_lines(file: &Path) -> anyhow::Result<Vec<TableRow>> {
    let shown = file.display();
    let text = std::fs::read(file).with_context(|| format!("{shown} cannot be read"))?;
    rows(&text).with_context(|| format!("{shown} is to have a JSON object a line"))
}

fn rows(lines: &[u8]) -> serde_json::Result<Vec<TableRow>> {
    serde_json::Deserializer::from_slice(lines).into_iter::<TableRow>().collect()
}

/// Writes answers, and lines that have none, as a table.
pub(super) fn write(lines: &[u8], file: &Path, format: FileFormat) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for line in serde_json::Deserializer::from_slice(lines).into_iter::<Value>() {
        let row = answer(&line.context("the gateway's file has a line that is not JSON")?);
        rows.extend_from_slice(row.to_string().as_bytes());
        rows.push(b'\n');
    }
    let shown = file.display();
    // ClickHouse wants a whole path, and the file is not there yet.
    let place = std::path::absolute(file).with_context(|| format!("{shown} is no path"))?;
    let written = TableFiles::open(&programs::engine()?)?.write(&rows, ANSWER, &place, format);
    written.map_err(|reason| anyhow::anyhow!("{shown} cannot be written: {reason}"))
}

/// The row of one line of an output or error file.
fn answer(line: &Value) -> Value {
    let (response, error) = (&line["response"], &line["error"]);
    let body = &response["body"];
    let failure = if error.is_null() { &body["error"] } else { error };
    let usage = &body["usage"];
    let either = |one: &str, other: &str| if usage[one].is_null() { usage[other].clone() } else { usage[one].clone() };
    let reason = [&body["choices"][0]["finish_reason"], &body["stop_reason"], &body["status"]];
    json!({
        "custom_id": word(line, "custom_id"),
        "status_code": response["status_code"],
        "model": body["model"],
        "content": content(body),
        "finish_reason": reason.into_iter().find(|reason| !reason.is_null()),
        "input_tokens": either("prompt_tokens", "input_tokens"),
        "output_tokens": either("completion_tokens", "output_tokens"),
        "error": failure["message"],
    })
}

/// What a model said, in any of the formats that a batch's line may be answered in; `None` where it said nothing.
fn content(body: &Value) -> Option<String> {
    let texts = |parts: &Value| {
        let parts = parts.as_array()?.iter();
        let text: String = parts.filter_map(|part| part["text"].as_str()).collect();
        Some(text)
    };
    if let Some(choice) = body["choices"].get(0) {
        let message = &choice["message"]["content"];
        return message.as_str().or(choice["text"].as_str()).map(ToOwned::to_owned);
    }
    if let Some(output) = body["output"].as_array() {
        return Some(output.iter().filter_map(|item| texts(&item["content"])).collect());
    }
    if let Some(vector) = body["data"][0].get("embedding") {
        return Some(vector.to_string());
    }
    texts(&body["content"]).or_else(|| body["results"].get(0).map(Value::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &Value) -> TableRow {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_template_takes_a_rows_values_and_says_which_columns_there_are() {
        let row = row(&json!({ "word": "sea {x}", "n": 7, "none": null }));
        assert_eq!(filled("{word}/{n}/{none}/{{word}}", &row).unwrap(), "sea {x}/7//{word}");
        assert_eq!(filled("{wrod}", &row).unwrap_err().to_string(), "there is no column `wrod`, only word, n, none");
        for broken in ["{word", "word}", "}{"] {
            assert!(filled(broken, &row).is_err(), "{broken}");
        }
        let body = json!({ "model": "m", "messages": [{ "content": "{word}" }], "n": 1 });
        let template = Template { endpoint: "/v1/chat/completions".to_owned(), body, id: Some("n".to_owned()) };
        let line: Value = serde_json::from_str(&template.line(1, &row).unwrap()).unwrap();
        assert_eq!(line["custom_id"], "7");
        assert_eq!(line["body"], json!({ "model": "m", "messages": [{ "content": "sea {x}" }], "n": 1 }));
    }

    #[test]
    fn an_answer_of_any_format_is_a_row_and_a_failure_too() {
        let of = |body: Value| content(&body);
        assert_eq!(of(json!({"choices": [{"message": {"content": "a"}}]})).as_deref(), Some("a"));
        assert_eq!(of(json!({"choices": [{"text": "b"}]})).as_deref(), Some("b"));
        assert_eq!(of(json!({"output": [{"content": [{"text": "c"}, {"text": "d"}]}]})).as_deref(), Some("cd"));
        assert_eq!(of(json!({"content": [{"type": "text", "text": "e"}]})).as_deref(), Some("e"));
        assert_eq!(of(json!({"data": [{"embedding": [1, 2]}]})).as_deref(), Some("[1,2]"));
        let failed = answer(&json!({"custom_id": "1", "response": null, "error": {"message": "too late"}}));
        assert_eq!((&failed["custom_id"], &failed["error"]), (&json!("1"), &json!("too late")));
        let served = json!({"model": "m", "usage": {"input_tokens": 3}, "stop_reason": "end_turn"});
        let served = answer(&json!({"custom_id": "2", "response": {"status_code": 200, "body": served}}));
        assert_eq!((&served["input_tokens"], &served["finish_reason"]), (&json!(3), &json!("end_turn")));
    }
}
