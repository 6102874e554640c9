//! What kind of file a program is, and who starts it: the kernel, Sonde, or nobody.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sonde_resolve::bundle::Bundle;
use sonde_resolve::elf::{Class, ElfError, ElfFacts, Looks};

use super::finding::Finding;
use super::{data, needs, shim};
use crate::guest::launch::{Launch, LaunchError};
use crate::guest::remote::GuestRoot;
use crate::index::Index;
use crate::plan::closure::GuestFiles;
use crate::settings::Settings;
use crate::sys::mapped_file::MappedFile;
use crate::sys::privilege;

/// `EM_X86_64` (elf(5)).
const X86_64: u16 = 62;

/// Machines that programs are offered for, by `e_machine`, and how NixOS calls their systems.
const MACHINES: [(u16, &str, &str); 5] = [
    (3, "32-bit x86 (i386)", "i686-linux"),
    (40, "32-bit ARM", "armv7l-linux"),
    (183, "64-bit ARM (AArch64)", "aarch64-linux"),
    (243, "RISC-V", "riscv64-linux"),
    (21, "64-bit POWER", "powerpc64le-linux"),
];

/// A program that was read.
pub(super) struct Subject {
    pub(super) path: PathBuf,
    pub(super) bundle: Bundle,
    pub(super) root: GuestRoot,
}

impl Subject {
    pub(super) fn facts(&self) -> Option<&ElfFacts> {
        self.bundle.members.first().map(|member| &member.facts)
    }
}

/// Looks at a program as it was typed.
pub(super) fn examine(settings: &Settings, index: Option<&Index>, name: &OsStr) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = match find(name, &mut findings) {
        Ok(path) => path,
        Err(finding) => {
            findings.push(*finding);
            return findings;
        }
    };
    let subject = match read(&path) {
        Ok(subject) => subject,
        Err(finding) => {
            findings.push(*finding);
            return findings;
        }
    };
    let Some(facts) = subject.facts() else { return findings };
    let (kind, served) = kind(&subject.path, facts);
    findings.push(kind);
    if !served {
        return findings;
    }
    findings.extend(privileges(&subject.path));
    findings.extend(executable_stacks(&subject.bundle));
    match index {
        Some(index) => findings.extend(needs::examine(settings, index, &subject)),
        None => findings.push(Finding::warning(
            "program.libraries",
            "without an index nothing can be said of its libraries",
            "see the section on the index",
        )),
    }
    findings.extend(data::examine(&subject.bundle));
    findings
}

/// The file that would be executed; of a script, its interpreter.
fn find(name: &OsStr, findings: &mut Vec<Finding>) -> Result<PathBuf, Box<Finding>> {
    const ID: &str = "program.file";
    let launch = Launch::prepare(name, &[]).map_err(|error| {
        let remedy = match &error {
            LaunchError::Open { path, source }
                if source.kind() == std::io::ErrorKind::NotFound && path.as_os_str() != name =>
            {
                return Box::new(Finding::error(
                    ID,
                    format!("it is a script for {}, which is not there", path.display()),
                    "run the script with an interpreter that is installed, or set `services.envfs.enable = true;`",
                ));
            }
            LaunchError::NotExecutable(path) => format!("`chmod +x {}`", path.display()),
            LaunchError::NotInPath(_) => "give the program's path, such as ./program".to_owned(),
            LaunchError::Folder(_) | LaunchError::Special(_) => "name the program in it".to_owned(),
            LaunchError::Open { .. } => "give a path to a file that you may read".to_owned(),
            LaunchError::TooManyScripts(_) => "look at the first lines of the scripts".to_owned(),
        };
        Box::new(Finding::error(ID, error.to_string(), remedy))
    })?;
    if launch.arguments.len() > 1 {
        let interpreter = launch.path.display();
        findings
            .push(Finding::ok(ID, format!("a script for {interpreter}, which is what is looked at here")));
    }
    Ok(launch.path)
}

fn read(path: &Path) -> Result<Subject, Box<Finding>> {
    const ID: &str = "program.elf";
    let unreadable = |error: &dyn std::fmt::Display| {
        Box::new(Finding::error(
            ID,
            format!("{}: {error}", path.display()),
            "give a path to a file that you may read",
        ))
    };
    // `$ORIGIN` is where it really lies.
    let path = path.canonicalize().map_err(|error| unreadable(&error))?;
    let bytes =
        File::open(&path).and_then(|file| MappedFile::open(&file)).map_err(|error| unreadable(&error))?;
    let root = GuestRoot::own().map_err(|error| unreadable(&error))?;
    let library_path = env::var("LD_LIBRARY_PATH").ok();
    let bundle = Bundle::read(&path, bytes.as_ref(), library_path.as_deref(), &GuestFiles(&root));
    let bundle = bundle.map_err(|error| Box::new(not_elf(&path, &error)))?;
    Ok(Subject { path, bundle, root })
}

