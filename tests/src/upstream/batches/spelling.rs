//! How each provider spells a batch and the answers to its lines. Knows nothing of how a batch goes on.

use super::{BATCH_KEY, BatchKind, EXPIRED, REFUSED, State};
use crate::upstream::words;
use serde_json::{Value, json};

impl State {
    /// A batch as its provider shows it.
    pub(super) fn show(&self, kind: BatchKind, at: usize) -> Value {
        match kind {
            BatchKind::Openai => self.openai(at),
            BatchKind::Mistral => self.mistral(at),
            BatchKind::Anthropic => self.anthropic(at),
            BatchKind::Google => self.google(at),
        }
    }

    fn openai(&self, at: usize) -> Value {
        let batch = &self.batches[at];
        let status = ["validating", "in_progress", "completed"][batch.progress()];
        let total = batch.lines.len();
        let mut shown = json!({
            "id": format!("b-{at}"), "object": "batch", "endpoint": batch.endpoint, "status": status,
            "created_at": now(), "metadata": { "penstock_group": batch.name },
            "request_counts": { "total": total, "completed": if batch.progress() == 2 { total } else { 0 }, "failed": 0 },
        });
        if batch.progress() == 2 {
            shown["output_file_id"] = json!(format!("out-{at}"));
            shown["error_file_id"] = json!(format!("err-{at}"));
        }
        shown
    }

    fn mistral(&self, at: usize) -> Value {
        let batch = &self.batches[at];
        let (status, is_over) = (["QUEUED", "RUNNING", "SUCCESS"][batch.progress()], batch.progress() == 2);
        json!({
            "id": format!("b-{at}"), "object": "batch", "input_files": [], "endpoint": batch.endpoint, "errors": [],
            "status": status, "created_at": now(),
            "metadata": { "penstock_group": batch.name }, "total_requests": batch.lines.len(), "completed_requests": 0,
            "succeeded_requests": 0, "failed_requests": 0,
            "output_file": is_over.then(|| format!("out-{at}")), "error_file": is_over.then(|| format!("err-{at}")),
        })
    }

    fn anthropic(&self, at: usize) -> Value {
        let batch = &self.batches[at];
        let (total, is_over) = (batch.lines.len(), batch.progress() == 2);
        let time = rfc3339();
        json!({
            "id": format!("b-{at}"), "type": "message_batch", "created_at": time, "expires_at": time,
            "processing_status": if is_over { "ended" } else { "in_progress" },
            "request_counts": { "processing": if is_over { 0 } else { total }, "succeeded": if is_over { total } else { 0 },
                "errored": 0, "canceled": 0, "expired": 0 },
            "results_url": null,
        })
    }

    fn google(&self, at: usize) -> Value {
        let batch = &self.batches[at];
        let state = ["BATCH_STATE_PENDING", "BATCH_STATE_RUNNING", "BATCH_STATE_SUCCEEDED"][batch.progress()];
        let mut shown = json!({
            "name": format!("batches/b-{at}"),
            "metadata": { "displayName": batch.name, "state": state, "createTime": rfc3339(),
                "batchStats": { "requestCount": batch.lines.len().to_string() } },
        });
        if batch.progress() == 2 {
            let responses: Vec<Value> =
                batch.lines.iter().filter_map(|(id, request)| google_line(id, request)).collect();
            shown["done"] = json!(true);
            shown["metadata"]["output"] = json!({ "inlinedResponses": { "inlinedResponses": responses } });
        }
        shown
    }
}

fn refusal() -> String {
    format!("no, not with {BATCH_KEY}")
}

pub(super) fn openai_line(id: &str, request: &Value, is_run: bool) -> Value {
    let text = request.to_string();
    if !is_run || text.contains(EXPIRED) {
        let error = json!({ "code": "batch_expired", "message": "This request could not be executed before the completion window expired." });
        return json!({ "id": "r", "custom_id": id, "response": null, "error": error });
    }
    let (status, body) = if text.contains(REFUSED) {
        (400, words::error(&refusal(), "invalid_request_error", None, None))
    } else {
        (200, serde_json::from_str(&words::whole("from a batch")).expect("the words are JSON"))
    };
    json!({ "id": "r", "custom_id": id, "response": { "status_code": status, "request_id": "q", "body": body }, "error": null })
}

pub(super) fn anthropic_line(id: &str, request: &Value) -> Option<Value> {
    let text = request.to_string();
    let result = if text.contains(EXPIRED) {
        json!({ "type": "expired" })
    } else if text.contains(REFUSED) {
        let error = json!({ "type": "invalid_request_error", "message": refusal() });
        json!({ "type": "errored", "error": { "type": "error", "error": error } })
    } else {
        let usage = json!({ "input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 5 });
        json!({ "type": "succeeded", "message": { "id": "msg_1", "type": "message", "role": "assistant", "model": "m-2026",
            "content": [{ "type": "text", "text": "from a batch" }], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": usage } })
    };
    Some(json!({ "custom_id": id, "result": result }))
}

fn google_line(id: &str, request: &Value) -> Option<Value> {
    let (text, metadata) = (request.to_string(), json!({ "key": id }));
    if text.contains(EXPIRED) {
        return None;
    }
    if text.contains(REFUSED) {
        let error = json!({ "code": 3, "message": refusal(), "status": "INVALID_ARGUMENT" });
        return Some(json!({ "metadata": metadata, "error": error }));
    }
    let candidate = json!({ "content": { "parts": [{ "text": "from a batch" }], "role": "model" }, "finishReason": "STOP", "index": 0 });
    let usage = json!({ "promptTokenCount": 14, "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 19 });
    Some(
        json!({ "metadata": metadata, "response": { "candidates": [candidate], "usageMetadata": usage, "modelVersion": "m-2026", "responseId": "r" } }),
    )
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The time as RFC 3339 has it.
fn rfc3339() -> String {
    jiff::Timestamp::now().to_string()
}
