//! The safe layer: a type is a connection, and the host calls its functions.
use crate::raw;
use core::marker::PhantomData;
use core::mem;
use core::ops::Deref;
use core::ptr;
use std::any::Any;
use std::error::Error;
use std::ffi::{c_void, CStr};
use std::os::raw::c_char;
use std::panic::{catch_unwind, AssertUnwindSafe};

// -- what may fail ---------------------------------------------------------------------------------

/// Why a call failed: one of `raw::E_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i32);

impl std::fmt::Display for Status {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(text, "status {} of Berth", self.0)
    }
}

impl Error for Status {}

fn check(status: i32) -> Result<(), Status> {
    if status == raw::OK {
        Ok(())
    } else {
        Err(Status(status))
    }
}

/// What [`Session::listen`] returns: an error refuses the start, with its words.
pub type Listened<T> = Result<T, Box<dyn Error>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    Error = raw::LOG_ERROR,
    Warn = raw::LOG_WARN,
    Info = raw::LOG_INFO,
    Debug = raw::LOG_DEBUG,
}

fn size_of_text(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

// -- the host --------------------------------------------------------------------------------------

/// The host's services, for all threads. It lives as long as the plugin is loaded.
#[derive(Clone, Copy)]
pub struct Host {
    raw: *const raw::berth_host,
}

// The table is constant, and what is called by it here may be called on every thread.
unsafe impl Send for Host {}
unsafe impl Sync for Host {}

macro_rules! host_call {
    ($host:expr, $member:ident $(, $argument:expr)* $(,)?) => {
        // Members of the table are never NULL.
        ((*$host).$member.unwrap_unchecked())($($argument),*)
    };
}

impl Host {
    pub fn as_raw(self) -> *const raw::berth_host {
        self.raw
    }

    pub fn log(self, level: Level, text: &str) {
        let text = text.as_bytes();
        unsafe { host_call!(self.raw, log, self.raw, level as u32, text.as_ptr().cast(), size_of_text(text)) }
    }

    /// Milliseconds on a clock that never goes back.
    pub fn now_ms(self) -> u64 {
        unsafe { host_call!(self.raw, now_ms, self.raw) }
    }

    /// Room for at least `size` bytes, which are the caller's alone.
    pub fn buffer(self, size: u32) -> Result<BufferMut, Status> {
        let mut slice = unsafe { mem::zeroed::<raw::berth_slice>() };
        check(unsafe { host_call!(self.raw, buffer_create, self.raw, size, &mut slice) })?;
        Ok(BufferMut { buffer: Buffer { host: self, slice } })
    }

    /// Runs the function on the worker of that connection; `None`: it has ended. From any thread.
    pub fn post<S, F>(self, id: ConnId<S>, function: F) -> Result<(), Status>
    where
        S: Session,
        F: FnOnce(Option<(&mut S, Conn<'_, S>)>) + Send + 'static,
    {
        let message = Box::into_raw(Box::new(function));
        let status = unsafe {
            host_call!(self.raw, post, self.raw, id.id, Some(run_post::<S, F>), message.cast::<c_void>())
        };
        if status != raw::OK {
            drop(unsafe { Box::from_raw(message) });
        }
        check(status)
    }
}

unsafe extern "C" fn run_post<S, F>(conn: *mut raw::berth_conn, _: i32, argument: *mut c_void)
where
    S: Session,
    F: FnOnce(Option<(&mut S, Conn<'_, S>)>) + Send + 'static,
{
    let function = Box::from_raw(argument.cast::<F>());
    guard(conn, (), move || function(parts::<S>(conn)));
}

// -- bytes -----------------------------------------------------------------------------------------

/// A reference to a buffer of the host's, and a run of bytes in it. Given back when it is dropped.
pub struct Buffer {
    host: Host,
    slice: raw::berth_slice,
}

// References are counted by the host, on every thread, and the bytes are only read.
unsafe impl Send for Buffer {}
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A run of the run.
    pub fn slice(&self, from: usize, to: usize) -> Buffer {
        let bytes = &self[from..to];
        let mut part = self.slice;
        part.bytes = bytes.as_ptr() as *mut u8;
        part.size = bytes.len() as u32;
        unsafe { host_call!(self.host.raw, buffer_acquire, part.buffer) };
        Buffer { host: self.host, slice: part }
    }

    fn into_raw(self) -> raw::berth_slice {
        let slice = self.slice;
        mem::forget(self);
        slice
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        self.slice(0, self.len())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        unsafe { host_call!(self.host.raw, buffer_release, self.slice.buffer) }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        unsafe { bytes_of(&self.slice) }
    }
}

/// A buffer that nobody else refers to.
pub struct BufferMut {
    buffer: Buffer,
}

impl BufferMut {
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let slice = &self.buffer.slice;
        unsafe { core::slice::from_raw_parts_mut(slice.bytes, slice.size as usize) }
    }

    /// Its first `size` bytes, for reading and sending.
    pub fn freeze(mut self, size: usize) -> Buffer {
        self.buffer.slice.size = self.buffer.slice.size.min(u32::try_from(size).unwrap_or(u32::MAX));
        self.buffer
    }
}

unsafe fn bytes_of<'a>(slice: &raw::berth_slice) -> &'a [u8] {
    if slice.size == 0 {
        &[]
    } else {
        core::slice::from_raw_parts(slice.bytes, slice.size as usize)
    }
}

/// Bytes that are lent until the callback returns.
pub struct Data<'a> {
    host: Host,
    slice: &'a raw::berth_slice,
}

impl Data<'_> {
    /// A run of them that may be kept, or sent without a copy.
    pub fn keep(&self, from: usize, to: usize) -> Buffer {
        let whole = mem::ManuallyDrop::new(Buffer { host: self.host, slice: *self.slice });
        whole.slice(from, to)
    }
}

impl Deref for Data<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        unsafe { bytes_of(self.slice) }
    }
}

