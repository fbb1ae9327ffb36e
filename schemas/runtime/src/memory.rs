//! The memory that requests may take in one process, as the operator bounds it: what does not fit is refused before it is
//! held, so that no load can make the process grow. Counts what may come to be held. Knows nothing of requests.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit that is counted in, in bytes.
const UNIT: usize = 1024;

/// All of it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Memory {
    free: Arc<Semaphore>,
    /// In bytes.
    most: usize,
}

/// A part of it; dropping it gives it back.
#[derive(Debug)]
pub struct Reserved {
    part: OwnedSemaphorePermit,
    most: usize,
}

/// Why there is no memory for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryFull {
    /// Others hold it.
    #[error("the memory for requests is in use")]
    InUse,
    /// Even all of it would be too little.
    #[error("{wanted} bytes of the memory for requests are wanted, and there are {most} in all")]
    TooLittle {
        /// In bytes.
        wanted: usize,
        /// In bytes.
        most: usize,
    },
}

impl MemoryFull {
    fn of(wanted: usize, most: usize) -> Self {
        if wanted > most { Self::TooLittle { wanted, most } } else { Self::InUse }
    }
}

impl Memory {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        let free = Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS)));
        Self { most: bytes, free }
    }

    /// A part of no bytes, which can grow.
    pub fn none(&self) -> Reserved {
        let part = self.free.clone().try_acquire_many_owned(0).expect("nothing is always free");
        Reserved { part, most: self.most }
    }

    /// The bytes that nothing holds.
    pub fn free(&self) -> usize {
        self.free.available_permits().saturating_mul(UNIT)
    }

    /// A part of so many bytes.
    ///
    /// # Errors
    /// When so much is not free.
    pub fn reserve(&self, bytes: usize) -> Result<Reserved, MemoryFull> {
        let part = self.free.clone().try_acquire_many_owned(units(bytes));
        let part = part.map_err(|_| MemoryFull::of(bytes, self.most))?;
        Ok(Reserved { part, most: self.most })
    }
}

impl Reserved {
    /// So many more bytes.
    ///
    /// # Errors
    /// When so much is not free; what was held before is held on.
    pub fn grow(&mut self, bytes: usize) -> Result<(), MemoryFull> {
        let more = self.part.semaphore().clone().try_acquire_many_owned(units(bytes));
        let more = more.map_err(|_| MemoryFull::of(self.bytes().saturating_add(bytes), self.most))?;
        self.part.merge(more);
        Ok(())
    }

    /// Another part of the same memory, of no bytes.
    pub fn none(&self) -> Self {
        Memory { free: self.part.semaphore().clone(), most: self.most }.none()
    }

    /// The bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.part.num_permits() * UNIT
    }
}

/// What a value of JSON takes, in bytes, where all are read: 72 in a tree of them, and up to five trees are there at once while a
/// request is put into another dialect.
const VALUE: usize = 400;

/// The same of an answer, which is put into another dialect in fewer steps: 7.5 million numbers took 1.3 GB.
const ANSWERED_VALUE: usize = 200;

/// What the values of a request may take while they are read, besides their texts, in bytes: two bytes can be a number in a list.
pub fn values(json: &[u8]) -> usize {
    count(json).saturating_mul(VALUE)
}

/// The same of an answer, or of an event of one.
pub fn answered_values(json: &[u8]) -> usize {
    count(json).saturating_mul(ANSWERED_VALUE)
}

/// Values of JSON, about.
fn count(json: &[u8]) -> usize {
    let (mut count, mut at) = (0_usize, 0);
    while let Some(found) = memchr::memchr2(b',', b'"', &json[at..]) {
        at += found + 1;
        if json[at - 1] == b',' {
            count += 1;
        } else {
            at = behind_text(json, at);
        }
    }
    count
}

/// The place behind a text that begins here.
fn behind_text(json: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', &json[at..]) {
        at += found + 1;
        if json[at - 1] == b'"' {
            return at;
        }
        at = json.len().min(at + 1);
    }
    json.len()
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_until_there_is_memory_again() {
        let memory = Memory::new(10 * UNIT);
        let mut first = memory.reserve(4 * UNIT).unwrap();
        assert_eq!(first.grow(6 * UNIT + 1), Err(MemoryFull::TooLittle { wanted: 10 * UNIT + 1, most: 10 * UNIT }));
        let second = memory.reserve(6 * UNIT).unwrap();
        assert_eq!(first.grow(6 * UNIT), Err(MemoryFull::InUse));
        assert_eq!(memory.reserve(1).err(), Some(MemoryFull::InUse));
        assert!(matches!(memory.reserve(11 * UNIT), Err(MemoryFull::TooLittle { .. })));
        drop(second);
        first.grow(UNIT + 1).unwrap();
        assert_eq!(first.bytes(), 6 * UNIT);
        drop(first);
        assert!(memory.reserve(10 * UNIT).is_ok());
    }

    #[test]
    fn values_count_and_what_stands_in_texts_does_not() {
        assert!(5 * size_of::<serde_json::Value>() <= VALUE, "{}", size_of::<serde_json::Value>());
        for (json, count) in
            [("[0,0,0]", 2), (r#"{"a":"1,2,3","b":[","]}"#, 1), (r#"["\",\\",0,"x,"#, 2), (r#"["\"#, 0), ("", 0)]
        {
            assert_eq!(values(json.as_bytes()), count * VALUE, "{json}");
        }
    }
}
