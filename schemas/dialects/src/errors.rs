//! What a provider's error says, in whichever shape it says it, and which kind of failure that is, where a dialect has no
//! words of its own. Kinds come from the status and from documented codes, and never from the words of a message, save that a
//! prompt is too long: see `crate::overflow`.
//! Source: <https://platform.openai.com/docs/guides/error-codes>; for the copies, beside each word.

use crate::{account, error_details, overflow};
use penstock_schemas::failure::{Failure, FailureKind};
use serde_json::Value;

/// Longest message that is passed on, in characters.
const LONGEST: usize = 2000;

/// An error's parts, as far as it has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ErrorParts {
    /// For people.
    pub message: Option<String>,
    /// The closest word for it.
    pub code: Option<String>,
    /// Its `type`.
    pub class: Option<String>,
    /// The field that is wrong.
    pub param: Option<String>,
}

/// Members that hold an error in an answer of status 200 that holds nothing else.
const TELLING: [&str; 8] =
    ["message", "msg", "detail", "errors", "error_msg", "error_code", "base_resp", "errorMessage"];

/// Whether an answer that is not what was asked for says what is wrong. Such a status may say that all is well.
pub(crate) fn tells(answer: &[u8]) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(answer) else { return false };
    let says = |name: &str| match fields.get(name) {
        None | Some(Value::Null | Value::Bool(_)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Number(number)) => number.as_u64() != Some(0),
        Some(Value::Object(fields)) => fields.get("status_code").is_none_or(|code| *code != 0),
    };
    TELLING.iter().any(|name| says(name))
}

/// The failure that an error event holds.
pub fn within_stream(data: &[u8]) -> Failure {
    match serde_json::from_slice::<Value>(data) {
        Ok(value) => Failure { details: error_details::of(&value, None), ..within(&ErrorParts::of(&value)) },
        Err(_) => {
            let message = Some(tidy(&String::from_utf8_lossy(data)));
            within(&ErrorParts { message, ..ErrorParts::default() })
        }
    }
}

/// The failure that an error within an answer of status 200 stands for.
pub fn within(parts: &ErrorParts) -> Failure {
    // Gateways that have begun to answer 200 put the status into the code.
    let status = parts.code.as_deref().and_then(|code| code.parse().ok()).filter(|code| (400..600).contains(code));
    let kind = match status {
        Some(status) => kind(status, parts),
        None => parts.words().find_map(kind_of_word).unwrap_or(FailureKind::Broken),
    };
    told(kind, parts)
}

/// The failure that an error stands for which is of this kind by its status and code.
pub(crate) fn told(kind: FailureKind, parts: &ErrorParts) -> Failure {
    let kind = refine(kind, parts);
    let is_unpaid = kind == FailureKind::ProviderAuth && is_unpaid(parts);
    let message = match (kind, &parts.message) {
        _ if is_unpaid => "the provider's account is not paid up".to_owned(),
        (FailureKind::ProviderAuth, _) => "the provider refused the key".to_owned(),
        (_, Some(message)) => message.clone(),
        (_, None) => "the provider's answer holds an error without a message".to_owned(),
    };
    let code = if is_unpaid { Some(account::EXHAUSTED.to_owned()) } else { parts.code.clone() };
    Failure { param: parts.param.clone(), provider_code: code, ..Failure::provider(kind, message) }
}

/// The kind, told more closely by what only the words of some providers tell.
pub fn refine(kind: FailureKind, parts: &ErrorParts) -> FailureKind {
    let message = parts.message.as_deref().unwrap_or_default();
    account::refine(overflow::refine(kind, message), parts.words(), message)
}

/// Whether the error says that the operator's account cannot be charged.
pub fn is_unpaid(parts: &ErrorParts) -> bool {
    account::is_unpaid(parts.words(), parts.message.as_deref().unwrap_or_default())
}

