//! Amounts of money: integer picodollars, read from and written as exact decimals. Knows nothing of prices or tokens.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

/// An amount in picodollars (1e-12 US dollars); from -9.2 to +9.2 million dollars. Sums stop at these ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Picodollars(pub i64);

/// Digits behind the decimal point of a dollar amount.
const DECIMALS: usize = 12;

/// Picodollars in a dollar.
const ONE: u64 = 1_000_000_000_000;

/// Why a text is not an amount of dollars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of dollars: write digits with at most 12 behind the point, such as \"0.15\"")]
pub struct BadAmount(pub(crate) String);

impl Picodollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a plain decimal number of dollars, such as `0.15`.
    ///
    /// # Errors
    /// When it is negative, has an exponent, more than 12 decimals, or is too large.
    pub fn parse(text: &str) -> Result<Self, BadAmount> {
        let bad = || BadAmount(text.to_owned());
        i64::try_from(parse_scaled(text).ok_or_else(bad)?).map(Self).map_err(|_| bad())
    }

    /// A number of dollars as others write it in JSON, such as `9.5e-4`. `None` when it is negative or too large.
    #[expect(clippy::cast_possible_truncation, reason = "checked to lie within the amounts that there are")]
    pub fn of_dollars(dollars: f64) -> Option<Self> {
        (0.0..1e6).contains(&dollars).then(|| Self((dollars * 1e12).round() as i64))
    }
}

/// Reads a non-negative decimal as an integer number of 1e-12ths. `None` when it is not one, or too large.
pub(crate) fn parse_scaled(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS || text.ends_with('.') {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(ONE)?.checked_add(fraction)
}

/// Writes an integer number of 1e-12ths without trailing zeros: `0.15`.
pub(crate) fn write_scaled(value: u64) -> String {
    let text = format!("{}.{:0DECIMALS$}", value / ONE, value % ONE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for Picodollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", write_scaled(self.0.unsigned_abs()))
    }
}

impl Add for Picodollars {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Picodollars {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Picodollars {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_in_both_directions() {
        for (text, pico) in [("0", 0), ("0.15", 150_000_000_000), ("12.000000000001", 12_000_000_000_001)] {
            assert_eq!(Picodollars::parse(text), Ok(Picodollars(pico)));
            assert_eq!(Picodollars(pico).to_string(), text);
        }
        assert_eq!(Picodollars(-1).to_string(), "-0.000000000001");
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "1,5", "0.0000000000001", "99999999999"] {
            assert!(Picodollars::parse(bad).is_err(), "{bad:?}");
        }
    }
}
