//! What was named on a command line to be planned: programs, shared objects, folders of them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::folder::Folder;
use super::preview::{Beside, Previewer, Subject, SubjectError};
use crate::guest::launch::{Launch, LaunchError};
use crate::report::plan::Unplanned;

/// Why something that was named cannot be planned.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("{}: {source}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Subject { path: PathBuf, source: SubjectError },
}

impl TargetError {
    /// Is it that there is no such file?
    pub(crate) fn is_not_found(&self) -> bool {
        match self {
            Self::Launch(error) => error.is_not_found(),
            Self::Path { source, .. } | Self::Subject { source: SubjectError::Read(source), .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
            Self::Subject { .. } => false,
        }
    }
}

/// Reads what was named: a folder's files, each once, or one file; of a script its interpreter.
pub(crate) fn read(
    name: &OsStr,
    with: &Previewer<'_>,
) -> Result<(Vec<Subject>, Vec<Unplanned>), TargetError> {
    let path = find(name)?;
    // `$ORIGIN` is where it really lies.
    let path = path.canonicalize().map_err(|source| TargetError::Path { path, source })?;
    if path.is_dir() {
        return Ok(files_of(&path, with));
    }
    let subject = with.read(&path, &Arc::default());
    let subject = subject.map_err(|source| TargetError::Subject { path, source })?;
    Ok((vec![subject], Vec::new()))
}

/// Programs by what would be executed; what cannot be is taken for a library.
fn find(name: &OsStr) -> Result<PathBuf, LaunchError> {
    match Launch::prepare(name, &[]) {
        Ok(launch) => Ok(launch.path),
        Err(LaunchError::Folder(path) | LaunchError::NotExecutable(path)) => Ok(path),
        Err(LaunchError::NotInPath(name)) if name.is_dir() => Ok(name),
        Err(error) => Err(error),
    }
}

/// Every program of a folder, and the libraries that none of them brings along.
fn files_of(folder: &Path, with: &Previewer<'_>) -> (Vec<Subject>, Vec<Unplanned>) {
    let Folder { programs, libraries, beside, mut left_out } = Folder::walk(folder);
    let beside: Arc<Beside> = Arc::new(beside);
    let mut subjects: Vec<Subject> = Vec::new();
    let mut brought: HashSet<PathBuf> = HashSet::new();
    for path in programs.iter().chain(&libraries) {
        if brought.contains(path) {
            continue;
        }
        match with.read(path, &beside) {
            Ok(subject) => {
                brought.extend(subject.members().filter_map(|member| member.canonicalize().ok()));
                subjects.push(subject);
            }
            Err(error) => left_out.push(Unplanned {
                path: path.display().to_string(),
                reason: error.to_string(),
                unreadable: matches!(error, SubjectError::Read(_)),
            }),
        }
    }
    (subjects, left_out)
}