fn not_elf(path: &Path, error: &ElfError) -> Finding {
    let remedy = match error {
        ElfError::NotElf(Looks::Windows) => "run it with Wine: `wine` in nixpkgs",
        ElfError::NotElf(Looks::Empty) | ElfError::Truncated { .. } => "download it again: it is not whole",
        ElfError::NotElf(Looks::Script(_)) => "run it with its interpreter",
        ElfError::NotElf(Looks::Archive | Looks::Text) => {
            "this is not the program; look for it beside this file"
        }
        _ => "`file` may know what it is",
    };
    Finding::error("program.elf", format!("{}: {error}", path.display()), remedy)
}

/// What it is, and whether Sonde has anything to do with it.
fn kind(path: &Path, facts: &ElfFacts) -> (Finding, bool) {
    const ID: &str = "program.kind";
    let shown = path.display();
    let not_served = |finding| (finding, false);
    if facts.machine != X86_64 {
        return not_served(other_machine(path, facts));
    }
    if facts.class == Class::Elf32 {
        let summary =
            format!("{shown}: an x32 program (64-bit registers, 32-bit addresses), which is not served");
        return not_served(Finding::error(ID, summary, "get the x86-64 build of it"));
    }
    let Some(interpreter) = facts.interp.as_deref() else {
        return not_served(if facts.is_program() {
            Finding::ok(ID, format!("{shown}: static, so it needs no loader and nothing of Sonde"))
        } else {
            let remedy = "name the program that uses it; `sonde find --for` takes a library, too";
            Finding::error(ID, format!("{shown}: a library, not a program"), remedy)
        });
    };
    if interpreter.contains("ld-musl-") {
        return not_served(Finding::error(
            ID,
            format!("{shown}: built for musl ({interpreter}), and Sonde serves programs for glibc"),
            "get the glibc build of it, often called gnu; or the static one",
        ));
    }
    (started_by(path, interpreter), true)
}

fn other_machine(path: &Path, facts: &ElfFacts) -> Finding {
    let known = MACHINES.iter().find(|(machine, ..)| *machine == facts.machine);
    let (what, remedy) = match known {
        Some((3, name, _)) => (
            (*name).to_owned(),
            "get the x86-64 build of it, or run it with `steam-run`, which has 32-bit libraries".to_owned(),
        ),
        Some((_, name, system)) => (
            (*name).to_owned(),
            format!("get the x86-64 build of it, or set `boot.binfmt.emulatedSystems = [ \"{system}\" ];`"),
        ),
        None => (format!("machine {}", facts.machine), "get the x86-64 build of it".to_owned()),
    };
    Finding::error(
        "program.kind",
        format!("{}: built for {what}, and Sonde serves x86-64", path.display()),
        remedy,
    )
}

/// By the loader that it names: who starts it when it is called by its name.
fn started_by(path: &Path, interpreter: &str) -> Finding {
    const ID: &str = "program.kind";
    let shown = path.display();
    let there = Path::new(interpreter).exists();
    if interpreter.starts_with("/nix/store/") {
        return if there {
            Finding::ok(ID, format!("{shown}: built by Nix; `sonde run` serves what it loads at run time"))
        } else {
            let object = interpreter.split('/').take(4).collect::<Vec<_>>().join("/");
            Finding::error(
                ID,
                format!("{shown}: built by Nix, and its loader {interpreter} is not in the store"),
                format!("`nix-store --realise {object}`, or install the package again"),
            )
        };
    }
    let is_usual = interpreter == shim::PLACE || interpreter == "/lib/ld-linux-x86-64.so.2";
    match (there, is_usual) {
        (true, _) => Finding::ok(ID, format!("{shown}: a foreign x86-64 program")),
        (false, true) => Finding::warning(
            ID,
            format!(
                "{shown}: a foreign x86-64 program; called by its name it ends in \"No such file or directory\""
            ),
            format!("`sonde run {shown}`, or install the shim: `programs.sonde.enable = true;`"),
        ),
        (false, false) => Finding::warning(
            ID,
            format!("{shown}: it names the loader {interpreter}, where there is none"),
            format!("`sonde run {shown}` runs it under glibc's loader"),
        ),
    }
}

fn privileges(path: &Path) -> Option<Finding> {
    let data = fs::metadata(path).ok()?;
    privilege::raised_by(path, &data).then(|| {
        Finding::warning(
            "program.privileges",
            "it raises privileges (setuid, setgid or file capabilities), so it runs under the fallback loader and is not \
             served",
            "install it as a package, with a wrapper of `security.wrappers`",
        )
    })
}

fn executable_stacks(bundle: &Bundle) -> Vec<Finding> {
    const ID: &str = "program.executable-stack";
    let wanting = bundle.members.iter().filter(|member| member.facts.exec_stack);
    wanting
        .map(|member| {
            let path = member.path.display();
            Finding::warning(
                ID,
                format!("{path} asks for an executable stack; from glibc 2.41 on a library that does so cannot be loaded at run time"),
                format!("if it has no need of one, `patchelf --clear-execstack {path}`"),
            )
        })
        .collect()
}
