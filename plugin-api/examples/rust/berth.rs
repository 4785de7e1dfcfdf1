//! The part of the plugin ABI that `mirror.rs` uses, said in Rust by hand, member by member. The members
//! of a table that a plugin does not call stand as `Unused`: a function's place is a pointer, whatever
//! its type. Sizes and offsets are checked against the C compiler's by the tests.
#![allow(dead_code)]

use std::os::raw::{c_char, c_void};

pub type Unused = *const c_void;

pub const PLUGIN_MAGIC: u32 = 0x4854_5242;
pub const ABI_MAJOR: u16 = 1;
pub const ABI_MINOR: u16 = 0;
pub const ABI_DRAFT: u16 = 2;
pub const OK: i32 = 0;

#[repr(C)]
pub struct Slice {
    pub buffer: *mut c_void,
    pub bytes: *mut u8,
    pub size: u32,
    pub reserved: u32,
}

#[repr(C)]
pub struct Host {
    pub struct_size: u32,
    pub abi_major: u16,
    pub abi_minor: u16,
    pub name: *const c_char,
    pub version: *const c_char,
    pub query: unsafe extern "C" fn(*const Host, *const c_char) -> *const c_void,
    pub log: unsafe extern "C" fn(*const Host, u32, *const c_char, u32),
    pub now_ms: Unused,
    pub address_format: Unused,
    pub path_resolve: Unused,
    pub buffer_create: Unused,
    pub buffer_acquire: unsafe extern "C" fn(*mut c_void),
    pub buffer_release: unsafe extern "C" fn(*mut c_void),
    pub send: unsafe extern "C" fn(*mut Conn, *const c_void, u32) -> i32,
    pub send_slices: unsafe extern "C" fn(*mut Conn, *const Slice, u32) -> i32,
    pub shutdown_send: Unused,
    pub close: unsafe extern "C" fn(*mut Conn),
    pub abort: unsafe extern "C" fn(*mut Conn),
    // The table goes on; what is not used need not be said.
}

#[repr(C)]
pub struct Conn {
    pub struct_size: u32,
    pub flags: u32,
    pub host: *const Host,
    pub listener: *const c_void,
    pub state: *mut c_void,
    pub id: u64,
    pub worker: u32,
    pub reserved: u32,
}

#[repr(C)]
pub struct Plugin {
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
    pub load: Unused,
    pub unload: Unused,
    pub listener_open: Unused,
    pub listener_close: Unused,
    pub opened: Option<unsafe extern "C" fn(*mut Conn)>,
    pub received: Option<unsafe extern "C" fn(*mut Conn, *const Slice) -> u32>,
    pub filled: Option<unsafe extern "C" fn(*mut Conn)>,
    pub drained: Option<unsafe extern "C" fn(*mut Conn)>,
    pub peer_closed: Option<unsafe extern "C" fn(*mut Conn)>,
    pub closed: Option<unsafe extern "C" fn(*mut Conn, u32)>,
    pub busy: Unused,
    pub closing: Unused,
    pub datagram: Unused,
    pub check_config: Unused,
    pub handover: Unused,
    pub listener_draining: Unused,
    pub worker_start: Unused,
    pub worker_end: Unused,
}

// The descriptor is constant, and its pointers point at constants.
unsafe impl Sync for Plugin {}
