//! Fetches a closure: what it consists of, level by level, then everything of it at once.
//!
//! A thread holds one object's lock at a time and waits for no other one, so that requests cannot wait for each other in
//! a circle. An object is valid by itself; that its references are valid too is looked at by each request, so that one
//! that was interrupted is taken up by the next.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use nix::unistd::syncfs;
use tracing::info;

use super::EmbeddedStore;
use super::cache::Cache;
use super::error::{EmbeddedError, Fault};
use super::hash::Measured;
use super::layout::Layout;
use super::nar::{NarError, unpack};
use super::narinfo::{Compression, Narinfo};
use super::remove::remove;
use super::signature::Verdict;
use crate::store::gate::pass;
use crate::store::progress::{Told, UnderWay};
use crate::store::{Forecast, Gate, Progress, Sizes, StorePath, size};

/// Requests for narinfos under way at once; each is a round trip and no work.
pub(super) const LOOKUPS: usize = 24;
/// Archives under way at once; what one waits for, another can use.
const TRANSFERS: usize = 8;
/// Memory that an xz stream may ask for, in KiB; `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 256 * 1024;

/// One request, with what it has learnt about the caches.
pub(super) struct Fetch<'s> {
    store: &'s EmbeddedStore,
    progress: &'s dyn Progress,
    /// Why a cache is not asked any more, by its place in the list.
    outages: Vec<OnceLock<Fault>>,
}

/// A path, and a cache that has it.
struct Offer {
    info: Narinfo,
    cache: usize,
}

impl Offer {
    /// Bytes to be transferred. A cache need not say; compressed or not, it is hardly more than there will be.
    fn download(&self) -> u64 {
        self.info.file_size.unwrap_or(self.info.nar_size)
    }
}

enum Found {
    Valid(Vec<StorePath>),
    Offered(Box<Offer>),
}

/// What a download ended with.
enum Failure {
    Cache(Fault),
    Here(EmbeddedError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Cache(fault)
    }
}

impl<'s> Fetch<'s> {
    pub(super) fn new(store: &'s EmbeddedStore, progress: &'s dyn Progress) -> Self {
        Self { store, progress, outages: store.caches.iter().map(|_| OnceLock::new()).collect() }
    }

    /// Makes the paths and everything that they refer to valid.
    pub(super) fn closure(&self, paths: &[StorePath], gate: &dyn Gate) -> Result<(), EmbeddedError> {
        let _under_way = UnderWay::begin(self.progress, paths.len());
        let missing = self.missing(paths)?;
        if missing.is_empty() {
            return Ok(());
        }
        let sizes = total(&missing);
        self.store.limits.allow(sizes)?;
        pass(gate, paths, missing.iter().map(|offer| &offer.info.path), Some(sizes))?;
        info!(paths = sizes.paths, download = %size(sizes.download), "fetching");
        self.progress.begin(sizes.paths, Some(sizes.download));
        in_parallel(&missing, TRANSFERS, |offer| self.obtain(offer, false))?;
        info!(paths = sizes.paths, "fetched");
        Ok(())
    }

    /// What [`Fetch::closure`] would fetch.
    pub(super) fn sizes(&self, paths: &[StorePath]) -> Result<Sizes, EmbeddedError> {
        self.missing(paths).map(|missing| total(&missing))
    }

