//! What is said in a request: texts, and the images, files and references among them, by the types of their parts. What a
//! tool was called with, or has answered, is the caller's own JSON, and never read.

use super::cursor::{Cursor, Kind, Names, folded};
use super::kind::RequestKind;
use super::{BadRequest, Extent, tools};

/// Values that are the caller's own, or say again what is counted elsewhere.
const OPAQUE: [&str; 15] = [
    "arguments",
    "args",
    "response",
    "cachecontrol",
    "citations",
    "annotations",
    "action",
    "logprobs",
    "caller",
    "reasoningdetails",
    "queries",
    "results",
    "metadata",
    "videometadata",
    "thoughtsignature",
];

/// Kinds of parts that are images.
const IMAGES: [&str; 6] =
    ["image_url", "input_image", "image", "image_file", "computer_screenshot", "image_generation_call"];

/// Kinds of parts of any length.
const FILES: [&str; 13] = [
    "file",
    "input_file",
    "document",
    "document_url",
    "input_audio",
    "audio",
    "audio_url",
    "input_video",
    "video",
    "video_url",
    "container_upload",
    "item_reference",
    "media",
];

/// Kinds of parts that are calls of tools.
const CALLS: [&str; 3] = ["tool_use", "function_call", "custom_tool_call"];

/// What an object says of itself.
#[derive(Default)]
struct Said {
    is_image: bool,
    is_file: bool,
    /// Its words stand in it.
    is_plain: bool,
}

/// Reads a value of content: a text, a part, or lists of them.
pub(super) fn read(cursor: &mut Cursor<'_>, of: RequestKind, found: &mut Extent) -> Result<(), BadRequest> {
    match cursor.kind()? {
        Kind::Object => object(cursor, of, found),
        Kind::List => cursor.list(|cursor| read(cursor, of, found)).map(drop),
        Kind::Null | Kind::Bool | Kind::Number | Kind::Text => cursor.skip(),
    }
}

fn object(cursor: &mut Cursor<'_>, of: RequestKind, found: &mut Extent) -> Result<(), BadRequest> {
    cursor.count_piece()?;
    let mut said = Said::default();
    cursor.object(of.names(), |cursor, name| member(cursor, of, name, (found, &mut said)))?;
    if said.is_image {
        found.images = found.images.saturating_add(1);
    } else if said.is_file && !said.is_plain {
        found.is_open = true;
    }
    Ok(())
}

fn member(
    cursor: &mut Cursor<'_>,
    of: RequestKind,
    name: &str,
    (found, said): (&mut Extent, &mut Said),
) -> Result<(), BadRequest> {
    let kind = cursor.kind()?;
    match (folded(name).as_ref(), kind) {
        (_, Kind::Null) => cursor.skip(),
        ("type", Kind::Text) => {
            let kind = cursor.text()?;
            if CALLS.contains(&kind.as_ref()) {
                cursor.count_call()?;
            }
            said.is_image |= IMAGES.contains(&kind.as_ref());
            said.is_file |= FILES.contains(&kind.as_ref());
            Ok(())
        }
        ("imageurl" | "image", _) => {
            said.is_image = true;
            cursor.skip()
        }
        ("inlinedata" | "filedata", Kind::Object) => data(cursor, said),
        (
            "file" | "fileid" | "filedata" | "fileuri" | "fileurl" | "inputaudio" | "audio" | "audiourl" | "video"
            | "videourl" | "documenturl",
            _,
        ) => {
            said.is_file = true;
            cursor.skip()
        }
        ("toolcalls", Kind::List) => {
            let each = |cursor: &mut Cursor<'_>| cursor.count_call().and_then(|()| read(cursor, of, found));
            cursor.list(each).map(drop)
        }
        ("functioncall", Kind::Object) => {
            cursor.count_call()?;
            read(cursor, of, found)
        }
        // Tools that are loaded in the middle of a conversation.
        ("tools", Kind::List) => tools::list(cursor, of.dialect, found),
        // The words of a document may stand in it.
        ("source", Kind::Object) => source(cursor, of, found, said),
        ("input", Kind::Object) => cursor.skip(),
        (name, _) if OPAQUE.contains(&name) => cursor.skip(),
        _ => read(cursor, of, found),
    }
}

/// Google's data: by its media type an image, or anything.
fn data(cursor: &mut Cursor<'_>, said: &mut Said) -> Result<(), BadRequest> {
    let mut is_image = false;
    cursor.object(Names::Folded, |cursor, name| {
        if folded(name) == "mimetype" && cursor.kind()? == Kind::Text {
            is_image = cursor.text()?.to_ascii_lowercase().starts_with("image/");
            return Ok(());
        }
        cursor.skip()
    })?;
    if is_image {
        said.is_image = true;
    } else {
        said.is_file = true;
    }
    Ok(())
}

/// Where Anthropic's images and documents come from.
fn source(cursor: &mut Cursor<'_>, of: RequestKind, found: &mut Extent, said: &mut Said) -> Result<(), BadRequest> {
    cursor.object(of.names(), |cursor, name| match (name, cursor.kind()?) {
        ("type", Kind::Text) => {
            said.is_plain = matches!(cursor.text()?.as_ref(), "text" | "content");
            Ok(())
        }
        ("content", _) => read(cursor, of, found),
        _ => cursor.skip(),
    })
}
