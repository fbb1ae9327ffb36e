//! The engine in this process: starting and stopping it, its data folder's lock, connections, sessions. Knows no HTTP and no SQL but the few statements of its own.

use crate::exception::{Exception, Kind};
use crate::ffi::{Api, Connection, Statement};
use crate::{Error, Settings, config};
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Sessions kept at a time; the one idle for longest gives way to a new one.
const SESSIONS: usize = 64;

/// The running engine. One per process, for its whole life.
pub(crate) struct Engine {
    api: &'static Api,
    arguments: Vec<String>,
    anchor: Mutex<Option<Connection>>,
    sessions: Mutex<HashMap<String, Session>>,
    statements: AtomicU64,
    leases: AtomicUsize,
    pub(crate) version: String,
    pub(crate) timezone: String,
    _lock: File,
}

/// `connection` is absent while a request uses it.
struct Session {
    connection: Option<Connection>,
    expires: Instant,
}

impl Engine {
    /// Loads the library and starts the engine on the data folder, which takes 0.1 to 1 s. Blocks.
    pub(crate) fn open(settings: &Settings) -> Result<Engine, Error> {
        if !settings.library.is_file() {
            return Err(Error::NotInstalled { library: settings.library.clone() });
        }
        let folder = |source| Error::DataFolder { data: settings.data.clone(), source };
        std::fs::create_dir_all(&settings.data).map_err(folder)?;
        let data = settings.data.canonicalize().map_err(folder)?;
        let lock = lock(settings)?;
        let config = config::write(settings).map_err(folder)?;
        let api = Api::load(&settings.library)
            .map_err(|source| Error::Library { library: settings.library.clone(), source: Box::new(source) })?;
        let path = format!("--path={}", data.display());
        let first = ["chdb".to_owned(), path.clone(), format!("--config-file={}", config.display())];
        let mut anchor =
            Connection::open(api, &first).ok_or_else(|| Error::NotStarted { data: settings.data.clone() })?;
        let version = ask(&mut anchor, "SELECT version()").map_err(|error| Error::FirstQuery(error.to_string()))?;
        let timezone = ask(&mut anchor, "SELECT timezone()").map_err(|error| Error::FirstQuery(error.to_string()))?;
        Ok(Engine {
            api,
            arguments: vec!["chdb".to_owned(), path],
            anchor: Mutex::new(Some(anchor)),
            sessions: Mutex::default(),
            statements: AtomicU64::new(0),
            leases: AtomicUsize::new(0),
            version,
            timezone,
            _lock: lock,
        })
    }

    /// A number for each statement, by which it can be found and killed.
    pub(crate) fn number(&self) -> u64 {
        self.statements.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh connection, or the session's, for one statement.
    pub(crate) fn lease(&self, session: Option<(&str, Duration)>) -> Result<Lease<'_>, Exception> {
        let kept = match session {
            None => None,
            Some((name, _)) => self.take(name)?,
        };
        let session = session.map(|(name, keep)| (name.to_owned(), keep));
        self.leases.fetch_add(1, Ordering::AcqRel);
        let mut lease = Lease { engine: self, session, connection: kept };
        if lease.connection.is_none() {
            lease.connection = Some(self.connect()?);
        }
        Ok(lease)
    }

    /// Cancels the statements with this log comment, or all of them. They notice within moments. Blocks.
    pub(crate) fn kill(&self, comment: Option<&str>) -> Result<(), Exception> {
        let which = comment.map_or("query_id != queryID()".to_owned(), |comment| {
            format!("Settings['log_comment'] = {}", quote(comment))
        });
        ask(&mut self.connect()?, &format!("KILL QUERY WHERE {which} ASYNC")).map(|_| ())
    }

    /// Ends the sessions and stops the engine: what it wrote is on disk. False, and nothing is stopped, if a statement is
    /// still running. Blocks.
    pub(crate) fn close(&self) -> bool {
        held(&self.sessions).clear();
        if self.leases.load(Ordering::Acquire) > 0 {
            return false;
        }
        // Closing the last connection stops the engine. `chdb_shutdown` would also join its idle threads, but 26.7.3
        // declines that once a table was created; it says itself that skipping it is safe for a process that ends.
        held(&self.anchor).take();
        let joined = self.api.shutdown();
        tracing::debug!(joined, "the engine has stopped");
        true
    }

    /// Not after `close`: that would start the engine again, without its configuration.
    fn connect(&self) -> Result<Connection, Exception> {
        let open = held(&self.anchor).is_some();
        let connection = if open { Connection::open(self.api, &self.arguments) } else { None };
        connection.ok_or_else(|| Exception::new(Kind::Aborted, "The engine takes no more connections"))
    }

    fn take(&self, name: &str) -> Result<Option<Connection>, Exception> {
        let now = Instant::now();
        let mut sessions = held(&self.sessions);
        sessions.retain(|_, session| session.connection.is_none() || session.expires > now);
        if let Some(session) = sessions.get_mut(name) {
            let locked = || {
                Exception::new(Kind::SessionIsLocked, format_args!("Session {name} is locked by a concurrent client"))
            };
            return session.connection.take().map(Some).ok_or_else(locked);
        }
        if sessions.len() >= SESSIONS {
            let idle = sessions.iter().filter(|(_, session)| session.connection.is_some());
            let oldest = idle.min_by_key(|(_, session)| session.expires).map(|(name, _)| name.clone());
            let oldest = oldest.ok_or_else(|| Exception::new(Kind::TooManySimultaneousQueries, "Too many sessions"))?;
            sessions.remove(&oldest);
        }
        sessions.insert(name.to_owned(), Session { connection: None, expires: now });
        Ok(None)
    }
}

/// A connection for one statement. Dropped, it is closed; a session's is only kept by `keep`.
pub(crate) struct Lease<'a> {
    engine: &'a Engine,
    session: Option<(String, Duration)>,
    connection: Option<Connection>,
}

impl Lease<'_> {
    pub(crate) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("present until `keep`, which consumes the lease")
    }

    pub(crate) fn is_session(&self) -> bool {
        self.session.is_some()
    }

    /// Gives a session's connection back for its next statement.
    pub(crate) fn keep(mut self) {
        if let Some((name, keep)) = self.session.take() {
            let session = Session { connection: self.connection.take(), expires: Instant::now() + keep };
            held(&self.engine.sessions).insert(name, session);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.connection.take();
        self.engine.leases.fetch_sub(1, Ordering::AcqRel);
        if let Some((name, _)) = self.session.take() {
            held(&self.engine.sessions).remove(&name);
        }
    }
}

/// A text as an SQL literal.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The engine's own lock gives no reason when it refuses a second process; ours names the first one.
fn lock(settings: &Settings) -> Result<File, Error> {
    let folder = |source| Error::DataFolder { data: settings.data.clone(), source };
    let path = settings.data.join("penstock.lock");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(folder)?;
    let mut holder = String::new();
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            file.read_to_string(&mut holder).map_err(folder)?;
            return Err(Error::InUse { data: settings.data.clone(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(folder(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(folder)?;
    writeln!(file, "{}", std::process::id()).map_err(folder)?;
    Ok(file)
}

fn ask(connection: &mut Connection, text: &str) -> Result<String, Exception> {
    let outcome = connection.query(Statement { text: text.as_bytes(), format: "TSVRaw", parameters: &[] })?;
    Ok(String::from_utf8_lossy(&outcome.bytes).trim().to_owned())
}

/// A panic elsewhere leaves nothing half-done behind these locks.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
