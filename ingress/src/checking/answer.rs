//! An answer as its caller got it, read back: its text, and the tools that it asks for. Every dialect's own reader does that;
//! this knows the agnostic form alone.

use super::CHECKED_BYTES;
use bytes::Bytes;
use penstock_dialects::provider::{Form, Step, Wanted};
use penstock_dialects::{answers, format_of};
use penstock_schemas::asked_tools::AskedTools;
use penstock_schemas::chat::{Completion, CompletionChunk, Content};
use penstock_schemas::envelope::{Delivery, Dialect, Operation};

/// What the first choice says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SaidAnswer {
    pub(super) text: String,
    /// By the caller's names.
    pub(super) tools: AskedTools,
    /// The model or its filter declined.
    pub(super) is_refused: bool,
}

impl SaidAnswer {
    /// Reads it; `None` when it is none, or in a form that is around the dialect.
    pub(super) fn read(dialect: Dialect, delivery: Delivery, answer: &[u8]) -> Option<Self> {
        let wanted = Wanted { operation: Operation::Chat, form: Form::Agnostic, delivery };
        let (mut said, answer) = (Self::default(), Bytes::copy_from_slice(answer));
        if delivery.is_stream() {
            said.read_stream(dialect, wanted, &answer)?;
            return Some(said);
        }
        let whole = answers::read_whole(format_of(dialect), wanted, &answer).ok()?;
        let completion: Completion = serde_json::from_slice(&whole.bytes).ok()?;
        let choice = completion.choices.into_iter().next()?;
        said.tools = whole.observed.tools;
        said.note(choice.message.refusal.as_deref(), choice.finish_reason.as_deref());
        said.text = match choice.message.content {
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts.iter().filter_map(super::text_of).collect(),
            None => String::new(),
        };
        Some(said)
    }

    fn read_stream(&mut self, dialect: Dialect, wanted: Wanted, answer: &Bytes) -> Option<()> {
        let format = format_of(dialect);
        let (mut cutter, mut reader) = (format.framing().cutter(CHECKED_BYTES), answers::reader(format, wanted));
        cutter.push(answer);
        while let Some(event) = cutter.next_event().ok()? {
            if let Step::Hold(bytes) | Step::Content(bytes) = reader.read(&event).ok()? {
                self.add(&bytes);
            }
        }
        if let Some(event) = cutter.finish().ok()?
            && let Step::Hold(bytes) | Step::Content(bytes) = reader.read(&event).ok()?
        {
            self.add(&bytes);
        }
        self.add(&reader.finish().ok()?);
        self.tools = reader.observed().tools.clone();
        Some(())
    }

    /// Adds the chunks of some bytes.
    fn add(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: ")) {
            let Ok(chunk) = serde_json::from_slice::<CompletionChunk>(line) else { continue };
            for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
                self.text.push_str(choice.delta.content.as_deref().unwrap_or_default());
                self.note(choice.delta.refusal.as_deref(), choice.finish_reason.as_deref());
            }
        }
    }

    fn note(&mut self, refusal: Option<&str>, finish: Option<&str>) {
        self.is_refused |= refusal.is_some_and(|refusal| !refusal.is_empty()) || finish == Some("content_filter");
    }
}
