//! The directory: one document in NATS KV, changed by compare-and-set, and followed in memory by every process. Knows
//! nothing of what stands in it, nor of who may change it.

use super::{Bucket, Bus, BusError, Change};
use crate::schedule::full_jitter;
use penstock_schemas::directory::Directory;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The one key of the bucket.
const KEY: &str = "current";

/// How often a change is made anew on what somebody else has written meanwhile.
const ATTEMPTS: u32 = 20;

/// The longest wait before that; the first is a tenth of it.
const AGAIN: Duration = Duration::from_millis(100);

/// The document and its snapshot. Cloning shares them.
#[derive(Clone)]
pub struct Directories {
    bucket: Bucket<Directory>,
    known: Arc<watch::Sender<Known>>,
}

#[derive(Default)]
struct Known {
    directory: Arc<Directory>,
    is_current: bool,
}

/// Why the directory was not changed.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged<E> {
    /// The change is not possible on what is there.
    #[error("{0}")]
    Refused(E),
    /// Others changed it all the time.
    #[error("the directory is being changed by others all the time; try again")]
    Busy,
    /// The bus failed. Whether the change was made is not known.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Bus {
    /// The directory; it is followed from now on.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn directories(&self) -> Result<Directories, BusError> {
        let bucket: Bucket<Directory> = Bucket::open(self, &self.subjects.directory_bucket()).await?;
        let known = Arc::new(watch::Sender::new(Known::default()));
        let told = known.clone();
        bucket.follow(move |change| told.send_modify(|known| known.change(change)));
        Ok(Directories { bucket, known })
    }
}

impl Known {
    fn change(&mut self, change: Change<Directory>) {
        match change {
            Change::Put(key, directory) if key == KEY => self.directory = Arc::new(directory),
            Change::Deleted(key) if key == KEY => self.directory = Arc::default(),
            Change::Current => self.is_current = true,
            Change::Put(..) | Change::Deleted(_) => {}
        }
    }
}

impl Directories {
    /// What this process knows of it now: from memory. Empty until it is current.
    pub fn snapshot(&self) -> Arc<Directory> {
        self.known.borrow().directory.clone()
    }

    /// Whether what was there when this process started has been read.
    pub fn is_current(&self) -> bool {
        self.known.borrow().is_current
    }

    /// Calls `tell` with what is known now, and with every change of it, as long as the role lives.
    pub fn follow(&self, life: &crate::Life, tell: impl Fn(&Arc<Directory>) + Send + Sync + 'static) {
        let mut known = self.known.subscribe();
        known.mark_changed();
        life.service("directory", async move {
            // The sender lives in the watch of the bucket, as long as the role does.
            while known.changed().await.is_ok() {
                let directory = known.borrow_and_update().directory.clone();
                tell(&directory);
            }
        });
    }

    /// What is there, as JetStream says, with its revision; empty and 0 when nothing ever was.
    ///
    /// # Errors
    /// When JetStream does not answer, or it cannot be read.
    pub async fn read(&self) -> Result<(Directory, u64), BusError> {
        Ok(self.bucket.get_with_revision(KEY).await?.unwrap_or_default())
    }

    /// Writes it where the revision is still this one: the new revision, or `None`.
    ///
    /// # Errors
    /// When JetStream does not confirm it; then it may have been written all the same.
    pub async fn write(&self, directory: &Directory, revision: u64) -> Result<Option<u64>, BusError> {
        match revision {
            0 => self.bucket.create(KEY, directory).await,
            revision => self.bucket.update(KEY, directory, revision).await,
        }
    }

    /// Changes it: what `change` makes of the current one is written, or, where another was quicker, `change` is asked
    /// again. Gives what `change` gave, and the revision.
    ///
    /// # Errors
    /// When `change` refuses, others do not stop changing it, or the bus fails.
    pub async fn change<T, E>(
        &self,
        change: impl Fn(&mut Directory, u64) -> Result<T, E>,
    ) -> Result<(T, u64), NotChanged<E>> {
        for attempt in 1..=ATTEMPTS {
            let (mut directory, revision) = self.read().await?;
            let before = directory.clone();
            let made = change(&mut directory, revision).map_err(NotChanged::Refused)?;
            if directory == before {
                return Ok((made, revision));
            }
            if let Some(revision) = self.write(&directory, revision).await? {
                return Ok((made, revision));
            }
            sleep(full_jitter(attempt, AGAIN / 10, AGAIN)).await;
        }
        Err(NotChanged::Busy)
    }
}
