//! The engine's C library, made safe: loading it, connections, results, streams. Knows no HTTP and no SQL.
//!
//! Signatures are those of `chdb.h` 26.7.3, whose rule is that they change only with the library's major version. The
//! library is opened at run time, so that building needs neither it nor its header, and is never unloaded.
#![allow(unsafe_code, reason = "this file calls a C library; the rest of the workspace stays free of it")]

use crate::exception::Exception;
use bytes::Bytes;
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::{NonNull, null};

type Pointer = *mut c_void;
type Texts = *const *const c_char;
type Lengths = *const usize;
type Count = unsafe extern "C" fn(Pointer) -> u64;
type Start = unsafe extern "C" fn(
    Pointer,
    *const c_char,
    usize,
    *const c_char,
    usize,
    Texts,
    Lengths,
    Texts,
    Lengths,
    usize,
) -> Pointer;

/// The functions that we call. Every one is looked up when the library is loaded: an older library fails there.
pub(crate) struct Api {
    set_signal_handlers: unsafe extern "C" fn(c_int),
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Pointer,
    close: unsafe extern "C" fn(*mut Pointer),
    shutdown: unsafe extern "C" fn() -> c_int,
    classify: unsafe extern "C" fn(Pointer, *const c_char, usize, *const c_char, usize, *mut RawAnalysis) -> c_int,
    query: Start,
    stream: Start,
    stream_fetch: unsafe extern "C" fn(Pointer, Pointer) -> Pointer,
    stream_cancel: unsafe extern "C" fn(Pointer, Pointer),
    insert: Start,
    insert_append: unsafe extern "C" fn(Pointer, *const c_void, usize) -> c_int,
    insert_done: unsafe extern "C" fn(Pointer) -> Pointer,
    insert_cancel: unsafe extern "C" fn(Pointer),
    insert_error: unsafe extern "C" fn(Pointer) -> *const c_char,
    insert_destroy: unsafe extern "C" fn(Pointer),
    result_destroy: unsafe extern "C" fn(Pointer),
    result_error: unsafe extern "C" fn(Pointer) -> *const c_char,
    result_buffer: unsafe extern "C" fn(Pointer) -> *const u8,
    result_length: unsafe extern "C" fn(Pointer) -> usize,
    result_rows: Count,
    result_bytes: Count,
    read_rows: Count,
    read_bytes: Count,
    written_rows: Count,
    written_bytes: Count,
}

impl Api {
    /// Opens the library and switches its signal handlers off, which must happen before the first connection.
    pub(crate) fn load(path: &Path) -> Result<&'static Api, libloading::Error> {
        // SAFETY: the constructors of libchdb.so run here; it is the pinned library, verified by deploy/setup.
        let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(path) }?));
        let api = Box::leak(Box::new(Api::resolve(library)?));
        // SAFETY: takes an int, touches only the library's own flag; no connection exists yet.
        unsafe { (api.set_signal_handlers)(0) };
        Ok(api)
    }

    fn resolve(library: &'static Library) -> Result<Api, libloading::Error> {
        Ok(Api {
            set_signal_handlers: symbol(library, "chdb_set_signal_handlers_enabled")?,
            connect: symbol(library, "chdb_connect")?,
            close: symbol(library, "chdb_close_conn")?,
            shutdown: symbol(library, "chdb_shutdown")?,
            classify: symbol(library, "chdb_classify_query_n")?,
            query: symbol(library, "chdb_query_with_params_n")?,
            stream: symbol(library, "chdb_stream_query_with_params_n")?,
            stream_fetch: symbol(library, "chdb_stream_fetch_result")?,
            stream_cancel: symbol(library, "chdb_stream_cancel_query")?,
            insert: symbol(library, "chdb_stream_insert_with_params_n")?,
            insert_append: symbol(library, "chdb_stream_append")?,
            insert_done: symbol(library, "chdb_stream_done")?,
            insert_cancel: symbol(library, "chdb_stream_cancel_insert")?,
            insert_error: symbol(library, "chdb_stream_insert_error")?,
            insert_destroy: symbol(library, "chdb_destroy_insert_stream")?,
            result_destroy: symbol(library, "chdb_destroy_query_result")?,
            result_error: symbol(library, "chdb_result_error")?,
            result_buffer: symbol(library, "chdb_result_buffer")?,
            result_length: symbol(library, "chdb_result_length")?,
            result_rows: symbol(library, "chdb_result_rows_read")?,
            result_bytes: symbol(library, "chdb_result_bytes_read")?,
            read_rows: symbol(library, "chdb_result_storage_rows_read")?,
            read_bytes: symbol(library, "chdb_result_storage_bytes_read")?,
            written_rows: symbol(library, "chdb_result_rows_written")?,
            written_bytes: symbol(library, "chdb_result_bytes_written")?,
        })
    }

    /// Stops the engine for the rest of the process. False while a connection is still open.
    pub(crate) fn shutdown(&self) -> bool {
        // SAFETY: takes nothing; the library serialises it with connecting and refuses while connections are open.
        unsafe { (self.shutdown)() == 0 }
    }

    /// Copies the outcome out of a result handle and frees it.
    fn outcome(&self, result: Pointer) -> Result<Outcome, Exception> {
        // SAFETY: `result` comes from the library, is used by this thread only, and is destroyed once, here, after the
        // last read. The library's accessors take null for "no result".
        unsafe {
            let error = exception((self.result_error)(result));
            let length = (self.result_length)(result);
            let buffer = (self.result_buffer)(result);
            let bytes = if length == 0 || buffer.is_null() {
                Bytes::new()
            } else {
                Bytes::copy_from_slice(std::slice::from_raw_parts(buffer, length))
            };
            let work = Work {
                result_rows: (self.result_rows)(result),
                result_bytes: (self.result_bytes)(result),
                read_rows: (self.read_rows)(result),
                read_bytes: (self.read_bytes)(result),
                written_rows: (self.written_rows)(result),
                written_bytes: (self.written_bytes)(result),
            };
            (self.result_destroy)(result);
            error.map_or(Ok(Outcome { bytes, work }), Err)
        }
    }
}