// -- listeners and connections ---------------------------------------------------------------------

pub struct Listener<'a> {
    raw: &'a raw::berth_listener,
}

unsafe fn text_of<'a>(text: *const c_char) -> &'a str {
    CStr::from_ptr(text).to_str().unwrap_or("")
}

impl Listener<'_> {
    pub fn host(&self) -> Host {
        Host { raw: self.raw.host }
    }
    pub fn name(&self) -> &str {
        unsafe { text_of(self.raw.name) }
    }
    pub fn config_json(&self) -> &str {
        unsafe { text_of(self.raw.config_json) }
    }
}

/// Which connection, for all threads and as long as one likes: for [`Host::post`].
pub struct ConnId<S> {
    id: u64,
    session: PhantomData<fn(S)>,
}

impl<S> Clone for ConnId<S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for ConnId<S> {}

/// What a connection can be asked for within one callback of it. It is of one thread, and `close()` and
/// `abort()` are the last that is asked of it.
pub struct Conn<'a, S> {
    raw: *mut raw::berth_conn,
    of: PhantomData<(&'a mut raw::berth_conn, *mut S)>,
}

impl<'a, S: Session> Conn<'a, S> {
    fn new(raw: *mut raw::berth_conn) -> Self {
        Conn { raw, of: PhantomData }
    }

