//! Answers every line with the same line backwards. Built without Cargo:
//!
//!     rustc --crate-type cdylib -C panic=abort -O mirror.rs -o mirror.so
//!
//! What Rust asks for: no panic may leave a callback (`panic=abort` makes it an end of the host, with a
//! message; a plugin that can panic catches it instead).
mod berth;

use berth::{Conn, Plugin, Slice};
use core::ptr::null;

unsafe extern "C" fn received(conn: *mut Conn, data: *const Slice) -> u32 {
    let host = &*(*conn).host;
    let bytes = core::slice::from_raw_parts_mut((*data).bytes, (*data).size as usize);
    let mut consumed = 0;
    while let Some(length) = bytes[consumed..].iter().position(|&byte| byte == b'\n') {
        bytes[consumed..consumed + length].reverse();
        consumed += length + 1;
    }
    (host.send)(conn, bytes.as_ptr().cast(), consumed as u32);
    consumed as u32
}

static MIRROR: Plugin = Plugin {
    magic: berth::PLUGIN_MAGIC,
    struct_size: core::mem::size_of::<Plugin>() as u32,
    abi_major: berth::ABI_MAJOR,
    abi_minor_built: berth::ABI_MINOR,
    abi_minor_required: 0,
    abi_draft: berth::ABI_DRAFT,
    flags: 0,
    conn_state_size: 0,
    id: b"mirror\0".as_ptr().cast(),
    name: b"Mirror\0".as_ptr().cast(),
    version: b"1.0.0\0".as_ptr().cast(),
    vendor: null(),
    licence: null(),
    config_schema_json: null(),
    load: null(),
    unload: null(),
    listener_open: null(),
    listener_close: null(),
    opened: None,
    received: Some(received),
    filled: None,
    drained: None,
    peer_closed: None,
    closed: None,
    busy: null(),
    closing: null(),
    datagram: null(),
    check_config: null(),
    handover: null(),
    listener_draining: null(),
    worker_start: null(),
    worker_end: null(),
};

#[no_mangle]
pub extern "C" fn berth_plugin_entry_v1() -> *const Plugin {
    &MIRROR
}
