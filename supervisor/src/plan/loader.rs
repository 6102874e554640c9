//! The real loader that a program runs under: where it is mapped, and what it will ask for.
//!
//! One process has one glibc: loader, `libc.so.6` and the rest of glibc come from the same folder.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sonde_interp::elf::{HEAD, Image, PAGE};
use sonde_interp::site::{self, Sites};
use thiserror::Error;

use crate::sys::mapped_file::MappedFile;

/// Below what the kernel itself hands out (`mmap_base` with the default 28 random bits ends at 0x7eff_…), yet
/// within what sanitizers take for the area of libraries (0x7e80_… and up).
const LOWEST_BASE: u64 = 0x7e80_0000_0000;
/// Pages from which the base is drawn: 27 bits, about as many as the kernel's own randomisation.
const BASE_PAGES: u64 = 1 << 27;

/// How much room a loader gets in bytes, at the same place in every process of a tree; glibc's take a sixteenth of it, or
/// the half where a linker has put 2 MiB between their segments, as in glibc 2.27.
const SPAN: u64 = 4 << 20;

/// glibc's name for its cache, at the end of whatever prefix it was configured with.
const CACHE_NAME: &[u8] = b"/ld.so.cache\0";

/// What glibc's loader says of itself since 2.33: `ld.so (Debian GLIBC 2.36-9) stable release version 2.36.`
const VERSION_WORDS: &[u8] = b"release version ";

/// The first glibc whose loader looks at its cache before each search (`_dl_load_cache_lookup`, elf/dl-cache.c).
const LOOKS_SINCE: (u32, u32) = (2, 44);

/// A loader, ready to be handed to a shim.
#[derive(Debug)]
pub(crate) struct Loader {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// The file, for shims to map.
    pub(crate) file: File,
    /// The version of its glibc; none if it does not say.
    pub(crate) version: Option<(u32, u32)>,
    /// The path that it opens as its cache; none for a loader that is not glibc's.
    pub(crate) cache_path: Option<PathBuf>,
    /// Does it look at its cache before each search? glibc's does from 2.44 on; whoever does not say its version may.
    pub(crate) looks_at_cache: bool,
    /// See [`Loader::sites`].
    pub(crate) sites: OnceLock<Sites>,
}

/// Why a file cannot serve as the loader.
#[derive(Debug, Error)]
pub(crate) enum LoaderError {
    #[error("the loader {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the loader {}: {reason}", path.display())]
    Elf { path: PathBuf, reason: &'static str },
}

impl Loader {
    /// Looks at a loader.
    pub(crate) fn new(path: &Path, file: File) -> Result<Self, LoaderError> {
        let read = |source| LoaderError::Read { path: path.to_owned(), source };
        let mut head = Vec::with_capacity(HEAD);
        (&file).take(HEAD as u64).read_to_end(&mut head).map_err(read)?;
        let image = Image::parse(&head)
            .map_err(|error| LoaderError::Elf { path: path.to_owned(), reason: error.message() })?;
        if image.end - image.start > SPAN {
            return Err(LoaderError::Elf { path: path.to_owned(), reason: "too large for a loader" });
        }
        let bytes = MappedFile::open(&file).map_err(read)?;
        let cache_path = cache_path(bytes.as_ref());
        let version = glibc_version(bytes.as_ref()).or_else(|| version_in_name(path));
        let looks_at_cache = version.is_none_or(|version| version >= LOOKS_SINCE);
        Ok(Self { path: path.to_owned(), file, version, cache_path, looks_at_cache, sites: OnceLock::new() })
    }

    /// Where it can be changed for the engine inline, as far as that is known for certain.
    pub(crate) fn sites(&self) -> Sites {
        *self.sites.get_or_init(|| {
            let Ok(bytes) = MappedFile::open(&self.file) else { return Sites::default() };
            let loader = bytes.as_ref();
            let image = loader.get(..HEAD).and_then(|head| Image::parse(head).ok());
            let Some(image) = image else { return Sites::default() };
            let [open, look] = [site::find_open, site::find_look].map(|find| site_of(&image, loader, find));
            Sites { open: open.unwrap_or_default(), look: look.unwrap_or_default() }
        })
    }

