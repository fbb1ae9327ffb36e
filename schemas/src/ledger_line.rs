//! One event of the ledger as one line of a message: written, and cut short where its texts are longer than the ledger
//! takes; and read again line by line, so that a line that cannot be read harms no other. Knows nothing of messages.

use crate::event::UsageEvent;
use serde_json::Value;

/// A line longer than this, in bytes, is cut short: some 500 times the usual.
pub const LONGEST_LINE: usize = 256 * 1024;

/// What most lines fit into, in bytes.
const USUAL_LINE: usize = 1024;

/// To how many characters a text is cut in a line that is too long.
const TEXT: usize = 512;

/// How many entries are left of a list or map in a line that is too long.
const ENTRIES: usize = 128;

/// The lists that are never cut: budgets are counted by them, and their length is bounded by the number of budgets.
const WHOLE: [&str; 1] = ["books"];

/// Stands where something was cut off.
const CUT: char = '…';

/// An event as a line with its line break. One that is too long is cut short: its ids, times and amounts stay.
pub fn write(event: &UsageEvent) -> Vec<u8> {
    let mut line = Vec::with_capacity(USUAL_LINE);
    serde_json::to_writer(&mut line, event).expect("events have a JSON form");
    if line.len() > LONGEST_LINE
        && let Some(short) = shorten(&line)
    {
        line = short;
    }
    line.push(b'\n');
    line
}

/// The lines of a message, each as the event that it is, or with the reason why it is none that this version knows.
pub fn read(message: &[u8]) -> impl Iterator<Item = Result<UsageEvent, (&[u8], serde_json::Error)>> {
    let lines = message.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| {
        // Text that is known to be such is not looked at again for each of its strings.
        let read = str::from_utf8(line).map_or_else(|_| serde_json::from_slice(line), serde_json::from_str);
        read.map_err(|error| (line, error))
    })
}

/// `None` when it would be no event any more.
fn shorten(line: &[u8]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(line).ok()?;
    cut(&mut value);
    let event: UsageEvent = serde_json::from_value(value).ok()?;
    serde_json::to_vec(&event).ok()
}

fn cut(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((at, _)) = text.char_indices().nth(TEXT) {
                text.truncate(at);
                text.push(CUT);
            }
        }
        Value::Array(values) => {
            values.truncate(ENTRIES);
            values.iter_mut().for_each(cut);
        }
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().skip(ENTRIES).cloned().collect();
            for name in names {
                fields.remove(&name);
            }
            // A name may be as long as a text: the key of a tag.
            let long: Vec<String> = fields.keys().filter(|name| name.chars().count() > TEXT).cloned().collect();
            for name in long {
                let short: String = name.chars().take(TEXT).chain([CUT]).collect();
                if let Some(value) = fields.remove(&name) {
                    fields.insert(short, value);
                }
            }
            fields.iter_mut().filter(|(name, _)| !WHOLE.contains(&name.as_str())).for_each(|(_, value)| cut(value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::decode_batch;
    use serde_json::json;

    fn event(fields: &Value) -> UsageEvent {
        let mut whole = json!({
            "type": "attempt.started", "attempt_id": "0193f0a0-0000-7000-8000-000000000001",
            "request_id": "0193f0a0-0000-7000-8000-000000000002", "started_at": 5, "deadline": 9,
            "caller": { "project": "p", "key_id": "k" }, "target": "a/m", "operation": "chat", "number": 1, "link": 0,
            "stream": false, "worst_case": 12_000_000_000_001_i64, "worst_tokens": 77,
            "reserved": {
                "id": "0193f0a0-0000-7000-8000-000000000003", "lease": "0193f0a0-0000-7000-8000-000000000004",
                "books": (0..500).map(|number| format!("b{number}.all")).collect::<Vec<_>>(),
            },
        });
        for (name, value) in fields.as_object().unwrap() {
            whole[name] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn start(event: &UsageEvent) -> &crate::event::AttemptStarted {
        match event {
            UsageEvent::AttemptStarted(start) => start,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_caller_made_long_is_cut_and_what_counts_stays() {
        let tags: serde_json::Map<String, Value> =
            (0..4_000).map(|number| (format!("t{number}-{}", "é".repeat(600)), json!("v"))).collect();
        for caller in [
            json!({ "project": "p", "key_id": "k", "user": "ü".repeat(9_000_000) }),
            json!({ "project": "p", "key_id": "k", "user": "\u{1}".repeat(300_000) }),
            json!({ "project": "p", "key_id": "k", "tags": tags }),
        ] {
            let long = event(&json!({ "caller": caller }));
            let line = write(&long);
            assert!(line.len() < LONGEST_LINE, "{}", line.len());
            let read = decode_batch(&line).unwrap();
            let (was, is) = (start(&long), start(&read[0]));
            assert_eq!(
                (was.attempt_id, was.worst_case, was.worst_tokens, &was.reserved),
                (is.attempt_id, is.worst_case, is.worst_tokens, &is.reserved)
            );
            assert!(is.caller != was.caller);
        }
    }

    #[test]
    fn what_is_not_too_long_is_written_as_it_is() {
        let usual = event(&json!({ "virtual_model": "x".repeat(LONGEST_LINE / 2) }));
        assert_eq!(decode_batch(&write(&usual)).unwrap(), [usual]);
    }

    #[test]
    fn an_event_is_read_by_the_type_that_stands_first() {
        let line = write(&event(&json!({})));
        assert!(line.starts_with(br#"{"type":"attempt.started","#));
        let other = br#"{"attempt_id":"0193f0a0-0000-7000-8000-000000000001","type":"attempt.started"}"#;
        let (_, error) = read(other).next().unwrap().unwrap_err();
        assert!(error.to_string().contains("expected `type`"), "{error}");
    }

    #[test]
    fn a_line_that_is_no_event_harms_no_other() {
        let good = write(&event(&json!({})));
        let message = [&good, &b"{\"type\":\"of the year 3000\"}\n"[..], b"\xff\xfe\n", &good, b"{"].concat();
        let read: Vec<_> = read(&message).map(|line| line.map(drop).map_err(|(line, _)| line.len())).collect();
        assert_eq!(read, [Ok(()), Err(27), Err(2), Ok(()), Err(1)]);
    }
}
