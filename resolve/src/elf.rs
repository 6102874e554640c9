//! Bytes of an ELF file → what its loader will do with it.
//!
//! Only the headers, the dynamic section, the strings it names, version needs and notes are read, so that
//! facts of a 100 MB program cost microseconds and a handful of pages. The symbol table is [`symbols`]'
//! business. Section headers may be stripped and are not consulted. This is not a validator: what the loader
//! would not look at is not checked.
//!
//! It reads the structures itself rather than through a crate, because every read here must be bounds-checked
//! with the name of what was being read (a program that Sonde cannot read deserves a reason), and must never
//! panic.

mod bytes;
mod dynamic;
mod error;
mod notes;
pub mod symbols;
mod versions;

pub use error::{ElfError, Looks};

use crate::dlopen_note::DlopenNote;
use bytes::{Bytes, LONGEST_NAME, LONGEST_PATHS};
use dynamic::Dynamic;

/// Width of addresses: `EI_CLASS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `ELFCLASS32`.
    Elf32,
    /// `ELFCLASS64`.
    Elf64,
}

/// Byte order: `EI_DATA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endian {
    /// `ELFDATA2LSB`.
    Little,
    /// `ELFDATA2MSB`.
    Big,
}

/// What the file is meant for: `e_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `ET_EXEC`: a program with fixed addresses.
    Executable,
    /// `ET_DYN`: a library, or a position-independent program (which then has an interpreter or
    /// [`ElfFacts::pie`]).
    SharedObject,
    /// Anything else: object files, core dumps; the value of `e_type`.
    Other(u16),
}

/// One library whose symbol versions the file needs: an entry of `.gnu.version_r`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionNeed {
    /// The soname that must define the versions.
    pub soname: String,
    /// The versions, in the file's order.
    pub versions: Vec<NeededVersion>,
}

/// One needed version, such as `GLIBC_2.34`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededVersion {
    /// The version's name.
    pub name: String,
    /// The loader only warns when it is absent (`VER_FLG_WEAK`).
    pub weak: bool,
}

/// What the loader reads in a file before it maps anything. Strings are lossy UTF-8: an ELF file's need not
/// be text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfFacts {
    /// Width of addresses.
    pub class: Class,
    /// Byte order.
    pub endian: Endian,
    /// `e_machine`: 62 is x86-64, 3 i386, 183 AArch64, 243 RISC-V.
    pub machine: u16,
    /// What the file is meant for.
    pub kind: Kind,
    /// There is a dynamic section: the file is a library or takes part in dynamic linking.
    pub dynamic: bool,
    /// The linker marked it as a position-independent program (`DF_1_PIE`); a static-pie has this and no
    /// `interp`.
    pub pie: bool,
    /// The loader will not search the default folders for this file's libraries (`DF_1_NODEFLIB`).
    pub no_default_lib: bool,
    /// The loader that the file asks for (`PT_INTERP`); absent in libraries and static programs.
    pub interp: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_RPATH`, unexpanded. The loader ignores it when there is a `runpath`.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`, unexpanded.
    pub runpath: Option<String>,
    /// Symbol versions needed from each library.
    pub version_needs: Vec<VersionNeed>,
    /// Symbol versions that the file defines (`.gnu.version_d`), without its own name.
    pub version_defs: Vec<String>,
    /// `NT_GNU_BUILD_ID`.
    pub build_id: Option<Vec<u8>>,
    /// Libraries that the file says it may `dlopen` (`.note.dlopen`). A note that is not valid is left out.
    pub dlopen_notes: Vec<DlopenNote>,
    /// `PT_GNU_STACK` asks for an executable stack, or is absent (which glibc takes as asking).
    pub exec_stack: bool,
}

impl ElfFacts {
    /// Reads the facts from a whole file (mapped or read).
    ///
    /// # Errors
    /// Anything that the loader would stumble over in these structures, named with where it is.
    pub fn parse(bytes: &[u8]) -> Result<ElfFacts, ElfError> {
        let file = Bytes::open(bytes)?;
        let mut facts = ElfFacts {
            class: file.class,
            endian: file.endian,
            machine: file.machine,
            kind: file.kind,
            dynamic: false,
            pie: false,
            no_default_lib: false,
            interp: None,
            needed: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
            version_needs: Vec::new(),
            version_defs: Vec::new(),
            build_id: None,
            dlopen_notes: Vec::new(),
            exec_stack: file.exec_stack(),
        };
        if let Some(at) = file.interp {
            let raw = file.string(at, LONGEST_NAME, "PT_INTERP")?;
            facts.interp = Some(String::from_utf8_lossy(raw).into_owned());
        }
        notes::read(&file, &mut facts.build_id, &mut facts.dlopen_notes)?;
        let Some(dynamic) = Dynamic::read(&file)? else { return Ok(facts) };
        facts.dynamic = true;
        facts.pie = dynamic.flags_1 & dynamic::DF_1_PIE != 0;
        facts.no_default_lib = dynamic.flags_1 & dynamic::DF_1_NODEFLIB != 0;
        for &at in &dynamic.needed {
            facts.needed.push(dynamic.name(&file, at, "DT_NEEDED")?);
        }
        let one =
            |at: Option<u64>, what| at.map(|at| dynamic.string(&file, at, LONGEST_PATHS, what)).transpose();
        facts.soname = one(dynamic.soname, "DT_SONAME")?;
        facts.rpath = one(dynamic.rpath, "DT_RPATH")?;
        facts.runpath = one(dynamic.runpath, "DT_RUNPATH")?;
        facts.version_needs = versions::needs(&file, &dynamic)?
            .into_iter()
            .map(|need| VersionNeed {
                soname: need.soname,
                versions: need.versions.into_iter().map(|(_, version)| version).collect(),
            })
            .collect();
        facts.version_defs = versions::definitions(&file, &dynamic)?
            .into_iter()
            .filter(|definition| !definition.base)
            .map(|definition| definition.name)
            .collect();
        Ok(facts)
    }

    /// The file is a program: something the kernel can start, not a library.
    pub fn is_program(&self) -> bool {
        self.interp.is_some() || self.kind == Kind::Executable || self.pie
    }
}

#[cfg(test)]
mod tests;
