//! A form that arrives with a file in it: its fields are collected, its file goes on while it comes. However long the file,
//! no more of it is held than one piece of the socket's. Knows nothing of what the fields mean.

use super::{ArrivingBody, refused};
use crate::http::body::{header, refuse_encoded};
use crate::refusal::Refusal;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use penstock_dialects::client::WrongRequest;
use penstock_runtime::bus::{FileError, FileWriter, PartWriter};
use penstock_schemas::form::{BadForm, FormPiece, FormReader, PartHead};
use std::time::Duration;

/// The longest value of a field that is no file, in bytes.
const LONGEST_FIELD: usize = 4 * 1024;

/// What a form may take besides its file, in bytes: heads of parts and fields.
const BESIDES: u64 = 1 << 20;

/// Where the bytes of a file go.
pub(crate) enum Sink {
    /// Into a file.
    File(FileWriter),
    /// Into a part of an upload.
    Part(PartWriter),
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        match self {
            Self::File(writer) => writer.write(bytes).await,
            Self::Part(writer) => writer.write(bytes).await,
        }
    }
}

/// What a form held.
pub(crate) struct Collected {
    /// Its fields, by their names; each is there once.
    pub(crate) fields: Vec<(String, String)>,
    /// The head of its file, and where its bytes went.
    pub(crate) file: Option<(PartHead, Sink)>,
}

impl Collected {
    /// The value of a field.
    pub(crate) fn field(&self, wanted: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}

/// A form on its way.
pub(crate) struct ArrivingForm {
    reader: FormReader,
    /// The length of the body, where its head tells it.
    announced: Option<u64>,
    arriving: ArrivingBody,
}

/// The part of a form that is the file, and what must hold of it and of the fields in front of it before it is taken.
#[derive(Clone, Copy)]
pub(crate) struct FileField {
    pub(crate) name: &'static str,
    pub(crate) check: fn(&PartHead, &Collected) -> Result<(), Refusal>,
}

/// What has come of a form so far.
struct Gathering {
    collected: Collected,
    current: Current,
    /// Of the field that is coming.
    value: Vec<u8>,
}

/// Where the bytes of the part go that is coming.
#[derive(Clone, Copy)]
enum Current {
    Nowhere,
    Field,
    File,
}

impl ArrivingForm {
    /// A form whose head has come; its file may have so many bytes.
    ///
    /// # Errors
    /// When the head already says that it is none, or too long.
    pub(crate) fn announced(headers: &HeaderMap, limit: u64, body_timeout: Duration) -> Result<Self, Refusal> {
        refuse_encoded(headers)?;
        let content_type =
            headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("multipart/form-data") {
            return Err(Refusal::NoForm(content_type.chars().take(100).collect()));
        }
        let wrong = |bad: BadForm| {
            Refusal::Wrong(WrongRequest::WrongHeader {
                header: "content-type",
                why: format!("as that of a form, {bad}"),
            })
        };
        let reader = FormReader::new(content_type).map_err(wrong)?;
        let announced = header(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        if announced.is_some_and(|length| length > limit.saturating_add(BESIDES)) {
            return Err(Refusal::FileTooLong { limit });
        }
        Ok(Self { reader, announced, arriving: ArrivingBody::new((limit, BESIDES), body_timeout) })
    }

    /// How long its file is at most, as far as its head tells, in bytes.
    pub(crate) fn most(&self) -> u64 {
        self.announced.map_or(0, |length| length.min(self.arriving.limit()))
    }

    /// Reads all of it. The file goes where `open` says, which is asked once it comes.
    ///
    /// # Errors
    /// When it is no form, has two files, is too long or too slow, or the store does not take it.
    pub(crate) async fn collect<F>(
        mut self,
        mut body: Body,
        file: FileField,
        open: impl FnOnce() -> F + Send,
    ) -> Result<Collected, Refusal>
    where
        F: Future<Output = Result<Sink, Refusal>> + Send,
    {
        let mut open = Some(open);
        let mut gathering = Gathering::new();
        while let Some(bytes) = self.arriving.next(&mut body).await? {
            self.reader.push(&bytes);
            while let Some(piece) = self.reader.next_piece().map_err(bad)? {
                match piece {
                    FormPiece::Part(head) if head.name == file.name => {
                        gathering.settle()?;
                        let open = open.take().ok_or_else(|| twice(file.name))?;
                        (file.check)(&head, &gathering.collected)?;
                        gathering.begin_file(head, open().await?);
                    }
                    FormPiece::Part(head) => gathering.begin_field(head)?,
                    FormPiece::Value(bytes) => gathering.take(&bytes).await?,
                    FormPiece::End => gathering.settle()?,
                }
            }
        }
        self.reader.finish().map_err(bad)?;
        Ok(gathering.collected)
    }
}

fn bad(bad: BadForm) -> Refusal {
    Refusal::Wrong(WrongRequest::WrongField { field: "body", why: format!("as a form, {bad}") })
}

/// The name of a field as a refusal may repeat it.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

fn twice(name: &str) -> Refusal {
    Refusal::Wrong(WrongRequest::WrongPart { place: short(name), why: "it stands there twice: send one".to_owned() })
}

impl Gathering {
    fn new() -> Self {
        let collected = Collected { fields: Vec::new(), file: None };
        Self { collected, current: Current::Nowhere, value: Vec::new() }
    }

    fn begin_file(&mut self, head: PartHead, sink: Sink) {
        self.collected.file = Some((head, sink));
        self.current = Current::File;
    }

    fn begin_field(&mut self, head: PartHead) -> Result<(), Refusal> {
        self.settle()?;
        if self.collected.field(&head.name).is_some() {
            return Err(twice(&head.name));
        }
        self.collected.fields.push((head.name, String::new()));
        self.current = Current::Field;
        Ok(())
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match (self.current, &mut self.collected.file) {
            (Current::File, Some((_, sink))) => sink.write(bytes).await.map_err(refused),
            (Current::Field, _) if self.value.len() + bytes.len() > LONGEST_FIELD => {
                let place = self.collected.fields.last().map(|(name, _)| short(name)).unwrap_or_default();
                Err(Refusal::Wrong(WrongRequest::WrongPart {
                    place,
                    why: format!("it is longer than {LONGEST_FIELD} bytes"),
                }))
            }
            _ => {
                self.value.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The part that was coming is complete.
    fn settle(&mut self) -> Result<(), Refusal> {
        if let (Current::Field, Some((name, settled))) = (self.current, self.collected.fields.last_mut()) {
            let text = String::from_utf8(std::mem::take(&mut self.value));
            *settled = text.map_err(|_| {
                Refusal::Wrong(WrongRequest::WrongPart { place: short(name), why: "it must be UTF-8".to_owned() })
            })?;
        }
        self.current = Current::Nowhere;
        Ok(())
    }
}
