//! How much each project keeps in files and when which entry is to be cleaned up, as the bucket of files says: followed by
//! every process, so that quotas cost no look-up and cleaning up none but for what is due. Knows nothing of contents.

use super::super::Change;
use super::{FileError, FileLimits};
use penstock_schemas::UnixMicros;
use penstock_schemas::file::FileEntry;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known of all files. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Inventory(Arc<Mutex<Items>>);

#[derive(Default)]
struct Items {
    by_key: HashMap<String, Item>,
    by_project: HashMap<String, Sum>,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    bytes: u64,
    is_file: bool,
    due: Option<UnixMicros>,
}

/// All entries of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    bytes: u64,
    files: u64,
}

impl Inventory {
    fn items(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a change of the bucket.
    pub(super) fn note(&self, change: Change<FileEntry>) {
        match change {
            Change::Put(key, entry) => self.set(&key, &entry),
            Change::Deleted(key) => self.remove(&key),
            Change::Current => {}
        }
    }

    /// An entry is now this one.
    pub(super) fn set(&self, key: &str, entry: &FileEntry) {
        self.items().set(key, Item { bytes: entry.bytes(), is_file: entry.is_file(), due: entry.due() });
    }

    /// An entry is gone.
    pub(super) fn remove(&self, key: &str) {
        self.items().remove(key);
    }

    /// Looks whether a project may keep so many bytes more, in one more file.
    ///
    /// # Errors
    /// When it may not.
    pub(super) fn check(&self, project: &str, bytes: u64, limits: &FileLimits) -> Result<(), FileError> {
        self.items().check(project, bytes, limits)
    }

    /// Makes room for a new entry, and counts it.
    ///
    /// # Errors
    /// When its project may keep no more.
    pub(super) fn admit(&self, key: &str, entry: &FileEntry, limits: &FileLimits) -> Result<(), FileError> {
        let mut items = self.items();
        items.check(key, entry.bytes(), limits)?;
        items.set(key, Item { bytes: entry.bytes(), is_file: entry.is_file(), due: entry.due() });
        Ok(())
    }

    /// An entry has come to so many bytes.
    ///
    /// # Errors
    /// When its project may keep no more.
    pub(super) fn grow(&self, key: &str, bytes: u64, limits: &FileLimits) -> Result<(), FileError> {
        let mut items = self.items();
        let Some(item) = items.by_key.get(key).copied().filter(|item| item.bytes < bytes) else { return Ok(()) };
        let held = items.of_project(key).bytes - item.bytes;
        if held.saturating_add(bytes) > limits.project_bytes {
            return Err(FileError::NoRoom { limit: limits.project_bytes, held });
        }
        items.set(key, Item { bytes, ..item });
        Ok(())
    }

    /// The keys of entries that are to be cleaned up by now; at most so many.
    pub(super) fn due(&self, now: UnixMicros, most: usize) -> Vec<String> {
        let items = self.items();
        let due = items.by_key.iter().filter(|(_, item)| item.due.is_some_and(|due| due <= now));
        due.take(most).map(|(key, _)| key.clone()).collect()
    }
}

impl Items {
    fn check(&self, key: &str, bytes: u64, limits: &FileLimits) -> Result<(), FileError> {
        let sum = self.of_project(key);
        if sum.files >= limits.project_files {
            return Err(FileError::TooMany { limit: limits.project_files });
        }
        if sum.bytes.saturating_add(bytes) > limits.project_bytes {
            return Err(FileError::NoRoom { limit: limits.project_bytes, held: sum.bytes });
        }
        Ok(())
    }

    fn of_project(&self, key: &str) -> Sum {
        self.by_project.get(project(key)).copied().unwrap_or_default()
    }

    fn set(&mut self, key: &str, item: Item) {
        self.remove(key);
        let sum = self.by_project.entry(project(key).to_owned()).or_default();
        sum.bytes = sum.bytes.saturating_add(item.bytes);
        sum.files += u64::from(item.is_file);
        self.by_key.insert(key.to_owned(), item);
    }

    fn remove(&mut self, key: &str) {
        let Some(item) = self.by_key.remove(key) else { return };
        let Some(sum) = self.by_project.get_mut(project(key)) else { return };
        sum.bytes = sum.bytes.saturating_sub(item.bytes);
        sum.files = sum.files.saturating_sub(u64::from(item.is_file));
        if *sum == Sum::default() {
            self.by_project.remove(project(key));
        }
    }
}

/// The project in a key: `place::file` puts it first.
fn project(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn arriving(bytes: u64, until: u64) -> FileEntry {
        FileEntry::Arriving { content: Uuid::nil(), bytes, until: UnixMicros(until) }
    }

    const LIMITS: FileLimits = FileLimits { file_bytes: 100, project_bytes: 100, project_files: 3 };

    #[test]
    fn a_project_keeps_no_more_than_its_own_quota() {
        let inventory = Inventory::default();
        let admit =
            |key: &str, bytes| inventory.admit(key, &arriving(bytes, 9), &LIMITS).map_err(|error| error.to_string());
        assert_eq!(admit("a.1", 60), Ok(()));
        assert!(admit("a.2", 41).unwrap_err().contains("60"));
        assert_eq!((admit("b.1", 100), admit("a.2", 0)), (Ok(()), Ok(())));
        assert!(inventory.grow("a.2", 40, &LIMITS).is_ok() && inventory.grow("a.2", 41, &LIMITS).is_err());
        inventory.remove("a.1");
        assert!(inventory.grow("a.2", 100, &LIMITS).is_ok());
        assert_eq!((admit("a.3", 0), admit("a.4", 0)), (Ok(()), Ok(())));
        assert!(admit("a.5", 0).unwrap_err().contains("3 files"));
        for key in ["a.2", "a.3", "a.4", "b.1", "b.2"] {
            inventory.remove(key);
        }
        assert!(inventory.items().by_project.is_empty() && inventory.items().by_key.is_empty());
    }

    #[test]
    fn what_was_removed_counts_for_nothing_and_is_due_once_more() {
        let inventory = Inventory::default();
        inventory.note(Change::Put("a.1".to_owned(), arriving(50, 5)));
        assert!(inventory.due(UnixMicros(4), 10).is_empty());
        assert_eq!(inventory.due(UnixMicros(5), 10), ["a.1"]);
        let removed = FileEntry::Removed { contents: vec![], until: UnixMicros(8) };
        inventory.note(Change::Put("a.1".to_owned(), removed));
        assert_eq!(inventory.items().of_project("a.1"), Sum::default());
        assert_eq!((inventory.due(UnixMicros(5), 10).len(), inventory.due(UnixMicros(8), 10).len()), (0, 1));
        inventory.note(Change::Deleted("a.1".to_owned()));
        assert!(inventory.due(UnixMicros(9), 10).is_empty());
    }
}
