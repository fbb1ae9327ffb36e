//! Cuts the list of a request for embeddings into lists that a provider takes, and joins the answers in order. Works on
//! the text, so that every vector, float or base64, stays as the provider wrote it. Knows nothing of who is asked.

use crate::json::{JsonKind, items, kind};
use bytes::Bytes;
use penstock_schemas::failure::{Failure, FailureKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// One request for each part of the list, and how long each part is; `None` when it need not be cut.
pub fn cut(request: &Bytes, most: usize) -> Option<Vec<(Bytes, usize)>> {
    let text = std::str::from_utf8(request).ok()?;
    let list = serde_json::from_str::<Request<'_>>(text).ok()?.input.filter(|input| kind(input) == JsonKind::List)?;
    let texts = items(list);
    // A list of numbers is one text, as tokens.
    if texts.len() <= most || most == 0 || texts.first().is_some_and(|first| kind(first) == JsonKind::Number) {
        return None;
    }
    let (front, back) = around(text, list);
    let piece = |part: &[&RawValue]| {
        let part: Vec<&str> = part.iter().map(|text| text.get()).collect();
        format!("{front}[{}]{back}", part.join(",")).into()
    };
    Some(texts.chunks(most).map(|part| (piece(part), part.len())).collect())
}

/// What stands before and behind a part of a text.
fn around<'a>(text: &'a str, part: &RawValue) -> (&'a str, &'a str) {
    let from = part.get().as_ptr() as usize - text.as_ptr() as usize; // `part` is borrowed from `text`
    (&text[..from], &text[from + part.get().len()..])
}

/// The answers so far, joined.
#[derive(Default)]
pub struct Joined {
    /// The first answer: all but vectors and usage is as it says.
    first: Option<Bytes>,
    vectors: String,
    count: usize,
    usage: Map<String, Value>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(borrow)]
    index: Option<&'a RawValue>,
}

impl Joined {
    /// Adds the next answer, which is one to `expected` texts.
    ///
    /// # Errors
    /// When it does not hold a vector for each.
    pub fn add(&mut self, answer: Bytes, expected: usize) -> Result<(), Failure> {
        let text = std::str::from_utf8(&answer).map_err(|_| broken("is not UTF-8"))?;
        let read: Answer<'_> = serde_json::from_str(text).map_err(|_| broken("holds no embeddings"))?;
        let mut vectors = Vec::with_capacity(expected);
        for (at, vector) in items(read.data).into_iter().enumerate() {
            let index = serde_json::from_str::<Vector<'_>>(vector.get()).map_err(|_| broken("is odd"))?.index;
            let place = index.map_or(Some(at), |index| index.get().parse().ok());
            vectors.push((place.ok_or_else(|| broken("holds an odd index"))?, vector.get(), index));
        }
        vectors.sort_by_key(|(place, _, _)| *place);
        if vectors.iter().map(|(place, _, _)| *place).ne(0..expected) {
            return Err(broken("does not hold one embedding for each text"));
        }
        for (place, vector, index) in vectors {
            self.push(vector, index, self.count + place);
        }
        self.count += expected;
        let usage: Map<String, Value> =
            read.usage.and_then(|usage| serde_json::from_str(usage.get()).ok()).unwrap_or_default();
        add(&mut self.usage, usage);
        self.first.get_or_insert(answer);
        Ok(())
    }

    fn push(&mut self, vector: &str, index: Option<&RawValue>, place: usize) {
        if !self.vectors.is_empty() {
            self.vectors.push(',');
        }
        match index {
            Some(index) => {
                let (front, back) = around(vector, index);
                self.vectors.extend([front, &place.to_string(), back]);
            }
            None => self.vectors.push_str(vector),
        }
    }

