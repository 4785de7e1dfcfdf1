//! Uses all of the safe layer: each line is an order, and what panics panics on purpose.
use berth::{Buffer, Closing, Conn, Data, Level, Listened, Listener, Session, Timer};
use std::sync::atomic::{AtomicU32, Ordering};

struct Counter(AtomicU32);

struct Orders {
    timer: Option<Timer>,
    kept: Option<Buffer>,
}

impl Session for Orders {
    type Service = Counter;

    fn listen(listener: Listener<'_>) -> Listened<Counter> {
        if listener.config_json().contains("refuse") {
            return Err("/refuse: told to".into());
        }
        if listener.config_json().contains("panic") {
            panic!("in `listen`");
        }
        Ok(Counter(AtomicU32::new(0)))
    }

    fn open(conn: Conn<'_, Self>) -> Self {
        Orders { timer: conn.timer(7).ok(), kept: None }
    }

    fn received(&mut self, conn: Conn<'_, Self>, data: Data<'_>) -> usize {
        let end = match data.iter().position(|&byte| byte == b'\n') {
            Some(end) => end,
            None => {
                let _ = conn.want_at_least(data.len() as u32 + 1);
                return 0;
            }
        };
        if end + 1 < data.len() { // one order a call: the others come again
            conn.receive_pause();
            conn.receive_resume();
        }
        self.obey(conn, &data, end);
        end + 1
    }

    fn peer_closed(&mut self, conn: Conn<'_, Self>) {
        let _ = conn.send(b"bye\n");
        conn.close();
    }

    fn timer(&mut self, conn: Conn<'_, Self>, token: u64) {
        let _ = conn.send(format!("timer {token}\n").as_bytes());
    }

    fn closing(&mut self, conn: Conn<'_, Self>, _reason: u32) -> Closing {
        let _ = conn.send(b"closing\n");
        Closing::Close
    }
}

impl Orders {
    fn obey(&mut self, conn: Conn<'_, Self>, data: &Data<'_>, end: usize) {
        let answer = match &data[..end] {
            b"count" => format!("{}\n", conn.service().0.fetch_add(1, Ordering::Relaxed) + 1),
            b"port" => format!("{}\n", conn.info().remote.port),
            b"keep" => {
                self.kept = Some(data.keep(0, end + 1));
                return;
            }
            b"kept" => {
                if let Some(kept) = self.kept.take() {
                    let _ = conn.send_buffer(kept.clone());
                    let _ = conn.send_buffer(kept);
                }
                return;
            }
            b"make" => {
                if let Ok(mut made) = conn.host().buffer(5) {
                    made.bytes_mut()[..5].copy_from_slice(b"made\n");
                    let _ = conn.send_buffer(made.freeze(5));
                }
                return;
            }
            b"timer" => {
                if let Some(timer) = &self.timer {
                    timer.start(10);
                }
                return;
            }
            b"work" => return work(&conn, || 6 * 7),
            b"work panics" => return work(&conn, || panic!("in a work")),
            b"post" => return post(&conn),
            b"panic" => panic!("at a client"),
            b"close" => return conn.close(),
            _ => "no such order\n".to_string(),
        };
        if conn.send(answer.as_bytes()).is_err() {
            conn.log(Level::Debug, "the connection ends");
        }
    }
}

fn work(conn: &Conn<'_, Orders>, work: fn() -> i32) {
    let _ = conn.submit(work, |there, result| {
        if let Some((_, conn)) = there {
            let _ = conn.send(format!("work {result:?}\n").as_bytes());
        }
    });
}

fn post(conn: &Conn<'_, Orders>) {
    let (host, id) = (conn.host(), conn.id());
    std::thread::spawn(move || {
        let _ = host.post(id, |there| {
            if let Some((_, conn)) = there {
                let _ = conn.send(b"posted\n");
            }
        });
    })
    .join()
    .expect("a thread");
}

berth::plugin!(Orders, id: "orders", name: "Orders", version: "1.0.0",
    schema: r#"{"type": "object", "properties": {"refuse": {"type": "boolean"}, "panic": {"type": "boolean"}},
               "additionalProperties": false}"#);
