//! Reads `penstock.toml` and `PENSTOCK_*` and collects every mistake, so that all are reported at once with file and key.
//! Knows the keys of no role: each reads its own sections, and what nobody has read is a mistake too.

mod section;

pub use section::Section;

pub use penstock_schemas::duration::parse_duration;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use toml::{Table, Value};

/// Everything that is wrong with a configuration; the process ends with exit code 64.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the configuration has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| writeln!(f, "  {mistake}"))
    }
}

#[derive(Debug, Default)]
struct Notes {
    mistakes: Vec<String>,
    read: BTreeSet<String>,
}

/// A configuration that is being read.
#[derive(Debug)]
pub struct Document {
    file: String,
    table: Table,
    environment: Rc<BTreeMap<String, String>>,
    notes: Rc<RefCell<Notes>>,
    /// The sections of which a part was read.
    parted: BTreeSet<String>,
}

impl Document {
    /// Opens `file`, if there is one, and looks at the `PENSTOCK_*` variables among `environment`.
    ///
    /// # Errors
    /// When the file cannot be read or is not TOML: the place is named.
    pub fn open(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let Some(path) = file else { return Self::read("environment", "", environment) };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Mistakes(vec![format!("{name}: cannot be read: {error}")]))?;
        Self::read(&name, &text, environment)
    }

    /// Reads `text`, which came from `file`.
    ///
    /// # Errors
    /// When it is not TOML: the place is named.
    pub fn read(
        file: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Mistakes> {
        let table = text.parse::<Table>().map_err(|error| Mistakes(vec![format!("{file}: {error}")]))?;
        let environment = environment.into_iter().filter(|(name, _)| name.starts_with("PENSTOCK_")).collect();
        Ok(Self {
            file: file.to_owned(),
            table,
            environment: Rc::new(environment),
            notes: Rc::default(),
            parted: BTreeSet::new(),
        })
    }

    /// The section `[name]`; empty when the file has none.
    pub fn section(&mut self, name: &str) -> Section {
        match self.table.remove(name) {
            None => self.make(name, Table::new()),
            Some(Value::Table(table)) => self.make(name, table),
            Some(_) => {
                self.note(format!("{}: {name}: must be a section: write [{name}]", self.file));
                self.make(name, Table::new())
            }
        }
    }

    /// The section `[name]` with these keys alone: the others are another role's to read.
    pub fn part(&mut self, name: &str, keys: &[&str]) -> Section {
        let mut part = Table::new();
        match self.table.get_mut(name) {
            None => {}
            Some(Value::Table(table)) => {
                part.extend(keys.iter().filter_map(|key| Some(((*key).to_owned(), table.remove(*key)?))));
                self.parted.insert(name.to_owned());
            }
            Some(_) => return self.section(name),
        }
        self.make(name, part)
    }

    /// The sections `[name.KEY]`, with their keys.
    pub fn sections(&mut self, name: &str) -> Vec<(String, Section)> {
        let mut sections = Vec::new();
        match self.table.remove(name) {
            None => {}
            Some(Value::Table(table)) => {
                for (key, value) in table {
                    match value {
                        Value::Table(table) => sections.push((key.clone(), self.make(&format!("{name}.{key}"), table))),
                        _ => self.note(format!("{}: {name}.{key}: must be a section: write [{name}.{key}]", self.file)),
                    }
                }
            }
            Some(_) => self.note(format!("{}: {name}: must be sections: write [{name}.NAME]", self.file)),
        }
        sections
    }

    /// The entries `[[name]]`.
    pub fn entries(&mut self, name: &str) -> Vec<Section> {
        let Some(value) = self.table.remove(name) else { return Vec::new() };
        let tables: Option<Vec<Table>> = match value {
            Value::Array(values) => values.into_iter().map(|value| value.try_into().ok()).collect(),
            _ => None,
        };
        let Some(tables) = tables else {
            self.note(format!("{}: {name}: must be a list of sections: write [[{name}]]", self.file));
            return Vec::new();
        };
        tables.into_iter().enumerate().map(|(i, table)| self.make(&format!("{name}[{i}]"), table)).collect()
    }

    /// A section that the file does not have, at `path`: its keys may still come from the environment.
    pub fn empty(&self, path: &str) -> Section {
        self.make(path, Table::new())
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All mistakes that were noted, and every section that nobody has read.
    pub fn finish(self) -> Result<(), Mistakes> {
        for (name, value) in &self.table {
            match value {
                Value::Table(table) if self.parted.contains(name) => table.keys().for_each(|key| {
                    self.note(format!("{}: {name}.{key}: is not a key that Penstock knows here", self.file));
                }),
                _ => self.note(format!("{}: {name}: is not a section that Penstock knows", self.file)),
            }
        }
        let mistakes = std::mem::take(&mut self.notes.borrow_mut().mistakes);
        if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
    }

    /// The keys that were asked for so far, such as `ingress.listen`: what the commented example must hold.
    pub fn keys_read(&self) -> BTreeSet<String> {
        self.notes.borrow().read.clone()
    }

    fn make(&self, path: &str, table: Table) -> Section {
        Section {
            file: self.file.clone(),
            path: path.to_owned(),
            table,
            environment: self.environment.clone(),
            notes: self.notes.clone(),
        }
    }

    fn note(&self, mistake: String) {
        self.notes.borrow_mut().mistakes.push(mistake);
    }
}

/// What a file sets, key by key: `ingress.queue` and its value. A list of sections counts as one.
///
/// # Errors
/// When it is not TOML.
pub fn settings(text: &str) -> Result<BTreeMap<String, String>, String> {
    fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
        match value {
            Value::Table(table) => {
                for (key, value) in table {
                    walk(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, found);
                }
            }
            value => drop(found.insert(path.to_owned(), value.to_string())),
        }
    }
    let table = text.parse::<Table>().map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    walk("", &Value::Table(table), &mut found);
    Ok(found)
}

