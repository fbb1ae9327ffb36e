//! Files that callers give us to keep, and uploads that become files: what is known of each, as it stands in its bucket.
//! Knows nothing of where the content lies but the names of its pieces.
//! Sources: <https://platform.openai.com/docs/api-reference/files>, <https://platform.openai.com/docs/api-reference/uploads>.

mod ids;

pub use ids::{FileId, PartId, UploadId};

use crate::UnixMicros;
use crate::key::VirtualKey;
use crate::name::{KeyId, ProjectId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// How long a file of a batch lives that names no time of its own: as long as OpenAI keeps it.
const BATCH_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a file is for. Source: <https://platform.openai.com/docs/api-reference/files/create>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FilePurpose {
    /// The lines of a batch.
    #[serde(rename = "batch")]
    Batch,
    /// The results of a batch: made here, never by a caller.
    #[serde(rename = "batch_output")]
    BatchOutput,
    /// For OpenAI's assistants.
    #[serde(rename = "assistants")]
    Assistants,
    /// An image to look at.
    #[serde(rename = "vision")]
    Vision,
    /// Anything that a request may refer to.
    #[serde(rename = "user_data")]
    UserData,
    /// Data of an evaluation.
    #[serde(rename = "evals")]
    Evals,
    /// Examples to train with.
    #[serde(rename = "fine-tune")]
    FineTune,
}

impl FilePurpose {
    /// Those that a caller may give.
    pub const GIVEN: [Self; 6] =
        [Self::Batch, Self::Assistants, Self::Vision, Self::UserData, Self::Evals, Self::FineTune];

    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::BatchOutput => "batch_output",
            Self::Assistants => "assistants",
            Self::Vision => "vision",
            Self::UserData => "user_data",
            Self::Evals => "evals",
            Self::FineTune => "fine-tune",
        }
    }

    /// The purpose that a word stands for, where a file may have it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::GIVEN.into_iter().chain([Self::BatchOutput]).find(|purpose| purpose.as_str() == word)
    }

    /// The same, where a caller may give it.
    pub fn parse_given(word: &str) -> Option<Self> {
        Self::parse(word).filter(|purpose| *purpose != Self::BatchOutput)
    }

    /// How long a file lives that names no time of its own; `None`: until it is deleted.
    pub fn life(self) -> Option<Duration> {
        matches!(self, Self::Batch | Self::BatchOutput).then_some(BATCH_LIFE)
    }
}

/// What the owner of a file says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDescription {
    /// The name that it had where it came from.
    pub filename: String,
    /// What it is for.
    pub purpose: FilePurpose,
    /// Its media type, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How many seconds after its making it is gone; absent: as its purpose says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after: Option<u64>,
}

impl FileDescription {
    /// When a file is gone that was made at `created_at`.
    pub fn expires_at(&self, created_at: UnixMicros) -> Option<UnixMicros> {
        let life = self.expires_after.map(Duration::from_secs).or_else(|| self.purpose.life())?;
        Some(created_at.after(life))
    }
}

/// A run of a file's bytes that was written at once: pieces of one size, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// What its pieces are called.
    pub content: Uuid,
    /// Its length.
    pub bytes: u64,
    /// The length of a piece.
    pub piece: u64,
}

/// A file that is there whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its id.
    pub id: FileId,
    /// Whose it is.
    pub project: ProjectId,
    /// With which key it was made.
    pub key_id: KeyId,
    /// What its owner says of it.
    #[serde(flatten)]
    pub description: FileDescription,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its content, as 64 hexadecimal digits.
    pub sha256: String,
    /// When it was made.
    pub created_at: UnixMicros,
    /// From when on it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMicros>,
    /// Its content, in order.
    pub segments: Vec<Segment>,
}

impl StoredFile {
    /// Whether it is gone.
    pub fn is_expired(&self, now: UnixMicros) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Where an upload is. Source: <https://platform.openai.com/docs/api-reference/uploads/object>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadStatus {
    /// It takes parts.
    Pending,
    /// It has become a file.
    Completed,
    /// Its owner wants it no more.
    Cancelled,
    /// It was not completed in time.
    Expired,
}

