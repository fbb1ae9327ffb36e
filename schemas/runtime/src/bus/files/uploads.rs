//! Uploads: files that arrive in parts, each a content of its own, and become one file without being copied. Knows nothing of
//! HTTP. Source: <https://platform.openai.com/docs/api-reference/uploads>.

use super::content::ContentWriter;
use super::{FileError, FileQuota, Files};
use crate::bus::BusError;
use crate::clock;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use penstock_schemas::UnixMicros;
use penstock_schemas::file::{
    FileDescription, FileEntry, FileId, PartId, Segment, StoredFile, Upload, UploadId, UploadPart, UploadStatus,
};
use penstock_schemas::key::VirtualKey;
use penstock_schemas::name::{KeyId, ProjectId};
use penstock_schemas::{hex, place};
use ring::digest::{Context, SHA256};
use std::collections::HashSet;
use std::time::Duration;
use tracing::warn;
use uuid::Uuid;

/// How long an upload takes parts: as long as OpenAI's. Source:
/// <https://platform.openai.com/docs/api-reference/uploads/create>.
const LIFE: Duration = Duration::from_secs(3600);

/// The most parts of an upload: all stand in one entry.
const MOST_PARTS: usize = 1000;

/// The longest part of an upload, in bytes: OpenAI's.
pub const PART_BYTES: u64 = 64 << 20;

/// A file that is to arrive in parts.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Whose it is.
    pub project: ProjectId,
    /// With which key it is begun.
    pub key_id: KeyId,
    /// The key that a token stands for, where parts come without the token.
    pub of_token: Option<Box<VirtualKey>>,
    /// What its owner says of it.
    pub description: FileDescription,
    /// How long it is to be.
    pub bytes: u64,
}

/// What is known of a part before it comes.
#[derive(Clone, Copy, Debug)]
pub struct NewPart {
    /// How long it may be, in bytes.
    pub longest: u64,
    /// How many bytes of the upload must be there when it begins and when it ends; `None`: parts may come in any order.
    pub offset: Option<u64>,
}

/// Writes a part of an upload. Dropping it without [`PartWriter::finish`] leaves nothing but its name in the upload.
pub struct PartWriter {
    files: Files,
    key: String,
    part: PartId,
    /// How long it may become, in bytes.
    most: u64,
    offset: Option<u64>,
    content: ContentWriter,
    is_finished: bool,
}

fn wrong(field: &'static str, why: impl Into<String>) -> FileError {
    FileError::Upload { field, why: why.into() }
}

impl Files {
    /// Begins an upload.
    ///
    /// # Errors
    /// When its project may keep no more, the disk is nearly full, or JetStream does not answer.
    pub async fn begin_upload(&self, new: NewUpload) -> Result<Upload, FileError> {
        self.check_length(new.bytes)?;
        self.check_disk(FileQuota::Holds)?;
        let (id, now) = (UploadId(clock::request_id().0), clock::now());
        let upload = Upload {
            id,
            project: new.project,
            key_id: new.key_id,
            of_token: new.of_token,
            description: new.description,
            bytes: new.bytes,
            created_at: now,
            expires_at: now.after(LIFE),
            status: UploadStatus::Pending,
            parts: Vec::new(),
            file: None,
        };
        let (key, entry) = (place::file(&upload.project, id), FileEntry::Upload(upload.clone()));
        self.inventory.admit(&key, &entry, &self.limits)?;
        let created = self.bucket.create(&key, &entry).await.inspect_err(|_| self.inventory.remove(&key))?;
        created.ok_or(FileError::Gone)?;
        Ok(upload)
    }

