//! When a budget begins anew: days, weeks, months, minutes in a time zone. The window's name is computed from the time
//! alone, so there is no job that resets anything. Pure: the time and the zone are given.

use crate::UnixMicros;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How often a limit begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cycle {
    /// Each midnight.
    Daily,
    /// Each midnight before a Monday.
    Weekly,
    /// Each midnight before a first of the month.
    #[default]
    Monthly,
    /// Never.
    Total,
}

/// One turn of a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Names it, as one token of a NATS KV key: `2026-11-22`, `2026-w47`, `2026-11`, `all`.
    pub name: String,
    /// When it began; 1970 for the one that never does.
    pub from: UnixMicros,
    /// When the next one begins; `None`: never.
    pub until: Option<UnixMicros>,
}

/// Why a text is not a time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone: write an IANA name, such as \"Europe/Berlin\" or \"UTC\"")]
pub struct UnknownZone(String);

/// The zone of this name.
///
/// # Errors
/// When the IANA database has no such name.
pub fn zone(name: &str) -> Result<TimeZone, UnknownZone> {
    jiff::tz::db().get(name).map_err(|_| UnknownZone(name.to_owned()))
}

impl Cycle {
    /// The window that `now` is in.
    pub fn window(self, now: UnixMicros, zone: &TimeZone) -> Window {
        let local = civil(now, zone);
        let day = local.date();
        let (name, from, until) = match self {
            Self::Daily => (day.to_string(), day, day.tomorrow()),
            Self::Weekly => {
                let week = day.iso_week_date();
                let monday = day.nth_weekday(-1, Weekday::Monday).ok().filter(|_| day.weekday() != Weekday::Monday);
                let monday = monday.unwrap_or(day);
                (format!("{}-w{:02}", week.year(), week.week()), monday, monday.checked_add(7.days()))
            }
            Self::Monthly => {
                let first = day.first_of_month();
                (format!("{:04}-{:02}", day.year(), day.month()), first, first.checked_add(1.month()))
            }
            Self::Total => return Window { name: "all".to_owned(), from: UnixMicros(0), until: None },
        };
        let midnight = |date: jiff::civil::Date| moment(date.at(0, 0, 0, 0), zone);
        Window { name, from: midnight(from), until: until.ok().map(midnight) }
    }
}

/// The span in which the window of this name lies in every time zone: not before, and not after. `None` when it is no
/// window's name; the one that never ends has no end.
pub fn span(name: &str) -> Option<(UnixMicros, Option<UnixMicros>)> {
    let (first, days) = if name == "all" {
        return Some((UnixMicros(0), None));
    } else if let Some((year, week)) = name.split_once("-w") {
        let week = jiff::civil::ISOWeekDate::new(year.parse().ok()?, week.parse().ok()?, Weekday::Monday).ok()?;
        (week.date(), 7)
    } else if let Ok(day) = name.parse::<jiff::civil::Date>() {
        (day, 1)
    } else {
        let first: jiff::civil::Date = format!("{name}-01").parse().ok()?;
        (first, i64::from(first.days_in_month()))
    };
    // No zone is further from UTC than this.
    let from = moment(first.yesterday().ok()?.at(0, 0, 0, 0), &TimeZone::UTC);
    let until = moment(first.checked_add((days + 1).days()).ok()?.at(0, 0, 0, 0), &TimeZone::UTC);
    Some((from, Some(until)))
}

/// The minute that `now` is in, in UTC: `202611221705`.
pub fn minute(now: UnixMicros) -> Window {
    let local = civil(now, &TimeZone::UTC);
    let from = moment(local.date().at(local.hour(), local.minute(), 0, 0), &TimeZone::UTC);
    let until = UnixMicros(from.0 + 60_000_000);
    Window { name: local.strftime("%Y%m%d%H%M").to_string(), from, until: Some(until) }
}

