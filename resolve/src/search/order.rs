//! The lookup order of ld.so(8), "If a shared object dependency does not contain a slash", up to the cache.

use super::tokens::expand;
use crate::elf::ElfFacts;

/// An object that asks for a library.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// What its file says.
    pub facts: &'a ElfFacts,
    /// The folder that it lies in, for `$ORIGIN`.
    pub origin: &'a str,
}

/// By which rule a folder is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `DT_RPATH` of the requester or of whoever loaded it.
    Rpath,
    /// The environment variable `LD_LIBRARY_PATH`.
    LibraryPath,
    /// `DT_RUNPATH` of the requester itself.
    Runpath,
}

/// A folder to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its path with all tokens replaced; relative ones are relative to the working directory.
    pub path: String,
    /// Why it is searched.
    pub rule: Rule,
}

/// The folders in which the loader looks for what `chain[0]` needs, in order.
///
/// `chain` is the requester, who loaded it, and so on, the program last. `library_path` is `LD_LIBRARY_PATH`.
#[must_use]
pub fn folders(chain: &[Requester<'_>], library_path: Option<&str>) -> Vec<Folder> {
    let Some(requester) = chain.first() else { return Vec::new() };
    let mut found = Vec::new();

    // A requester with a RUNPATH turns off all RPATHs; an ancestor with one, only its own.
    if requester.facts.runpath.is_none() {
        for object in chain.iter().filter(|object| object.facts.runpath.is_none()) {
            add(&mut found, object.facts.rpath.as_deref(), ":", object.origin, Rule::Rpath);
        }
    }
    // The program's folder is the origin of tokens in the environment.
    let program = chain.last().unwrap_or(requester);
    add(&mut found, library_path, ":;", program.origin, Rule::LibraryPath);
    add(&mut found, requester.facts.runpath.as_deref(), ":", requester.origin, Rule::Runpath);
    found
}

fn add(found: &mut Vec<Folder>, list: Option<&str>, separators: &str, origin: &str, rule: Rule) {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return };
    for element in list.split(|next| separators.contains(next)) {
        // An empty element is the working directory.
        let path = if element.is_empty() { ".".to_owned() } else { expand(element, origin) };
        found.push(Folder { path, rule });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(rpath: Option<&str>, runpath: Option<&str>) -> ElfFacts {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let facts = ElfFacts::parse(&bytes).unwrap();
        ElfFacts { rpath: rpath.map(str::to_owned), runpath: runpath.map(str::to_owned), ..facts }
    }

    fn paths(chain: &[(&ElfFacts, &str)], library_path: Option<&str>) -> Vec<String> {
        let chain: Vec<_> = chain.iter().map(|(facts, origin)| Requester { facts, origin }).collect();
        folders(&chain, library_path).into_iter().map(|folder| folder.path).collect()
    }

    #[test]
    fn rpath_comes_before_the_environment_and_runpath_after_it() {
        let (old, new) = (object(Some("/r"), None), object(Some("/r"), Some("/u:$ORIGIN")));
        assert_eq!(paths(&[(&old, "/o")], Some("/e")), ["/r", "/e"]);
        assert_eq!(paths(&[(&new, "/o")], Some("/e;/f")), ["/e", "/f", "/u", "/o"]);
    }

    #[test]
    fn rpath_reaches_what_is_loaded_further_on_and_runpath_does_not() {
        let plain = object(None, None);
        let (rpath, runpath) = (object(Some("$ORIGIN/lib"), None), object(None, Some("/u")));
        assert_eq!(paths(&[(&plain, "/a"), (&rpath, "/b")], None), ["/b/lib"]);
        assert_eq!(paths(&[(&plain, "/a"), (&runpath, "/b")], None), [""; 0]);
        assert_eq!(paths(&[(&runpath, "/a"), (&rpath, "/b")], None), ["/u"]);
    }

    #[test]
    fn an_empty_element_is_the_working_directory_and_an_empty_list_nothing() {
        let plain = object(None, None);
        assert_eq!(paths(&[(&plain, "/a")], Some("/x::/y")), ["/x", ".", "/y"]);
        assert_eq!(paths(&[(&plain, "/a")], Some("")), [""; 0]);
        assert!(folders(&[], Some("/x")).is_empty());
    }
}
