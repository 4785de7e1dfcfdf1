//! Plugins for Berth in Rust: [`raw`] is the ABI as it is, without `std`; the rest is a safe layer on it.
//!
//! ```ignore
//! struct Echo;
//!
//! impl berth::Session for Echo {
//!     type Service = ();
//!     fn listen(_: berth::Listener<'_>) -> berth::Listened<()> {
//!         Ok(())
//!     }
//!     fn open(_: berth::Conn<'_, Self>) -> Self {
//!         Echo
//!     }
//!     fn received(&mut self, conn: berth::Conn<'_, Self>, data: berth::Data<'_>) -> usize {
//!         let _ = conn.send(&data);
//!         data.len()
//!     }
//! }
//!
//! berth::plugin!(Echo, id: "echo-rs", name: "Echo in Rust", version: "1.0.0");
//! ```
//!
//! What does not compile: a connection that is used after `close()`, or kept beyond a callback; a buffer
//! that is given back or sent twice; a connection on another thread than its own.
//!
//! Panics end at the boundary: what a callback throws is logged with the connection, which is reset. So
//! build with `panic = "unwind"`, which is the default.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod raw;

#[cfg(feature = "std")]
mod session;

#[cfg(feature = "std")]
pub use session::*;
