//! Is a thread about to execute a program that raises privileges? A traced process does not get them (ptrace(2),
//! execve(2)), so that whoever can let go of it in time does.

use std::fs;
use std::path::PathBuf;

use super::remote::{Address, Thread};
use crate::sys::privilege;

/// Looks at a system call by its number and arguments.
pub(crate) fn is_raised(thread: Thread, number: u64, arguments: &[u64; 6]) -> bool {
    let [first, second, ..] = *arguments;
    let directory = first as u32 as i32;
    let path = match i64::try_from(number) {
        Ok(libc::SYS_execve) => program(thread, "cwd".into(), first),
        Ok(libc::SYS_execveat) if directory == libc::AT_FDCWD => program(thread, "cwd".into(), second),
        Ok(libc::SYS_execveat) => program(thread, format!("fd/{directory}"), second),
        _ => return false,
    };
    path.and_then(|path| Some(privilege::raised_by(&path, &fs::metadata(&path).ok()?))).unwrap_or(false)
}

/// The path of a file of the thread's, for us. A link in it that is absolute is followed in our own root: where that is
/// another, the program is at worst taken for one without privileges.
fn program(thread: Thread, base: String, path: u64) -> Option<PathBuf> {
    let path = thread.read_path(Address(path)).ok()?;
    let process = PathBuf::from(format!("/proc/{}", thread.id()));
    if path.as_os_str().is_empty() {
        return Some(process.join(base)); // AT_EMPTY_PATH: the descriptor itself
    }
    match path.strip_prefix("/") {
        Ok(inside) => Some(process.join("root").join(inside)),
        Err(_) => Some(process.join(base).join(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn only_execution_is_looked_at() {
        let this = Thread::new(std::process::id()).unwrap();
        let su = c"/bin/su".as_ptr() as u64;
        let raised =
            fs::metadata("/bin/su").is_ok_and(|data| privilege::raised_by(Path::new("/bin/su"), &data));
        assert_eq!(is_raised(this, libc::SYS_execve as u64, &[su, 0, 0, 0, 0, 0]), raised);
        let here = libc::AT_FDCWD as u64;
        assert_eq!(is_raised(this, libc::SYS_execveat as u64, &[here, su, 0, 0, 0, 0]), raised);
        assert!(!is_raised(this, libc::SYS_openat as u64, &[here, su, 0, 0, 0, 0]));
        let plain = c"/proc/self/exe".as_ptr() as u64;
        assert!(!is_raised(this, libc::SYS_execve as u64, &[plain, 0, 0, 0, 0, 0]));
    }
}