fn civil(now: UnixMicros, zone: &TimeZone) -> DateTime {
    let micros = i64::try_from(now.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_zoned(zone.clone()).datetime()
}

/// A midnight that a zone skips begins with the first moment behind the gap; one that comes twice, with the first.
fn moment(local: DateTime, zone: &TimeZone) -> UnixMicros {
    let at = zone.to_ambiguous_zoned(local).compatible().map_or(Timestamp::MAX, |zoned| zoned.timestamp());
    UnixMicros(u64::try_from(at.as_microsecond()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMicros {
        UnixMicros(u64::try_from(text.parse::<Timestamp>().unwrap().as_microsecond()).unwrap())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn windows_follow_the_calendar_of_their_zone() {
        use Cycle::{Daily, Monthly, Weekly};
        for (cycle, zone_name, now, name, from, until) in [
            (Daily, "UTC", "2026-11-22T17:05:00Z", "2026-11-22", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            // Berlin is ahead of UTC: its day begins the evening before.
            (
                Daily,
                "Europe/Berlin",
                "2026-11-22T23:30:00Z",
                "2026-11-23",
                "2026-11-22T23:00:00Z",
                "2026-11-23T23:00:00Z",
            ),
            // The day that has 23 hours, and the one that has 25.
            (
                Daily,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-29",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                Daily,
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-25",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                Daily,
                "America/New_York",
                "2026-03-08T12:00:00Z",
                "2026-03-08",
                "2026-03-08T05:00:00Z",
                "2026-03-09T04:00:00Z",
            ),
            // Clocks in Santiago go from 24:00 to 1:00: that day has no midnight.
            (
                Daily,
                "America/Santiago",
                "2026-09-06T12:00:00Z",
                "2026-09-06",
                "2026-09-06T04:00:00Z",
                "2026-09-07T03:00:00Z",
            ),
            // Half an hour off, and 14 hours ahead.
            (
                Daily,
                "Asia/Kolkata",
                "2026-11-22T18:29:59Z",
                "2026-11-22",
                "2026-11-21T18:30:00Z",
                "2026-11-22T18:30:00Z",
            ),
            (
                Daily,
                "Pacific/Kiritimati",
                "2026-11-22T10:00:00Z",
                "2026-11-23",
                "2026-11-22T10:00:00Z",
                "2026-11-23T10:00:00Z",
            ),
            (Weekly, "UTC", "2026-11-22T17:05:00Z", "2026-w47", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
            (Weekly, "UTC", "2026-11-23T00:00:00Z", "2026-w48", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            // The first week of 2027 begins in it; the last of 2026 reaches into it.
            (Weekly, "UTC", "2027-01-01T00:00:00Z", "2026-w53", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"),
            (
                Weekly,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-w13",
                "2026-03-22T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (Monthly, "UTC", "2026-11-30T23:59:59Z", "2026-11", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (Monthly, "UTC", "2026-12-31T23:59:59Z", "2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            // Leap years: 2028 is one, 2100 is none.
            (Monthly, "UTC", "2028-02-29T12:00:00Z", "2028-02", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Daily, "UTC", "2028-02-28T12:00:00Z", "2028-02-28", "2028-02-28T00:00:00Z", "2028-02-29T00:00:00Z"),
            (Daily, "UTC", "2100-02-28T12:00:00Z", "2100-02-28", "2100-02-28T00:00:00Z", "2100-03-01T00:00:00Z"),
            (
                Monthly,
                "America/New_York",
                "2026-12-01T04:59:59Z",
                "2026-11",
                "2026-11-01T04:00:00Z",
                "2026-12-01T05:00:00Z",
            ),
        ] {
            let found = cycle.window(at(now), &zone(zone_name).unwrap());
            assert_eq!(
                found,
                Window { name: name.to_owned(), from: at(from), until: Some(at(until)) },
                "{zone_name} {now}"
            );
        }
    }

    #[test]
    fn a_total_never_begins_anew_and_minutes_are_utc() {
        let now = at("2026-11-22T17:05:42Z");
        assert_eq!(Cycle::Total.window(now, &TimeZone::UTC).until, None);
        let minute = minute(now);
        assert_eq!((minute.name.as_str(), minute.from), ("202611221705", at("2026-11-22T17:05:00Z")));
        assert_eq!(minute.until, Some(at("2026-11-22T17:06:00Z")));
    }

    #[test]
    fn windows_meet_without_a_gap() {
        for name in ["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Africa/Casablanca"] {
            let zone = zone(name).unwrap();
            for cycle in [Cycle::Daily, Cycle::Weekly, Cycle::Monthly] {
                let mut window = cycle.window(at("2026-01-01T12:00:00Z"), &zone);
                while let Some(until) = window.until.filter(|until| *until < at("2028-03-02T00:00:00Z")) {
                    let next = cycle.window(until, &zone);
                    assert_eq!(next.from, until, "{name} {cycle:?} {}", window.name);
                    assert_ne!(next.name, window.name);
                    window = next;
                }
            }
        }
    }

    #[test]
    fn a_window_lies_in_the_span_of_its_name_in_every_zone() {
        for name in ["UTC", "Pacific/Kiritimati", "Pacific/Niue", "America/Santiago"] {
            let zone = zone(name).unwrap();
            for cycle in [Cycle::Daily, Cycle::Weekly, Cycle::Monthly] {
                for now in ["2026-11-22T17:05:00Z", "2027-01-01T00:00:00Z", "2028-02-29T23:59:59Z"] {
                    let window = cycle.window(at(now), &zone);
                    let (from, until) = span(&window.name).unwrap();
                    assert!(from <= window.from && window.until <= until, "{name} {}", window.name);
                }
            }
        }
        assert_eq!(span("all"), Some((UnixMicros(0), None)));
        assert_eq!(span("202611221705"), None);
    }

    #[test]
    fn an_unknown_zone_is_told_how_to_write_one() {
        assert!(zone("Berlin").unwrap_err().to_string().contains("Europe/Berlin"));
    }
}
