//! Files that are there whole or not at all, also after a power failure.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// One large write gets pages of 2 MiB, and a process that looks at one byte has all of them in its memory.
const CHUNK: usize = 1 << 16;

/// Puts a file of this content and mode in the place of whatever is at the path.
///
/// # Errors
/// Those of making, writing and renaming a file in that folder; what was at the path before is still there then.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    bytes.chunks(CHUNK).try_for_each(|chunk| temporary.write_all(chunk))?;
    temporary.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    File::open(folder)?.sync_all()
}
