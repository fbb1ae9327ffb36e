//! What a statement's text asks for, and what is refused before the engine sees it. Pure; knows no engine and no HTTP.
//!
//! The engine guards most of this itself: `config.rs` grants it no file, no network and no user management. Left to us
//! is what it does as ClickHouse's *client*, with the process's own rights: reading and writing files by INFILE and
//! OUTFILE, client commands such as `exit` (which it would answer with success), and the function `file`.

use crate::exception::{Exception, Kind as Error};
use crate::ffi::{Analysis, Effect};
use crate::tokens::{Kind, Token, tokens};
use std::ops::Range;

/// A statement that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// An INSERT with data: its text up to FORMAT or VALUES, the data's format, and where the data begins.
    Insert { head: Range<usize>, format: String, data: usize },
    /// Anything else; the whole text is the statement.
    Other,
}

/// The words that a statement may begin with.
const OPENINGS: [&str; 24] = [
    "SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "CHECK", "INSERT", "CREATE", "REPLACE",
    "ALTER", "DROP", "RENAME", "EXCHANGE", "TRUNCATE", "OPTIMIZE", "DELETE", "UPDATE", "USE", "SET", "SYSTEM", "KILL",
];
/// Words that begin statements which touch files, users or what the server is made of.
const CLOSED: [&str; 16] = [
    "ATTACH", "DETACH", "BACKUP", "RESTORE", "COPY", "SNAPSHOT", "GRANT", "REVOKE", "EXECUTE", "MOVE", "UNDROP",
    "BEGIN", "START", "COMMIT", "ROLLBACK", "WATCH",
];

/// Of the statements that control the engine instead of reading or writing: those that may. Temporary tables are among them.
const CONTROLS: [&str; 7] = ["SET", "USE", "SYSTEM", "KILL", "CREATE", "DROP", "INSERT"];

/// Reads a text that begins with a statement; an INSERT's data may follow it.
pub(crate) fn parse(text: &[u8], parameters: &[(String, String)]) -> Result<Statement, Exception> {
    let opening = tokens(text).next().ok_or_else(empty)?;
    let opens = |words: &[&str]| words.iter().any(|word| opening.is(word));
    if opens(&CLOSED) {
        return Err(unavailable(&opening));
    }
    if !(opening.is_mark(b'(') || opens(&OPENINGS)) {
        let shown: String = String::from_utf8_lossy(opening.text).chars().take(40).collect();
        return Err(Exception::new(
            Error::SyntaxError,
            format_args!(
                "Syntax error: failed at position {}: {shown} begins no statement that may be run here",
                opening.start + 1
            ),
        ));
    }
    let statement = if opening.is("INSERT") { insert(text) } else { Statement::Other };
    let checked = match &statement {
        Statement::Insert { head, format, .. } if !is_values(format) => &text[head.clone()],
        Statement::Insert { .. } | Statement::Other => text,
    };
    refuse_files(checked)?;
    refuse_hidden_names(checked, parameters)?;
    Ok(statement)
}

/// VALUES hold expressions, which the engine evaluates: they are checked like the statement itself.
pub(crate) fn is_values(format: &str) -> bool {
    format.eq_ignore_ascii_case("Values")
}

/// The last check, with the engine's own report on the statement.
pub(crate) fn permit(text: &[u8], analysis: Analysis, only_reading: bool) -> Result<(), Exception> {
    let opening = tokens(text).next();
    let opens = |words: &[&str]| opening.is_some_and(|token| words.iter().any(|word| token.is(word)));
    if analysis.statements > 1 {
        return Err(Exception::new(
            Error::SyntaxError,
            "Syntax error (Multi-statements are not allowed): send one statement per request",
        ));
    }
    if analysis.effect == Effect::Controls && !opens(&CONTROLS) {
        return Err(opening.map_or_else(empty, |token| unavailable(&token)));
    }
    if only_reading && !(analysis.effect == Effect::Reads || opens(&["SET", "USE"])) {
        return Err(Exception::new(
            Error::Readonly,
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. \
             You should use method POST for modifying queries",
        ));
    }
    Ok(())
}

/// `{name:Identifier}` would let a parameter name the function `file`.
fn refuse_hidden_names(text: &[u8], parameters: &[(String, String)]) -> Result<(), Exception> {
    let hides = |value: &str| value.contains('\\') || value.trim_matches(['`', '"', ' ']).eq_ignore_ascii_case("file");
    let names_come_from_outside = tokens(text).any(|token| token.is("Identifier"));
    if names_come_from_outside && parameters.iter().any(|(_, value)| hides(value)) {
        return Err(refused("an Identifier parameter with this value is"));
    }
    Ok(())
}