    /// The folder that it searches last, and where the rest of its glibc lies.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

/// A random place for the loaders of a tree.
pub(crate) fn draw_place() -> Range<u64> {
    place(random())
}

/// The place that begins at this address.
pub(crate) fn place_at(start: u64) -> Range<u64> {
    start..start + SPAN
}

/// The place must not cross a 4 GiB boundary, which the filter could not tell.
fn place(random: u64) -> Range<u64> {
    let start = LOWEST_BASE + random % BASE_PAGES * PAGE;
    let window_end = (start | 0xffff_ffff) + 1;
    let start = start.min(window_end - SPAN);
    place_at(start)
}

/// The standard library seeds its hash maps from the kernel's random numbers; that is as good as asking it again.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The one place in the loader's code that `find` knows ([`sonde_interp::site`]), as an address.
fn site_of(image: &Image<'_>, loader: &[u8], find: fn(&[u8]) -> Option<usize>) -> Option<u32> {
    let mut places = image.segments().filter(|segment| segment.execute).filter_map(|segment| {
        let start = usize::try_from(segment.offset).ok()?;
        let code = loader.get(start..start.checked_add(usize::try_from(segment.file_size).ok()?)?)?;
        Some((segment, find(code)?))
    });
    let (segment, at) = places.next()?;
    let place = u32::try_from(segment.address + at as u64).ok()?;
    places.next().is_none().then_some(place)
}

fn cache_path(loader: &[u8]) -> Option<PathBuf> {
    let found = loader.windows(CACHE_NAME.len()).position(|window| window == CACHE_NAME)?;
    let start = loader[..found].iter().rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
    let text = std::str::from_utf8(&loader[start..found + CACHE_NAME.len() - 1]).ok()?;
    text.starts_with('/').then(|| text.into())
}

/// The version of glibc that a package's name has, such as `glibc-2.42-67`.
pub(crate) fn version_of_package(name: &str) -> Option<(u32, u32)> {
    let mut numbers = name.strip_prefix("glibc-")?.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn glibc_version(loader: &[u8]) -> Option<(u32, u32)> {
    let found = loader.windows(VERSION_WORDS.len()).position(|window| window == VERSION_WORDS)?;
    let rest = &loader[found + VERSION_WORDS.len()..];
    let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
    let mut numbers = std::str::from_utf8(&rest[..end]).ok()?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Up to 2.33 the file's name has it: `ld-2.31.so`.
fn version_in_name(path: &Path) -> Option<(u32, u32)> {
    let numbers = path.file_name()?.to_str()?.strip_prefix("ld-")?.strip_suffix(".so")?;
    let (major, minor) = numbers.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_path_is_whatever_glibc_was_configured_with() {
        let debian = b"\0\0/lib/\0/etc/ld.so.cache\0more";
        assert_eq!(cache_path(debian).unwrap(), Path::new("/etc/ld.so.cache"));
        let nixpkgs = b"\0/nix/store/x-glibc-2.42/etc/ld.so.cache\0";
        assert_eq!(cache_path(nixpkgs).unwrap(), Path::new("/nix/store/x-glibc-2.42/etc/ld.so.cache"));
        assert_eq!(cache_path(b"\0nothing like it\0"), None);
        assert_eq!(cache_path(b""), None);
    }

    #[test]
    fn a_loader_says_its_version() {
        let says = |words: &str| glibc_version(format!("\0ld.so {words}.\n\0").as_bytes());
        assert_eq!(says("(Debian GLIBC 2.36-9+deb12u14) stable release version 2.36"), Some((2, 36)));
        assert_eq!(says("(GNU libc) stable release version 2.44.1"), Some((2, 44)));
        assert_eq!(says("(GNU libc) development release version 2.43.9000"), Some((2, 43)));
        assert_eq!(says("of another kind"), None);
        assert_eq!(glibc_version(b"release version 2"), None);
    }

    #[test]
    fn an_older_loader_has_its_version_in_its_name() {
        let named = |name: &str| version_in_name(&Path::new("/nix/store/x-glibc/lib").join(name));
        assert_eq!(named("ld-2.31.so"), Some((2, 31)));
        assert_eq!(named("ld-linux-x86-64.so.2"), None);
        assert_eq!(named("ld-musl.so"), None);
    }

    #[test]
    fn a_package_of_glibc_has_its_version_in_its_name() {
        assert_eq!(version_of_package("glibc-2.42-67"), Some((2, 42)));
        assert_eq!(version_of_package("glibc-2.44"), Some((2, 44)));
        assert_eq!(version_of_package("glibc-locales-2.42"), None);
        assert_eq!(version_of_package("musl-1.2.5"), None);
    }

    #[test]
    fn a_place_is_aligned_and_stays_within_its_window() {
        for random in [0, 1, 0xfffff, BASE_PAGES - 1, u64::MAX] {
            let range = place(random);
            assert_eq!(range.start % PAGE, 0);
            assert_eq!(range.end - range.start, SPAN);
            assert_eq!(range.start >> 32, (range.end - 1) >> 32, "{range:x?}");
            assert!(range.start >= LOWEST_BASE && range.end <= 0x7f00_0000_0000);
        }
    }

    #[test]
    fn a_file_that_is_no_loader_is_refused_with_its_name() {
        let path = Path::new("/etc/passwd");
        let error = Loader::new(path, File::open(path).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the loader /etc/passwd: not an ELF program");
    }
}
