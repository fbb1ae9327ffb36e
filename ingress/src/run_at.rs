//! When work that a caller leaves here is to begin, as they say it. Pure: knows no clock.

use penstock_schemas::UnixMicros;
use penstock_schemas::rfc3339;
use std::time::Duration;

/// How far ahead that may be: files of batches and requests of jobs are kept for 30 days, and are to be there still.
const LATEST: Duration = Duration::from_secs(28 * 24 * 3600);

/// The longest text that is read, in bytes.
const LONGEST: usize = 64;

/// Reads a time that is written as RFC 3339 or in Unix seconds. One that is over means now.
///
/// # Errors
/// When it is no time, or too far ahead.
pub(crate) fn read(text: &str, now: UnixMicros) -> Result<UnixMicros, String> {
    const FORM: &str = "it must be a time such as 2027-01-01T00:00:00Z, or a number of Unix seconds";
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return Err(FORM.to_owned());
    }
    let at = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: Option<u64> = text.parse().ok();
        seconds.and_then(|seconds| seconds.checked_mul(1_000_000)).map(UnixMicros)
    } else {
        rfc3339::read(text).ok()
    };
    let at = at.ok_or_else(|| FORM.to_owned())?;
    if at > now.after(LATEST) {
        return Err(format!("it is more than {} days ahead", LATEST.as_secs() / (24 * 3600)));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_either_form_and_may_be_four_weeks_ahead() {
        let now = UnixMicros(1_800_000_000_000_000);
        let seconds = |text: &str| read(text, now).map(|at| at.0 / 1_000_000);
        assert_eq!(seconds("1800000060"), Ok(1_800_000_060));
        assert_eq!(seconds("2027-01-15T08:01:00Z"), Ok(1_800_000_060));
        assert_eq!(seconds(" 2027-01-15T10:01:00+02:00 "), Ok(1_800_000_060));
        assert_eq!(seconds("0"), Ok(0));
        for bad in ["", "soon", "1.5", "-1", "2027-01-15", "99999999999999999999", &"1".repeat(65)] {
            assert!(seconds(bad).is_err_and(|why| why.starts_with("it must be a time")), "{bad}");
        }
        assert!(seconds("1802419200").is_ok() && seconds("1802419201").is_err_and(|why| why.contains("28 days")));
    }
}
