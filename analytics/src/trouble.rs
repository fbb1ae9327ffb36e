//! What went wrong with ClickHouse: it cannot be asked now, or it refuses what it was given. Knows nothing of what is done
//! about it.

use crate::address::Address;
use clickhouse::error::Error;
use std::error::Error as _;

/// The codes by which ClickHouse says that values cannot be stored: parsing, types, ranges, constraints. All others are
/// about its own state.
const CONTENT: [u32; 16] = [6, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 131, 349, 407, 469];

/// The codes that are about the server's own state, whatever it was given: files, disks and sockets, tables that are
/// missing, read-only or busy, Keeper, quotas, access, shutdown.
/// Source: <https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp>.
const STATE: [u32; 44] = [
    60, 74, 75, 76, 77, 78, 81, 82, 84, 88, 96, 101, 102, 106, 107, 159, 160, 164, 173, 193, 198, 201, 202, 203, 209,
    210, 225, 236, 242, 243, 252, 279, 290, 319, 334, 394, 415, 425, 438, 497, 499, 516, 999, 1002,
];

/// The codes that a smaller insert may not meet: memory, and time that is not a socket's.
const SIZE: [u32; 2] = [241, 307];

/// What a full disk says, under whatever code: the standard library's exceptions have none of their own.
const NO_SPACE: [&str; 4] = ["NOT_ENOUGH_SPACE", "Cannot reserve", "No space left on device", "Not enough space"];

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
        matches!(self, Self::Exception { code, .. } if CONTENT.contains(code)) && !self.is_full()
    }

    /// Whether it is about ClickHouse's own state, so that no row can be the reason: an outage.
    pub(crate) fn is_about_state(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Exception { code, .. } => STATE.contains(code) || SIZE.contains(code) || self.is_full(),
        }
    }

    /// Whether fewer rows at once may pass.
    pub(crate) fn is_about_size(&self) -> bool {
        matches!(self, Self::Exception { code, .. } if SIZE.contains(code))
    }

    fn is_full(&self) -> bool {
        matches!(self, Self::Exception { message, .. } if NO_SPACE.iter().any(|words| message.contains(words)))
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
            ("Code: 33. DB::Exception: Cannot read all data: No space left on device", true, false),
        ] {
            let trouble = judge(text);
            assert_eq!(matches!(trouble, Trouble::Exception { .. }), is_exception, "{text}");
            assert_eq!(trouble.is_about_content(), is_content, "{text}");
        }
    }
    #[test]
    fn a_lack_of_space_is_an_outage_whatever_its_code() {
        let address = Address::parse("http://a:8123").unwrap();
        for (text, is_state, is_size) in [
            ("Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)", true, false),
            ("Code: 75. DB::ErrnoException: Cannot write to file: , errno: 28, strerror: No space left", true, false),
            (
                "Code: 1001. DB::Exception: std::exception. Code: 1001, type: std::__1::__fs::filesystem::filesystem_error, \
              e.what() = filesystem error: in create_directories: No space left on device",
                true,
                false,
            ),
            ("Code: 241. DB::Exception: Memory limit (total) exceeded", true, true),
            ("Code: 60. DB::Exception: Table penstock.attempt_log does not exist", true, false),
            ("Code: 49. DB::Exception: Logical error", false, false),
            ("Code: 469. DB::Exception: Constraint `c` … is violated", false, false),
        ] {
            let trouble = Trouble::judge(&Error::BadResponse(text.to_owned()), &address);
            assert_eq!((trouble.is_about_state(), trouble.is_about_size()), (is_state, is_size), "{text}");
        }
    }
}
