//! Groups of lines for a provider's own batch API on the bus: what is asked about them, what their workers know of them
//! together, and the objects of their lines and answers, written and read record by record. Knows nothing of lines.

use super::streams::patiently;
use super::{Bucket, Bus, BusError, failed};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::StorageType;
use bytes::Bytes;
use futures_util::StreamExt;
use penstock_schemas::failure::{Failure, FailureKind};
use penstock_schemas::name::ProviderId;
use penstock_schemas::native_batch::{LINE_BYTES, NativeAnswer, NativeQuestion, NativeStage};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::oneshot;

/// How long a group that is not forgotten is remembered: longer than any provider takes, and keeps its answers for.
const AGE: Duration = Duration::from_secs(10 * 24 * 3600);

/// What all objects of groups may take together, in bytes.
const MAX_BYTES: i64 = 512 << 20;

/// Longest wait for a worker's answer: it says how a group is, and does what is due afterwards.
const ANSWER: Duration = Duration::from_secs(15);

/// How long the store is tried again in the middle of a role's life.
const OPENING: Duration = Duration::from_secs(5);

/// What of an object waits here for the bus, in bytes.
const WINDOW: usize = 256 * 1024;

/// Ends an object: a record of no bytes. One that lacks it was cut off while it was written.
const END: u32 = 0;

/// The objects of groups. Cloning shares it.
#[derive(Clone)]
pub struct NativeObjects {
    store: ObjectStore,
    bus: Bus,
}

/// An object that is being written. Dropped before its end, it is one that is cut off.
pub struct ObjectWriter {
    pipe: DuplexStream,
    stored: oneshot::Receiver<Result<(), BusError>>,
}

/// An object that is being read.
pub struct ObjectReader(BufReader<object_store::Object>);

impl Bus {
    /// Asks the workers of a provider about a group.
    ///
    /// # Errors
    /// When none of them answers in time.
    pub async fn ask_native(&self, provider: &ProviderId, question: &NativeQuestion) -> Result<NativeAnswer, BusError> {
        self.ask_within(ANSWER, self.subjects.native(provider), question, "ask a worker about a native batch").await
    }

    /// Answers such questions as long as the role lives, each in a task of its own.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn answer_native<F, A>(&self, provider: &ProviderId, answer: F) -> Result<(), BusError>
    where
        F: Fn(NativeQuestion) -> A + Send + Sync + 'static,
        A: Future<Output = NativeAnswer> + Send + 'static,
    {
        let wrong = |why: String| NativeAnswer::Later(Box::new(Failure::gateway(FailureKind::Internal, why)));
        self.answer_read(self.subjects.native(provider), answer, wrong).await
    }

    /// What workers know of groups, by their names.
    ///
    /// # Errors
    /// When JetStream does not answer, or the bucket has other settings.
    pub async fn native_groups(&self) -> Result<Bucket<NativeStage>, BusError> {
        let name = self.subjects.native_groups_bucket();
        Ok(Bucket::of(self, self.key_value_for(&name, AGE).await?))
    }

    /// The objects of groups.
    ///
    /// # Errors
    /// When JetStream does not answer.
    pub async fn native_objects(&self) -> Result<NativeObjects, BusError> {
        let bucket = self.subjects.native_lines_bucket();
        let store = patiently(OPENING, || async {
            if let Ok(store) = self.jetstream.get_object_store(&bucket).await {
                return Ok(store);
            }
            let config = object_store::Config {
                bucket: bucket.clone(),
                max_age: AGE,
                max_bytes: MAX_BYTES,
                storage: StorageType::File,
                num_replicas: self.replicas,
                ..object_store::Config::default()
            };
            self.jetstream.create_object_store(config).await.map_err(failed("set up the store of native batches"))
        });
        Ok(NativeObjects { store: store.await?, bus: self.clone() })
    }
}

impl NativeObjects {
    /// Begins to write an object, in the place of an earlier one of its name.
    pub fn write(&self, name: &str) -> ObjectWriter {
        let (pipe, mut from) = duplex(WINDOW);
        let (tell, stored) = oneshot::channel();
        let (objects, name) = (self.clone(), name.to_owned());
        self.bus.life.work(async move {
            let stored = objects.store.put(name.as_str(), &mut from).await.map(drop);
            let stored = objects.bus.noted(&objects.bus.subjects.native_lines_bucket(), stored);
            // The one who writes may have given up.
            let _ = tell.send(stored.map_err(failed("store the lines of a native batch")));
        });
        ObjectWriter { pipe, stored }
    }

    /// Begins to read an object. `None` when there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(&self, name: &str) -> Result<Option<ObjectReader>, BusError> {
        match self.store.get(name).await {
            Ok(object) => Ok(Some(ObjectReader(BufReader::with_capacity(WINDOW, object)))),
            Err(error) if error.kind() == object_store::GetErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read the lines of a native batch")(error)),
        }
    }

    /// Removes all objects with such names.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn clear(&self, is_it: impl Fn(&str) -> bool) -> Result<(), BusError> {
        let mut all = self.store.list().await.map_err(failed("list native batches"))?;
        while let Some(object) = all.next().await {
            let name = object.map_err(failed("list native batches"))?.name;
            if is_it(&name) {
                self.remove(&name).await?;
            }
        }
        Ok(())
    }

    /// Removes an object; an absent one too.
    ///
    /// # Errors
    /// When the store does not confirm it.
    pub async fn remove(&self, name: &str) -> Result<(), BusError> {
        match self.store.delete(name).await {
            Err(error) if error.kind() != object_store::DeleteErrorKind::NotFound => {
                Err(failed("remove the lines of a native batch")(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl ObjectWriter {
    /// Adds a record; waits while the bus takes less than is written.
    ///
    /// # Errors
    /// When the record is empty or too long, or the store does not take it.
    pub async fn push(&mut self, record: &[u8]) -> Result<(), BusError> {
        let length = u32::try_from(record.len()).ok().filter(|length| *length != END && record.len() <= LINE_BYTES);
        let length = length.ok_or_else(|| failed("write a line")(io::Error::from(io::ErrorKind::InvalidInput)))?;
        let written = async {
            self.pipe.write_u32(length).await?;
            self.pipe.write_all(record).await
        };
        match written.await {
            Ok(()) => Ok(()),
            // The store has said why.
            Err(error) => Err((&mut self.stored)
                .await
                .ok()
                .and_then(Result::err)
                .unwrap_or_else(|| failed("write a line")(error))),
        }
    }

    /// Ends the object. From now on it can be read.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn finish(mut self) -> Result<(), BusError> {
        let ended = async {
            self.pipe.write_u32(END).await?;
            self.pipe.shutdown().await
        };
        ended.await.map_err(failed("write a line"))?;
        drop(self.pipe);
        self.stored.await.map_err(failed("store the lines of a native batch"))?
    }
}

impl ObjectReader {
    /// How long the object is, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.get_ref().info().size
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the store does not give it, or the object was cut off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BusError> {
        self.read().await.map_err(failed("read the lines of a native batch"))
    }

    async fn read(&mut self) -> io::Result<Option<Bytes>> {
        let length = match self.0.read_u32().await? {
            END => return Ok(None),
            length => length as usize,
        };
        if length > LINE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut record = vec![0; length];
        self.0.read_exact(&mut record).await?;
        Ok(Some(record.into()))
    }
}
