//! Whether somebody asked this process to stop.
//!
//! The builder sets it on Ctrl-C or SIGTERM; everything that waits looks here, so that the error
//! travels up the ordinary way and every guard on the way down removes what it made.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Asks everything in this process to come to an end.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Takes the request back, once everything that it ended has ended: so that cleaning up may wait.
pub fn forget() {
    REQUESTED.store(false, Ordering::SeqCst);
}

/// True once [`request`] was called.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
