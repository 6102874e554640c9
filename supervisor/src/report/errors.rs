//! Every sentence about a program or its libraries that its user can meet, whoever says it: the supervisor on the
//! program's standard error, the shim when it is refused, `trace`, `plan`. What the shim says of itself is beside it
//! ([`sonde_interp::sentence`]).
//!
//! Each names the thing, the cause, and what can be done. `errors.txt` has all of them, as they read.

use std::path::Path;

use crate::index::Choice;
use crate::store::{STORE, StoreError};

/// No package has the library.
pub(crate) fn absent(soname: &str, needed_by: &Path) -> String {
    format!(
        "sonde: {soname}, needed by {}, is in no package of the index; `sonde find {soname}` shows what resembles it; put it in a \
         folder that LD_LIBRARY_PATH names, or import another index",
        needed_by.display()
    )
}

/// There is no index to look the library up in.
pub(crate) fn no_index(soname: &str, needed_by: &Path) -> String {
    format!(
        "sonde: {soname}, needed by {}, is not at hand, and there is no index to find it in; fetch one with `sonde index \
         update`",
        needed_by.display()
    )
}

/// No package may provide it.
pub(crate) fn excluded(soname: &str, needed_by: &Path, reason: &str) -> String {
    let by = needed_by.display();
    format!(
        "sonde: {soname}, needed by {by}, is not provided by packages: {reason}; `sonde doctor {by}` says what to do"
    )
}

/// Packages have it, and none with the versions that are needed.
pub(crate) fn unfit(soname: &str, needed_by: &Path, lacking: &[String]) -> String {
    format!(
        "sonde: {soname}, needed by {}, is in packages of the index, and in none with {}; `sonde find {soname}` lists them",
        needed_by.display(),
        lacking.join(", ")
    )
}

/// A package has it and cannot be had.
pub(crate) fn unavailable(soname: &str, needed_by: &Path, choice: &Choice, error: &StoreError) -> String {
    format!(
        "sonde: {soname}, needed by {}, is in {} ({}.{}), which cannot be had: {error}",
        needed_by.display(),
        choice.object,
        choice.attribute,
        choice.output
    )
}

/// The policy forbids it.
pub(crate) fn forbidden(soname: &str, needed_by: &Path, package: Option<&str>, rule: &str) -> String {
    let place = package.unwrap_or("the host's driver folder");
    format!(
        "sonde: {soname}, needed by {}, is in {place}, which the policy forbids: {rule}; `sonde policy explain {soname}` shows \
         every rule that takes part",
        needed_by.display()
    )
}

/// The policy would forbid it, if it were not only to be told.
pub(crate) fn would_be_forbidden(soname: &str, package: Option<&str>, rule: &str) -> String {
    let place = package.unwrap_or("the host's driver folder");
    format!("sonde: audit: {soname} of {place} would be forbidden by {rule}")
}

/// The policy cannot be read, so that it forbids everything.
pub(crate) fn faulty(fault: &str) -> String {
    format!("sonde: {fault}")
}

/// No engine works: the shim says this of a program that it starts without us.
pub(crate) const NO_ENGINE: &str = "the engine that was asked for does not work here: seccomp user notification needs Linux \
                                    5.9, ptrace 5.3; `sonde doctor` says what this kernel has";

/// The index has nothing to start programs with.
pub(crate) const NO_GLIBC: &str = "the index has no glibc, and so no loader; import a full nix-index database (`sonde index \
                                   update` fetches one)";

/// The policy leaves no engine.
pub(crate) fn engines_forbidden(rule: &str) -> String {
    format!(
        "the policy forbids every engine that works here: {rule}; libraries that are missing are not provided"
    )
}

/// The loader for foreign programs cannot be fetched.
pub(crate) fn loader_unavailable(loader: &Path, error: &StoreError) -> String {
    format!("the loader {} cannot be had: {error}", loader.display())
}

/// The kernel would not have the filter.
pub(crate) fn filter_refused(reason: &str) -> String {
    format!(
        "the kernel refused the filter ({reason}): another supervisor may have this process already; libraries that are \
         missing are not provided; `sonde doctor` says what this kernel has"
    )
}

/// The engine inline, and no other, was asked for.
pub(crate) fn loader_unchanged(reason: &str) -> String {
    format!("the loader could not be changed ({reason}); leave the choice of the engine to `auto`")
}

/// The kernel would not have a tracer.
pub(crate) fn not_traceable(reason: &str) -> String {
    format!(
        "this process may not be traced ({reason}): a debugger may have it already, or kernel.yama.ptrace_scope forbids it (`sonde \
         doctor`); libraries that are missing are not provided"
    )
}

/// A program in a container with another store.
pub(crate) fn other_store(program: &Path) -> String {
    format!(
        "{}: its /nix/store is another one than its supervisor's, or none; it runs under the loader that NIX_LD names, or \
         the compiled-in one, without the libraries that Sonde would provide",
        program.display()
    )
}

