//! The plugin ABI as it is, member by member: plugin-api/berth/*.h say what each means. Needs no `std`.
//!
//! Written by `./dev abi renew` from the snapshot of the layouts; do not edit.
#![allow(non_camel_case_types)]

use core::ffi::c_void;

#[cfg(all(target_arch = "aarch64", not(windows)))]
pub type c_char = u8;
#[cfg(not(all(target_arch = "aarch64", not(windows))))]
pub type c_char = i8;

pub const ABI_DRAFT: u16 = 2;
pub const ABI_MAJOR: u16 = 1;
pub const ABI_MINOR: u16 = 0;
pub const ADDRESS_TEXT_MAX: u32 = 256;
pub const BUFFER_BYTES_MAX: u32 = 16777216;
pub const BUSY_HOST: u32 = 1;
pub const BUSY_LISTENER: u32 = 2;
pub const BUSY_PER_CLIENT: u32 = 3;
pub const BUSY_RATE: u32 = 4;
pub const CLOSED_ABORTED: u32 = 8;
pub const CLOSED_BY_PEER: u32 = 2;
pub const CLOSED_BY_PLUGIN: u32 = 1;
pub const CLOSED_ERROR: u32 = 11;
pub const CLOSED_FAULT: u32 = 9;
pub const CLOSED_FILE_SHORT: u32 = 10;
pub const CLOSED_LIMIT: u32 = 5;
pub const CLOSED_OUT_OF_MEMORY: u32 = 7;
pub const CLOSED_RESET: u32 = 3;
pub const CLOSED_STOPPING: u32 = 6;
pub const CLOSED_TIMEOUT: u32 = 4;
pub const CLOSING_ABORT: u32 = 1;
pub const CLOSING_CLOSE: u32 = 0;
pub const CLOSING_KEEP: u32 = 2;
pub const CONNECT_ID: &[u8] = b"berth.connect/1\0";
pub const CONN_FIRST_DATA: u32 = 1;
pub const CONN_OUTBOUND: u32 = 2;
pub const DATAGRAM_ID: &[u8] = b"berth.datagram/1\0";
pub const DATAGRAM_TRUNCATED: u32 = 1;
pub const DRAINING_HOST_STOPS: u32 = 3;
pub const DRAINING_NO: u32 = 0;
pub const DRAINING_REMOVED: u32 = 2;
pub const DRAINING_REPLACED: u32 = 1;
pub const E_CANCELLED: i32 = -8;
pub const E_DENIED: i32 = -13;
pub const E_FAILED: i32 = -1;
pub const E_GONE: i32 = -4;
pub const E_INVALID: i32 = -2;
pub const E_LIMIT: i32 = -5;
pub const E_NOT_FOUND: i32 = -12;
pub const E_NO_MEMORY: i32 = -3;
pub const E_REFUSED: i32 = -10;
pub const E_STATE: i32 = -6;
pub const E_TIMEOUT: i32 = -9;
pub const E_UNREACHABLE: i32 = -11;
pub const E_UNSUPPORTED: i32 = -7;
pub const FAMILY_IPV4: u32 = 4;
pub const FAMILY_IPV6: u32 = 6;
pub const FAMILY_NONE: u32 = 0;
pub const FILE_ID: &[u8] = b"berth.file/1\0";
pub const LOG_DEBUG: u32 = 3;
pub const LOG_ERROR: u32 = 0;
pub const LOG_FIELDS_MAX: u32 = 16;
pub const LOG_INFO: u32 = 2;
pub const LOG_NUMBER: u32 = 1;
pub const LOG_RECORD: u32 = 256;
pub const LOG_TEXT: u32 = 0;
pub const LOG_WARN: u32 = 1;
pub const METRICS_ID: &[u8] = b"berth.metrics/1\0";
pub const METRIC_BOUNDS_MAX: u32 = 32;
pub const METRIC_COUNTER: u32 = 1;
pub const METRIC_GAUGE: u32 = 2;
pub const METRIC_HISTOGRAM: u32 = 3;
pub const METRIC_LABELS_MAX: u32 = 8;
pub const OK: i32 = 0;
pub const PLUGIN_EXCLUSIVE: u32 = 8;
pub const PLUGIN_MAGIC: u32 = 1213485634;
pub const PLUGIN_NO_UNLOAD: u32 = 2;
pub const PLUGIN_PACES_ITSELF: u32 = 4;
pub const PLUGIN_SPEAKS_FIRST: u32 = 1;
pub const REQUEST_BYTES_MAX: u32 = 4096;
pub const TIMER_ID: &[u8] = b"berth.timer/1\0";
pub const WORK_ID: &[u8] = b"berth.work/1\0";