    /// An upload of a project; another project's is none.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn get_upload(&self, project: &ProjectId, id: UploadId) -> Result<Option<Upload>, BusError> {
        self.upload(&place::file(project, id)).await
    }

    /// Begins to write a part; `None` when the project has no such upload.
    ///
    /// # Errors
    /// When the upload takes no more, the part is not the next one, the disk is nearly full, or JetStream does not answer.
    pub async fn begin_part(
        &self,
        (project, id): (&ProjectId, UploadId),
        new: NewPart,
    ) -> Result<Option<PartWriter>, FileError> {
        self.check_disk(FileQuota::Holds)?;
        let (part, content, now) = (PartId(clock::request_id().0), Uuid::new_v4(), clock::now());
        let key = place::file(project, id);
        let changed = self.change(&key, |upload| {
            check_pending(upload, now)?;
            check_offset(upload, new.offset)?;
            if upload.parts.len() >= MOST_PARTS {
                return Err(wrong("upload_id", format!("the upload has {MOST_PARTS} parts, which is the limit")));
            }
            upload.parts.push(UploadPart { id: part, content, segment: None, created_at: now });
            Ok(())
        });
        let Some(upload) = changed.await? else { return Ok(None) };
        let most = upload.bytes.saturating_sub(upload.arrived()).min(new.longest);
        let content = self.contents.write(content);
        let (files, offset) = (self.clone(), new.offset);
        Ok(Some(PartWriter { files, key, part, most, offset, content, is_finished: false }))
    }

    /// Makes an upload a file of these parts, in this order; `None` when the project has no such upload. An upload that is
    /// completed stays as it is.
    ///
    /// # Errors
    /// When the parts are not all of it, or JetStream does not answer.
    pub async fn complete_upload(
        &self,
        (project, id): (&ProjectId, UploadId),
        parts: &[PartId],
        md5: Option<&str>,
    ) -> Result<Option<Upload>, FileError> {
        let (key, now) = (place::file(project, id), clock::now());
        let Some(upload) = self.upload(&key).await? else { return Ok(None) };
        let file = match &upload.file {
            Some(file) => file.clone(),
            None => {
                check_pending(&upload, now)?;
                self.assemble(&upload, segments(&upload, parts)?, md5).await?
            }
        };
        // First the upload: from then on the content is the file's.
        let changed = self.change(&key, |upload| {
            if upload.file.is_none() {
                check_pending(upload, clock::now())?;
                (upload.status, upload.file) = (UploadStatus::Completed, Some(file.clone()));
            }
            Ok(())
        });
        let Some(upload) = changed.await? else { return Ok(None) };
        let file = upload.file.clone().unwrap_or(file);
        let (key, entry) = (place::file(project, file.id), FileEntry::Ready(file));
        // Where there was never any: one that was removed since does not come back.
        if self.bucket.update(&key, &entry, 0).await?.is_some() {
            self.inventory.set(&key, &entry);
        }
        Ok(Some(upload))
    }

    /// Cancels an upload; `None` when the project has none of this name. What has come of it is removed.
    ///
    /// # Errors
    /// When it is completed, or JetStream does not answer.
    pub async fn cancel_upload(&self, project: &ProjectId, id: UploadId) -> Result<Option<Upload>, FileError> {
        let key = place::file(project, id);
        let changed = self.change(&key, |upload| {
            if upload.status != UploadStatus::Cancelled {
                check_pending(upload, clock::now())?;
                upload.status = UploadStatus::Cancelled;
            }
            Ok(())
        });
        let Some(upload) = changed.await? else { return Ok(None) };
        for part in &upload.parts {
            // Its entry goes later, and looks for it once more.
            if let Err(error) = self.contents.remove(part.content).await {
                warn!(%error, %id, "the parts of a cancelled upload are not gone yet");
            }
        }
        Ok(Some(upload))
    }

    /// The content that goes with an entry. That of an upload which became a file is the file's, if it was made.
    pub(super) async fn contents_of(&self, entry: &FileEntry) -> Result<Vec<Uuid>, BusError> {
        let mut contents = entry.contents();
        if let FileEntry::Upload(Upload { project, file: Some(file), .. }) = entry
            && self.bucket.get(&place::file(project, file.id)).await?.is_none()
        {
            contents.extend(file.segments.iter().map(|segment| segment.content));
        }
        Ok(contents)
    }

    async fn upload(&self, key: &str) -> Result<Option<Upload>, BusError> {
        Ok(match self.bucket.get(key).await? {
            Some(FileEntry::Upload(upload)) => Some(upload),
            _ => None,
        })
    }

    /// Changes an upload, whoever else changes it meanwhile.
    async fn change(
        &self,
        key: &str,
        change: impl Fn(&mut Upload) -> Result<(), FileError>,
    ) -> Result<Option<Upload>, FileError> {
        loop {
            let found = Box::pin(self.bucket.get_with_revision(key)).await?;
            let Some((FileEntry::Upload(mut upload), revision)) = found else {
                return Ok(None);
            };
            change(&mut upload)?;
            let entry = FileEntry::Upload(upload.clone());
            match self.replace(key, &entry, revision).await {
                Ok(_) => return Ok(Some(upload)),
                Err(FileError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The file that the parts make, once all of it was read and found to be right.
    async fn assemble(
        &self,
        upload: &Upload,
        segments: Vec<Segment>,
        md5: Option<&str>,
    ) -> Result<StoredFile, FileError> {
        let (mut sha256, mut own_md5) = (Context::new(&SHA256), md5.map(|_| Md5::new()));
        let mut content = self.contents.read(segments.clone(), 0..upload.bytes);
        while let Some(bytes) = content.next().await {
            let bytes = bytes?;
            sha256.update(&bytes);
            if let Some(md5) = &mut own_md5 {
                md5.update(&bytes);
            }
        }
        if let (Some(said), Some(own)) = (md5, own_md5) {
            let own = hex::write(&own.finalize());
            if !said.eq_ignore_ascii_case(&own) {
                return Err(wrong("md5", format!("the parts have the MD5 {own} together")));
            }
        }
        let now = clock::now();
        Ok(StoredFile {
            id: FileId(clock::request_id().0),
            project: upload.project.clone(),
            key_id: upload.key_id.clone(),
            description: upload.description.clone(),
            bytes: upload.bytes,
            sha256: hex::write(sha256.finish().as_ref()),
            created_at: now,
            expires_at: upload.description.expires_at(now),
            segments,
        })
    }
}

fn check_pending(upload: &Upload, now: UnixMicros) -> Result<(), FileError> {
    match upload.status(now) {
        UploadStatus::Pending => Ok(()),
        status => Err(wrong("upload_id", format!("the upload is {}", status.as_str()))),
    }
}

/// Whether a part that stands at `offset` is the next one.
fn check_offset(upload: &Upload, offset: Option<u64>) -> Result<(), FileError> {
    match (offset, upload.arrived()) {
        (Some(offset), arrived) if offset != arrived => {
            Err(wrong("offset", format!("it is {offset}, and {arrived} bytes of the upload are there")))
        }
        _ => Ok(()),
    }
}

/// The bytes of the parts, in the order that is asked for.
fn segments(upload: &Upload, parts: &[PartId]) -> Result<Vec<Segment>, FileError> {
    let mut seen = HashSet::new();
    let mut segments = Vec::with_capacity(parts.len().min(MOST_PARTS));
    for id in parts {
        let part = upload.parts.iter().find(|part| part.id == *id).and_then(|part| part.segment);
        let segment = part.ok_or_else(|| wrong("part_ids", format!("the upload has no part `{id}`")))?;
        if !seen.insert(id) {
            return Err(wrong("part_ids", format!("the part `{id}` stands there twice")));
        }
        segments.push(segment);
    }
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    if bytes == upload.bytes {
        return Ok(segments);
    }
    Err(wrong(
        "part_ids",
        format!("the parts have {bytes} bytes together, and the upload was to have {}", upload.bytes),
    ))
}

impl PartWriter {
    /// What was written so far, in bytes.
    pub fn bytes(&self) -> u64 {
        self.content.bytes
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When the part, or all of the upload, becomes too long, the disk is nearly full, or JetStream does not answer.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        if self.content.bytes + bytes.len() as u64 > self.most {
            let most = self.most;
            return Err(wrong(
                "data",
                format!("the part may have {most} bytes: the rest of the upload, or the limit of a part"),
            ));
        }
        self.files.check_disk(FileQuota::Holds)?;
        Ok(self.content.write(bytes).await?)
    }

    /// The part is complete.
    ///
    /// # Errors
    /// When the upload takes no more by now, or JetStream does not answer.
    pub async fn finish(mut self) -> Result<UploadPart, FileError> {
        if self.content.bytes == 0 {
            return Err(wrong("data", "the part is empty"));
        }
        let (segment, _) = self.content.finish().await?;
        let (id, offset) = (self.part, self.offset);
        let changed = self.files.change(&self.key, |upload| {
            check_pending(upload, clock::now())?;
            check_offset(upload, offset)?;
            if upload.arrived() + segment.bytes > upload.bytes {
                return Err(wrong("data", format!("the upload was to have {} bytes, and has them", upload.bytes)));
            }
            let part = upload.parts.iter_mut().find(|part| part.id == id).ok_or(FileError::Gone)?;
            part.segment = Some(segment);
            Ok(())
        });
        let upload = changed.await?.ok_or(FileError::Gone)?;
        self.is_finished = true;
        upload.parts.into_iter().find(|part| part.id == id).ok_or(FileError::Gone)
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let (files, content) = (self.files.clone(), self.content.content);
        self.files.bus.life().work(async move {
            // Its name stays in the upload, and with the upload it is looked for once more.
            if let Err(error) = files.contents.remove(content).await {
                warn!(%error, "what was written of a part is not removed yet");
            }
        });
    }
}
