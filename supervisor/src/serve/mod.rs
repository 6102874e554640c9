//! Who is served: one tree, from its first hello to the end of its last process.

mod hello;
mod join;
mod knowledge;
mod pool;
mod supply;
mod tree;
mod witness;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::{debug, error};

use crate::guest::remote::Thread;
use crate::report::event::Reporter;
use crate::settings::Settings;
use crate::sys::scm_rights::Socket;

pub(crate) use hello::HelloError;

/// Greets the process at the other end of `socket`, which is `thread` or shares its identity, and serves its tree until
/// the last process of it has ended.
pub(crate) fn serve(
    settings: &Settings,
    socket: Socket,
    thread: Thread,
    reporter: &Reporter,
) -> Result<(), HelloError> {
    let (tree, mut engine) = hello::greet_first(settings, &socket, thread, reporter)?;
    drop(socket);
    let tree = Arc::new(tree);
    let pool = pool::Pool::new(tree.clone());
    loop {
        match engine.next() {
            Ok(Some(notification)) => {
                // A panic costs one answer, and that is given by the notification's end.
                if catch_unwind(AssertUnwindSafe(|| tree.handle(notification, &pool))).is_err() {
                    error!("a load could not be handled; it went through as it was");
                }
            }
            Ok(None) => break,
            Err(error) => {
                error!(%error, "no more traps can be received");
                break;
            }
        }
    }
    debug!("the tree has ended");
    Ok(())
}
