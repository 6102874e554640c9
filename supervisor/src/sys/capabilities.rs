//! What this process may do, and would be able to do after execve(2): capabilities(7) as sets of bits.
#![allow(unsafe_code)]

use std::fs;
use std::io;

use nix::errno::Errno;

/// `_LINUX_CAPABILITY_VERSION_3` (capget(2)): two words for each set.
const VERSION: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct` of capget(2).
#[repr(C)]
struct Header {
    version: u32,
    process: i32,
}

/// `struct __user_cap_data_struct` of capget(2).
#[repr(C)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Two of a thread's sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// What it has, or may take at any time.
    pub(crate) permitted: u64,
    /// What an execve(2) can give it at most.
    pub(crate) bounding: u64,
}

impl Capabilities {
    /// Those of this process (`CapPrm` and `CapBnd`, proc_pid_status(5)).
    pub(crate) fn own() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let set = |name: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(text.trim(), 16).ok()
        };
        let sets = set("CapPrm:").zip(set("CapBnd:"));
        let (permitted, bounding) = sets.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { permitted, bounding })
    }

    /// Gives up everything that was gained by entering a user namespace: there, all sets are full (user_namespaces(7)).
    /// The bounding set becomes what it was again, and nothing is permitted.
    pub(crate) fn return_to(before: Self) -> io::Result<()> {
        for capability in (0..u64::BITS).filter(|bit| before.bounding & (1 << bit) == 0) {
            // SAFETY: no pointers (PR_CAPBSET_DROP(2const)).
            let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
            // The kernel does not know as many.
            if result == -1 && Errno::last() == Errno::EINVAL {
                break;
            }
            Errno::result(result)?;
        }
        let header = Header { version: VERSION, process: 0 };
        let none = || Data { effective: 0, permitted: 0, inheritable: 0 };
        let data = [none(), none()];
        // SAFETY: version 3 reads one header and two words of data, which live until the call returns; to give up is
        // always allowed and concerns this thread only.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
        Ok(Errno::result(result).map(drop)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_is_within_its_bounds_unless_nobody_limited_it() {
        let own = Capabilities::own().unwrap();
        assert_eq!(own.permitted & !own.bounding, 0);
    }
}