    /// The same path by path, if not all can be had. A cache that is out of reach is asked once.
    pub(super) fn forecast(&self, paths: &[StorePath]) -> Forecast {
        let of = |missing: &[Offer], unavailable| Forecast {
            sizes: Some(total(missing)),
            fetched: missing.iter().map(|offer| offer.info.path.clone()).collect(),
            unavailable,
        };
        if let Ok(missing) = self.missing(paths) {
            return of(&missing, Vec::new());
        }
        let (mut all, mut unavailable, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for path in paths {
            match self.missing(std::slice::from_ref(path)) {
                Ok(missing) => {
                    all.extend(missing.into_iter().filter(|offer| seen.insert(offer.info.path.clone())));
                }
                Err(error) => unavailable.push((path.clone(), error.into())),
            }
        }
        of(&all, unavailable)
    }

    /// Fetches an object anew, whatever there is.
    pub(super) fn again(&self, path: &StorePath) -> Result<(), EmbeddedError> {
        self.obtain(&self.look_up(path)?, true)
    }

    /// What of the closure is not valid, in as many rounds as it has levels.
    fn missing(&self, paths: &[StorePath]) -> Result<Vec<Offer>, EmbeddedError> {
        let mut seen: HashSet<StorePath> = HashSet::new();
        let mut level: Vec<StorePath> = paths.to_vec();
        let mut missing = Vec::new();
        loop {
            level.retain(|path| seen.insert(path.clone()));
            if level.is_empty() {
                return Ok(missing);
            }
            let found = in_parallel(&level, LOOKUPS, |path| match self.store.layout.registered(path) {
                Some(info) => Ok(Found::Valid(info.references)),
                None => self.look_up(path).map(Box::new).map(Found::Offered),
            })?;
            level.clear();
            for found in found {
                match found {
                    Found::Valid(references) => level.extend(references),
                    Found::Offered(offer) => {
                        level.extend(offer.info.references.iter().cloned());
                        missing.push(*offer);
                    }
                }
            }
        }
    }

    fn look_up(&self, path: &StorePath) -> Result<Offer, EmbeddedError> {
        self.store.limits.allow_fetching(path)?;
        let mut faults: Vec<Fault> = self.store.forbidden.iter().cloned().map(Fault::Forbidden).collect();
        self.offer(path, 0, &mut faults).ok_or_else(|| EmbeddedError::unavailable(path, &faults))
    }

    /// Asks the caches in order, from the given one on, for somebody who has the path and may be trusted with it.
    fn offer(&self, path: &StorePath, from: usize, faults: &mut Vec<Fault>) -> Option<Offer> {
        for (index, cache) in self.store.caches.iter().enumerate().skip(from) {
            if let Some(outage) = self.outages[index].get() {
                faults.push(outage.clone());
                continue;
            }
            let found = cache.persist(|| cache.narinfo(path)).and_then(|info| self.trusted(info, cache));
            match found {
                Ok(info) => return Some(Offer { info, cache: index }),
                Err(fault) => self.note(index, fault, faults),
            }
        }
        None
    }

    fn note(&self, cache: usize, fault: Fault, faults: &mut Vec<Fault>) {
        if fault.is_outage() {
            // Somebody else may have noted it.
            let _ = self.outages[cache].set(fault.clone());
        }
        faults.push(fault);
    }

    fn trusted(&self, info: Narinfo, cache: &Cache) -> Result<Narinfo, Fault> {
        let cache = cache.address().to_owned();
        match info.judge(&self.store.keys) {
            Verdict::Trusted => Ok(info),
            Verdict::Unsigned => Err(Fault::Unsigned { cache }),
            Verdict::Unknown(names) => Err(Fault::Untrusted { cache, names }),
            Verdict::Wrong(key) => Err(Fault::WrongSignature { cache, key }),
        }
    }

    /// Downloads one object, unless somebody has done so meanwhile; from the next cache if this one fails.
    fn obtain(&self, first: &Offer, again: bool) -> Result<(), EmbeddedError> {
        let (layout, path) = (&self.store.layout, &first.info.path);
        let _lock = layout.lock(path)?;
        if !again && layout.is_valid(path) {
            self.progress.finished(path, first.download());
            return Ok(());
        }
        let mut faults = Vec::new();
        let attempt = |offer: &Offer| match self.download(offer) {
            Ok(()) => Ok(Ok(())),
            Err(Failure::Here(error)) => Err(error),
            Err(Failure::Cache(fault)) => Ok(Err(fault)),
        };
        let mut result = attempt(first)?;
        let mut cache = first.cache;
        while let Err(fault) = result {
            self.note(cache, fault, &mut faults);
            let next = self.offer(path, cache + 1, &mut faults);
            let next = next.ok_or_else(|| EmbeddedError::unavailable(path, &faults))?;
            cache = next.cache;
            result = attempt(&next)?;
        }
        self.progress.finished(path, first.download());
        Ok(())
    }

    fn download(&self, offer: &Offer) -> Result<(), Failure> {
        let cache = &self.store.caches[offer.cache];
        let mut here = None;
        let result = cache.persist(|| match self.unpack(&offer.info, cache) {
            Ok(()) => Ok(()),
            Err(Failure::Cache(fault)) => Err(fault),
            Err(Failure::Here(error)) => {
                here = Some(error);
                Ok(())
            }
        });
        let partial = self.store.layout.partial(&offer.info.path);
        match (here, result) {
            (None, Ok(())) => self.put_in_place(&offer.info).map_err(Failure::Here),
            (here, result) => {
                // The failure is what matters; what cannot be removed now is removed by the next attempt.
                let _ = remove(&partial);
                Err(here.map(Failure::Here).or(result.err().map(Failure::Cache)).unwrap_or_else(|| {
                    Failure::Here(EmbeddedError::Disk {
                        operation: "unpacking",
                        path: partial,
                        source: io::ErrorKind::Other.into(),
                    })
                }))
            }
        }
    }

    /// Unpacks the archive beside its place, and checks it on the way.
    fn unpack(&self, info: &Narinfo, cache: &Cache) -> Result<(), Failure> {
        let layout = &self.store.layout;
        let disk = |operation, path| move |error| Failure::Here(EmbeddedError::disk(operation, path)(error));
        let (objects, partial) = (layout.objects(), layout.partial(&info.path));
        remove(&partial).map_err(disk("removing", &partial))?;
        let folder = File::open(&objects).map_err(disk("opening", &objects))?;

        let (url, body) = cache.open(&info.url)?;
        let expected = info.file_size.or(body.length);
        self.progress.started(&info.path, expected);
        let reader = Told { inner: body.reader, path: &info.path, progress: self.progress };
        let mut transfer = Measured::new(reader, expected);
        let (result, nar_size, nar_hash) = {
            let decompressed =
                decompress(&mut transfer, info.compression).map_err(disk("reading", &partial))?;
            let mut archive = Measured::new(decompressed, Some(info.nar_size));
            let result = unpack(&mut archive, folder.as_fd(), &Layout::partial_name(&info.path));
            let oversize = archive.is_oversize();
            (if oversize { Err(too_large(info.nar_size)) } else { result }, archive.count(), archive.sha())
        };
        // What a decompressor leaves behind its stream belongs to the file.
        let rest = if result.is_ok() { io::copy(&mut transfer, &mut io::sink()).err() } else { None };
        if let Some(error) = transfer.take_fault() {
            return Err(cache.broken(&url, &error, transfer.count(), expected).into());
        }
        let received = transfer.count();
        match (result, expected) {
            (Err(NarError::Disk { name, source }), _) => {
                let path = partial.join(name);
                return Err(Failure::Here(EmbeddedError::Disk { operation: "writing", path, source }));
            }
            _ if transfer.is_oversize() || rest.is_some() => {
                let reason =
                    format!("it is larger than the {} bytes that were announced", expected.unwrap_or(0));
                return Err(Fault::Damaged { url, reason }.into());
            }
            (Err(_), Some(expected)) if received < expected && at_end(&mut transfer) => {
                return Err(Fault::CutOff { url, received, expected }.into());
            }
            (Err(error), _) => return Err(Fault::Damaged { url, reason: error.to_string() }.into()),
            (Ok(()), Some(expected)) if received < expected => {
                return Err(Fault::CutOff { url, received, expected }.into());
            }
            (Ok(()), _) => {}
        }
        if let Some(expected) = info.file_hash.filter(|hash| *hash != transfer.sha()) {
            return Err(Fault::WrongHash { url, expected, found: transfer.sha() }.into());
        }
        if nar_hash != info.nar_hash {
            return Err(Fault::WrongHash { url, expected: info.nar_hash, found: nar_hash }.into());
        }
        if nar_size != info.nar_size {
            let reason = format!("it has {nar_size} bytes where {} were announced", info.nar_size);
            return Err(Fault::Damaged { url, reason }.into());
        }
        // One call instead of one a file; it reports what could not be written (syncfs(2), since Linux 5.8).
        syncfs(folder).map_err(|errno| disk("writing", &partial)(errno.into()))
    }

    fn put_in_place(&self, info: &Narinfo) -> Result<(), EmbeddedError> {
        let layout = &self.store.layout;
        let (partial, object) = (layout.partial(&info.path), layout.object(&info.path));
        // What is there is not valid, or not to be: a crash came between the next two steps, or it is being repaired.
        layout.unregister(&info.path)?;
        remove(&object).map_err(EmbeddedError::disk("removing", &object))?;
        fs::rename(&partial, &object).map_err(EmbeddedError::disk("renaming", &partial))?;
        let objects = layout.objects();
        let synced = File::open(&objects).and_then(|folder| folder.sync_all());
        synced.map_err(EmbeddedError::disk("writing", &objects))?;
        layout.register(info)
    }
}

fn total(missing: &[Offer]) -> Sizes {
    Sizes {
        paths: missing.len(),
        // What a cache claims need not fit into a number.
        download: missing.iter().fold(0, |sum, offer| sum.saturating_add(offer.download())),
        unpacked: missing.iter().fold(0, |sum, offer| sum.saturating_add(offer.info.nar_size)),
    }
}

fn too_large(announced: u64) -> NarError {
    NarError::Format(format!("it unpacks to more than the {announced} bytes that were announced"))
}

/// Did the transfer end, and not just the patience of whoever read it?
fn at_end(transfer: &mut impl Read) -> bool {
    matches!(transfer.read(&mut [0]), Ok(0))
}

fn decompress<'r>(source: &'r mut dyn Read, compression: Compression) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(
            BufReader::with_capacity(1 << 16, source),
            true,
            XZ_MEMORY,
        )),
        Compression::Zstd => Box::new(zstd::Decoder::new(source)?),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(source)),
    })
}

/// Does the same with each item, on some threads; results are in the items' order. Stops at the first error.
pub(super) fn in_parallel<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    if let [only] = items {
        return Ok(vec![work(only)?]);
    }
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = work(item).map(|result| (index, result));
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    // The receiver lives as long as this scope.
                    let _ = sender.send(result);
                }
            });
        }
        drop(sender);
        let mut done = results.iter().collect::<Result<Vec<_>, E>>()?;
        done.sort_unstable_by_key(|(index, _)| *index);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn results_stand_in_the_order_of_their_items() {
        let items: Vec<u64> = (0..40).collect();
        let slow_first = |item: &u64| {
            std::thread::sleep(Duration::from_millis(if item.is_multiple_of(8) { 20 } else { 0 }));
            Ok::<_, ()>(*item)
        };
        assert_eq!(in_parallel(&items, 8, slow_first).unwrap(), items);
        assert_eq!(in_parallel(&items, 8, |item| if *item == 7 { Err(*item) } else { Ok(()) }), Err(7));
        assert_eq!(in_parallel(&[], 8, slow_first), Ok(vec![]));
    }
}
