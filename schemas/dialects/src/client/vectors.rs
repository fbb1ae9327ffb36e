//! Vectors in the encoding that was asked for, from providers that have another or overlook the field: SDKs ask for base64 by
//! themselves and read nothing else. Knows nothing of who made them.
//! Source: <https://platform.openai.com/docs/api-reference/embeddings/create#embeddings-create-encoding_format>.

use crate::json::Fields;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::memmem;
use serde_json::{Map, Value};

/// How numbers of a vector are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As JSON.
    Float,
    /// As base64 of floats of 32 bits, the lowest byte first.
    Base64,
}

impl Encoding {
    /// What a request for embeddings asks for.
    pub(crate) fn of(request: &[u8]) -> Self {
        let fields = std::str::from_utf8(request).ok().and_then(|request| Fields::of_body(request).ok());
        let asked = fields.as_ref().and_then(|fields| fields.get("encoding_format"));
        if asked.is_some_and(|asked| asked.get() == "\"base64\"") { Self::Base64 } else { Self::Float }
    }

    /// The answer with its vectors so; as it is when they are, or when it cannot be read.
    pub(crate) fn put_into(self, answer: Bytes) -> Bytes {
        // Most answers are as they were asked for, and stay as the provider wrote them.
        if !self.differs(&answer) {
            return answer;
        }
        let Ok(Value::Object(mut list)) = serde_json::from_slice::<Value>(&answer) else { return answer };
        let items = list.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten();
        for item in items.filter_map(Value::as_object_mut) {
            self.encode(item);
        }
        Value::Object(list).to_string().into()
    }

    /// Whether a vector begins as it would in the other encoding.
    fn differs(self, answer: &[u8]) -> bool {
        let other = match self {
            Self::Float => b'"',
            Self::Base64 => b'[',
        };
        memmem::find_iter(answer, b"\"embedding\"").any(|at| {
            let rest = answer[at + b"\"embedding\"".len()..].trim_ascii_start();
            rest.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().first() == Some(&other))
        })
    }

    fn encode(self, item: &mut Map<String, Value>) {
        let vector = match (self, item.get("embedding")) {
            (Self::Base64, Some(Value::Array(numbers))) => {
                let numbers: Option<Vec<f32>> = numbers.iter().map(float).collect();
                numbers.map(|numbers| {
                    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                    STANDARD.encode(bytes).into()
                })
            }
            (Self::Float, Some(Value::String(text))) => STANDARD.decode(text).ok().and_then(|bytes| {
                let (numbers, rest) = bytes.as_chunks::<4>();
                rest.is_empty().then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
            }),
            _ => None,
        };
        if let Some(vector) = vector {
            item.insert("embedding".to_owned(), vector);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "vectors are of 32 bits: that is what the encoding holds")]
fn float(number: &Value) -> Option<f32> {
    number.as_f64().map(|number| number as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(vector: &Value) -> Bytes {
        json!({"data": [{"object": "embedding", "index": 0, "embedding": vector}], "usage": {}}).to_string().into()
    }

    #[test]
    fn vectors_come_in_the_encoding_that_was_asked_for() {
        let (floats, base64) = (json!([0.5, -1.0]), json!("AAAAPwAAgL8="));
        for vectors in [&floats, &base64] {
            assert_eq!(Encoding::Base64.put_into(list(vectors)), list(&base64));
            assert_eq!(Encoding::Float.put_into(list(vectors)), list(&floats));
        }
        assert_eq!(Encoding::of(br#"{"input":"a","encoding_format":"base64"}"#), Encoding::Base64);
        assert_eq!(Encoding::of(br#"{"input":"a","encoding_format":null}"#), Encoding::Float);
    }

    #[test]
    fn what_is_no_vector_of_either_encoding_stays_as_it_is() {
        for odd in [json!([0.5, "x"]), json!("AAA="), json!({"int8": [1]}), json!(null)] {
            assert_eq!(Encoding::Base64.put_into(list(&odd)), list(&odd));
            assert_eq!(Encoding::Float.put_into(list(&odd)), list(&odd));
        }
        let whole = Bytes::from_static(b"{\"data\": [ {\"embedding\" : [1,2]} ]}");
        assert_eq!(Encoding::Float.put_into(whole.clone()), whole);
    }
}
