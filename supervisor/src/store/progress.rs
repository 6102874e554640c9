//! What a request tells about itself while it is under way. Numbers only: `report/progress.rs` shows them.

use std::io::{self, Read};
use std::sync::OnceLock;

use super::StorePath;

/// Is told how a request gets on, from several threads at once; must not wait for anything.
pub(crate) trait Progress: Sync {
    /// A request for so many paths is under way; `bytes` are to be downloaded, where that is known (yet).
    fn begin(&self, paths: usize, bytes: Option<u64>);

    /// A download begins, or begins anew; `bytes` long, where that is known.
    fn started(&self, path: &StorePath, bytes: Option<u64>);

    /// So many more bytes of it have arrived.
    fn received(&self, path: &StorePath, bytes: u64);

    /// It is there. `bytes` of what was to be downloaded are done with, whoever downloaded them.
    fn finished(&self, path: &StorePath, bytes: u64);

    /// The request is over, well or not.
    fn end(&self);
}

/// Finds out whom to tell when there is something to tell: a start that fetches nothing need not know.
pub(crate) struct LateProgress<F> {
    find: F,
    found: OnceLock<Box<dyn Progress + Send>>,
}

impl<F: Fn() -> Box<dyn Progress + Send> + Sync> LateProgress<F> {
    pub(crate) fn new(find: F) -> Self {
        Self { find, found: OnceLock::new() }
    }

    fn get(&self) -> &dyn Progress {
        &**self.found.get_or_init(&self.find)
    }
}

impl<F: Fn() -> Box<dyn Progress + Send> + Sync> Progress for LateProgress<F> {
    fn begin(&self, paths: usize, bytes: Option<u64>) {
        self.get().begin(paths, bytes);
    }
    fn started(&self, path: &StorePath, bytes: Option<u64>) {
        self.get().started(path, bytes);
    }
    fn received(&self, path: &StorePath, bytes: u64) {
        self.get().received(path, bytes);
    }
    fn finished(&self, path: &StorePath, bytes: u64) {
        self.get().finished(path, bytes);
    }
    fn end(&self) {
        self.get().end();
    }
}

/// Tells nobody.
pub(crate) struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _: usize, _: Option<u64>) {}
    fn started(&self, _: &StorePath, _: Option<u64>) {}
    fn received(&self, _: &StorePath, _: u64) {}
    fn finished(&self, _: &StorePath, _: u64) {}
    fn end(&self) {}
}

/// Calls [`Progress::end`] on every way out of a request.
pub(super) struct UnderWay<'p>(&'p dyn Progress);

impl<'p> UnderWay<'p> {
    pub(super) fn begin(progress: &'p dyn Progress, paths: usize) -> Self {
        progress.begin(paths, None);
        Self(progress)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A download whose bytes are told as they arrive.
pub(super) struct Told<'p, R> {
    pub(super) inner: R,
    pub(super) path: &'p StorePath,
    pub(super) progress: &'p dyn Progress,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.received(self.path, read as u64);
        Ok(read)
    }
}
