//! What `sonde run PROGRAM` starts, and how: found as a shell finds it, looked at, and handed to the shim; or,
//! where there is nothing for Sonde to do, executed as it is.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sonde_interp::elf::{HEAD, Image};
use thiserror::Error;

use crate::sys::privilege;

/// How deep scripts may be interpreted by scripts (`BINPRM_MAX_RECURSION`, fs/exec.c: 5 in all).
const MAX_SCRIPTS: usize = 4;

/// The kernel reads this much of a script's first line (`BINPRM_BUF_SIZE`, since Linux 5.1).
const SHEBANG_LIMIT: usize = 256;

/// A program, ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The file to execute.
    pub(crate) path: PathBuf,
    /// Its arguments, `argv[0]` included.
    pub(crate) arguments: Vec<OsString>,
    /// Does it need a loader that we can give?
    pub(crate) manner: Manner,
}

/// Who starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// The shim, under supervision.
    Supervised,
    /// The kernel: static, of another architecture, not ELF at all, or with privileges that only the kernel can give.
    Untouched,
}

/// Why there is nothing to start.
#[derive(Debug, Error)]
pub(crate) enum LaunchError {
    #[error("{}: not found in PATH; give a path such as ./{}", .0.display(), .0.display())]
    NotInPath(PathBuf),
    #[error("{}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{}: is a folder, not a program", .0.display())]
    Folder(PathBuf),
    #[error("{}: is not a regular file", .0.display())]
    Special(PathBuf),
    #[error("{}: may not be executed; try chmod +x", .0.display())]
    NotExecutable(PathBuf),
    #[error("{}: scripts that interpret scripts, nested too deeply", .0.display())]
    TooManyScripts(PathBuf),
}

impl LaunchError {
    /// Is it that the program does not exist?
    pub(crate) fn is_not_found(&self) -> bool {
        match self {
            Self::NotInPath(_) => true,
            Self::Open { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

impl Launch {
    /// Looks at a command line: `program` as typed, and the arguments behind it.
    pub(crate) fn prepare(program: &OsStr, arguments: &[OsString]) -> Result<Self, LaunchError> {
        let mut path = find(program)?;
        let mut all = vec![program.to_owned()];
        all.extend_from_slice(arguments);
        for _ in 0..=MAX_SCRIPTS {
            let (head, raised) = read_head(&path)?;
            let Some(interpreter) = Interpreter::of_script(&head) else {
                let manner = if raised { Manner::Untouched } else { manner_of(&head) };
                return Ok(Self { path, arguments: all, manner });
            };
            // As the kernel does: the interpreter, its one argument, the script's path, the script's arguments.
            let mut behind = vec![interpreter.path.clone().into_os_string()];
            behind.extend(interpreter.argument);
            behind.push(path.clone().into_os_string());
            behind.extend(all.drain(1..));
            (path, all) = (interpreter.path, behind);
        }
        Err(LaunchError::TooManyScripts(path))
    }
}

/// Finds a command as execvp(3) does: through `PATH`, unless the name holds a slash.
fn find(program: &OsStr) -> Result<PathBuf, LaunchError> {
    let name = Path::new(program);
    if program.as_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| LaunchError::NotInPath(name.to_owned()))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The beginning of a file, and whether executing it raises privileges.
fn read_head(path: &Path) -> Result<(Vec<u8>, bool), LaunchError> {
    let open = |source| LaunchError::Open { path: path.to_owned(), source };
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    let data = fs::metadata(path).map_err(open)?;
    if data.is_dir() {
        return Err(LaunchError::Folder(path.to_owned()));
    }
    if !data.is_file() {
        return Err(LaunchError::Special(path.to_owned()));
    }
    if !is_executable(path) {
        return Err(LaunchError::NotExecutable(path.to_owned()));
    }
    let mut head = Vec::with_capacity(HEAD);
    match File::open(path) {
        Ok(file) => file.take(HEAD as u64).read_to_end(&mut head).map_err(open)?,
        // A program may be executable without being readable; the kernel will run it as it is.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => 0,
        Err(error) => return Err(open(error)),
    };
    Ok((head, privilege::raised_by(path, &data)))
}

/// Only a dynamically linked x86-64 program has a use for us; whatever else it is, the kernel knows better.
fn manner_of(head: &[u8]) -> Manner {
    match Image::parse(head) {
        Ok(image) if image.interpreter.is_some() => Manner::Supervised,
        _ => Manner::Untouched,
    }
}

/// The first line of a script (execve(2), "Interpreter scripts").
#[derive(Debug, PartialEq, Eq)]
struct Interpreter {
    path: PathBuf,
    argument: Option<OsString>,
}

impl Interpreter {
    fn of_script(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(SHEBANG_LIMIT)];
        let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        let line = line.trim_ascii();
        let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let end = line.iter().position(blank).unwrap_or(line.len());
        let (path, argument) = line.split_at(end);
        let argument = argument.trim_ascii();
        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        (!path.is_empty())
            .then(|| Self { path: os(path).into(), argument: (!argument.is_empty()).then(|| os(argument)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(head: &str) -> Option<(String, Option<String>)> {
        let it = Interpreter::of_script(head.as_bytes())?;
        Some((it.path.to_str()?.to_owned(), it.argument.and_then(|text| text.into_string().ok())))
    }

    #[test]
    fn a_shebang_has_one_argument_at_most() {
        assert_eq!(script("#!/bin/sh\nexit"), Some(("/bin/sh".into(), None)));
        assert_eq!(script("#! /usr/bin/env -S a b \n"), Some(("/usr/bin/env".into(), Some("-S a b".into()))));
        assert_eq!(script("#!\n"), None);
        assert_eq!(script("\x7fELF"), None);
    }

    #[test]
    fn a_script_becomes_its_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        fs::write(&path, "#!/bin/sh -e\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let launch = Launch::prepare(path.as_os_str(), &["x".into()]).unwrap();
        assert_eq!(launch.path, Path::new("/bin/sh"));
        assert_eq!(
            launch.arguments,
            [OsStr::new("/bin/sh"), OsStr::new("-e"), path.as_os_str(), OsStr::new("x")]
        );
        assert_eq!(launch.manner, Manner::Supervised);
    }

    #[test]
    fn a_script_that_interprets_itself_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        fs::write(&path, format!("#!{}\n", path.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Launch::prepare(path.as_os_str(), &[]).unwrap_err();
        assert!(matches!(error, LaunchError::TooManyScripts(_)));
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let prepare = |name: &str| Launch::prepare(OsStr::new(name), &[]).unwrap_err();
        assert!(prepare("no-such-command-anywhere").is_not_found());
        assert!(prepare("/no/such/file").is_not_found());
        assert!(matches!(prepare("/tmp"), LaunchError::Folder(_)));
        assert!(matches!(prepare("/dev/null"), LaunchError::Special(_)));
        assert!(matches!(prepare("/etc/passwd"), LaunchError::NotExecutable(_)));
    }

    #[test]
    fn a_truncated_program_is_left_to_the_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, &fs::read("/proc/self/exe").unwrap()[..100]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(Launch::prepare(path.as_os_str(), &[]).unwrap().manner, Manner::Untouched);
    }
}