    pub fn as_raw(&self) -> *mut raw::berth_conn {
        self.raw
    }
    pub fn host(&self) -> Host {
        Host { raw: unsafe { (*self.raw).host } }
    }
    pub fn listener(&self) -> Listener<'a> {
        Listener { raw: unsafe { &*(*self.raw).listener } }
    }
    pub fn service(&self) -> &'a S::Service {
        unsafe { &*(*(*self.raw).listener).state.cast::<S::Service>() }
    }
    pub fn id(&self) -> ConnId<S> {
        ConnId { id: unsafe { (*self.raw).id }, session: PhantomData }
    }
    pub fn worker(&self) -> u32 {
        unsafe { (*self.raw).worker }
    }

    /// Queues a copy.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Status> {
        if bytes.is_empty() {
            return Ok(());
        }
        let size = u32::try_from(bytes.len()).map_err(|_| Status(raw::E_LIMIT))?;
        check(unsafe { host_call!(self.host().raw, send, self.raw, bytes.as_ptr().cast(), size) })
    }

    /// Queues the bytes without a copy.
    pub fn send_buffer(&self, buffer: Buffer) -> Result<(), Status> {
        if buffer.is_empty() {
            return Ok(());
        }
        let slice = buffer.into_raw();
        check(unsafe { host_call!(self.host().raw, send_slices, self.raw, &slice, 1) })
    }

    pub fn shutdown_send(&self) -> Result<(), Status> {
        check(unsafe { host_call!(self.host().raw, shutdown_send, self.raw) })
    }
    pub fn close(self) {
        unsafe { host_call!(self.host().raw, close, self.raw) }
    }
    pub fn abort(self) {
        unsafe { host_call!(self.host().raw, abort, self.raw) }
    }
    pub fn receive_pause(&self) {
        unsafe { host_call!(self.host().raw, receive_pause, self.raw) }
    }
    pub fn receive_resume(&self) {
        unsafe { host_call!(self.host().raw, receive_resume, self.raw) }
    }
    pub fn want_at_least(&self, size: u32) -> Result<(), Status> {
        check(unsafe { host_call!(self.host().raw, want_at_least, self.raw, size) })
    }
    pub fn info(&self) -> raw::berth_conn_info {
        let mut info = unsafe { mem::zeroed::<raw::berth_conn_info>() };
        info.struct_size = mem::size_of::<raw::berth_conn_info>() as u32;
        unsafe { host_call!(self.host().raw, conn_info, self.raw, &mut info) };
        info
    }
    pub fn log(&self, level: Level, text: &str) {
        unsafe { log_of(self.raw, level, text) }
    }

    /// A timer that calls [`Session::timer`] with `token`; it ends when it is dropped.
    pub fn timer(&self, token: u64) -> Result<Timer, Status> {
        let host = unsafe { query::<raw::berth_timer_host>(self.host(), raw::TIMER_ID)? };
        let call = Box::into_raw(Box::new(TimerCall { conn: self.raw, token }));
        let timer = unsafe {
            host_call!(host, create_for_conn, self.raw, Some(run_timer::<S>), call.cast::<c_void>())
        };
        if timer.is_null() {
            drop(unsafe { Box::from_raw(call) });
            return Err(Status(raw::E_LIMIT));
        }
        Ok(Timer { host, timer, call })
    }

    /// Runs `work` on a thread of the pool, then `done` here, with what it returned. Either gets an error
    /// when the work did not run, or panicked; no session: the connection has ended.
    pub fn submit<T, W, D>(&self, work: W, done: D) -> Result<(), Status>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
        D: FnOnce(Option<(&mut S, Conn<'_, S>)>, Result<T, Status>) + 'static,
    {
        let host = unsafe { query::<raw::berth_work_host>(self.host(), raw::WORK_ID)? };
        let result: Result<T, Status> = Err(Status(raw::E_FAILED));
        let task = Box::into_raw(Box::new(Task { work: Some(work), result, done }));
        let status = unsafe {
            host_call!(host, submit, self.raw, Some(run_work::<T, W, D>), Some(finish_work::<S, T, W, D>),
                       task.cast::<c_void>())
        };
        if status != raw::OK {
            drop(unsafe { Box::from_raw(task) });
        }
        check(status)
    }
}

unsafe fn query<T>(host: Host, id: &[u8]) -> Result<*const T, Status> {
    let found = host_call!(host.raw, query, host.raw, id.as_ptr().cast());
    if found.is_null() {
        Err(Status(raw::E_UNSUPPORTED))
    } else {
        Ok(found.cast())
    }
}

// -- timers and works ------------------------------------------------------------------------------

struct TimerCall {
    conn: *mut raw::berth_conn,
    token: u64,
}

/// A timer of a connection, kept in its session.
pub struct Timer {
    host: *const raw::berth_timer_host,
    timer: *mut raw::berth_timer,
    call: *mut TimerCall,
}

impl Timer {
    /// Once, in `delay_ms`; one that runs is moved.
    pub fn start(&self, delay_ms: u64) {
        unsafe { host_call!(self.host, start, self.timer, delay_ms) }
    }
    pub fn stop(&self) {
        unsafe { host_call!(self.host, stop, self.timer) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        unsafe {
            host_call!(self.host, destroy, self.timer);
            drop(Box::from_raw(self.call));
        }
    }
}

unsafe extern "C" fn run_timer<S: Session>(_: *mut raw::berth_timer, argument: *mut c_void) {
    // The session may drop its timer meanwhile.
    let TimerCall { conn, token } = *argument.cast::<TimerCall>();
    guard(conn, (), || {
        if let Some((session, of)) = parts::<S>(conn) {
            session.timer(of, token);
        }
    });
}

struct Task<T, W, D> {
    work: Option<W>,
    result: Result<T, Status>,
    done: D,
}

unsafe extern "C" fn run_work<T, W: FnOnce() -> T, D>(argument: *mut c_void) {
    // `done` belongs to the worker: it is not touched here.
    let task = argument.cast::<Task<T, W, D>>();
    let work = (*ptr::addr_of_mut!((*task).work)).take();
    if let Some(work) = work {
        if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
            *ptr::addr_of_mut!((*task).result) = Ok(result);
        }
    }
}

unsafe extern "C" fn finish_work<S, T, W, D>(conn: *mut raw::berth_conn, status: i32, argument: *mut c_void)
where
    S: Session,
    D: FnOnce(Option<(&mut S, Conn<'_, S>)>, Result<T, Status>),
{
    let Task { result, done, .. } = *Box::from_raw(argument.cast::<Task<T, W, D>>());
    let result = if status == raw::E_CANCELLED { Err(Status(status)) } else { result };
    guard(conn, (), move || done(parts::<S>(conn), result));
}

// -- sessions --------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Closing {
    Close = raw::CLOSING_CLOSE,
    Abort = raw::CLOSING_ABORT,
    Keep = raw::CLOSING_KEEP,
}

/// A connection, from `open` to `closed`; all of it on one thread.
pub trait Session: Sized + 'static {
    /// What the connections of a listener share.
    type Service: Send + Sync + 'static;

    fn listen(listener: Listener<'_>) -> Listened<Self::Service>;
    fn open(conn: Conn<'_, Self>) -> Self;

    /// How many of the bytes are consumed, from the front; the rest comes again, with more behind it.
    fn received(&mut self, conn: Conn<'_, Self>, data: Data<'_>) -> usize;

    fn peer_closed(&mut self, conn: Conn<'_, Self>) {
        conn.close();
    }
    fn filled(&mut self, _conn: Conn<'_, Self>) {}
    fn drained(&mut self, _conn: Conn<'_, Self>) {}
    fn timer(&mut self, _conn: Conn<'_, Self>, _token: u64) {}
    fn closing(&mut self, _conn: Conn<'_, Self>, reason: u32) -> Closing {
        if reason == raw::CLOSED_STOPPING {
            Closing::Keep
        } else {
            Closing::Close
        }
    }
    fn closed(self, _reason: u32) {}
}

unsafe fn log_of(conn: *mut raw::berth_conn, level: Level, text: &str) {
    let text = text.as_bytes();
    host_call!((*conn).host, conn_log, conn, level as u32, text.as_ptr().cast(), size_of_text(text));
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is no text")
}

/// No panic leaves it: the connection is reset for one.
unsafe fn guard<T>(conn: *mut raw::berth_conn, otherwise: T, call: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(panic) => {
            if !conn.is_null() {
                log_of(conn, Level::Error, &format!("panic: {}", words_of(&*panic)));
                host_call!((*conn).host, abort, conn);
            }
            mem::forget(panic); // what it carries may panic once more
            otherwise
        }
    }
}

/// The state that the host keeps: a pointer, NULL until there is a session.
unsafe fn state_of<'a, S>(conn: *mut raw::berth_conn) -> &'a mut *mut S {
    &mut *(*conn).state.cast::<*mut S>()
}

unsafe fn parts<'a, S: Session>(conn: *mut raw::berth_conn) -> Option<(&'a mut S, Conn<'a, S>)> {
    if conn.is_null() {
        return None;
    }
    state_of::<S>(conn).as_mut().map(|session| (session, Conn::new(conn)))
}

#[doc(hidden)]
pub mod calls {
    //! What the descriptor points to.
    use super::*;

    pub unsafe extern "C" fn listener_open<S: Session>(
        listener: *const raw::berth_listener,
        state: *mut *mut c_void,
        error: *mut raw::berth_error,
    ) -> i32 {
        let made = catch_unwind(AssertUnwindSafe(|| S::listen(Listener { raw: &*listener })));
        let words = match made {
            Ok(Ok(service)) => {
                *state = Box::into_raw(Box::new(service)).cast();
                return raw::OK;
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(panic) => format!("panic: {}", words_of(&*panic)),
        };
        if let Some(error) = error.as_mut().filter(|error| error.message_capacity > 0) {
            let size = words.len().min(error.message_capacity as usize - 1);
            ptr::copy_nonoverlapping(words.as_ptr(), error.message.cast::<u8>(), size);
            *error.message.add(size) = 0;
        }
        raw::E_FAILED
    }

    pub unsafe extern "C" fn listener_close<S: Session>(listener: *const raw::berth_listener) {
        let service = Box::from_raw((*listener).state.cast::<S::Service>());
        let _ = catch_unwind(AssertUnwindSafe(move || drop(service)));
    }

    pub unsafe extern "C" fn opened<S: Session>(conn: *mut raw::berth_conn) {
        let session = guard(conn, None, || Some(S::open(Conn::new(conn))));
        if let Some(session) = session {
            *state_of::<S>(conn) = Box::into_raw(Box::new(session));
        }
    }

    pub unsafe extern "C" fn received<S: Session>(
        conn: *mut raw::berth_conn,
        data: *const raw::berth_slice,
    ) -> u32 {
        let host = Host { raw: (*conn).host };
        guard(conn, 0, || {
            parts::<S>(conn).map_or(0, |(session, of)| {
                session.received(of, Data { host, slice: &*data }) as u32
            })
        })
    }

    macro_rules! event {
        ($name:ident) => {
            pub unsafe extern "C" fn $name<S: Session>(conn: *mut raw::berth_conn) {
                guard(conn, (), || {
                    if let Some((session, of)) = parts::<S>(conn) {
                        session.$name(of);
                    }
                });
            }
        };
    }
    event!(peer_closed);
    event!(filled);
    event!(drained);

    pub unsafe extern "C" fn closing<S: Session>(conn: *mut raw::berth_conn, reason: u32) -> u32 {
        let answer = guard(conn, Closing::Close, || {
            parts::<S>(conn).map_or(Closing::Close, |(session, of)| session.closing(of, reason))
        });
        answer as u32
    }

    pub unsafe extern "C" fn closed<S: Session>(conn: *mut raw::berth_conn, reason: u32) {
        let session = mem::replace(state_of::<S>(conn), ptr::null_mut());
        if !session.is_null() {
            let session = Box::from_raw(session);
            let _ = catch_unwind(AssertUnwindSafe(move || session.closed(reason)));
        }
    }
}

/// A descriptor can be in a `static`: all that it points to is constant.
#[doc(hidden)]
#[repr(transparent)]
pub struct Descriptor(pub raw::berth_plugin);
unsafe impl Sync for Descriptor {}

/// Exports the plugin: once in a library. `schema` is the JSON Schema of its config, and optional.
#[macro_export]
macro_rules! plugin {
    ($session:ty, id: $id:literal, name: $name:literal, version: $version:literal) => {
        $crate::plugin!(@ $session, $id, $name, $version, ::core::ptr::null());
    };
    ($session:ty, id: $id:literal, name: $name:literal, version: $version:literal, schema: $schema:literal) => {
        $crate::plugin!(@ $session, $id, $name, $version, concat!($schema, "\0").as_ptr().cast());
    };
    (@ $session:ty, $id:literal, $name:literal, $version:literal, $schema:expr) => {
        #[no_mangle]
        pub extern "C" fn berth_plugin_entry_v1() -> *const $crate::raw::berth_plugin {
            use $crate::{calls, raw};
            static PLUGIN: $crate::Descriptor = $crate::Descriptor(raw::berth_plugin {
                magic: raw::PLUGIN_MAGIC,
                struct_size: ::core::mem::size_of::<raw::berth_plugin>() as u32,
                abi_major: raw::ABI_MAJOR,
                abi_minor_built: raw::ABI_MINOR,
                abi_minor_required: 0,
                abi_draft: raw::ABI_DRAFT,
                flags: 0,
                conn_state_size: ::core::mem::size_of::<*mut $session>() as u32,
                id: concat!($id, "\0").as_ptr().cast(),
                name: concat!($name, "\0").as_ptr().cast(),
                version: concat!($version, "\0").as_ptr().cast(),
                vendor: ::core::ptr::null(),
                licence: ::core::ptr::null(),
                config_schema_json: $schema,
                load: None,
                unload: None,
                listener_open: Some(calls::listener_open::<$session>),
                listener_close: Some(calls::listener_close::<$session>),
                opened: Some(calls::opened::<$session>),
                received: Some(calls::received::<$session>),
                filled: Some(calls::filled::<$session>),
                drained: Some(calls::drained::<$session>),
                peer_closed: Some(calls::peer_closed::<$session>),
                closed: Some(calls::closed::<$session>),
                busy: None,
                closing: Some(calls::closing::<$session>),
                datagram: None,
                check_config: None,
                handover: ::core::ptr::null(),
                listener_draining: None,
                worker_start: None,
                worker_end: None,
            });
            &PLUGIN.0
        }
    };
}
