//! How far a batch is, in one line that is written over itself on a terminal, and told now and then elsewhere.

use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The bar's length, in characters.
const BAR: usize = 24;

/// How often progress is printed when standard error is no terminal.
const QUIET: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    id: String,
    begun: Instant,
    told: Option<Instant>,
    /// Lines that were done when the watch began.
    done_before: Option<u64>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn begin(id: &str) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { id: id.to_owned(), begun: Instant::now(), told: None, done_before: None, is_terminal }
    }

    /// Tells how far the batch is.
    pub(super) fn tell(&mut self, batch: &Value) -> std::io::Result<()> {
        let done = count(batch, "completed") + count(batch, "failed");
        let before = *self.done_before.get_or_insert(done);
        let line = describe(batch, done.saturating_sub(before), self.begun.elapsed());
        let mut out = std::io::stderr().lock();
        if self.is_terminal {
            write!(out, "\r\x1b[K{line}")?;
            return out.flush();
        }
        if self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            self.told = Some(Instant::now());
            writeln!(out, "{}: {line}", self.id)?;
        }
        Ok(())
    }

    /// Leaves the line.
    pub(super) fn end(&self) -> std::io::Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        let mut out = std::io::stderr().lock();
        write!(out, "\r\x1b[K")?;
        out.flush()
    }
}

fn count(batch: &Value, name: &str) -> u64 {
    batch["request_counts"][name].as_u64().unwrap_or(0)
}

/// The line for a batch of which so many lines were done in this time.
fn describe(batch: &Value, recent: u64, took: Duration) -> String {
    let status = batch["status"].as_str().unwrap_or_default();
    if let Some(why) = batch["penstock"]["paused"].as_str() {
        return format!("paused: {why}");
    }
    let (total, failed) = (count(batch, "total"), count(batch, "failed"));
    let done = count(batch, "completed") + failed;
    if status != "in_progress" || total == 0 {
        return format!("{status}, {total} lines read");
    }
    let full = usize::try_from(done.saturating_mul(BAR as u64) / total).unwrap_or(BAR).min(BAR);
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
    let cost = batch["penstock"]["cost_usd"].as_str().unwrap_or("0");
    #[expect(clippy::cast_precision_loss, reason = "counts of lines are far below 2^52")]
    let rate = recent as f64 / took.as_secs_f64().max(0.001);
    let left = match u32::try_from(recent) {
        Ok(recent) if recent > 0 => {
            let each = took / recent;
            let left = each.saturating_mul(u32::try_from(total - done.min(total)).unwrap_or(u32::MAX));
            format!("{} s left", left.as_secs())
        }
        _ => "-".to_owned(),
    };
    format!("[{bar}] {done}/{total}  {failed} failed  {rate:.0}/s  {cost} USD  {left}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_line_tells_what_is_done_what_it_costs_and_what_is_left() {
        let mut batch = json!({
            "status": "in_progress",
            "request_counts": { "total": 100, "completed": 48, "failed": 2 },
            "penstock": { "cost_usd": "0.12", "paused": null },
        });
        let line = describe(&batch, 50, Duration::from_secs(10));
        assert_eq!(line, "[############............] 50/100  2 failed  5/s  0.12 USD  10 s left");
        batch["penstock"]["paused"] = json!("the budget `x` has 0 left");
        assert_eq!(describe(&batch, 50, Duration::from_secs(10)), "paused: the budget `x` has 0 left");
        let new = json!({ "status": "validating", "request_counts": { "total": 0, "completed": 0, "failed": 0 } });
        assert_eq!(describe(&new, 0, Duration::from_secs(1)), "validating, 0 lines read");
    }
}