/// The kind of failure that a status stands for. A code can only say more closely what a client's error is about.
pub fn kind(status: u16, parts: &ErrorParts) -> FailureKind {
    // A provider's 400 about its model stays a 400: that says what a caller of the provider itself is told.
    let is_other_status = |kind: &FailureKind| status == 400 && *kind == FailureKind::NotFound;
    let refined = parts.words().find_map(kind_of_word).filter(|kind| !is_other_status(kind));
    if let Some(kind @ (FailureKind::ContextTooLong | FailureKind::ContentRefused)) = refined {
        return kind;
    }
    match status {
        400 => refined.unwrap_or(FailureKind::BadRequest),
        401..=403 => FailureKind::ProviderAuth, // 402: the account is not paid up, which the operator must mend too
        404 => FailureKind::NotFound,
        408 => FailureKind::Timeout,
        409 => FailureKind::Conflict,
        413 => FailureKind::TooLarge,
        422 => FailureKind::Unprocessable,
        429 => FailureKind::RateLimited,
        498 | 503 | 529 => FailureKind::Overloaded, // 498: https://console.groq.com/docs/errors
        500.. => FailureKind::ServerError,
        405..=499 => FailureKind::BadRequest,
        _ => FailureKind::Broken,
    }
}

/// The kind of failure that a documented code, or else type, stands for.
fn kind_of_word(word: &str) -> Option<FailureKind> {
    Some(match word {
        "context_length_exceeded" | "exceed_context_size_error" => FailureKind::ContextTooLong,
        "content_filter" | "content_policy_violation" | "moderation_blocked" | "data_inspection_failed" => {
            FailureKind::ContentRefused
        }
        "rate_limit_exceeded" | "rate_limit_error" | "insufficient_quota" | "too_many_requests" => {
            FailureKind::RateLimited
        }
        "invalid_api_key" | "authentication_error" | "permission_error" | "invalid_authentication_error" => {
            FailureKind::ProviderAuth
        }
        "model_not_found" | "not_found_error" => FailureKind::NotFound,
        "invalid_request_error" => FailureKind::BadRequest,
        "overloaded_error" | "engine_overloaded_error" | "service_unavailable" => FailureKind::Overloaded,
        "server_error" | "internal_server_error" | "internal_error" => FailureKind::ServerError,
        _ => return None,
    })
}

impl ErrorParts {
    /// The parts of a JSON error. Shapes: `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`, `{"detail": …}`,
    /// `{"errors": […]}`, `{"base_resp": {"status_code", "status_msg"}}`, `{"error_code", "error_msg"}`, a list of any of
    /// these, or a text.
    /// Sources of the last ones: <https://platform.minimax.io/docs/api-reference/errorcode>,
    /// <https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlmyncueh>.
    pub fn of(value: &Value) -> Self {
        let fields = match value {
            Value::String(text) => return Self { message: Some(tidy(text)), ..Self::default() },
            Value::Array(items) => return items.first().map(Self::of).unwrap_or_default(),
            Value::Object(fields) => fields,
            Value::Null | Value::Bool(_) | Value::Number(_) => return Self::default(),
        };
        let text = |names: &[&str]| names.iter().find_map(|name| word(fields.get(*name)?));
        let own = Self {
            message: text(&["message", "msg", "Message", "error_msg", "status_msg", "errorMessage"])
                .map(|message| tidy(&message)),
            code: text(&["code", "error_code", "status_code", "errorCode"]).map(|code| tidy(&code)),
            class: text(&["type", "error_type"]),
            param: text(&["param"]).or_else(|| place(fields.get("loc")?)).map(|param| tidy(&param)),
        };
        let inner = ["error", "detail", "errors", "base_resp", "message"].into_iter().find_map(|name| {
            let inner = fields.get(name).map(Self::of);
            inner
                .map(|inner| if name == "base_resp" { inner.of_minimax() } else { inner })
                .filter(|inner| inner.message.is_some() || inner.code.is_some())
        });
        let Some(inner) = inner else { return own };
        Self {
            message: inner.message.or(own.message),
            code: inner.code.or(own.code),
            class: inner.class.or(own.class),
            param: inner.param.or(own.param),
        }
    }

