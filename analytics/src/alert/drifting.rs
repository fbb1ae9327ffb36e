//! Notices drift: each day, when it is over, is compared with the weeks before, once. Every process of this role does it, and
//! each alert is raised once all the same. Knows nothing of how it is judged.

use crate::drift::{DriftSignal, DriftTest};
use crate::lookup::{DriftDay, NewVersion, date, read_day};
use crate::warehouse::Warehouse;
use penstock_runtime::bus::Bus;
use penstock_runtime::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::alert::{Alert, AlertKind};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// How often it is looked whether a day is over, and how long reading it may take.
const LOOK: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(300);

/// So long after midnight, UTC, all events of the day are believed to have come, in microseconds.
const LATE: u64 = 3_600_000_000;

/// Days after which a drift that goes on raises another alert.
const AGAIN: u32 = 7;

/// Notices for ever, at this rate of days with false alarms; at none, only new versions.
pub(crate) async fn run(bus: Bus, warehouse: Warehouse, rate: f64) {
    let mut judged = 0;
    loop {
        let now = clock::now();
        let day = UnixMicros(now.0.saturating_sub(LATE)).day().saturating_sub(1);
        if day > judged {
            match timeout(LIMIT, read_day(&warehouse, day, rate)).await {
                Ok(Ok(found)) => {
                    if raise(&bus, &found, now).await {
                        judged = day;
                    }
                }
                // An outage is reported by the ledger.
                Ok(Err(error)) => debug!(%error, "it is not known whether answers drift"),
                Err(_) => debug!("it is not known in time whether answers drift"),
            }
        }
        sleep(LOOK).await;
    }
}

async fn raise(bus: &Bus, found: &DriftDay, now: UnixMicros) -> bool {
    let of_drifts = found.compared.iter().filter(|one| one.is_drift).map(|one| drifted(one, found.day, now));
    let of_versions = found.versions.iter().map(|new| changed(new, found.day, now));
    for alert in of_drifts.chain(of_versions) {
        if let Err(error) = bus.raise(&alert).await {
            warn!(%error, "an alert could not be raised; it is tried again");
            return false;
        }
    }
    true
}

fn drifted(one: &DriftTest, day: u32, now: UnixMicros) -> Alert {
    let signal = one.key.signal.name();
    let subject = format!("{} {}: {signal}", one.key.scope, one.key.name);
    let [before, later] = [one.before, one.now].map(|figure| written(&one.key.signal, figure));
    let window = format!("week of {}", date(day / AGAIN * AGAIN));
    let on = date(day);
    let message = format!(
        "{signal} of {} {} came to {later} on {on}, instead of {before} on the {} days that it is compared with (p = {:.1e})",
        one.key.scope, one.key.name, one.days, one.p
    );
    let alert = Alert::new(AlertKind::Drift, &subject, &signal, &window, now).saying(message);
    let alert = alert.with("scope", &one.key.scope).with("name", &one.key.name).with("signal", &signal);
    alert.with("day", on).with("before", one.before).with("now", one.now).with("p", format!("{:e}", one.p))
}

fn changed(new: &NewVersion, day: u32, now: UnixMicros) -> Alert {
    let NewVersion { kind, target, version, before, answers } = new;
    let before = before.join(", ");
    let on = date(day);
    let message = match kind {
        AlertKind::SystemFingerprint => {
            format!(
                "the provider of {target} runs it as {version} since {on} (its system fingerprint), and as {before} before"
            )
        }
        _ => format!("{target} answers as {version} since {on}, and did as {before} before"),
    };
    let alert = Alert::new(*kind, target, version, version, now).saying(message);
    alert.with("target", target).with("version", version).with("before", before).with("answers", answers)
}

/// A figure as people read it.
fn written(signal: &DriftSignal, figure: f64) -> String {
    match signal {
        DriftSignal::Refusals | DriftSignal::Cut | DriftSignal::Empty | DriftSignal::Tools => {
            format!("{:.1} %", figure * 100.0)
        }
        DriftSignal::Length => format!("{figure:.0} tokens"),
        DriftSignal::FirstToken | DriftSignal::Latency => format!("{:.2} s", figure / 1e6),
        DriftSignal::Score(_) => format!("{figure:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::SeriesKey;

    #[test]
    fn a_drift_that_goes_on_is_told_once_a_week_and_a_version_once() {
        let key = SeriesKey { scope: "target".to_owned(), name: "a/m".to_owned(), signal: DriftSignal::Refusals };
        let one = DriftTest {
            key,
            answers: 900,
            days: 28,
            before: 0.02,
            now: 0.071,
            p: 3e-9,
            is_large: true,
            is_drift: true,
        };
        let on = |day: u32| drifted(&one, day, UnixMicros(1));
        let first = 20_790 / AGAIN * AGAIN;
        assert_eq!(on(first).id, on(first + 6).id);
        assert_ne!(on(first).id, on(first + 7).id);
        assert!(
            on(first).message.contains("7.1 %") && on(first).message.contains("instead of 2.0 %"),
            "{}",
            on(first).message
        );
        let before = vec!["m-1".to_owned()];
        let kind = AlertKind::ModelVersion;
        let new = NewVersion { kind, target: "a/m".to_owned(), version: "m-2".to_owned(), before, answers: 9 };
        assert_eq!(changed(&new, 20_790, UnixMicros(1)).id, changed(&new, 20_795, UnixMicros(1)).id);
        let run = NewVersion { kind: AlertKind::SystemFingerprint, ..new };
        assert_eq!(changed(&run, 20_790, UnixMicros(1)).kind.as_str(), "system_fingerprint");
    }
}
