//! The result of one line, as OpenAI writes it into a batch's output and error files.
//! Source: <https://platform.openai.com/docs/api-reference/batch/request-output>.

use crate::dialect;
use crate::refusal::Refusal;
use crate::status;
use bytes::Bytes;
use penstock_schemas::batch::BatchError;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::name::RequestId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

#[derive(Serialize)]
struct Written<'a> {
    id: String,
    custom_id: Option<&'a str>,
    response: Option<Response<'a>>,
    error: Option<Wrong<'a>>,
}

#[derive(Serialize)]
struct Response<'a> {
    status_code: u16,
    request_id: String,
    body: &'a RawValue,
}

#[derive(Serialize)]
struct Wrong<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
}

/// A line that was sent: the answer, or the error in the words of its dialect.
fn answered(id: RequestId, custom_id: &str, status_code: u16, body: &[u8]) -> Bytes {
    let text = || to_raw_value(&String::from_utf8_lossy(body)).expect("a text has a JSON form");
    let body: Box<RawValue> = serde_json::from_slice(body).unwrap_or_else(|_| text());
    let response = Response { status_code, request_id: id.to_string(), body: &body };
    write(&Written { id: name(id), custom_id: Some(custom_id), response: Some(response), error: None })
}

/// A line that was answered.
pub(super) fn served(id: RequestId, custom_id: &str, body: &[u8]) -> Bytes {
    answered(id, custom_id, status::ANSWERED.as_u16(), body)
}

/// A line that was refused for good.
pub(super) fn refused((id, custom_id): (RequestId, &str), dialect: Dialect, refusal: &Refusal) -> Bytes {
    let body = dialect::error_body(dialect, refusal, id).to_string();
    answered(id, custom_id, status::of(refusal, dialect).as_u16(), body.as_bytes())
}

/// A line that was not sent.
pub(super) fn unsent(id: RequestId, custom_id: Option<&str>, error: &BatchError) -> Bytes {
    let BatchError { code, message, line, param } = error;
    let error = Wrong { code, message, line: *line, param: param.as_deref() };
    write(&Written { id: name(id), custom_id, response: None, error: Some(error) })
}

fn name(id: RequestId) -> String {
    format!("batch_req_{}", id.0.simple())
}

fn write(written: &Written<'_>) -> Bytes {
    let mut bytes = serde_json::to_vec(written).expect("a result has a JSON form");
    // A raw answer may be spread over lines; outside of texts, where none can stand, a space is as good.
    bytes.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> RequestId {
        RequestId::parse("01900000-0000-7000-8000-000000000007").unwrap()
    }

    #[test]
    fn an_answer_is_one_line_with_its_own_bytes() {
        let line = answered(id(), "a", 200, b"{\n  \"x\": 1.50,\r\n \"text\": \"a\\nb\"}");
        let expected = r#"{"id":"batch_req_01900000000070008000000000000007","custom_id":"a","response":{"status_code":200,"request_id":"01900000-0000-7000-8000-000000000007","body":{   "x": 1.50,   "text": "a\nb"}},"error":null}"#;
        assert_eq!(line, expected);
    }

    #[test]
    fn what_is_no_json_is_a_text() {
        let line = answered(id(), "a", 502, b"<html>\n");
        assert!(String::from_utf8_lossy(&line).contains(r#""body":"<html>\n""#), "{line:?}");
    }

    #[test]
    fn a_bad_line_says_where_and_why() {
        let error = BatchError {
            code: "invalid_url".to_owned(),
            message: "no".to_owned(),
            line: Some(7),
            param: Some("url".to_owned()),
        };
        let line = unsent(id(), None, &error);
        let expected = r#"{"id":"batch_req_01900000000070008000000000000007","custom_id":null,"response":null,"error":{"code":"invalid_url","message":"no","line":7,"param":"url"}}"#;
        assert_eq!(line, expected);
    }
}