/// A variable's text as a value: a text if that fits, else what TOML would read (`3`, `true`, `["a"]`).
fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    if let Ok(value) = Value::String(text.to_owned()).try_into() {
        return Ok(value);
    }
    let mut table = format!("v = {text}").parse::<Table>().map_err(|_| format!("`{text}` is not a value that fits"))?;
    let value = table.remove("v").ok_or("has no value")?;
    value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

fn to_json(value: Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.into(),
        Value::Integer(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Boolean(truth) => truth.into(),
        Value::Datetime(moment) => moment.to_string().into(),
        Value::Array(values) => values.into_iter().map(to_json).collect(),
        Value::Table(table) => table.into_iter().map(|(key, value)| (key, to_json(value))).collect(),
    }
}

/// Reads `512`, `64KB`, `32MB`, `1GB`; each unit is 1024 of the one before.
fn parse_size(text: &str) -> Option<usize> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize = text[..at].parse().ok()?;
    let unit = match text[at..].trim() {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn document(text: &str, environment: &[(&str, &str)]) -> Document {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Document::read("p.toml", text, environment).unwrap()
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_file_and_key() {
        let mut doc = document("[a]\nlisten = 3\nlimt = 1\nwait = \"5 days\"\n[b]\n", &[]);
        let mut a = doc.section("a");
        assert_eq!(a.get::<String>("listen"), None);
        assert_eq!(a.duration("wait"), None);
        drop(a);
        let Mistakes(mistakes) = doc.finish().unwrap_err();
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
        for (mistake, start) in
            mistakes.iter().zip(["p.toml: a.listen: ", "p.toml: a.wait: ", "p.toml: a.limt: ", "p.toml: b: "])
        {
            assert!(mistake.starts_with(start), "{mistake}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let mut doc = document("[a]\nx = 1\n", &[("PENSTOCK_A_X", "2"), ("PENSTOCK_A_Y", "[\"u\", \"v\"]")]);
        let mut a = doc.section("a");
        assert_eq!(a.or("x", 0), 2);
        assert_eq!(a.get::<Vec<String>>("y").unwrap(), ["u", "v"]);
    }

    #[test]
    fn a_section_may_be_read_by_two_roles_and_what_neither_reads_is_a_mistake() {
        let mut doc = document("[a]\nx = 1\ny = 2\nz = 3\n", &[]);
        assert_eq!((doc.part("a", &["x"]).or("x", 0), doc.part("a", &["y"]).or("y", 0)), (1, 2));
        assert_eq!(doc.part("b", &["x"]).or("x", 7), 7);
        let Mistakes(mistakes) = doc.finish().unwrap_err();
        assert_eq!(mistakes, ["p.toml: a.z: is not a key that Penstock knows here"]);
        let mut doc = document("a = 1\n", &[]);
        doc.part("a", &["x"]);
        assert!(doc.finish().is_err());
    }

    #[test]
    fn times_and_sizes() {
        for (text, millis) in [("500ms", 500), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)));
        }
        for bad in ["", "5", "s", "-5s", "5d", "1.5s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert_eq!((parse_size("64KB"), parse_size("7"), parse_size("7MiB")), (Some(65_536), Some(7), None));
    }
}
