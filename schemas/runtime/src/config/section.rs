//! One section of a configuration: its keys, read as what they are, each mistake noted with its place. Knows no key.

use super::{Notes, from_text, parse_duration, parse_size, to_json};
use crate::Secret;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use toml::{Table, Value};

/// One section that is being read. When it is dropped, the keys that nobody asked for are noted as mistakes.
#[derive(Debug)]
pub struct Section {
    pub(super) file: String,
    pub(super) path: String,
    pub(super) table: Table,
    pub(super) environment: Rc<BTreeMap<String, String>>,
    pub(super) notes: Rc<RefCell<Notes>>,
}

impl Section {
    /// The value of `key`, from the environment first; `None` when it is absent or wrong (then it is noted).
    pub fn get<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        self.notes.borrow_mut().read.insert(format!("{}.{key}", self.path));
        let in_file = self.table.remove(key);
        let variable = format!("PENSTOCK_{}_{}", self.path, key).to_uppercase().replace(['.', '-'], "_");
        if let Some(text) = self.environment.get(&variable) {
            let parsed = from_text(text);
            return parsed.map_err(|why| self.note(format!("{variable}: {why}"))).ok();
        }
        let value = in_file?;
        value.try_into().map_err(|error: toml::de::Error| self.mistake(key, error.message())).ok()
    }

    /// The value of `key`, or `default`.
    pub fn or<T: DeserializeOwned>(&mut self, key: &str, default: T) -> T {
        self.get(key).unwrap_or(default)
    }

    /// The value of `key` as JSON; a date is a text there.
    pub fn json(&mut self, key: &str) -> Option<serde_json::Value> {
        self.get::<Value>(key).map(to_json)
    }

    /// The time that `key` names, such as `500ms`, `5s`, `2m`, `1h`.
    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        let text: String = self.get(key)?;
        let parsed = parse_duration(&text);
        if parsed.is_none() {
            self.mistake(key, &format!("`{text}` is not a time: write a number with ms, s, m or h, such as \"5s\""));
        }
        parsed
    }

    /// The secret whose place `key` names, such as `file:/run/secrets/password`. The secret itself must not stand there.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        let text: String = self.get(key)?;
        if !Secret::is_reference(&text) {
            let why = "must not stand here itself: write env:NAME, file:PATH, credential:NAME or exec:PROGRAM";
            self.mistake(key, why);
            return None;
        }
        Secret::of_configuration(&text).map_err(|why| self.mistake(key, &why)).ok()
    }

    /// The size that `key` names, such as `64KB`, `32MB`, in bytes.
    pub fn size(&mut self, key: &str) -> Option<usize> {
        let text: String = self.get(key)?;
        let parsed = parse_size(&text);
        if parsed.is_none() {
            self.mistake(key, &format!("`{text}` is not a size: write a number with KB, MB or GB, such as \"32MB\""));
        }
        parsed
    }

    /// The sections in the list `key = [{ … }, …]`.
    pub fn entries(&mut self, key: &str) -> Vec<Section> {
        let tables: Vec<Table> = self.get(key).unwrap_or_default();
        let make = |(i, table)| Section {
            file: self.file.clone(),
            path: format!("{}.{key}[{i}]", self.path),
            table,
            environment: self.environment.clone(),
            notes: self.notes.clone(),
        };
        tables.into_iter().enumerate().map(make).collect()
    }

    /// The section `[this.key]`; empty when the file has none.
    pub fn section(&mut self, key: &str) -> Section {
        let table = match self.table.remove(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(_) => {
                self.mistake(key, &format!("must be a section: write [{}.{key}]", self.path));
                Table::new()
            }
        };
        Section {
            file: self.file.clone(),
            path: format!("{}.{key}", self.path),
            table,
            environment: self.environment.clone(),
            notes: self.notes.clone(),
        }
    }

    /// Notes that `key` is wrong, and why.
    pub fn mistake(&self, key: &str, why: &str) {
        self.note(format!("{}: {}.{key}: {}", self.file, self.path, why.trim_end()));
    }

    /// Where this section stands, such as `models.chat`.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn note(&self, mistake: String) {
        self.notes.borrow_mut().mistakes.push(mistake);
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        for key in self.table.keys() {
            self.mistake(key, "is not a key that Penstock knows here");
        }
    }
}
