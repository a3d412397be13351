//! Waiting for a condition, with a bound and with words for when it never came.

use std::time::{Duration, Instant};

/// Between two looks at a condition: long enough not to load what is watched, short enough not to be noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Longest that anything a healthy cluster does by itself may take here; a loaded two-core machine included.
pub const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers `Ok`, and fails with its last `Err` when that takes longer than [`SETTLED_WITHIN`].
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_within(SETTLED_WITHIN, what, probe).await
}

pub async fn eventually_within<T>(
    bound: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let began = Instant::now();
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(last) if began.elapsed() > bound => panic!("{what}: not within {bound:?}; last: {last}"),
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}
