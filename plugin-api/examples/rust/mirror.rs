//! Answers every line with the same line backwards. With Cargo: `cargo build --release`; without:
//!
//!     rustc --edition 2021 --crate-type rlib --crate-name berth --cfg 'feature="std"' -O ../../rust/src/lib.rs
//!     rustc --edition 2021 --crate-type cdylib --extern berth=libberth.rlib -O mirror.rs -o mirror.so
use berth::{Conn, Data, Level, Listened, Listener, Session};
use std::sync::atomic::{AtomicU64, Ordering};

const LINE_BYTES_MAX: usize = 1024;

/// What the connections of a listener share.
struct Lines(AtomicU64);

struct Mirror {
    /// How far the unfinished line has been looked through.
    searched: usize,
}

impl Session for Mirror {
    type Service = Lines;

    fn listen(_: Listener<'_>) -> Listened<Lines> {
        Ok(Lines(AtomicU64::new(0)))
    }

    fn open(_: Conn<'_, Self>) -> Self {
        Mirror { searched: 0 }
    }

    fn received(&mut self, conn: Conn<'_, Self>, data: Data<'_>) -> usize {
        let mut answer = Vec::new();
        let mut consumed = 0;
        while let Some(length) = data[consumed + self.searched..].iter().position(|&byte| byte == b'\n') {
            let end = consumed + self.searched + length;
            answer.extend(data[consumed..end].iter().rev());
            answer.push(b'\n');
            conn.service().0.fetch_add(1, Ordering::Relaxed);
            consumed = end + 1;
            self.searched = 0;
        }
        self.searched = data.len() - consumed;
        if conn.send(&answer).is_err() || self.searched > LINE_BYTES_MAX {
            conn.log(Level::Debug, "the line is too long, or the connection ends");
            conn.close();
            return data.len();
        }
        consumed
    }
}

berth::plugin!(Mirror, id: "mirror", name: "Mirror", version: "1.0.0");
