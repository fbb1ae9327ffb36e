//! The tools of a request: those that the caller runs, of which only the length counts, and those that the provider runs by
//! itself, which make it read everything again and again. A tool that names a model of its own is refused: that model
//! is neither checked against the caller's models nor priced.

use super::cursor::{Cursor, Kind, Names, folded};
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

/// Why a field that leads to another model is refused.
pub(super) const OTHER_MODEL: &str = "it leads to another model than `model`, which is neither checked nor paid for: ask \
                                      for that model, or for a virtual model with several targets";

/// Tools of one request, and names in the choice among them: each is compared with the others.
pub const MOST_TOOLS: usize = 2_048;

/// That the provider may work by itself; so many times, where the request says so.
pub(super) fn own(found: &mut Extent, times: u64) {
    found.own_turns = found.own_turns.saturating_add(times).max(OWN_TURNS);
}

/// Reads the list of tools.
pub(super) fn list(cursor: &mut Cursor<'_>, dialect: Dialect, found: &mut Extent) -> Result<(), BadRequest> {
    found.has_tools = true;
    let is_google = dialect.form() == Dialect::Google;
    match cursor.kind()? {
        Kind::List => cursor
            .list(|cursor| match (cursor.kind()?, is_google) {
                (Kind::Object, true) => google(cursor, found),
                (Kind::Object, false) => tool(cursor, found),
                _ => cursor.skip(),
            })
            .and_then(|count| cursor.at_most(count, MOST_TOOLS)),
        Kind::Object if is_google => google(cursor, found), // a list of one, as Google's servers read it
        _ => cursor.skip(),
    }
}

/// Google's: every field but the caller's functions is a tool of the provider's.
fn google(cursor: &mut Cursor<'_>, found: &mut Extent) -> Result<(), BadRequest> {
    cursor.object(Names::Folded, |cursor, name| {
        let plain = folded(name);
        let is_callers = matches!(plain.as_ref(), "functiondeclarations" | "computeruse");
        if !is_callers && cursor.kind()? != Kind::Null {
            own(found, 0);
        }
        if plain == "functiondeclarations" && cursor.kind()? == Kind::List {
            return cursor.list(Cursor::skip).and_then(|count| cursor.at_most(count, MOST_TOOLS));
        }
        cursor.skip()
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "stops at both ends, as is wanted")]
fn tool(cursor: &mut Cursor<'_>, found: &mut Extent) -> Result<(), BadRequest> {
    let (mut is_callers, mut times, mut with_model) = (true, 0, None);
    cursor.object(Names::Exact, |cursor, name| match (name, cursor.kind()?) {
        (_, Kind::Null) => cursor.skip(),
        ("model" | "models", _) => {
            with_model = Some(cursor.wrong(OTHER_MODEL));
            cursor.skip()
        }
        // The larger its memory, the dearer it is.
        ("container" | "environment", Kind::Object) => cursor.object(Names::Exact, |cursor, name| {
            found.is_priority |= name == "memory_limit" && cursor.kind()? != Kind::Null && !cursor.is_next("\"1g\"");
            cursor.skip()
        }),
        ("type", Kind::Text) => {
            let kind = cursor.text()?;
            is_callers = CALLERS.iter().any(|callers| kind.starts_with(callers));
            Ok(())
        }
        ("max_uses", Kind::Number) => {
            let number: f64 = cursor.scalar()?.parse().unwrap_or(f64::INFINITY);
            times = number.max(0.0).ceil() as u64;
            Ok(())
        }
        ("max_uses", _) => Err(cursor.wrong("it must be a whole number")),
        _ => cursor.skip(),
    })?;
    if is_callers {
        return Ok(());
    }
    own(found, times);
    with_model.map_or(Ok(()), Err)
}
