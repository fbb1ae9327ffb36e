//! The arguments of a call in a history, for providers that take them as an object and not as text. Knows no provider.

use penstock_schemas::chat::FunctionCall;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// The arguments with their own digits; none at all are an empty object. What a model wrote that is no object, because it was
/// cut off or wrong, stands in one, so that the conversation goes on and nothing of it is lost.
pub(crate) fn object(call: &FunctionCall) -> Box<RawValue> {
    let text = call.arguments.as_deref().map(str::trim).filter(|text| !text.is_empty()).unwrap_or("{}");
    match serde_json::from_str::<Box<RawValue>>(text) {
        Ok(raw) if raw.get().starts_with('{') => raw,
        Ok(raw) => wrapped(&raw),
        Err(_) => wrapped(text),
    }
}

fn wrapped<T: Serialize + ?Sized>(arguments: &T) -> Box<RawValue> {
    to_raw_value(&BTreeMap::from([("arguments", arguments)])).expect("a text and a JSON value have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_stands_in_one_and_an_object_keeps_its_digits() {
        let object = |text: Option<&str>| {
            let call = FunctionCall { arguments: text.map(ToOwned::to_owned), ..FunctionCall::default() };
            object(&call).get().to_owned()
        };
        for empty in [None, Some(""), Some(" \n")] {
            assert_eq!(object(empty), "{}");
        }
        assert_eq!(object(Some(" {\"n\": 9007199254740993123} ")), "{\"n\": 9007199254740993123}");
        assert_eq!(object(Some("[9007199254740993123]")), "{\"arguments\":[9007199254740993123]}");
        assert_eq!(object(Some("{\"city\": \"Par")), "{\"arguments\":\"{\\\"city\\\": \\\"Par\"}");
    }
}
