//! What went wrong with ClickHouse: it cannot be asked now, or it refuses what it was given. Knows nothing of what is done
//! about it.

use crate::address::Address;
use clickhouse::error::Error;
use std::error::Error as _;

/// The codes by which ClickHouse says that values cannot be stored: parsing, types, ranges, constraints. All others are
/// about its own state.
const CONTENT: [u32; 16] = [6, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 131, 349, 407, 469];

/// Why a statement was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// It did not answer, or not as ClickHouse does.
    #[error("ClickHouse at {address} cannot be used: {reason}. Is it running, and is [clickhouse] url right?")]
    Unreachable {
        /// Without user and password.
        address: String,
        /// What the client says.
        reason: String,
    },
    /// It answered with an exception.
    #[error("{message}")]
    Exception {
        /// ClickHouse's number for it.
        code: u32,
        /// In ClickHouse's own words.
        message: String,
    },
}

impl Trouble {
    /// Reads the client's error.
    pub(crate) fn judge(error: &Error, address: &Address) -> Self {
        if let Error::BadResponse(text) = error
            && let Some(code) = exception_code(text)
        {
            return Self::Exception { code, message: text.clone() };
        }
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !reason.contains(&cause_text) {
                reason = format!("{reason}: {cause_text}");
            }
            source = cause.source();
        }
        Self::Unreachable { address: address.to_string(), reason }
    }

    /// A statement took longer than we wait.
    pub(crate) fn too_slow(address: &Address) -> Self {
        Self::Unreachable { address: address.to_string(), reason: "it took too long".to_owned() }
    }

    /// Whether ClickHouse refuses the values themselves.
    pub(crate) fn is_about_content(&self) -> bool {
        matches!(self, Self::Exception { code, .. } if CONTENT.contains(code))
    }
}

/// The number in `Code: 469. DB::Exception: …`.
fn exception_code(text: &str) -> Option<u32> {
    let rest = text.split_once("Code: ")?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_told_from_silence_and_values_from_the_rest() {
        let address = Address::parse("http://a:8123").unwrap();
        let judge = |text: &str| Trouble::judge(&Error::BadResponse(text.to_owned()), &address);
        for (text, is_exception, is_content) in [
            ("Code: 469. DB::Exception: Constraint `c` … is violated", true, true),
            ("Code: 252. DB::Exception: Too many parts", true, false),
            ("502 Bad Gateway", false, false),
            ("Code: x", false, false),
        ] {
            let trouble = judge(text);
            assert_eq!(matches!(trouble, Trouble::Exception { .. }), is_exception, "{text}");
            assert_eq!(trouble.is_about_content(), is_content, "{text}");
        }
    }
}