fn refuse_files(text: &[u8]) -> Result<(), Exception> {
    let lower = text.to_ascii_lowercase();
    for word in ["infile", "outfile"] {
        if memchr::memmem::find(&lower, word.as_bytes()).is_some() {
            return Err(refused(&format!("the word {} is", word.to_ascii_uppercase())));
        }
    }
    let mut previous: Option<Token<'_>> = None;
    for token in tokens(text) {
        if token.is_mark(b'(') && previous.is_some_and(|token| is_named(&token, "disk")) {
            return Err(refused("a disk of one's own is"));
        }
        previous = Some(token);
        match token.kind {
            Kind::Unclear => return Err(unclear(&token)),
            Kind::Name if token.text.contains(&b'\\') => return Err(refused("escapes in quoted names are")),
            Kind::Word | Kind::Name if is_named(&token, "file") => return Err(refused("the name file is")),
            Kind::Word | Kind::Name | Kind::Text | Kind::Mark => {}
        }
    }
    Ok(())
}

fn is_named(token: &Token<'_>, name: &str) -> bool {
    let quoted = || &token.text[1..token.text.len() - 1];
    token.is(name) || (token.kind == Kind::Name && quoted().eq_ignore_ascii_case(name.as_bytes()))
}

fn empty() -> Exception {
    Exception::new(Error::SyntaxError, "Empty query")
}

fn unavailable(opening: &Token<'_>) -> Exception {
    let word = String::from_utf8_lossy(opening.text).to_ascii_uppercase();
    Exception::new(Error::QueryNotAllowed, format_args!("This {word} is not available in the embedded ClickHouse"))
}

fn refused(what: &str) -> Exception {
    Exception::new(
        Error::QueryNotAllowed,
        format_args!("The embedded ClickHouse reads and writes no files: {what} refused"),
    )
}

fn unclear(token: &Token<'_>) -> Exception {
    Exception::new(
        Error::SyntaxError,
        format_args!(
            "Syntax error: failed at position {}: an unfinished quote or comment, a heredoc, or a character that may stand \
             in quotes only",
            token.start + 1
        ),
    )
}

/// Finds an INSERT's data, by the engine's own rule: after FORMAT's name come blanks, at most one line break, and the data.
fn insert(text: &[u8]) -> Statement {
    let mut depth = 0_usize;
    let mut previous: Option<Token<'_>> = None;
    let mut all = tokens(text);
    while let Some(token) = all.next() {
        let named = previous.is_some_and(|token| token.is("INTO") || token.is("TABLE") || token.is_mark(b'.'));
        match token {
            _ if token.is_mark(b'(') => depth += 1,
            _ if token.is_mark(b')') => depth = depth.saturating_sub(1),
            _ if named => {}
            _ if token.is("SELECT") && (depth == 0 || previous.is_some_and(|token| token.is_mark(b'('))) => break,
            _ if depth > 0 => {}
            _ if token.is("WITH") || token.kind == Kind::Unclear => break,
            _ if token.is("VALUES") => {
                return Statement::Insert { head: 0..token.start, format: "Values".to_owned(), data: token.end() };
            }
            _ if token.is("FORMAT") => {
                let Some(name) = all.next().filter(|name| name.kind == Kind::Word) else { break };
                let format = String::from_utf8_lossy(name.text).into_owned();
                return Statement::Insert { head: 0..token.start, format, data: data_after(text, name.end()) };
            }
            _ => {}
        }
        previous = Some(token);
    }
    Statement::Other
}

fn data_after(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | 0x0c)) {
        at += 1;
    }
    if text.get(at) == Some(&b';') && text[at + 1..].iter().all(u8::is_ascii_whitespace) {
        return text.len();
    }
    if text.get(at) == Some(&b'\r') {
        at += 1;
    }
    if text.get(at) == Some(&b'\n') {
        at += 1;
    }
    at
}

/// The format that a statement names for its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    Default,
    Named(String),
    /// The word FORMAT stands somewhere, perhaps as a name.
    Unclear,
}

pub(crate) fn output_format(text: &[u8]) -> OutputFormat {
    let all: Vec<Token<'_>> = tokens(text).collect();
    let Some(at) = all.iter().rposition(|token| token.is("FORMAT")) else { return OutputFormat::Default };
    let name = all.get(at + 1).filter(|name| name.kind == Kind::Word);
    let last = all.get(at + 2).is_none_or(|token| token.is("SETTINGS") || token.is_mark(b';'));
    match name {
        Some(name) if last => OutputFormat::Named(String::from_utf8_lossy(name.text).into_owned()),
        _ => OutputFormat::Unclear,
    }
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
