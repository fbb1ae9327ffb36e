//! Files that callers give us to keep: what is known of each in a bucket, its content in pieces in a stream. Each project has
//! its own, up to a quota; nothing is shared between two, not even equal contents. Knows nothing of HTTP and of what is in a
//! file.
//!
//! Every content is named in an entry before its first byte is stored, and an entry goes only after its content: so nothing
//! stays behind, whatever is killed when. A file is read and listed only once all of it is there.

mod content;
mod inventory;
mod uploads;
mod writing;

pub use content::CONTENT_MEMORY;
pub use uploads::{NewPart, NewUpload, PART_BYTES, PartWriter};
pub use writing::{FileWriter, NewFile};

use super::{Bucket, Bus, BusError};
use crate::clock;
use crate::schedule::full_jitter;
use bytes::Bytes;
use content::Contents;
use futures_util::stream::{self, Stream, StreamExt};
use inventory::Inventory;
use penstock_schemas::file::{FileEntry, FileId, FilePurpose, StoredFile};
use penstock_schemas::name::ProjectId;
use penstock_schemas::place;
use std::ops::Range;
use std::time::Duration;
use tokio::time::sleep;
use tracing::warn;

/// The least and the most time between two looks for what is to be cleaned up.
const SWEEP: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// Entries that are cleaned up in one go.
const SWEPT_AT_ONCE: usize = 100;

/// How long after a removal its content is looked for once more: its writer may have gone on until its next pulse.
const ONCE_MORE: Duration = Duration::from_secs(600);

/// How long the trace of an entry that is gone stays for processes that follow the bucket and were cut off.
pub(super) const TRACE: Duration = Duration::from_secs(24 * 3600);

/// Entries that are read at once for a list.
const LISTED_AT_ONCE: usize = 32;

/// What callers may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// The longest file, in bytes.
    pub file_bytes: u64,
    /// All files of a project, in bytes.
    pub project_bytes: u64,
    /// The number of files of a project.
    pub project_files: u64,
}

/// Whether the quota of a project holds for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileQuota {
    /// It does.
    Holds,
    /// It counts, and is never refused: results that were paid for.
    Exempt,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is longer than any may be.
    #[error("the file is longer than {limit} bytes, which is the limit here ([files] max_bytes)")]
    TooLong {
        /// In bytes.
        limit: u64,
    },
    /// Its project keeps as many bytes as it may.
    #[error(
        "the files of this project may take {limit} bytes ([files] project_bytes), and take {held} without this one: \
         delete some first"
    )]
    NoRoom {
        /// In bytes.
        limit: u64,
        /// In bytes.
        held: u64,
    },
    /// Its project keeps as many files as it may.
    #[error("this project may keep {limit} files ([files] project_files): delete some first")]
    TooMany {
        /// So many.
        limit: u64,
    },
    /// The disk is nearly full.
    #[error("the disk that files are kept on is nearly full")]
    NoDisk,
    /// What was being written has been removed meanwhile.
    #[error("the file was removed while it was written")]
    Gone,
    /// There is a file of the id that it is to have.
    #[error("there is a file of this id")]
    Taken,
    /// The upload cannot be what it is asked to be.
    #[error("{why}")]
    Upload {
        /// Which field of the request is wrong.
        field: &'static str,
        /// What and how.
        why: String,
    },
    /// JetStream or the connection failed.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Which files a list is to hold.
#[derive(Clone, Copy, Debug)]
pub struct FileQuery {
    /// Those for this alone; `None`: all.
    pub purpose: Option<FilePurpose>,
    /// Those behind this one in the list.
    pub after: Option<FileId>,
    /// So many at most.
    pub limit: usize,
    /// Which come first.
    pub order: FileOrder,
}

/// Which files of a list come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOrder {
    /// Those made last.
    Newest,
    /// Those made first.
    Oldest,
}

/// The files. Cloning shares them.
#[derive(Clone)]
pub struct Files {
    bucket: Bucket<FileEntry>,
    contents: Contents,
    inventory: Inventory,
    limits: FileLimits,
    bus: Bus,
}

impl Bus {
    pub(super) async fn file_entries(&self) -> Result<Bucket<FileEntry>, BusError> {
        Ok(Bucket::of(self, self.key_value_with_traces(&self.subjects.files_bucket(), TRACE).await?))
    }

    /// The files of all projects. From now on this process follows them, and cleans up what is due: once for a process.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket or the stream has other settings.
    pub async fn files(&self, limits: FileLimits) -> Result<Files, BusError> {
        let bucket = self.file_entries().await?;
        let (contents, inventory) = (Contents::open(self).await?, Inventory::default());
        let noted = inventory.clone();
        bucket.follow(move |change| noted.note(change));
        let files = Files { bucket, contents, inventory, limits, bus: self.clone() };
        let sweeper = files.clone();
        self.life.service("clean up files", async move {
            loop {
                sleep(SWEEP.0 + full_jitter(1, SWEEP.1 - SWEEP.0, SWEEP.1)).await;
                sweeper.sweep().await;
            }
        });
        Ok(files)
    }
}

impl Files {
    /// What may be kept.
    pub fn limits(&self) -> &FileLimits {
        &self.limits
    }

