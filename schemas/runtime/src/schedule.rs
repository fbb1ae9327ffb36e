//! When to try again: the one schedule of waits. Knows nothing of what is tried.

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use std::time::Duration;

/// A wait before try number `number` (the first repetition is 1): between nothing and `first`, doubled with every
/// repetition, never over `longest`. Random over its whole range ("full jitter"), so that many who failed together do
/// not come back together.
pub fn full_jitter(number: u32, first: Duration, longest: Duration) -> Duration {
    let ceiling = first.saturating_mul(2u32.saturating_pow(number.saturating_sub(1))).min(longest);
    // With a factor of 1 the crate draws from nothing to twice its interval.
    let mut schedule = ExponentialBackoff {
        current_interval: ceiling / 2,
        randomization_factor: 1.0,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    schedule.next_backoff().unwrap_or(longest).min(ceiling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_fill_their_range() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        for (number, ceiling) in [(1, 100), (2, 200), (3, 400), (9, 1000), (40, 1000)] {
            let waits: Vec<Duration> = (0..200).map(|_| full_jitter(number, first, longest)).collect();
            let ceiling = Duration::from_millis(ceiling);
            assert!(waits.iter().all(|wait| *wait <= ceiling), "{number}");
            assert!(waits.iter().any(|wait| *wait > ceiling / 2) && waits.iter().any(|wait| *wait < ceiling / 2));
        }
    }
}
