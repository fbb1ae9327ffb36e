//! Whether a text is JSON of a shape: the part of JSON schema that providers take for structured output. What else a schema may
//! say (`pattern`, `format`, `not`, conditions) is passed over. Schemas are the callers', answers the models': each visit of a
//! place costs, and what costs too much is not judged.
//! Sources: <https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>,
//! <https://json-schema.org/draft/2020-12/json-schema-validation>.

use serde_json::{Map, Value};

/// Places of the answer that are compared with places of the schema, at the most: some milliseconds. What takes longer than a
/// glance counts as several, by its length.
const VISITS: u32 = 20_000;

/// So many bytes that are compared, counted or hashed count as one more visit.
const VISIT_BYTES: usize = 256;

/// The most of a name that is shown in a place, in characters.
const STEP: usize = 40;

/// How deep it may go, steps into the answer, references and alternatives together: each takes some of the thread's stack.
const DEPTH: u32 = 128;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ShapeVerdict {
    Kept,
    /// Not kept: which word of the schema is broken, and where. Names are the schema's; the answer is not quoted.
    Broken(String),
    /// Too much to look at, or a schema that cannot be read.
    Unknown,
}

/// Whether a text is a JSON object.
pub(super) fn of_object(text: &str) -> ShapeVerdict {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => ShapeVerdict::Kept,
        Ok(_) => ShapeVerdict::Broken("it is JSON, and no object".to_owned()),
        Err(_) => ShapeVerdict::Broken("it is not JSON".to_owned()),
    }
}

/// Whether a text is JSON that keeps to a schema.
pub(super) fn of_schema(text: &str, schema: &Value) -> ShapeVerdict {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return ShapeVerdict::Broken("it is not JSON".to_owned());
    };
    let mut check = SchemaCheck { root: schema, length: text.len(), visits: VISITS, path: String::new(), why: None };
    match check.keeps(&value, schema, 0) {
        Ok(true) => ShapeVerdict::Kept,
        Ok(false) => ShapeVerdict::Broken(check.why.unwrap_or_else(|| "it is of another shape".to_owned())),
        Err(TooMuch) => ShapeVerdict::Unknown,
    }
}

/// That a schema cannot be judged within the limits.
struct TooMuch;

struct SchemaCheck<'a> {
    root: &'a Value,
    /// Of the answer, in bytes.
    length: usize,
    visits: u32,
    path: String,
    /// What was broken first.
    why: Option<String>,
}

impl<'a> SchemaCheck<'a> {
    fn spend(&mut self, visits: usize) -> Result<(), TooMuch> {
        let visits = u32::try_from(visits).unwrap_or(u32::MAX);
        self.visits = self.visits.checked_sub(visits).ok_or(TooMuch)?;
        Ok(())
    }

    fn broken(&mut self, word: &str) -> bool {
        let place = if self.path.is_empty() { "the top".to_owned() } else { self.path.clone() };
        self.why.get_or_insert_with(|| format!("`{word}` is not kept at {place}").chars().take(200).collect());
        false
    }

    fn keeps(&mut self, value: &Value, schema: &'a Value, depth: u32) -> Result<bool, TooMuch> {
        self.spend(1)?;
        if depth > DEPTH {
            return Err(TooMuch);
        }
        let words = match schema {
            Value::Bool(may) => return Ok(*may || self.broken("false")),
            Value::Object(words) => words,
            _ => return Err(TooMuch),
        };
        if value.is_null() && words.get("nullable") == Some(&Value::Bool(true)) {
            return Ok(true);
        }
        if let Some(place) = words.get("$ref").and_then(Value::as_str) {
            self.spend(weight(place.len()))?;
            let place = place.strip_prefix('#').and_then(|place| self.root.pointer(place)).ok_or(TooMuch)?;
            if !self.keeps(value, place, depth + 1)? {
                return Ok(false);
            }
        }
        for word in ["allOf", "anyOf", "oneOf"] {
            if let Some(list) = words.get(word).and_then(Value::as_array)
                && !self.keeps_some(value, word, list, depth)?
            {
                return Ok(false);
            }
        }
        Ok(self.keeps_kind(value, words)?
            && self.keeps_bounds(value, words)?
            && self.keeps_members(value, words, depth)?
            && self.keeps_items(value, words, depth)?)
    }

    /// Of several schemas all, any, or one.
    fn keeps_some(&mut self, value: &Value, word: &str, list: &'a [Value], depth: u32) -> Result<bool, TooMuch> {
        let why = self.why.clone();
        let mut kept = 0;
        for schema in list {
            kept += usize::from(self.keeps(value, schema, depth + 1)?);
            if kept > 0 && word == "anyOf" {
                break;
            }
        }
        let is_kept = match word {
            "allOf" => kept == list.len(),
            "anyOf" => kept > 0,
            _ => kept == 1,
        };
        if word != "allOf" {
            self.why = why; // an alternative that was not taken is no fault
        }
        Ok(is_kept || self.broken(word))
    }