/// What a statement did, in the engine's own counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    pub(crate) result_rows: u64,
    pub(crate) result_bytes: u64,
    pub(crate) read_rows: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_rows: u64,
    pub(crate) written_bytes: u64,
}

/// A whole result, or one chunk of a streamed one.
pub(crate) struct Outcome {
    pub(crate) bytes: Bytes,
    pub(crate) work: Work,
}

/// What a statement would do, as the engine's own parser sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Leaves no trace.
    Reads,
    /// Changes a database, or something beside the databases.
    Writes,
    /// Session state, SYSTEM, KILL, ATTACH, BACKUP, or anything that writes outside the engine.
    Controls,
    /// Did not parse, or is not classified.
    Unknown,
}

/// The engine's report on a text: how many statements it holds, and their strongest effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Analysis {
    pub(crate) statements: u32,
    pub(crate) effect: Effect,
}

#[repr(C)]
struct RawAnalysis {
    struct_size: u32,
    statement_count: u32,
    flags: u32,
    query_class: u32,
}

/// A statement's text, the format of its rows, and the values of its `{name:Type}` parameters.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) format: &'a str,
    pub(crate) parameters: &'a [(String, String)],
}

impl Statement<'_> {
    /// SAFETY: `connection` must be open and used by no other thread meanwhile.
    unsafe fn start(&self, start: Start, connection: Pointer) -> Pointer {
        let names: Vec<_> = self.parameters.iter().map(|(name, _)| name.as_ptr().cast::<c_char>()).collect();
        let name_lengths: Vec<_> = self.parameters.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<_> = self.parameters.iter().map(|(_, value)| value.as_ptr().cast::<c_char>()).collect();
        let value_lengths: Vec<_> = self.parameters.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: every pointer is to memory that outlives the call, with its length beside it; the library copies.
        unsafe {
            start(
                connection,
                self.text.as_ptr().cast(),
                self.text.len(),
                self.format.as_ptr().cast(),
                self.format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                self.parameters.len(),
            )
        }
    }
}

/// One connection: a session of its own. It runs one statement at a time, which `&mut self` guarantees.
pub(crate) struct Connection {
    api: &'static Api,
    handle: NonNull<Pointer>,
}

// SAFETY: the library allows a connection to be used from any thread, one at a time; there is no `Sync`, and every method
// takes `&mut self`.
unsafe impl Send for Connection {}

