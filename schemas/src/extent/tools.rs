//! The tools of a request: those that the caller runs, of which only the length counts, and those that the provider runs by
//! itself, which make it read everything again and again. A tool that names a model of its own is refused: that model
//! is neither checked against the caller's models nor priced.

use super::cursor::{Cursor, Kind, Names, folded};
use super::other_model::{OTHER_MODEL, names_model};
use super::{BadRequest, Extent, OWN_TURNS};
use crate::dialect::Dialect;

/// Tools that only the caller can run, by the beginning of their type.
const CALLERS: [&str; 10] = [
    "function",
    "custom",
    "bash_",
    "text_editor_",
    "computer",
    "memory_",
    "local_shell",
    "apply_patch",
    "namespace",
    "tool_search",
];

/// Tools of one request, and names in the choice among them: each is compared with the others.
pub(super) const MOST_TOOLS: usize = 2_048;

/// That the provider may work by itself; so many times, where the request says so.
pub(super) fn own(found: &mut Extent, times: u64) {
    found.own_turns = found.own_turns.saturating_add(times).max(OWN_TURNS);
}

/// Reads a list of tools.
pub(super) fn list(cursor: &mut Cursor<'_>, dialect: Dialect, found: &mut Extent) -> Result<(), BadRequest> {
    found.has_tools = true;
    let is_google = dialect.form() == Dialect::Google;
    let mut within = 0;
    match cursor.kind()? {
        Kind::List => cursor
            .list(|cursor| match (cursor.kind()?, is_google) {
                (Kind::Object, true) => google(cursor, found).map(|count| within += count),
                (Kind::Object, false) => tool(cursor, found).map(|count| within += count),
                _ => cursor.skip(),
            })
            .and_then(|count| cursor.at_most(if is_google { count.max(within) } else { count + within }, MOST_TOOLS)),
        Kind::Object if is_google => google(cursor, found).map(drop), // a list of one, as Google's servers read it
        _ => cursor.skip(),
    }
}

/// Google's: every field but the caller's functions is a tool of the provider's. How many functions it declares.
fn google(cursor: &mut Cursor<'_>, found: &mut Extent) -> Result<usize, BadRequest> {
    let mut functions = 0;
    cursor.object(Names::Folded, |cursor, name| {
        let plain = folded(name);
        let (is_callers, kind) = (matches!(plain.as_ref(), "functiondeclarations" | "computeruse"), cursor.kind()?);
        if plain == "functiondeclarations" && kind == Kind::List {
            functions = cursor.list(Cursor::skip)?;
            return cursor.at_most(functions, MOST_TOOLS);
        }
        if is_callers || kind == Kind::Null {
            return cursor.skip();
        }
        own(found, 0);
        let mut with_model = None;
        seek_model(cursor, &mut with_model)?;
        with_model.map_or(Ok(()), Err)
    })?;
    Ok(functions)
}

/// Who runs a tool, as far as it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// Its type does not say, and it has no name: not known.
    Nobody,
    /// It has a name, as the caller's functions have.
    Named,
    Caller,
    Provider,
}

/// Reads a tool; how many it holds itself.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "stops at both ends, as is wanted")]
fn tool(cursor: &mut Cursor<'_>, found: &mut Extent) -> Result<usize, BadRequest> {
    let (mut runner, mut times, mut with_model, mut within) = (Runner::Nobody, 0, None, 0);
    cursor.object(Names::Exact, |cursor, name| match (name, cursor.kind()?) {
        (_, Kind::Null) => cursor.skip(),
        // A group of tools.
        ("tools", Kind::List) => {
            within = cursor.list(|cursor| match cursor.kind()? {
                Kind::Object => tool(cursor, found).map(drop),
                _ => cursor.skip(),
            })?;
            Ok(())
        }
        // The larger its memory, the dearer it is.
        ("container" | "environment", Kind::Object) => cursor.object(Names::Exact, |cursor, name| {
            found.is_priority |= name == "memory_limit" && cursor.kind()? != Kind::Null && !cursor.is_next("\"1g\"");
            cursor.skip()
        }),
        ("type", Kind::Text) => {
            let kind = cursor.text()?;
            let is_callers = CALLERS.iter().any(|callers| kind.starts_with(callers));
            runner = if is_callers { Runner::Caller } else { Runner::Provider };
            // The images are another model's, at prices of its own.
            found.is_priority |= kind.starts_with("image_generation");
            Ok(())
        }
        ("max_uses", Kind::Number) => {
            let number: f64 = cursor.scalar()?.parse().unwrap_or(f64::INFINITY);
            times = number.max(0.0).ceil() as u64;
            Ok(())
        }
        ("max_uses", _) => Err(cursor.wrong("it must be a whole number")),
        ("name" | "function" | "custom" | "toolSpec" | "cachePoint", _) if runner == Runner::Nobody => {
            runner = Runner::Named;
            cursor.skip()
        }
        (_, kind) if runner != Runner::Caller => {
            if names_model(&folded(name), kind) && with_model.is_none() {
                with_model = Some(cursor.wrong(OTHER_MODEL));
            }
            seek_model(cursor, &mut with_model)
        }
        _ => cursor.skip(),
    })?;
    if matches!(runner, Runner::Caller | Runner::Named) {
        return Ok(within);
    }
    own(found, times);
    with_model.map_or(Ok(within), Err)
}

/// Looks for a model that is named anywhere in the value here.
fn seek_model(cursor: &mut Cursor<'_>, named: &mut Option<BadRequest>) -> Result<(), BadRequest> {
    match cursor.kind()? {
        Kind::Object => cursor.object(Names::Exact, |cursor, name| {
            let kind = cursor.kind()?;
            if named.is_none() && names_model(&folded(name), kind) {
                *named = Some(cursor.wrong(OTHER_MODEL));
            }
            seek_model(cursor, named)
        }),
        Kind::List => cursor.list(|cursor| seek_model(cursor, named)).map(drop),
        _ => cursor.skip(),
    }
}