impl UploadStatus {
    /// The word that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// A file that arrives in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Whose it is.
    pub project: ProjectId,
    /// With which key it was begun.
    pub key_id: KeyId,
    /// The key that a token stands for; absent where a virtual key began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_token: Option<Box<VirtualKey>>,
    /// What its owner says of the file.
    #[serde(flatten)]
    pub description: FileDescription,
    /// How long the file is to be.
    pub bytes: u64,
    /// When it was begun.
    pub created_at: UnixMicros,
    /// From when on it takes nothing.
    pub expires_at: UnixMicros,
    /// Where it is.
    pub status: UploadStatus,
    /// Its parts, in the order in which they began to come.
    pub parts: Vec<UploadPart>,
    /// The file that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<StoredFile>,
}

impl Upload {
    /// Where it is at `now`.
    pub fn status(&self, now: UnixMicros) -> UploadStatus {
        match self.status {
            UploadStatus::Pending if self.expires_at <= now => UploadStatus::Expired,
            status => status,
        }
    }

    /// How much of it is there, in bytes.
    pub fn arrived(&self) -> u64 {
        self.parts.iter().filter_map(|part| part.segment).map(|segment| segment.bytes).sum()
    }
}

/// One part of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadPart {
    /// Its id.
    pub id: PartId,
    /// What its pieces are called.
    pub content: Uuid,
    /// Its bytes, once all are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// When it was begun.
    pub created_at: UnixMicros,
}

/// What stands in the bucket of files, under the name of its project and its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FileEntry {
    /// A file whose content is coming. Who writes it says so again and again; at `until` it is taken for given up.
    Arriving {
        /// What its pieces are called.
        content: Uuid,
        /// How long it is, or is said to be.
        bytes: u64,
        /// When to believe that its writer is gone.
        until: UnixMicros,
    },
    /// A file.
    Ready(StoredFile),
    /// A file that arrives in parts.
    Upload(Upload),
    /// What was removed: its content is to be looked for once more at `until`, since its writer may not have known.
    Removed {
        /// What its pieces are called.
        contents: Vec<Uuid>,
        /// When its entry goes too.
        until: UnixMicros,
    },
}