#[repr(C)]
pub struct berth_buffer {
    _private: [u8; 0],
}

#[repr(C)]
pub struct berth_file {
    _private: [u8; 0],
}

#[repr(C)]
pub struct berth_handover {
    _private: [u8; 0],
}

#[repr(C)]
pub struct berth_metric {
    _private: [u8; 0],
}

#[repr(C)]
pub struct berth_timer {
    _private: [u8; 0],
}

pub type berth_connected_fn = unsafe extern "C" fn(*mut berth_conn, i32, *mut c_void);
pub type berth_listener_timer_fn = unsafe extern "C" fn(*mut berth_timer, *const berth_listener, u32, *mut c_void);
pub type berth_plugin_entry_fn = unsafe extern "C" fn() -> *const berth_plugin;
pub type berth_post_fn = unsafe extern "C" fn(*mut berth_conn, i32, *mut c_void);
pub type berth_timer_fn = unsafe extern "C" fn(*mut berth_timer, *mut c_void);
pub type berth_work_done_fn = unsafe extern "C" fn(*mut berth_conn, i32, *mut c_void);
pub type berth_work_fn = unsafe extern "C" fn(*mut c_void);
pub type berth_worker_fn = unsafe extern "C" fn(*const berth_listener, u32, *mut c_void);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_address {
    pub family: u16,
    pub port: u16,
    pub scope_id: u32,
    pub bytes: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_busy {
    pub struct_size: u32,
    pub limit: u32,
    pub remote: berth_address,
    pub local: berth_address,
    pub worker: u32,
    pub retry_after_ms: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_config_errors {
    pub struct_size: u32,
    pub reserved: u32,
    pub add: Option<unsafe extern "C" fn(*mut berth_config_errors, *const c_char, *const c_char)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_config_request {
    pub struct_size: u32,
    pub reserved: u32,
    pub host: *const berth_host,
    pub listener: *const c_char,
    pub config_json: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_conn {
    pub struct_size: u32,
    pub flags: u32,
    pub host: *const berth_host,
    pub listener: *const berth_listener,
    pub state: *mut c_void,
    pub id: u64,
    pub worker: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_conn_info {
    pub struct_size: u32,
    pub reserved: u32,
    pub local: berth_address,
    pub remote: berth_address,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub bytes_queued: u64,
    pub opened_ago_ms: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_connect_host {
    pub struct_size: u32,
    pub reserved: u32,
    pub connect: Option<unsafe extern "C" fn(*mut berth_conn, *const berth_connect_request, Option<berth_connected_fn>, *mut c_void) -> i32>,
    pub connect_for_listener: Option<unsafe extern "C" fn(*const berth_listener, *const berth_connect_request, Option<berth_connected_fn>, *mut c_void) -> i32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_connect_request {
    pub struct_size: u32,
    pub timeout_ms: u32,
    pub host: *const c_char,
    pub port: u16,
    pub reserved: u16,
    pub reserved2: u32,
    pub first_data: berth_slice,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_datagram {
    pub struct_size: u32,
    pub flags: u32,
    pub data: berth_slice,
    pub local: berth_address,
    pub remote: berth_address,
    pub worker: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_datagram_host {
    pub struct_size: u32,
    pub reserved: u32,
    pub send: Option<unsafe extern "C" fn(*const berth_listener, *const berth_address, *const berth_address, *const berth_slice) -> i32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_error {
    pub struct_size: u32,
    pub message_capacity: u32,
    pub message: *mut c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_file_host {
    pub struct_size: u32,
    pub reserved: u32,
    pub open: Option<unsafe extern "C" fn(*const berth_host, *const c_char, *mut *mut berth_file, *mut berth_error) -> i32>,
    pub stat: Option<unsafe extern "C" fn(*mut berth_file, *mut berth_file_info) -> i32>,
    pub read: Option<unsafe extern "C" fn(*mut berth_file, u64, *mut c_void, u32, *mut u32) -> i32>,
    pub acquire: Option<unsafe extern "C" fn(*mut berth_file)>,
    pub release: Option<unsafe extern "C" fn(*mut berth_file)>,
    pub send_pieces: Option<unsafe extern "C" fn(*mut berth_conn, *const berth_piece, u32) -> i32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_file_info {
    pub struct_size: u32,
    pub reserved: u32,
    pub size: u64,
    pub modified_unix_ms: i64,
    pub modified_unix_ns: i64,
    pub changed_unix_ns: i64,
    pub volume: u64,
    pub id: [u64; 2],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_host {
    pub struct_size: u32,
    pub abi_major: u16,
    pub abi_minor: u16,
    pub name: *const c_char,
    pub version: *const c_char,
    pub query: Option<unsafe extern "C" fn(*const berth_host, *const c_char) -> *const c_void>,
    pub log: Option<unsafe extern "C" fn(*const berth_host, u32, *const c_char, u32)>,
    pub now_ms: Option<unsafe extern "C" fn(*const berth_host) -> u64>,
    pub address_format: Option<unsafe extern "C" fn(*const berth_host, *const berth_address, *mut c_char, u32) -> u32>,
    pub path_resolve: Option<unsafe extern "C" fn(*const berth_host, *const c_char, *mut c_char, u32) -> i32>,
    pub buffer_create: Option<unsafe extern "C" fn(*const berth_host, u32, *mut berth_slice) -> i32>,
    pub buffer_acquire: Option<unsafe extern "C" fn(*mut berth_buffer)>,
    pub buffer_release: Option<unsafe extern "C" fn(*mut berth_buffer)>,
    pub send: Option<unsafe extern "C" fn(*mut berth_conn, *const c_void, u32) -> i32>,
    pub send_slices: Option<unsafe extern "C" fn(*mut berth_conn, *const berth_slice, u32) -> i32>,
    pub shutdown_send: Option<unsafe extern "C" fn(*mut berth_conn) -> i32>,
    pub close: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub abort: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub receive_pause: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub receive_resume: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub want_at_least: Option<unsafe extern "C" fn(*mut berth_conn, u32) -> i32>,
    pub conn_info: Option<unsafe extern "C" fn(*mut berth_conn, *mut berth_conn_info)>,
    pub conn_log: Option<unsafe extern "C" fn(*mut berth_conn, u32, *const c_char, u32)>,
    pub post: Option<unsafe extern "C" fn(*const berth_host, u64, Option<berth_post_fn>, *mut c_void) -> i32>,
    pub workers: u32,
    pub reserved: u32,
    pub post_worker: Option<unsafe extern "C" fn(*const berth_listener, u32, Option<berth_worker_fn>, *mut c_void) -> i32>,
    pub close_at_once: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub draining: Option<unsafe extern "C" fn(*const berth_listener) -> u32>,
    pub close_with_timeout: Option<unsafe extern "C" fn(*mut berth_conn, u32)>,
    pub log_fields: Option<unsafe extern "C" fn(*const berth_host, *const berth_log_entry) -> i32>,
    pub unix_time_ns: Option<unsafe extern "C" fn(*const berth_host) -> i64>,
    pub random_bytes: Option<unsafe extern "C" fn(*const berth_host, *mut c_void, u32) -> i32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_listener {
    pub struct_size: u32,
    pub reserved: u32,
    pub host: *const berth_host,
    pub name: *const c_char,
    pub config_json: *const c_char,
    pub plugin_state: *mut c_void,
    pub state: *mut c_void,
    pub message_bytes: u32,
    pub send_queue_bytes: u32,
    pub send_queue_pieces: u32,
    pub reserved2: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_log_entry {
    pub struct_size: u32,
    pub level: u32,
    pub conn: *mut berth_conn,
    pub listener: *const berth_listener,
    pub text: *const c_char,
    pub fields: *const berth_log_field,
    pub size: u32,
    pub field_count: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_log_field {
    pub key: *const c_char,
    pub text: *const c_char,
    pub number: i64,
    pub size: u32,
    pub kind: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_metric_label {
    pub key: *const c_char,
    pub value: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_metric_request {
    pub struct_size: u32,
    pub kind: u32,
    pub name: *const c_char,
    pub help: *const c_char,
    pub labels: *const berth_metric_label,
    pub bounds: *const i64,
    pub label_count: u32,
    pub bound_count: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_metrics_host {
    pub struct_size: u32,
    pub reserved: u32,
    pub create: Option<unsafe extern "C" fn(*const berth_listener, *const berth_metric_request, *mut *mut berth_metric, *mut berth_error) -> i32>,
    pub add: Option<unsafe extern "C" fn(*mut berth_metric, i64)>,
    pub set: Option<unsafe extern "C" fn(*mut berth_metric, i64)>,
    pub observe: Option<unsafe extern "C" fn(*mut berth_metric, i64)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_piece {
    pub memory: berth_slice,
    pub file: *mut berth_file,
    pub offset: u64,
    pub size: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_plugin {
    pub magic: u32,
    pub struct_size: u32,
    pub abi_major: u16,
    pub abi_minor_built: u16,
    pub abi_minor_required: u16,
    pub abi_draft: u16,
    pub flags: u32,
    pub conn_state_size: u32,
    pub id: *const c_char,
    pub name: *const c_char,
    pub version: *const c_char,
    pub vendor: *const c_char,
    pub licence: *const c_char,
    pub config_schema_json: *const c_char,
    pub load: Option<unsafe extern "C" fn(*const berth_host, *mut *mut c_void, *mut berth_error) -> i32>,
    pub unload: Option<unsafe extern "C" fn(*mut c_void)>,
    pub listener_open: Option<unsafe extern "C" fn(*const berth_listener, *mut *mut c_void, *mut berth_error) -> i32>,
    pub listener_close: Option<unsafe extern "C" fn(*const berth_listener)>,
    pub opened: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub received: Option<unsafe extern "C" fn(*mut berth_conn, *const berth_slice) -> u32>,
    pub filled: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub drained: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub peer_closed: Option<unsafe extern "C" fn(*mut berth_conn)>,
    pub closed: Option<unsafe extern "C" fn(*mut berth_conn, u32)>,
    pub busy: Option<unsafe extern "C" fn(*const berth_listener, *const berth_busy, *mut u8, u32) -> u32>,
    pub closing: Option<unsafe extern "C" fn(*mut berth_conn, u32) -> u32>,
    pub datagram: Option<unsafe extern "C" fn(*const berth_listener, *const berth_datagram)>,
    pub check_config: Option<unsafe extern "C" fn(*const berth_config_request, *mut berth_config_errors) -> i32>,
    pub handover: *const berth_handover,
    pub listener_draining: Option<unsafe extern "C" fn(*const berth_listener, u32)>,
    pub worker_start: Option<unsafe extern "C" fn(*const berth_listener, u32)>,
    pub worker_end: Option<unsafe extern "C" fn(*const berth_listener, u32)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_slice {
    pub buffer: *mut berth_buffer,
    pub bytes: *mut u8,
    pub size: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_timer_host {
    pub struct_size: u32,
    pub reserved: u32,
    pub create_for_conn: Option<unsafe extern "C" fn(*mut berth_conn, Option<berth_timer_fn>, *mut c_void) -> *mut berth_timer>,
    pub create_for_listener: Option<unsafe extern "C" fn(*const berth_listener, Option<berth_listener_timer_fn>, *mut c_void) -> *mut berth_timer>,
    pub start: Option<unsafe extern "C" fn(*mut berth_timer, u64)>,
    pub stop: Option<unsafe extern "C" fn(*mut berth_timer)>,
    pub destroy: Option<unsafe extern "C" fn(*mut berth_timer)>,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_work_host {
    pub struct_size: u32,
    pub reserved: u32,
    pub submit: Option<unsafe extern "C" fn(*mut berth_conn, Option<berth_work_fn>, Option<berth_work_done_fn>, *mut c_void) -> i32>,
    pub submit_for_listener: Option<unsafe extern "C" fn(*const berth_listener, Option<berth_work_fn>, Option<berth_work_done_fn>, *mut c_void) -> i32>,
}