    /// With the word for MiniMax's number, which others have for other things.
    fn of_minimax(mut self) -> Self {
        let word = match self.code.as_deref().unwrap_or_default() {
            "1002" | "1039" | "1041" | "2045" => "rate_limit_error",
            "1004" | "2049" => "authentication_error",
            "1008" => "insufficient_balance",
            "1026" | "1027" => "content_policy_violation",
            "2013" => "invalid_request_error",
            "1000" | "1024" | "1033" => "server_error",
            _ => return self,
        };
        self.class = Some(word.to_owned());
        self
    }

    /// What a kind can be told by: the code, then the type.
    fn words(&self) -> impl Iterator<Item = &str> {
        self.code.iter().chain(&self.class).map(String::as_str)
    }
}

/// A text or a number, as text.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The field that a validation error points at: `["body", "messages", 0, "role"]` → `messages.0.role`.
fn place(loc: &Value) -> Option<String> {
    let steps: Vec<String> = loc.as_array()?.iter().filter_map(word).skip_while(|step| step == "body").collect();
    Some(steps.join(".")).filter(|place| !place.is_empty())
}

/// One line of at most 2000 characters.
pub fn tidy(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST));
    let clean = text.trim().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c });
    line.extend(clean.take(LONGEST));
    if text.trim().chars().nth(LONGEST).is_some() {
        line.pop();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_shape_of_an_error_is_understood() {
        let parts = |value: &Value| {
            let ErrorParts { message, code, class, param } = ErrorParts::of(value);
            json!([message, code, class, param])
        };
        for (error, found) in [
            (json!({"error": {"message": "m", "type": "t", "param": "p", "code": "c"}}), json!(["m", "c", "t", "p"])),
            (
                json!({"error": {"message": "m", "type": "t", "param": null, "code": null}}),
                json!(["m", null, "t", null]),
            ),
            (json!({"error": {"message": "m", "code": 502}}), json!(["m", "502", null, null])),
            (json!({"error": "m", "code": "c"}), json!(["m", "c", null, null])),
            (json!({"object": "error", "message": "m", "code": 40303}), json!(["m", "40303", null, null])),
            (json!({"detail": "m"}), json!(["m", null, null, null])),
            (
                json!({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "m", "type": "missing"}]}),
                json!(["m", null, "missing", "messages.0.role"]),
            ),
            (json!([{"error": {"code": 400, "message": "m"}}]), json!(["m", "400", null, null])),
            (json!({"errors": [{"message": "m", "code": 7}], "success": false}), json!(["m", "7", null, null])),
            (json!("m"), json!(["m", null, null, null])),
            (json!({"title": "t"}), json!([null, null, null, null])),
            (json!({"message": "m", "error": {}}), json!(["m", null, null, null])),
        ] {
            assert_eq!(parts(&error), found, "{error}");
        }
    }

    #[test]
    fn minimaxs_numbers_in_an_answer_of_status_200_are_the_kinds_that_they_stand_for() {
        for (code, kind) in [
            (1002, FailureKind::RateLimited),
            (1004, FailureKind::ProviderAuth),
            (1008, FailureKind::ProviderAuth),
            (1026, FailureKind::ContentRefused),
            (2013, FailureKind::BadRequest),
            (1033, FailureKind::ServerError),
            (9999, FailureKind::Broken),
        ] {
            let answer = json!({"choices": null, "base_resp": {"status_code": code, "status_msg": "m"}});
            assert!(tells(answer.to_string().as_bytes()), "{code}");
            assert_eq!(within(&ErrorParts::of(&answer)).kind, kind, "{code}");
            let others = json!({"error": {"code": code, "message": "m"}});
            assert_eq!(within(&ErrorParts::of(&others)).kind, FailureKind::Broken, "{code}");
        }
    }

    #[test]
    fn a_message_is_bounded_and_holds_no_control_characters() {
        assert_eq!(tidy(" a\tb\u{1b}[31m \n"), "a b [31m");
        let long = tidy(&"é".repeat(3000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST, true));
    }
}