    fn keeps_kind(&mut self, value: &Value, words: &'a Map<String, Value>) -> Result<bool, TooMuch> {
        let is_kind = |kind: &Value| kind.as_str().is_some_and(|kind| is_of_kind(value, kind));
        let is_right = match words.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().any(is_kind),
            Some(kind) => is_kind(kind),
            None => true,
        };
        if !is_right {
            return Ok(self.broken("type"));
        }
        // To compare with a list or an object takes as long as it is.
        let each = if value.is_array() || value.is_object() { weight(self.length) } else { 1 };
        self.spend(if words.contains_key("const") { each } else { 0 })?;
        if words.get("const").is_some_and(|constant| !is_same(constant, value)) {
            return Ok(self.broken("const"));
        }
        if let Some(list) = words.get("enum").and_then(Value::as_array) {
            self.spend(list.len().saturating_mul(each))?;
            if !list.iter().any(|one| is_same(one, value)) {
                return Ok(self.broken("enum"));
            }
        }
        Ok(true)
    }

    fn keeps_bounds(&mut self, value: &Value, words: &Map<String, Value>) -> Result<bool, TooMuch> {
        let bound = |word: &str| words.get(word).and_then(Value::as_f64);
        let [least, most] = match value {
            Value::String(_) => ["minLength", "maxLength"],
            Value::Array(_) => ["minItems", "maxItems"],
            Value::Object(_) => ["minProperties", "maxProperties"],
            Value::Number(_) => ["minimum", "maximum"],
            Value::Null | Value::Bool(_) => return Ok(true),
        };
        let bounds = [bound(least), bound(most), bound("exclusiveMinimum"), bound("exclusiveMaximum")];
        if bounds == [None; 4] {
            return Ok(true);
        }
        let size = match value {
            Value::String(text) => {
                self.spend(weight(text.len()))?;
                text.chars().count() as f64
            }
            Value::Array(items) => items.len() as f64,
            Value::Object(members) => members.len() as f64,
            _ => value.as_f64().unwrap_or(0.0),
        };
        let [low, high, above, below] = bounds;
        let is_number = value.is_number();
        let found = [
            (least, low.is_none_or(|low| size >= low)),
            (most, high.is_none_or(|high| size <= high)),
            ("exclusiveMinimum", above.is_none_or(|above| !is_number || size > above)),
            ("exclusiveMaximum", below.is_none_or(|below| !is_number || size < below)),
        ];
        Ok(found.into_iter().find(|(_, is_kept)| !is_kept).is_none_or(|(word, _)| self.broken(word)))
    }

    fn keeps_members(&mut self, value: &Value, words: &'a Map<String, Value>, depth: u32) -> Result<bool, TooMuch> {
        let Value::Object(members) = value else { return Ok(true) };
        if let Some(required) = words.get("required").and_then(Value::as_array) {
            self.spend(required.iter().filter_map(Value::as_str).map(|name| weight(name.len())).sum())?;
            if required.iter().filter_map(Value::as_str).any(|name| !members.contains_key(name)) {
                return Ok(self.broken("required"));
            }
        }
        let known = words.get("properties").and_then(Value::as_object);
        for (name, member) in members {
            self.spend(weight(name.len()))?;
            let of_name = known.and_then(|known| known.get(name));
            let schema = match (of_name, words.get("additionalProperties")) {
                (Some(schema), _) => schema,
                (None, Some(Value::Bool(false))) if !words.contains_key("patternProperties") => {
                    return Ok(self.broken("additionalProperties"));
                }
                (None, Some(schema @ Value::Object(_))) => schema,
                (None, _) => continue,
            };
            let shown = if of_name.is_some() { name } else { "*" };
            if !self.within(shown, member, (schema, depth))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn keeps_items(&mut self, value: &Value, words: &'a Map<String, Value>, depth: u32) -> Result<bool, TooMuch> {
        let Value::Array(items) = value else { return Ok(true) };
        self.spend(items.len())?;
        let first = words.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (at, item) in items.iter().enumerate() {
            let Some(schema) = first.get(at).or_else(|| words.get("items")) else { continue };
            if !self.within(&at.to_string(), item, (schema, depth))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same a step deeper in the answer.
    fn within(&mut self, step: &str, value: &Value, (schema, depth): (&'a Value, u32)) -> Result<bool, TooMuch> {
        let before = self.path.len();
        self.path.push('/');
        self.path.extend(step.chars().take(STEP));
        let is_kept = self.keeps(value, schema, depth + 1)?;
        self.path.truncate(before);
        Ok(is_kept)
    }
}

/// As how many visits something of this length counts.
fn weight(bytes: usize) -> usize {
    1 + bytes / VISIT_BYTES
}

/// Google writes the kinds in capitals.
fn is_of_kind(value: &Value, kind: &str) -> bool {
    let is = |wanted: &str| kind.eq_ignore_ascii_case(wanted);
    match value {
        Value::Null => is("null"),
        Value::Bool(_) => is("boolean"),
        Value::String(_) => is("string"),
        Value::Array(_) => is("array"),
        Value::Object(_) => is("object"),
        Value::Number(number) => {
            let is_whole =
                number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|float| float.fract() == 0.0);
            is("number") || (is("integer") && is_whole)
        }
    }
}

/// 1 and 1.0 are the same number.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() < f64::EPSILON,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(schema: &Value, text: &str) -> String {
        match of_schema(text, schema) {
            ShapeVerdict::Kept => "kept".to_owned(),
            ShapeVerdict::Broken(why) => why,
            ShapeVerdict::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn an_answer_keeps_to_its_schema_or_is_told_where_it_does_not() {
        let item = json!({ "type": "object", "properties": { "price": { "type": "number", "minimum": 0 }, "kind": { "enum": ["a", "b"] } },
            "required": ["price"], "additionalProperties": false });
        let schema = json!({ "type": "object", "properties": { "items": { "type": "array", "items": { "$ref": "#/$defs/item" }, "maxItems": 2 },
            "note": { "type": ["string", "null"], "maxLength": 3 }, "next": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] } },
            "required": ["items"], "$defs": { "item": item } });
        for (text, expected) in [
            (r#"{"items": [{"price": 1, "kind": "a"}], "note": null}"#, "kept"),
            (r#"{"items": [], "next": {"items": [{"price": 2.5}], "next": null}}"#, "kept"),
            (r#"{"items": [{"price": "1"}]}"#, "`type` is not kept at /items/0/price"),
            (r#"{"items": [{"price": -1}]}"#, "`minimum` is not kept at /items/0/price"),
            (r#"{"items": [{"price": 1, "kind": "c"}]}"#, "`enum` is not kept at /items/0/kind"),
            (r#"{"items": [{"price": 1, "secret": 1}]}"#, "`additionalProperties` is not kept at /items/0"),
            (r#"{"items": [{}]}"#, "`required` is not kept at /items/0"),
            (r#"{"items": [{"price": 1}, {"price": 1}, {"price": 1}]}"#, "`maxItems` is not kept at /items"),
            (r#"{"items": [], "note": "long"}"#, "`maxLength` is not kept at /note"),
            (r#"{"items": [], "next": 1}"#, "`anyOf` is not kept at /next"),
            ("[]", "`type` is not kept at the top"),
            ("```json\n{}\n```", "it is not JSON"),
            ("", "it is not JSON"),
        ] {
            assert_eq!(verdict(&schema, text), expected, "{text}");
        }
        assert_eq!(verdict(&json!({ "type": "INTEGER" }), "2.0"), "kept");
        assert_eq!(verdict(&json!({ "type": "integer" }), "2.5"), "`type` is not kept at the top");
        assert_eq!(
            verdict(&json!({ "oneOf": [{ "const": 1 }, { "type": "number" }] }), "1.0"),
            "`oneOf` is not kept at the top"
        );
        assert_eq!(verdict(&json!({ "type": "string", "nullable": true }), "null"), "kept");
        assert_eq!(of_object("{}"), ShapeVerdict::Kept);
        assert!(matches!(of_object("[]"), ShapeVerdict::Broken(_)));
    }

    #[test]
    fn a_schema_that_leads_nowhere_or_everywhere_is_not_judged() {
        assert_eq!(verdict(&json!({ "$ref": "#" }), "1"), "unknown");
        assert_eq!(verdict(&json!({ "$ref": "https://example.org/schema" }), "1"), "unknown");
        assert_eq!(verdict(&json!("odd"), "1"), "unknown");
        // Each of these would look at all of a long answer thousands of times.
        let of_all =
            |one: Value| json!({ "allOf": vec![json!({ "$ref": "#/$defs/b" }); 5_000], "$defs": { "b": one } });
        let long = json!("x".repeat(100_000)).to_string();
        assert_eq!(verdict(&of_all(json!({ "minLength": 1 })), &long), "unknown");
        let list = json!(vec![1; 50_000]);
        assert_eq!(verdict(&of_all(json!({ "prefixItems": [true] })), &list.to_string()), "unknown");
        assert_eq!(verdict(&of_all(json!({ "const": list })), &list.to_string()), "unknown");
        let name = "n".repeat(50_000);
        assert_eq!(
            verdict(&of_all(json!({ "required": [name] })), &json!({ name.as_str(): 1 }).to_string()),
            "unknown"
        );
        let wide: Vec<Value> = (0..100).map(|_| json!({ "$ref": "#/$defs/b" })).collect();
        let deep: Vec<Value> = (0..1_000).map(|_| json!({ "type": "string" })).collect();
        assert_eq!(verdict(&json!({ "allOf": wide, "$defs": { "b": { "oneOf": deep } } }), "1"), "unknown");
    }
}
