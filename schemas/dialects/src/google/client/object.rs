//! A JSON object whose fields are taken one by one, in camelCase or snake_case, their values unread until then: no number
//! is rounded, and what nobody takes can be named.

use crate::client::WrongRequest;
use crate::json::Fields;
use penstock_schemas::failure::{Failure, FailureKind};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The object, and where it stands in the request: `contents[0].parts[1]`.
pub(super) struct Object<'a> {
    place: String,
    fields: Vec<(String, &'a RawValue)>,
}

/// One item of a list, and where it stands.
pub(super) type Item<'a> = (String, &'a RawValue);

impl<'a> Object<'a> {
    /// A whole body.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Self, WrongRequest> {
        let fields: Fields<'a> = serde_json::from_slice(body).map_err(|error| {
            let why = if error.is_data() { "it must be an object".to_owned() } else { error.to_string() };
            WrongRequest::InvalidJson(why)
        })?;
        Ok(Self { place: String::new(), fields: named(fields) })
    }

    pub(super) fn read((place, raw): Item<'a>) -> Result<Self, WrongRequest> {
        let fields: Result<Fields<'a>, _> = serde_json::from_str(raw.get());
        match fields {
            Ok(fields) => Ok(Self { place, fields: named(fields) }),
            Err(_) => Err(WrongRequest::WrongPart { place, why: "it must be an object".to_owned() }),
        }
    }

    /// Where a field of it stands.
    pub(super) fn place(&self, name: &str) -> String {
        let name = camel(name);
        if self.place.is_empty() { name } else { format!("{}.{name}", self.place) }
    }

    pub(super) fn wrong(&self, name: &str, why: &str) -> WrongRequest {
        WrongRequest::WrongPart { place: self.place(name), why: why.to_owned() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, value)| field == name && value.get() != "null")
    }

    pub(super) fn needs(&self, name: &str) -> Result<(), WrongRequest> {
        if self.has(name) { Ok(()) } else { Err(self.wrong(name, "it is missing")) }
    }

    /// The field's value, unread; null is no value. The last one counts when it comes twice.
    pub(super) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let mut found = None;
        self.fields.retain(|(field, value)| {
            let is_it = field == name;
            if is_it {
                found = Some(*value);
            }
            !is_it
        });
        found.filter(|value| value.get() != "null")
    }

    /// Leaves a field out that means nothing to anybody else.
    pub(super) fn skip(&mut self, name: &str) {
        self.fields.retain(|(field, _)| field != name);
    }

    /// The field's value, read.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, WrongRequest> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| self.wrong(name, &plain(&error)))
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, WrongRequest> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        Object::read((self.place(name), raw)).map(Some)
    }

    /// The field's items. An object alone is a list of one, as Google's servers read it: `"tools": {"googleSearch": {}}`.
    pub(super) fn list(&mut self, name: &str) -> Result<Vec<Item<'a>>, WrongRequest> {
        let Some(raw) = self.raw(name) else { return Ok(Vec::new()) };
        let place = self.place(name);
        if raw.get().starts_with('{') {
            return Ok(vec![(place, raw)]);
        }
        let items: Vec<&'a RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| self.wrong(name, "it must be a list"))?;
        Ok(items.into_iter().enumerate().map(|(at, item)| (format!("{place}[{at}]"), item)).collect())
    }

    /// What nobody has taken: its name in snake_case, and its value.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, &'a RawValue)> {
        self.fields.into_iter().filter(|(_, value)| value.get() != "null")
    }

    /// That nothing is left which would be lost in silence.
    pub(super) fn end(self) -> Result<(), WrongRequest> {
        let left = self.fields.iter().find(|(_, value)| value.get() != "null").map(|(name, _)| self.place(name));
        match left {
            None => Ok(()),
            Some(place) => Err(cannot(place, "no other provider can express it")),
        }
    }
}

/// That a field cannot be translated.
pub(super) fn cannot(place: String, why: &str) -> WrongRequest {
    let mut failure = Failure::gateway(FailureKind::Unsupported, format!("`{place}` is not supported: {why}"));
    failure.param = Some(place);
    failure.into()
}

/// A parser's words without the line and column of a part that nobody sees.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// `maxOutputTokens` → `max_output_tokens`.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// `max_output_tokens` → `maxOutputTokens`, as Google's documents have it.
pub(super) fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

fn named(fields: Fields<'_>) -> Vec<(String, &RawValue)> {
    fields.into_iter().map(|(name, value)| (snake(&name), value)).collect()
}