impl FileEntry {
    /// How many bytes it counts for among those of its project.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Arriving { bytes, .. } => *bytes,
            Self::Ready(file) => file.bytes,
            Self::Upload(upload) if upload.status == UploadStatus::Pending => upload.bytes,
            Self::Upload(_) | Self::Removed { .. } => 0,
        }
    }

    /// Whether it counts as a file of its project.
    pub fn is_file(&self) -> bool {
        match self {
            Self::Arriving { .. } | Self::Ready(_) => true,
            Self::Upload(upload) => upload.status == UploadStatus::Pending,
            Self::Removed { .. } => false,
        }
    }

    /// When it is to be cleaned up.
    pub fn due(&self) -> Option<UnixMicros> {
        match self {
            Self::Arriving { until, .. } | Self::Removed { until, .. } => Some(*until),
            Self::Ready(file) => file.expires_at,
            Self::Upload(upload) => Some(upload.expires_at),
        }
    }

    /// The content that goes when the entry does. The content of a file that an upload became is the file's.
    pub fn contents(&self) -> Vec<Uuid> {
        match self {
            Self::Arriving { content, .. } => vec![*content],
            Self::Ready(file) => file.segments.iter().map(|segment| segment.content).collect(),
            Self::Upload(upload) => {
                let of_file = |content| {
                    upload.file.iter().any(|file| file.segments.iter().any(|segment| segment.content == content))
                };
                upload.parts.iter().map(|part| part.content).filter(|content| !of_file(*content)).collect()
            }
            Self::Removed { contents, .. } => contents.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_str, json, to_value};

    fn file() -> StoredFile {
        StoredFile {
            id: FileId(Uuid::from_u128(1)),
            project: ProjectId::parse("search").unwrap(),
            key_id: KeyId::parse("key_1").unwrap(),
            description: FileDescription {
                filename: "a.jsonl".to_owned(),
                purpose: FilePurpose::Batch,
                content_type: None,
                expires_after: None,
            },
            bytes: 5,
            sha256: "00".to_owned(),
            created_at: UnixMicros(1_000_000),
            expires_at: None,
            segments: vec![Segment { content: Uuid::from_u128(2), bytes: 5, piece: 4 }],
        }
    }

    #[test]
    fn every_purpose_is_read_from_its_word_and_one_is_ours_to_give() {
        for purpose in FilePurpose::GIVEN.into_iter().chain([FilePurpose::BatchOutput]) {
            assert_eq!(FilePurpose::parse(purpose.as_str()), Some(purpose));
            assert_eq!(to_value(purpose).unwrap(), purpose.as_str());
            assert_eq!(FilePurpose::parse_given(purpose.as_str()).is_none(), purpose == FilePurpose::BatchOutput);
        }
        assert_eq!(FilePurpose::parse("Batch"), None);
    }

    #[test]
    fn a_file_lives_as_long_as_its_owner_or_its_purpose_says() {
        let at = |purpose, expires_after| {
            let description = FileDescription { purpose, expires_after, ..file().description };
            description.expires_at(UnixMicros(0)).map(|at| at.0 / 1_000_000)
        };
        assert_eq!(at(FilePurpose::Batch, None), Some(2_592_000));
        assert_eq!(at(FilePurpose::Batch, Some(3600)), Some(3600));
        assert_eq!(at(FilePurpose::UserData, None), None);
    }

    #[test]
    fn the_content_of_a_file_that_an_upload_became_is_the_files() {
        let mut upload = Upload {
            id: UploadId(Uuid::from_u128(3)),
            project: file().project,
            key_id: file().key_id,
            of_token: None,
            description: file().description,
            bytes: 5,
            created_at: UnixMicros(0),
            expires_at: UnixMicros(10),
            status: UploadStatus::Pending,
            parts: [2, 4]
                .map(|part| UploadPart {
                    id: PartId(Uuid::from_u128(part)),
                    content: Uuid::from_u128(part),
                    segment: None,
                    created_at: UnixMicros(0),
                })
                .to_vec(),
            file: None,
        };
        let numbers = |upload: &Upload| {
            let contents = FileEntry::Upload(upload.clone()).contents();
            contents.iter().map(Uuid::as_u128).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&upload), [2, 4]);
        assert_eq!(upload.status(UnixMicros(9)), UploadStatus::Pending);
        assert_eq!(upload.status(UnixMicros(10)), UploadStatus::Expired);
        (upload.status, upload.file) = (UploadStatus::Completed, Some(file()));
        assert_eq!((numbers(&upload), upload.status(UnixMicros(10))), (vec![4], UploadStatus::Completed));
    }

    #[test]
    fn entries_of_today_can_be_read_tomorrow() {
        let text = json!({
            "state": "ready", "id": "file-00000000000000000000000000000001", "project": "search", "key_id": "key_1",
            "filename": "a.jsonl", "purpose": "batch", "bytes": 5, "sha256": "00", "created_at": 1_000_000,
            "segments": [{ "content": "00000000-0000-0000-0000-000000000002", "bytes": 5, "piece": 4 }],
        });
        let entry = FileEntry::Ready(file());
        assert_eq!(to_value(&entry).unwrap(), text);
        assert_eq!(from_str::<FileEntry>(&text.to_string()).unwrap(), entry);
        for other in [
            json!({ "state": "arriving", "content": Uuid::nil(), "bytes": 7, "until": 1 }),
            json!({ "state": "removed", "contents": [Uuid::nil()], "until": 1 }),
        ] {
            let entry: FileEntry = serde_json::from_value(other.clone()).unwrap();
            assert_eq!(
                (to_value(&entry).unwrap(), entry.contents(), entry.due()),
                (other, vec![Uuid::nil()], Some(UnixMicros(1)))
            );
        }
    }
}
