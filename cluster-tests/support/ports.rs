//! Ports for the nodes of a cluster.
//!
//! Taken below the range from which the kernel gives outgoing connections theirs: a node that is started again must
//! find its port as free as it left it. Another process may still be quicker; whoever starts a cluster tries again
//! then.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that nothing listens on. No two calls of one process answer the same within 18,000.
pub fn free() -> u16 {
    // Runs of this binary at the same time begin at different places.
    let begin = (std::process::id().wrapping_mul(7_919) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {} on 127.0.0.1", FIRST + COUNT - 1);
}
