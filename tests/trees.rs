//! Trees of processes and threads that are awkward to supervise, under every engine.
