//! Writing a file, or a part of one, while its bytes arrive. What is not finished is removed: at once when its writer is
//! dropped, later by another process when this one is killed. Knows nothing of who sends the bytes.

use super::content::ContentWriter;
use super::{FileError, FileQuota, Files, ONCE_MORE};
use crate::bus::Intake;
use crate::clock;
use penstock_schemas::UnixMicros;
use penstock_schemas::file::{FileDescription, FileEntry, FileId, StoredFile};
use penstock_schemas::name::{KeyId, ProjectId};
use penstock_schemas::{hex, place};
use std::time::Duration;
use tracing::warn;
use uuid::Uuid;

/// How long a writer that says nothing is believed in. It says something when it writes, and [`PULSE`] has passed.
pub(super) const BELIEVED: Duration = Duration::from_secs(600);

/// How often a writer says that it goes on.
const PULSE: Duration = Duration::from_secs(60);

/// A file that is to be written.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Its id, where another process may have to write the same file: `None` gives it one of its own.
    pub id: Option<FileId>,
    /// Whose it is.
    pub project: ProjectId,
    /// With which key it is made.
    pub key_id: KeyId,
    /// How many bytes are said to come; 0 when nothing is said.
    pub announced: u64,
    /// Whether the quota of the project holds for it.
    pub quota: FileQuota,
}

/// Writes a file. Dropping it without [`FileWriter::finish`] removes what was written. It is to be written to, if only nothing,
/// at least every ten minutes.
pub struct FileWriter {
    files: Files,
    new: NewFile,
    id: FileId,
    key: String,
    revision: u64,
    content: ContentWriter,
    created_at: UnixMicros,
    pulse: UnixMicros,
    is_finished: bool,
}

impl Files {
    /// Begins to write a file. One of the same id that is not complete is taken over: its writer can write no more. So is the
    /// place of one that was removed, although its content may not be gone yet.
    ///
    /// # Errors
    /// When its project may keep no more, the disk is nearly full, there is a file of this id, or JetStream does not answer.
    pub async fn create(&self, new: NewFile) -> Result<FileWriter, FileError> {
        let (content, now) = (Uuid::new_v4(), clock::now());
        let id = new.id.unwrap_or_else(|| FileId(clock::request_id().0));
        self.check_length(new.announced)?;
        self.check_disk(new.quota)?;
        let key = place::file(&new.project, id);
        let entry = FileEntry::Arriving { content, bytes: new.announced, until: now.after(BELIEVED) };
        match new.quota {
            FileQuota::Holds => self.inventory.admit(&key, &entry, &self.limits)?,
            FileQuota::Exempt => self.inventory.set(&key, &entry),
        }
        let created = match self.bucket.create(&key, &entry).await {
            Ok(Some(revision)) => Ok(revision),
            Ok(None) => self.take_over(&new.project, &key, &entry).await,
            Err(error) => Err(error.into()),
        };
        let revision = match created {
            Ok(revision) => revision,
            Err(error) => {
                self.recount(&key).await;
                return Err(error);
            }
        };
        let (content, files) = (self.contents.write(content), self.clone());
        Ok(FileWriter { files, new, id, key, revision, content, created_at: now, pulse: now, is_finished: false })
    }

    /// Counts an entry as it is in the bucket.
    async fn recount(&self, key: &str) {
        match self.bucket.get(key).await {
            Ok(Some(entry)) => self.inventory.set(key, &entry),
            Ok(None) | Err(_) => self.inventory.remove(key),
        }
    }

    async fn take_over(&self, project: &ProjectId, key: &str, entry: &FileEntry) -> Result<u64, FileError> {
        let (contents, revision) = match self.bucket.get_with_revision(key).await? {
            Some((FileEntry::Arriving { content, .. }, revision)) => (vec![content], revision),
            Some((FileEntry::Removed { contents, .. }, revision)) => (contents, revision),
            Some((FileEntry::Ready(_) | FileEntry::Upload(_), _)) | None => return Err(FileError::Taken),
        };
        // First an entry of its own for what the other writer wrote, and may go on to write for a while.
        let removed = FileEntry::Removed { contents, until: clock::now().after(ONCE_MORE) };
        self.bucket.put(&place::file(project, FileId(clock::request_id().0)), &removed).await?;
        self.replace(key, entry, revision).await
    }

    /// Looks whether a project may write a file of so many bytes now: so that it can be refused before any of them comes.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, project: &ProjectId, bytes: u64) -> Result<(), FileError> {
        self.check_length(bytes)?;
        self.check_disk(FileQuota::Holds)?;
        self.inventory.check(project.as_str(), bytes, &self.limits)
    }

    pub(super) fn check_length(&self, bytes: u64) -> Result<(), FileError> {
        let limit = self.limits.file_bytes;
        if bytes > limit { Err(FileError::TooLong { limit }) } else { Ok(()) }
    }

    /// Results that were paid for are kept while anything is.
    pub(super) fn check_disk(&self, quota: FileQuota) -> Result<(), FileError> {
        match (self.bus.intake(), quota) {
            (Intake::Everything, _) | (Intake::NoOptional, FileQuota::Exempt) => Ok(()),
            (Intake::NoOptional | Intake::Nothing, _) => Err(FileError::NoDisk),
        }
    }
}

impl FileWriter {
    /// The id that the file will have.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// What was written so far, in bytes.
    pub fn bytes(&self) -> u64 {
        self.content.bytes
    }

    /// Takes the next bytes; waits when too many are on their way.
    ///
    /// # Errors
    /// When the file, or all files of its project, become too long, the disk is nearly full, or JetStream does not answer.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let length = self.content.bytes + bytes.len() as u64;
        self.files.check_length(length)?;
        self.files.check_disk(self.new.quota)?;
        if self.new.quota == FileQuota::Holds {
            self.files.inventory.grow(&self.key, length, &self.files.limits)?;
        }
        self.content.write(bytes).await?;
        let now = clock::now();
        if now.since(self.pulse) >= PULSE {
            let bytes = self.content.bytes.max(self.new.announced);
            let entry = FileEntry::Arriving { content: self.content.content, bytes, until: now.after(BELIEVED) };
            self.replace(&entry).await?;
            self.pulse = now;
        }
        Ok(())
    }

    /// The file is complete: from now on it can be found.
    ///
    /// # Errors
    /// When JetStream does not take the rest of it.
    pub async fn finish(mut self, description: FileDescription) -> Result<StoredFile, FileError> {
        let (segment, digest) = self.content.finish().await?;
        let file = StoredFile {
            id: self.id,
            project: self.new.project.clone(),
            key_id: self.new.key_id.clone(),
            expires_at: description.expires_at(self.created_at),
            description,
            bytes: segment.bytes,
            sha256: hex::write(&digest),
            created_at: self.created_at,
            segments: vec![segment],
        };
        self.replace(&FileEntry::Ready(file.clone())).await?;
        self.is_finished = true;
        Ok(file)
    }

    async fn replace(&mut self, entry: &FileEntry) -> Result<(), FileError> {
        self.revision = self.files.replace(&self.key, entry, self.revision).await?;
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let (files, key, own) = (self.files.clone(), std::mem::take(&mut self.key), self.content.content);
        self.files.bus.life().work(async move {
            let is_own = |entry: &FileEntry| matches!(entry, FileEntry::Arriving { content, .. } if *content == own);
            if let Err(error) = files.remove(&key, is_own).await {
                warn!(%error, key, "what was written of a file is not removed yet");
            }
        });
    }
}
