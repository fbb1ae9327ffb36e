//! Which of a virtual model's conditions a request meets. Knows nothing of targets.

use super::language;
use super::traits::{RouteQuery, Traits};
use crate::config::{Modality, RouteHours, RouteRule, RouteTraits};
use jiff::Timestamp;
use penstock_schemas::UnixMicros;
use penstock_schemas::pattern::matches;
use serde_json::Value;

/// The conditions that it meets, in their order.
pub(super) fn met<'a>(
    rules: &'a [RouteRule],
    query: &'a RouteQuery,
    traits: &'a Traits,
) -> impl Iterator<Item = &'a RouteRule> {
    rules.iter().filter(|rule| {
        rule.hours.as_ref().is_none_or(|hours| is_within(hours, query.now)) && is_met(&rule.traits, query, traits)
    })
}

fn is_met(wanted: &RouteTraits, query: &RouteQuery, traits: &Traits) -> bool {
    let caller = query.caller;
    let is_word = |pattern: &Option<String>, word: Option<&str>| {
        pattern.as_ref().is_none_or(|pattern| word.is_some_and(|word| matches(pattern, word)))
    };
    let has_tag = |(name, pattern): (&String, &String)| caller.tags.get(name).is_some_and(|tag| matches(pattern, tag));
    let has_parameter = |(name, wanted): (&String, &Value)| {
        let value = traits.parameters.get(name);
        value.is_some_and(|value| match wanted {
            Value::String(pattern) => matches(pattern, value),
            other => {
                let spelt = other.to_string();
                spelt == *value
            }
        })
    };
    is_word(&wanted.project, Some(caller.project.as_str()))
        && is_word(&wanted.key, Some(caller.key_id.as_str()))
        && is_word(&wanted.user, caller.user.as_deref())
        && is_word(&wanted.end_user, caller.end_user.as_deref())
        && wanted.tags.iter().all(has_tag)
        && wanted.parameters.iter().all(has_parameter)
        && wanted.min_tokens.is_none_or(|least| traits.tokens >= least)
        && wanted.max_tokens.is_none_or(|most| traits.tokens <= most)
        && wanted.tools.is_none_or(|tools| tools == traits.has_tools)
        && wanted.stream.is_none_or(|stream| stream == query.asked.delivery.is_stream())
        && wanted.modality.is_none_or(|modality| is_of(modality, traits))
        && wanted.language.as_ref().is_none_or(|wanted| language::recognise(&traits.question) == Some(wanted))
}

fn is_of(modality: Modality, traits: &Traits) -> bool {
    match modality {
        Modality::Text => traits.images == 0 && !traits.has_audio && !traits.has_files,
        Modality::Image => traits.images > 0,
        Modality::Audio => traits.has_audio,
        Modality::File => traits.has_files,
    }
}

fn is_within(hours: &RouteHours, now: UnixMicros) -> bool {
    let Ok(now) = Timestamp::from_microsecond(i64::try_from(now.0).unwrap_or(i64::MAX)) else { return false };
    let local = now.to_zoned(hours.zone.clone());
    let time = local.time();
    let (is_in, began_yesterday) = if hours.from < hours.until {
        (hours.from <= time && time < hours.until, false)
    } else {
        (time >= hours.from || time < hours.until, time < hours.until)
    };
    // Hours that pass midnight belong to the day on which they begin.
    let day = if began_yesterday && hours.from != hours.until { local.weekday().previous() } else { local.weekday() };
    is_in && (hours.days.is_empty() || hours.days.contains(&day))
}

#[cfg(test)]
mod tests {
    use super::super::traits::tests::{asked, caller, query};
    use super::*;
    use jiff::civil::{Weekday, time};
    use jiff::tz::TimeZone;
    use serde_json::json;

    fn meets(wanted: Value, body: &Value) -> bool {
        let wanted: RouteTraits = serde_json::from_value(wanted).unwrap();
        let (asked, caller) = (asked(body), caller(Some("ann")));
        let query = query(&asked, &caller, 1);
        is_met(&wanted, &query, &Traits::read(&query))
    }

    #[test]
    fn a_condition_is_met_when_all_that_it_names_is_so() {
        let body = json!({ "model": "m", "stream": true, "reasoning_effort": "high", "seed": 7,
            "messages": [{ "role": "user", "content": "Wie ist das Wetter und was soll ich mit der Jacke tun?" }] });
        for (wanted, is_met) in [
            (json!({}), true),
            (json!({ "project": "p", "user": "a*", "key": "k", "tags": { "team": "r*" } }), true),
            (json!({ "project": "q" }), false),
            (json!({ "end_user": "*" }), false),
            (json!({ "tags": { "team": "red", "tier": "*" } }), false),
            (json!({ "parameters": { "reasoning_effort": "high", "seed": 7 } }), true),
            (json!({ "parameters": { "seed": 8 } }), false),
            (json!({ "parameters": { "temperature": "*" } }), false),
            (json!({ "min_tokens": 10, "max_tokens": 100 }), true),
            (json!({ "min_tokens": 100 }), false),
            (json!({ "modality": "text", "tools": false, "stream": true, "language": "de" }), true),
            (json!({ "modality": "image" }), false),
            (json!({ "tools": true }), false),
            (json!({ "language": "en" }), false),
        ] {
            assert_eq!(meets(wanted.clone(), &body), is_met, "{wanted}");
        }
    }

    #[test]
    fn hours_that_pass_midnight_belong_to_the_day_on_which_they_begin() {
        let night = RouteHours {
            from: time(22, 0, 0, 0),
            until: time(6, 0, 0, 0),
            days: vec![Weekday::Friday],
            zone: TimeZone::get("Europe/Berlin").unwrap(),
        };
        let at = |text: &str| {
            let micros = text.parse::<Timestamp>().unwrap().as_microsecond();
            is_within(&night, UnixMicros(u64::try_from(micros).unwrap()))
        };
        // 2026-11-27 is a Friday; Berlin is an hour ahead of UTC.
        assert!(at("2026-11-27T21:30:00Z") && at("2026-11-28T04:30:00Z"));
        assert!(!at("2026-11-27T20:30:00Z") && !at("2026-11-28T05:30:00Z") && !at("2026-11-28T21:30:00Z"));
        assert!(!at("2026-11-27T04:30:00Z"), "the night that ends on Friday began on Thursday");
    }
}