    /// All of it as one answer.
    ///
    /// # Errors
    /// When there was none.
    pub fn finish(self) -> Result<Bytes, Failure> {
        let first = self.first.ok_or_else(|| broken("is not there"))?;
        let text = std::str::from_utf8(&first).map_err(|_| broken("is not UTF-8"))?;
        let read: Answer<'_> = serde_json::from_str(text).map_err(|_| broken("holds no embeddings"))?;
        let data = (read.data, format!("[{}]", self.vectors));
        let usage = read.usage.map(|usage| (usage, Value::Object(self.usage).to_string()));
        let mut changes: Vec<(usize, usize, String)> = std::iter::once(data)
            .chain(usage)
            .map(|(part, new)| (around(text, part).0.len(), part.get().len(), new))
            .collect();
        changes.sort_unstable_by_key(|(from, _, _)| *from);
        let (mut out, mut copied) = (String::with_capacity(text.len() + self.vectors.len()), 0);
        for (from, length, new) in changes {
            out.extend([&text[copied..from], &new]);
            copied = from + length;
        }
        out.push_str(&text[copied..]);
        Ok(out.into())
    }
}

/// Adds counts; what is no count stays as it was first.
fn add(sum: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match sum.get(&name).and_then(Value::as_u64).zip(value.as_u64()) {
            Some((a, b)) => drop(sum.insert(name, a.saturating_add(b).into())),
            None => drop(sum.entry(name).or_insert(value)),
        }
    }
}

fn broken(why: &str) -> Failure {
    Failure::provider(FailureKind::Broken, format!("the provider's answer to a part of the list {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(request: &str, most: usize) -> Vec<String> {
        let cut = cut(&Bytes::copy_from_slice(request.as_bytes()), most).unwrap_or_default();
        cut.iter().map(|(piece, count)| format!("{count} {}", String::from_utf8_lossy(piece))).collect()
    }

    #[test]
    fn a_list_is_cut_and_the_rest_of_the_request_stays() {
        let request = r#"{"model":"m", "input" : ["a", "b\u0020" ,[1,2]],"dimensions":8 }"#;
        assert_eq!(
            pieces(request, 2),
            [
                r#"2 {"model":"m", "input" : ["a","b\u0020"],"dimensions":8 }"#,
                r#"1 {"model":"m", "input" : [[1,2]],"dimensions":8 }"#
            ]
        );
        for whole in [request, r#"{"input":"abcd"}"#, r#"{"input":[1,2,3,4,5]}"#, "{}", "[", r#"{"input":1}"#] {
            assert!(pieces(whole, 3).is_empty(), "{whole}");
        }
    }

    #[test]
    fn answers_are_joined_in_order_with_their_vectors_untouched() {
        let mut joined = Joined::default();
        let first = r#"{"object":"list", "usage":{"prompt_tokens":2,"total_tokens":2,"x":null},"data":[
            {"index": 1,"embedding":"AAA=","object":"embedding"},{"object":"embedding","index":0,"embedding":[0.10, -1e-3]}],"model":"m"}"#;
        joined.add(first.into(), 2).unwrap();
        joined
            .add(r#"{"data":[{"embedding":[1.50],"index":0}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#.into(), 1)
            .unwrap();
        let answer = joined.finish().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&answer),
            r#"{"object":"list", "usage":{"prompt_tokens":5,"total_tokens":5,"x":null},"data":[{"object":"embedding","index":0,"embedding":[0.10, -1e-3]},{"index": 1,"embedding":"AAA=","object":"embedding"},{"embedding":[1.50],"index":2}],"model":"m"}"#
        );
    }

    #[test]
    fn an_answer_with_too_few_or_odd_vectors_is_broken() {
        for answer in [
            r#"{"data":[{"index":0}]}"#,
            r#"{"data":[{"index":0},{"index":0}]}"#,
            r#"{"data":[{"index":0},{"index":"1"}]}"#,
            r#"{"data":{}}"#,
            r#"{}"#,
            "",
        ] {
            assert!(Joined::default().add(answer.into(), 2).is_err(), "{answer}");
        }
    }
}
