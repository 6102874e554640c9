//! One shared object in one package, decoded from its records.

use super::super::nix_index::{LibraryKind, Package};

/// Bytes of a soname's record: name u32, first provider u32.
pub(super) const SONAME: usize = 8;
/// Bytes of a package's record: base, attr, output, store folder (u32 each), flags u32, popularity u32.
pub(super) const PACKAGE: usize = 24;
/// Bytes of a provider's record: package u32, file name u32, folder u32, target u32, size u64.
pub(super) const PROVIDER: usize = 24;
/// In place of a target: a regular file.
const NO_TARGET: u32 = u32::MAX;
const TOPLEVEL: u32 = 1;

/// A package output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageRef<'t> {
    /// `/nix/store`, as a rule.
    pub store_dir: &'t str,
    /// Last component of the store path: `hash-name`.
    pub base: &'t str,
    /// Attribute path in nixpkgs. When not `toplevel`, of the package that refers to this one.
    pub attr: &'t str,
    /// Output; when not `toplevel`, of the package that refers to this one.
    pub output: &'t str,
    /// Found under its own attribute, not only as a reference of another package.
    pub toplevel: bool,
    /// How many other store paths lean on it: environments that link to its libraries, and builds of the same
    /// name that were only found as others' references.
    pub popularity: u32,
}

impl<'t> PackageRef<'t> {
    /// The 32 characters of the hash.
    pub fn hash(&self) -> &'t str {
        self.base.get(..32).unwrap_or_default()
    }

    /// Name and version: `zlib-1.3.1`.
    pub fn name(&self) -> &'t str {
        self.base.get(33..).unwrap_or_default()
    }

    /// The whole store path.
    pub fn store_path(&self) -> String {
        format!("{}/{}", self.store_dir, self.base)
    }

    pub(super) fn decode(record: &[u8], string: impl Fn(u32) -> Option<&'t str>) -> Option<PackageRef<'t>> {
        Some(PackageRef {
            base: string(u32_at(record, 0)?)?,
            attr: string(u32_at(record, 4)?)?,
            output: string(u32_at(record, 8)?)?,
            store_dir: string(u32_at(record, 12)?)?,
            toplevel: u32_at(record, 16)? & TOPLEVEL != 0,
            popularity: u32_at(record, 20)?,
        })
    }

    pub(super) fn encode(
        package: &Package,
        mut string: impl FnMut(&str) -> u32,
        popularity: u32,
        to: &mut Vec<u8>,
    ) {
        let base = format!("{}-{}", package.hash, package.name);
        for text in [&base, &package.attr, &package.output, &package.store_dir] {
            to.extend_from_slice(&string(text).to_le_bytes());
        }
        to.extend_from_slice(&if package.toplevel { TOPLEVEL } else { 0 }.to_le_bytes());
        to.extend_from_slice(&popularity.to_le_bytes());
    }
}

/// What a shared object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTarget<'t> {
    /// A regular file.
    Regular,
    /// A symbolic link with this text.
    Symlink(&'t str),
}

/// A shared object of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider<'t> {
    /// The package that has it.
    pub package: PackageRef<'t>,
    /// Folder inside the store path, without slashes around it: `lib`, `lib/pulseaudio`.
    pub dir: &'t str,
    /// File name, which is what was looked up.
    pub file_name: &'t str,
    /// Regular file or link.
    pub kind: LinkTarget<'t>,
    /// Bytes of a regular file; 0 for a link.
    pub size: u64,
}

impl<'t> Provider<'t> {
    /// The path inside the package: `lib/libz.so.1`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.dir, self.file_name)
    }

    /// The absolute path.
    pub fn store_path(&self) -> String {
        format!("{}/{}/{}/{}", self.package.store_dir, self.package.base, self.dir, self.file_name)
    }

    pub(super) fn decode(
        record: &[u8],
        string: impl Fn(u32) -> Option<&'t str>,
        package: impl Fn(u32) -> Option<PackageRef<'t>>,
    ) -> Option<Provider<'t>> {
        let kind = match u32_at(record, 12)? {
            NO_TARGET => LinkTarget::Regular,
            at => LinkTarget::Symlink(string(at)?),
        };
        Some(Provider {
            package: package(u32_at(record, 0)?)?,
            file_name: string(u32_at(record, 4)?)?,
            dir: string(u32_at(record, 8)?)?,
            kind,
            size: u64::from_le_bytes(record.get(16..24)?.try_into().ok()?),
        })
    }

    pub(super) fn encode(
        package: u32,
        path: (&str, &str),
        kind: &LibraryKind,
        mut string: impl FnMut(&str) -> u32,
        to: &mut Vec<u8>,
    ) {
        let (target, size) = match kind {
            LibraryKind::Regular { size } => (NO_TARGET, *size),
            LibraryKind::Symlink { target } => (string(target), 0),
        };
        for number in [package, string(path.1), string(path.0), target] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&size.to_le_bytes());
    }
}

/// `/nix/store/HASH-NAME/lib/libz.so.1` → store folder, `HASH-NAME`, `lib/libz.so.1`.
pub fn split_store_path(path: &str) -> Option<(&str, &str, &str)> {
    let mut start = 0;
    for part in path.split('/') {
        let bytes = part.as_bytes();
        let hash = bytes.get(..32).is_some_and(|hash| hash.iter().all(u8::is_ascii_alphanumeric));
        if hash && bytes.get(32) == Some(&b'-') {
            let end = start + part.len();
            return Some((path.get(..start.checked_sub(1)?)?, part, path.get(end + 1..)?));
        }
        start += part.len() + 1;
    }
    None
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
