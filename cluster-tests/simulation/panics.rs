//! Panics of what a simulation runs. tokio keeps a task's panic to itself; here each one is a failure.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    static WAITER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Counts the panics of every thread for itself, from now on.
pub fn count() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        COUNT.set(COUNT.get() + 1);
        if let Some(waiter) = WAITER.take() {
            waiter.wake();
        }
        if !IS_QUIET.get() {
            print(panic);
        }
    }));
}

/// Panics of this thread are counted, and not printed.
pub fn keep_quiet() {
    IS_QUIET.set(true);
}

/// Forgets those of this thread.
pub fn forget() {
    COUNT.set(0);
}

pub fn any() -> bool {
    COUNT.get() > 0
}

/// Returns once something on this thread has panicked. What is left of a process may then run without pause, so that
/// its clock would never come to the end of a step.
pub fn first() -> impl Future<Output = ()> {
    poll_fn(|context| {
        if any() {
            return Poll::Ready(());
        }
        WAITER.set(Some(context.waker().clone()));
        Poll::Pending
    })
}
