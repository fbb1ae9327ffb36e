//! How answers are printed: a table for people, JSON for programs, CSV for spreadsheets. Knows nothing of what they say.

use crate::Format;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Prints rows under their column names; `value` is the same answer for programs.
pub(crate) fn print<R: AsRef<[String]>>(
    format: Format,
    columns: &[&str],
    rows: &[R],
    value: &impl Serialize,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
        Format::Table => table(columns, rows),
        Format::Csv => {
            let head = columns.join(",");
            let lines =
                rows.iter().map(|row| row.as_ref().iter().map(|cell| quote(cell)).collect::<Vec<_>>().join(","));
            std::iter::once(head).chain(lines).map(|line| line + "\n").collect()
        }
    };
    write(text.as_bytes())
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no error.
pub(crate) fn write(bytes: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn table<R: AsRef<[String]>>(columns: &[&str], rows: &[R]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(at)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(columns[at].len())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut columns.iter().copied());
    for row in rows {
        text += &line(&mut row.as_ref().iter().map(String::as_str));
    }
    text
}

fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}