/// The loader found it, and it is of the other width.
pub(crate) fn other_class(path: &Path) -> String {
    format!(
        "{} is a 32-bit library, and the program has 64 bits: the loader does not take it; get the \
         x86-64 build of it",
        path.display()
    )
}

/// The loader found it, and it is for another machine. `machine` is `e_machine` of elf(5).
pub(crate) fn other_machine(path: &Path, machine: u16) -> String {
    let machine = match machine {
        3 => "i386".to_owned(),
        40 => "ARM".to_owned(),
        183 => "AArch64".to_owned(),
        243 => "RISC-V".to_owned(),
        other => format!("machine {other}"),
    };
    format!(
        "{} is for {machine}, and the program for x86-64: the loader does not take it; get the x86-64 build of it",
        path.display()
    )
}

/// The loader found a file that is no library.
pub(crate) fn not_elf(path: &Path) -> String {
    format!(
        "{} is no ELF library: the loader gives up; a text of that name is a linker's script, and a damaged file is to \
         be installed anew",
        path.display()
    )
}

/// The loader found a program.
pub(crate) fn is_a_program(path: &Path) -> String {
    format!("{} is a program and no library: the loader does not load it into another", path.display())
}

/// The loader would give up over versions.
pub(crate) fn lacks_versions(user: &Path, definer: &Path, versions: &[&str]) -> String {
    let way_out = if definer.starts_with(STORE) {
        "a newer index may have a newer package (`sonde index update`)"
    } else {
        "without that file a package's would be taken"
    };
    format!(
        "{} needs {}, and {} does not define {}: the loader gives up; {way_out}",
        user.display(),
        versions.join(", "),
        definer.display(),
        if versions.len() == 1 { "it" } else { "them" },
    )
}

/// The loader would give up over versions of glibc itself.
pub(crate) fn old_glibc(user: &Path, versions: &[&str], loader: &Path, has: &str) -> String {
    format!(
        "{} needs {}, and the glibc that it runs under, {}, is {has}: the loader gives up; a newer index may have a newer \
         one (`sonde index update`), or take a build for an older system",
        user.display(),
        versions.join(", "),
        loader.parent().and_then(Path::parent).unwrap_or(loader).display(),
    )
}

/// The loader would have to make the stacks executable.
pub(crate) fn executable_stack(path: &Path) -> String {
    format!(
        "{} asks for an executable stack, which glibc 2.41 and later grant to no library that is opened at run time; \
         `patchelf --clear-execstack` takes the request out of the file",
        path.display()
    )
}

/// Who wants to watch is of another version than the supervisor.
pub(crate) const OTHER_FORM: &str = "its supervisor is of another version than this command: it stays until its programs \
                                     have ended, so start the program anew, with `sonde trace PROGRAM`";

/// A tree has one watcher.
pub(crate) fn is_watched(process: u32) -> String {
    format!("somebody watches the tree of process {process} already: end that `sonde trace` first")
}

/// There is no process of this number.
pub(crate) fn no_process(process: u32) -> String {
    format!("there is no process {process}; `pgrep -a NAME` finds a program's number")
}

/// The process is another user's.
pub(crate) fn others_process(process: u32, user: &str) -> String {
    format!("process {process} is {user}'s, and only its user may watch it: run this command as {user}")
}

/// The process has no supervisor, and never had one that could be seen.
pub(crate) fn not_supervised(process: u32, program: &Path) -> String {
    format!(
        "process {process} ({}) is not supervised, so nobody sees what it loads; start it with `sonde trace`, or with `sonde \
         run` to watch it later",
        program.display()
    )
}

/// The process was started by its plan.
pub(crate) fn no_supervisor_inline(process: u32, program: &Path) -> String {
    let program = program.display();
    format!(
        "process {process} ({program}) was started by its plan, under the engine inline, and has no supervisor that could be \
         asked; `sonde plans show {program}` says what it was given, and `sonde trace {program}` runs it anew and shows all"
    )
}

/// The process has a supervisor, or had one, which does not answer here.
pub(crate) fn supervisor_out_of_reach(process: u32, program: &Path) -> String {
    format!(
        "process {process} ({}) is supervised, and its supervisor cannot be reached from here: it has died, or the process \
         is in a container of its own; start the program with `sonde trace`",
        program.display()
    )
}

/// The process belongs to a program that `sonde trace` runs.
pub(crate) fn is_traced(process: u32, tracer: u32) -> String {
    format!("process {process} is traced already, by `sonde trace` (process {tracer}) that has started it")
}

/// The supervisor of a watched tree is gone.
pub(crate) const WATCH_CUT_OFF: &str = "the supervisor has died, and the trace ends here; its programs go on under another one, which can be watched again";

#[cfg(test)]
mod tests;
