//! Numbers as requests write them. Knows no field.

/// A number as it is written, if it is whole and not negative: `100`, `100.0` and `1e2` are the same. The largest stands
/// for all beyond it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "stops at both ends, as is wanted")]
pub(super) fn whole(number: &str) -> Option<u64> {
    let number = number.trim();
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(number.parse().unwrap_or(u64::MAX));
    }
    let number: f64 = number.parse().ok().filter(|number: &f64| !number.is_nan())?;
    let is_whole = number >= 0.0 && (number.is_infinite() || number.fract() == 0.0);
    is_whole.then_some(number as u64)
}
