//! A ClickHouse error: its code, its text in the server's own shape, its HTTP status. Knows neither engine nor request.

use http::StatusCode;
use std::fmt;

/// `Code: N. DB::Exception: what happened. (NAME)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) code: u32,
    text: String,
}

/// The errors that we raise ourselves; all others are the engine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Aborted,
    AuthenticationFailed,
    BadRequestParameter,
    CannotDecompress,
    QueryIsTooLarge,
    QueryNotAllowed,
    Readonly,
    SessionIsLocked,
    SyntaxError,
    TooManySimultaneousQueries,
    UnknownException,
    UnsupportedMediaType,
}

impl Kind {
    /// ClickHouse's own number and name for it (`system.errors`).
    fn code(self) -> (u32, &'static str) {
        match self {
            Kind::Aborted => (236, "ABORTED"),
            Kind::AuthenticationFailed => (516, "AUTHENTICATION_FAILED"),
            Kind::BadRequestParameter => (408, "BAD_REQUEST_PARAMETER"),
            Kind::CannotDecompress => (271, "CANNOT_DECOMPRESS"),
            Kind::QueryIsTooLarge => (229, "QUERY_IS_TOO_LARGE"),
            Kind::QueryNotAllowed => (620, "QUERY_NOT_ALLOWED"),
            Kind::Readonly => (164, "READONLY"),
            Kind::SessionIsLocked => (373, "SESSION_IS_LOCKED"),
            Kind::SyntaxError => (62, "SYNTAX_ERROR"),
            Kind::TooManySimultaneousQueries => (202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
            Kind::UnknownException => (1002, "UNKNOWN_EXCEPTION"),
            Kind::UnsupportedMediaType => (779, "UNSUPPORTED_MEDIA_TYPE"),
        }
    }
}

impl Exception {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Exception {
        let (code, name) = kind.code();
        Exception { code, text: format!("Code: {code}. DB::Exception: {message}. ({name})") }
    }

    /// Reads the engine's text. Some arrive wrapped once or twice in themselves, or with a version: that is taken off.
    pub(crate) fn from_engine(text: &str) -> Exception {
        let Some((mut code, mut message)) = split(text.trim()) else {
            return Exception::new(Kind::UnknownException, text.trim().trim_end_matches('.'));
        };
        while let Some((inner, rest)) = split(message) {
            (code, message) = (inner, rest.rfind(" (version ").map_or(rest, |at| &rest[..at]));
        }
        let message = message.find(" (version ").map_or(message, |at| &message[..at]);
        Exception { code, text: format!("Code: {code}. DB::Exception: {message}") }
    }

    /// The status that a ClickHouse server answers with (its exceptionCodeToHTTPStatus), and 503 when it is busy or
    /// stopping, 400 for a body that does not decompress, 413 for a body that is too large.
    pub(crate) fn status(&self) -> StatusCode {
        match self.code {
            194 => StatusCode::UNAUTHORIZED,
            192 | 193 | 497 | 512 | 516 | 620 => StatusCode::FORBIDDEN,
            6 | 8 | 15 | 25 | 26 | 27 | 36 | 37 | 38 | 41 | 44 | 53 | 62 | 72 | 117 | 123 | 167 | 168 | 223 | 271
            | 321 | 376 | 408 | 427 | 441 | 675 | 676 => StatusCode::BAD_REQUEST,
            46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 152 | 336 | 372 | 511 => StatusCode::NOT_FOUND,
            229 => StatusCode::PAYLOAD_TOO_LARGE,
            381 => StatusCode::LENGTH_REQUIRED,
            159 => StatusCode::REQUEST_TIMEOUT,
            779 => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            48 => StatusCode::NOT_IMPLEMENTED,
            76 | 202 | 209 | 236 | 439 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The text with the engine's version, as clients expect it: some find an error in a result by `))` at its end.
    pub(crate) fn with_version(&self, version: &str) -> String {
        format!("{} (version {version} (chdb))\n", self.text)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// `Code: N. DB::Exception: rest` → N and the rest.
fn split(text: &str) -> Option<(u32, &str)> {
    let (code, rest) = text.strip_prefix("Code: ")?.split_once(". ")?;
    let (_, message) = rest.split_once("Exception: ")?;
    Some((code.parse().ok()?, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_wrapped_in_itself_is_unwrapped() {
        let plain = "Code: 73. DB::Exception: Unknown format Nope. (UNKNOWN_FORMAT)";
        for text in [
            plain,
            "Code: 73. DB::Exception: Unknown format Nope. (UNKNOWN_FORMAT) (version 26.7.2.1)",
            "Code: 73. DB::Exception: Code: 73. DB::Exception: Code: 73. DB::Exception: Unknown format Nope. \
             (UNKNOWN_FORMAT) (version 26.7.2.1). (UNKNOWN_FORMAT) (version 26.7.2.1). (UNKNOWN_FORMAT)",
        ] {
            let exception = Exception::from_engine(text);
            assert_eq!((exception.code, exception.to_string().as_str()), (73, plain));
        }
    }

    #[test]
    fn a_text_without_a_code_gets_one() {
        let exception = Exception::from_engine("send_insert requires an INSERT query");
        assert_eq!(exception.code, 1002);
        assert_eq!(exception.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
