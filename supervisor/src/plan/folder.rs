//! The ELF files below a folder: an unpacked archive, a wheel, the root of an AppImage. Links are not followed, so each
//! file is met once; what cannot be read is told.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sonde_resolve::elf::ElfFacts;

use super::preview::{Beside, SubjectError, suits};
use crate::report::plan::Unplanned;
use crate::sys::mapped_file::MappedFile;

const MAGIC: &[u8; 4] = b"\x7fELF";

/// What there is.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// Programs first: what they bring along need not be looked at by itself.
    pub(crate) programs: Vec<PathBuf>,
    pub(crate) libraries: Vec<PathBuf>,
    /// Every library by its file name and its soname, links to them included.
    pub(crate) beside: Beside,
    pub(crate) left_out: Vec<Unplanned>,
}

impl Folder {
    /// Walks a folder, in the order of names.
    pub(crate) fn walk(folder: &Path) -> Self {
        let mut found = Self::default();
        let mut links = Vec::new();
        let mut seen = HashSet::new();
        let mut open = vec![folder.to_owned()];
        while let Some(path) = open.pop() {
            let looked = fs::symlink_metadata(&path).and_then(|data| {
                if data.is_dir() {
                    let mut inside = fs::read_dir(&path)?
                        .map(|entry| entry.map(|entry| entry.path()))
                        .collect::<io::Result<Vec<PathBuf>>>()?;
                    inside.sort_unstable_by(|one, other| other.cmp(one));
                    open.extend(inside);
                } else if data.is_symlink() {
                    links.push(path.clone());
                } else if data.is_file() && seen.insert((data.dev(), data.ino())) {
                    found.look_at(&path)?;
                }
                Ok(())
            });
            if let Err(error) = looked {
                found.leave_out(&path, &SubjectError::Read(error));
            }
        }
        found.add_links(&links);
        found
    }

    fn look_at(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut magic = [0; MAGIC.len()];
        if file.read(&mut magic)? < MAGIC.len() || &magic != MAGIC {
            return Ok(());
        }
        // Whoever truncates it while we look harms nobody else.
        let bytes = MappedFile::open(&file)?;
        let facts = match ElfFacts::parse(bytes.as_ref()) {
            Ok(facts) => facts,
            Err(error) => {
                self.leave_out(path, &error.into());
                return Ok(());
            }
        };
        match suits(&facts) {
            Ok(()) if facts.is_program() => self.programs.push(path.to_owned()),
            Ok(()) => {
                let names = path.file_name().map(|name| name.to_string_lossy().into_owned());
                for name in names.into_iter().chain(facts.soname) {
                    self.beside.entry(name).or_insert_with(|| path.to_owned());
                }
                self.libraries.push(path.to_owned());
            }
            // Object files are nobody's to load.
            Err(SubjectError::Neither) => {}
            Err(error) => self.leave_out(path, &error),
        }
        Ok(())
    }

    /// `libz.so.1 -> libz.so.1.2.13`, where the library says another name of itself or none.
    fn add_links(&mut self, links: &[PathBuf]) {
        let libraries: HashSet<&PathBuf> = self.libraries.iter().collect();
        for link in links {
            let target = fs::canonicalize(link).ok().filter(|target| libraries.contains(target));
            if let (Some(_), Some(name)) = (target, link.file_name()) {
                self.beside.entry(name.to_string_lossy().into_owned()).or_insert_with(|| link.clone());
            }
        }
    }

    fn leave_out(&mut self, path: &Path, error: &SubjectError) {
        self.left_out.push(Unplanned {
            path: path.display().to_string(),
            reason: error.to_string(),
            unreadable: matches!(error, SubjectError::Read(_)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn each_file_is_met_once_whatever_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let own = std::env::current_exe().unwrap();
        fs::create_dir_all(root.join("bin/deeper")).unwrap();
        fs::copy(own, root.join("bin/program")).unwrap();
        fs::hard_link(root.join("bin/program"), root.join("bin/same")).unwrap();
        symlink("program", root.join("bin/link")).unwrap();
        symlink("../..", root.join("bin/deeper/loop")).unwrap();
        symlink("nowhere", root.join("bin/dangling")).unwrap();
        fs::write(root.join("damaged.so"), b"\x7fELF\x02\x01").unwrap();
        fs::write(root.join("text"), "no").unwrap();
        let found = Folder::walk(&root);
        assert_eq!(found.programs, [root.join("bin/program")]);
        assert!(found.libraries.is_empty());
        assert_eq!(found.left_out.len(), 1, "{found:?}");
        assert!(found.left_out[0].path.ends_with("damaged.so") && !found.left_out[0].unreadable);
        let gone = Folder::walk(&root.join("gone"));
        assert!(gone.left_out[0].unreadable, "{gone:?}");
    }
}
