//! Percentages as texts: `"2%"`. Knows nothing of what they are of.

/// A percentage as a part of 1.
pub fn parse_percent(text: &str) -> Option<f64> {
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(number / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_a_sign_and_is_within_a_hundred() {
        for (text, share) in
            [("2%", Some(0.02)), ("100 %", Some(1.0)), ("0%", Some(0.0)), ("2", None), ("101%", None), ("-1%", None)]
        {
            assert_eq!(parse_percent(text), share, "{text}");
        }
    }
}