    /// A file of a project; another project's is none, and what has expired is none.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn get(&self, project: &ProjectId, id: FileId) -> Result<Option<StoredFile>, BusError> {
        Ok(self.bucket.get(&place::file(project, id)).await?.and_then(ready))
    }

    /// The bytes of a file, or of a range of it, as they come: at most [`CONTENT_MEMORY`] are held.
    pub fn read(
        &self,
        file: &StoredFile,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, BusError>> + Send + use<> {
        self.contents.read(file.segments.clone(), range)
    }

    /// The files of a project, and whether there are more.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn list(&self, project: &ProjectId, query: FileQuery) -> Result<(Vec<StoredFile>, bool), BusError> {
        let after = query.after.map(|id| place::file(project, id));
        let is_behind = |key: &String| match (&after, query.order) {
            (None, _) => true,
            (Some(after), FileOrder::Newest) => key < after,
            (Some(after), FileOrder::Oldest) => key > after,
        };
        let keys = self.bucket.keys_like(&place::file(project, "*")).await?;
        let is_file = |key: &String| key.rsplit('.').next().is_some_and(|id| FileId::parse(id).is_some());
        // Their ids are in the order in which they were made.
        let mut keys: Vec<String> = keys.into_iter().filter(is_file).filter(is_behind).collect();
        if query.order == FileOrder::Newest {
            keys.reverse();
        }
        let entries = stream::iter(keys.into_iter().map(|key| async move { self.bucket.get(&key).await }));
        let mut entries = entries.buffered(LISTED_AT_ONCE);
        let mut found = Vec::new();
        while let Some(entry) = entries.next().await {
            let file = entry?.and_then(ready);
            let wanted = file.filter(|file| query.purpose.is_none_or(|purpose| purpose == file.description.purpose));
            let Some(file) = wanted else { continue };
            if found.len() == query.limit {
                return Ok((found, true));
            }
            found.push(file);
        }
        Ok((found, false))
    }

    /// Removes a file; false when there is none.
    ///
    /// # Errors
    /// When JetStream does not confirm it; then it may be removed all the same.
    pub async fn delete(&self, project: &ProjectId, id: FileId) -> Result<bool, BusError> {
        self.remove(&place::file(project, id), |entry| ready(entry.clone()).is_some()).await
    }

    /// Puts an entry in the place of the one that has this revision: the new revision.
    async fn replace(&self, key: &str, entry: &FileEntry, revision: u64) -> Result<u64, FileError> {
        let replaced = match Box::pin(self.bucket.update(key, entry, revision)).await {
            Ok(replaced) => replaced,
            // It may have been replaced all the same.
            Err(error) => {
                let found = Box::pin(self.bucket.get_with_revision(key)).await?;
                let (_, revision) = found.filter(|(found, _)| found == entry).ok_or(error)?;
                Some(revision)
            }
        };
        let revision = replaced.ok_or(FileError::Gone)?;
        self.inventory.set(key, entry);
        Ok(revision)
    }

    /// Removes an entry and its content, if it is wanted: the entry says so first, and goes [`ONCE_MORE`] later.
    async fn remove(&self, key: &str, is_wanted: impl Fn(&FileEntry) -> bool) -> Result<bool, BusError> {
        loop {
            let Some((entry, revision)) = self.bucket.get_with_revision(key).await? else {
                self.inventory.remove(key);
                return Ok(false);
            };
            if matches!(entry, FileEntry::Removed { .. }) || !is_wanted(&entry) {
                self.inventory.set(key, &entry);
                return Ok(false);
            }
            let contents = self.contents_of(&entry).await?;
            let removed = FileEntry::Removed { contents: contents.clone(), until: clock::now().after(ONCE_MORE) };
            if self.bucket.update(key, &removed, revision).await?.is_some() {
                self.inventory.set(key, &removed);
                for content in contents {
                    if let Err(error) = self.contents.remove(content).await {
                        warn!(%error, key, "the content of a file that was removed is not gone yet");
                    }
                }
                return Ok(true);
            }
        }
    }

    /// Cleans up what is due. Several processes may do so at once.
    async fn sweep(&self) {
        for key in self.inventory.due(clock::now(), SWEPT_AT_ONCE) {
            if let Err(error) = self.clean_up(&key).await {
                warn!(%error, key, "a file that is due is not cleaned up yet");
            }
        }
    }

    async fn clean_up(&self, key: &str) -> Result<(), BusError> {
        let now = clock::now();
        let is_due = |entry: &FileEntry| entry.due().is_some_and(|due| due <= now);
        if self.remove(key, is_due).await? {
            return Ok(());
        }
        let Some((entry, revision)) = self.bucket.get_with_revision(key).await? else { return Ok(()) };
        if let FileEntry::Removed { contents, .. } = &entry
            && is_due(&entry)
        {
            for content in contents {
                self.contents.remove(*content).await?;
            }
            self.bucket.forget(key, revision, TRACE).await?;
            self.inventory.remove(key);
        }
        Ok(())
    }
}

/// The file that can be found in an entry.
fn ready(entry: FileEntry) -> Option<StoredFile> {
    match entry {
        FileEntry::Ready(file) if !file.is_expired(clock::now()) => Some(file),
        _ => None,
    }
}