impl Connection {
    /// Connects; the first connection of a process starts the engine with `arguments`. `None`: the engine refused, having
    /// told why on standard error only.
    pub(crate) fn open(api: &'static Api, arguments: &[String]) -> Option<Connection> {
        let arguments: Vec<CString> =
            arguments.iter().map(|text| CString::new(text.as_str())).collect::<Result<_, _>>().ok()?;
        let mut pointers: Vec<*mut c_char> = arguments.iter().map(|text| text.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: `count` pointers to NUL-terminated texts that outlive the call; the library does not write to them.
        let handle = unsafe { (api.connect)(count, pointers.as_mut_ptr()) };
        NonNull::new(handle).map(|handle| Connection { api, handle })
    }

    fn pointer(&self) -> Pointer {
        // SAFETY: the handle points to the connection until `drop` closes it.
        unsafe { *self.handle.as_ptr() }
    }

    /// Parses `text` with this connection's settings, without running it.
    pub(crate) fn classify(&mut self, text: &[u8]) -> Analysis {
        let size = u32::try_from(size_of::<RawAnalysis>()).expect("a struct of 16 bytes");
        let mut raw = RawAnalysis { struct_size: size, statement_count: 0, flags: 0, query_class: 4 };
        // SAFETY: the text is given with its length, the target database is absent, and the report has the stated size.
        let state =
            unsafe { (self.api.classify)(self.pointer(), text.as_ptr().cast(), text.len(), null(), 0, &raw mut raw) };
        let effect = match (state, raw.query_class) {
            (0, 0) => Effect::Reads,
            (0, 1 | 2) => Effect::Writes,
            (0, 3) => Effect::Controls,
            _ => Effect::Unknown,
        };
        Analysis { statements: raw.statement_count, effect }
    }

    /// Runs a statement and keeps its whole result in memory.
    pub(crate) fn query(&mut self, statement: Statement<'_>) -> Result<Outcome, Exception> {
        // SAFETY: the connection is open and ours alone.
        let result = unsafe { statement.start(self.api.query, self.pointer()) };
        self.api.outcome(result)
    }

    /// Starts a SELECT whose result is fetched chunk by chunk. The engine refuses any other statement before running it.
    pub(crate) fn stream(&mut self, statement: Statement<'_>) -> Result<Rows<'_>, Exception> {
        // SAFETY: the connection is open and ours alone; the handle is never null and is destroyed by `Rows::drop`.
        let handle = unsafe { statement.start(self.api.stream, self.pointer()) };
        let rows = Rows { connection: self, handle, ended: false };
        // SAFETY: reads the handle's error text, if any.
        match exception(unsafe { (rows.connection.api.result_error)(handle) }) {
            Some(error) => Err(rows.fail(error)),
            None => Ok(rows),
        }
    }

    /// Starts an INSERT whose data follows in pieces; the text ends before its FORMAT.
    pub(crate) fn insert(&mut self, statement: Statement<'_>) -> Result<Insert<'_>, Exception> {
        // SAFETY: as in `stream`; destroyed by `Insert::drop`.
        let handle = unsafe { statement.start(self.api.insert, self.pointer()) };
        let insert = Insert { api: self.api, handle, connection: PhantomData };
        insert.error().map_or(Ok(insert), Err)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed once; streams borrow the connection, so none is left.
        unsafe { (self.api.close)(self.handle.as_ptr()) };
    }
}

/// A running SELECT. Dropped before its end, it is cancelled.
pub(crate) struct Rows<'a> {
    connection: &'a mut Connection,
    handle: Pointer,
    ended: bool,
}

impl Rows<'_> {
    /// The next chunk; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Outcome>, Exception> {
        if self.ended {
            return Ok(None);
        }
        // SAFETY: handle and connection are open and ours alone.
        let chunk = unsafe { (self.connection.api.stream_fetch)(self.connection.pointer(), self.handle) };
        let outcome = self.connection.api.outcome(chunk).inspect_err(|_| self.ended = true)?;
        self.ended = outcome.bytes.is_empty();
        Ok(if self.ended { None } else { Some(outcome) })
    }

    fn fail(mut self, error: Exception) -> Exception {
        self.ended = true;
        error
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        let api = self.connection.api;
        // SAFETY: cancelled only while it runs, destroyed once, and not used afterwards.
        unsafe {
            if !self.ended {
                (api.stream_cancel)(self.connection.pointer(), self.handle);
            }
            (api.result_destroy)(self.handle);
        }
    }
}

/// A running INSERT. Dropped without `finish`, it is cancelled and commits nothing.
pub(crate) struct Insert<'a> {
    api: &'static Api,
    handle: Pointer,
    connection: PhantomData<&'a mut Connection>,
}

impl Insert<'_> {
    /// Hands over the next bytes; blocks while the engine is behind.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), Exception> {
        // SAFETY: the stream is open; the library copies `data`.
        let state = unsafe { (self.api.insert_append)(self.handle, data.as_ptr().cast(), data.len()) };
        if state == 0 {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| Exception::from_engine("the engine took no more data")))
    }

    /// Commits. The rows are in the table once this returns.
    pub(crate) fn finish(self) -> Result<Work, Exception> {
        // SAFETY: called once; the result is freed by `outcome`, the stream by `drop`.
        let result = unsafe { (self.api.insert_done)(self.handle) };
        self.api.outcome(result).map(|outcome| outcome.work)
    }

    fn error(&self) -> Option<Exception> {
        // SAFETY: the stream is open; the text is copied at once.
        exception(unsafe { (self.api.insert_error)(self.handle) })
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        // SAFETY: cancelling a finished stream does nothing; it is destroyed once.
        unsafe {
            (self.api.insert_cancel)(self.handle);
            (self.api.insert_destroy)(self.handle);
        }
    }
}

fn exception(text: *const c_char) -> Option<Exception> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the library's error texts end with NUL and live as long as their handle; the text is copied here.
    Some(Exception::from_engine(&unsafe { CStr::from_ptr(text) }.to_string_lossy()))
}

fn symbol<T: Copy>(library: &'static Library, name: &str) -> Result<T, libloading::Error> {
    // SAFETY: each field of `Api` has the signature that chdb.h gives for its name; the library is never unloaded.
    unsafe { library.get::<T>(name).map(|symbol| *symbol) }
}
