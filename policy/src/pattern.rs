//! Patterns, compiled once: of a hundred thousand the few are found that match a name, whether they are plain words or
//! globs.

use std::collections::{BTreeSet, HashMap};

use globset::{Candidate, Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// A pattern is a name, or the shape of some: what is longer is neither. In bytes.
const LONGEST: usize = 1024;

/// How deep `{…}` may stand in `{…}`: the compiler of globs calls itself for each.
const DEEPEST: usize = 4;

/// What a pattern is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// A word: `*` is any run of characters.
    Words,
    /// A path: `*` is any run of characters but `/`, and `**` any folders.
    Paths,
}

/// Is it a glob, and no plain word?
pub(crate) fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

/// Compiles one pattern, or says why that cannot be.
pub(crate) fn compile(pattern: &str, names: Names) -> Result<Glob, String> {
    if pattern.len() > LONGEST {
        return Err(format!("the pattern is longer than {LONGEST} bytes"));
    }
    let mut depth = 0_usize;
    for byte in pattern.bytes() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(format!("{{…}} stands more than {DEEPEST} deep"));
        }
    }
    GlobBuilder::new(pattern)
        .literal_separator(names == Names::Paths)
        .backslash_escape(true)
        .build()
        .map_err(|error| error.kind().to_string())
}

/// Whose a pattern is. Nearly always there is one, so that a list of many names is found in one piece of memory.
#[derive(Debug, Clone)]
struct Owners {
    first: usize,
    more: Vec<usize>,
}

/// Owners by what they ask for.
type Map = HashMap<Box<[u8]>, Owners>;

/// Patterns of many owners, to be asked all at once.
#[derive(Debug, Clone)]
pub(crate) struct Patterns {
    words: Map,
    /// `/opt/vendor/**`, the commonest glob of paths, without its end.
    folders: Map,
    /// How long folders are: only paths with a `/` there can lie in one.
    folder_lengths: BTreeSet<usize>,
    globs: GlobSet,
    /// Whose the glob of an index is.
    owners: Vec<usize>,
}

/// Patterns that are being collected.
#[derive(Debug)]
pub(crate) struct Collector {
    names: Names,
    words: Map,
    folders: Map,
    globs: GlobSetBuilder,
    owners: Vec<usize>,
}

impl Collector {
    pub(crate) fn of(names: Names) -> Self {
        Self {
            names,
            words: HashMap::new(),
            folders: HashMap::new(),
            globs: GlobSetBuilder::new(),
            owners: Vec::new(),
        }
    }

    /// Adds a pattern that [`compile`] has accepted.
    pub(crate) fn add(&mut self, pattern: &str, owner: usize) -> Result<(), String> {
        let folder =
            pattern.strip_suffix("/**").filter(|folder| self.names == Names::Paths && !is_glob(folder));
        if let Some(folder) = folder {
            add(&mut self.folders, folder, owner);
        } else if is_glob(pattern) {
            self.globs.add(compile(pattern, self.names)?);
            self.owners.push(owner);
        } else {
            add(&mut self.words, pattern, owner);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Patterns, String> {
        let globs = self.globs.build().map_err(|error| error.kind().to_string())?;
        let folder_lengths = self.folders.keys().map(|folder| folder.len()).collect();
        let Self { words, folders, owners, .. } = self;
        Ok(Patterns { words, folders, folder_lengths, globs, owners })
    }
}

fn add(map: &mut Map, pattern: &str, owner: usize) {
    map.entry(pattern.as_bytes().into())
        .and_modify(|owners| owners.more.push(owner))
        .or_insert_with(|| Owners { first: owner, more: Vec::new() });
}

impl Patterns {
    /// The patterns of one owner.
    pub(crate) fn of<'p>(names: Names, patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, String> {
        let mut collector = Collector::of(names);
        patterns.into_iter().try_for_each(|pattern| collector.add(pattern, 0))?;
        collector.finish()
    }

    /// Adds the owner of each pattern that matches a name, once.
    pub(crate) fn owners_of(&self, name: &[u8], owners: &mut Vec<usize>) {
        let before = owners.len();
        for found in self.words.get(name).into_iter().chain(self.folders_above(name)) {
            owners.push(found.first);
            owners.extend(&found.more);
        }
        if !self.globs.is_empty() {
            let mut matching = Vec::new();
            self.globs.matches_candidate_into(&Candidate::from_bytes(name), &mut matching);
            owners.extend(matching.into_iter().filter_map(|glob| self.owners.get(glob)));
        }
        if let Some(added) = owners.get_mut(before..)
            && added.len() > 1
        {
            added.sort_unstable();
            let mut last = None;
            let mut at = 0;
            owners.retain(|owner| {
                at += 1;
                at <= before || last.replace(*owner) != Some(*owner)
            });
        }
    }

    /// The owners of each folder that a path lies in.
    fn folders_above(&self, path: &[u8]) -> impl Iterator<Item = &Owners> {
        let slashes = self.folder_lengths.iter().filter(|at| path.get(**at) == Some(&b'/'));
        slashes.filter_map(|at| self.folders.get(path.get(..*at)?))
    }

    /// Does any of them match a name?
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        self.words.contains_key(name)
            || self.folders_above(name).next().is_some()
            || (!self.globs.is_empty() && self.globs.is_match_candidate(&Candidate::from_bytes(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, names: Names, name: &str) -> bool {
        Patterns::of(names, [pattern]).unwrap().matches(name.as_bytes())
    }

    #[test]
    fn a_star_stops_at_slashes_of_paths_only() {
        assert!(matches("cudaPackages*", Names::Words, "cudaPackages_12.cuda_cudart"));
        assert!(matches("*.libX11", Names::Words, "xorg.libX11"));
        assert!(matches("{zlib,openssl}*", Names::Words, "openssl_1_1"));
        assert!(matches("lib[ab]?", Names::Words, "libax") && !matches("lib[ab]?", Names::Words, "libcx"));
        assert!(matches("/opt/**", Names::Paths, "/opt/a/b/c"));
        assert!(matches("/opt/*/bin/*", Names::Paths, "/opt/a/bin/x"));
        assert!(!matches("/opt/*", Names::Paths, "/opt/a/b"));
        assert!(
            !matches("/opt/**", Names::Paths, "/optional/a") && !matches("/opt/**", Names::Paths, "/opt")
        );
        assert!(matches("/**", Names::Paths, "/a/b") && !matches("a/**", Names::Words, "a.b"));
        // What is looked up in another way means the same as the glob.
        for (pattern, path) in
            [("/opt/**", "/opt/"), ("/opt/**", "/opt/a"), ("/**", "/"), ("/a/**", "/b/a/c")]
        {
            let glob = compile(pattern, Names::Paths).unwrap().compile_matcher();
            assert_eq!(matches(pattern, Names::Paths, path), glob.is_match(path), "{pattern} {path}");
        }
        assert!(matches("zlib", Names::Words, "zlib") && !matches("zlib", Names::Words, "zlib2"));
        assert!(!matches("*", Names::Paths, "/a/b") && matches("**", Names::Paths, "/a/b"));
    }

    #[test]
    fn every_owner_is_told_once() {
        let mut collector = Collector::of(Names::Words);
        for (pattern, owner) in [("zlib", 7), ("z*", 7), ("*", 3), ("openssl", 1), ("*lib", 7)] {
            collector.add(pattern, owner).unwrap();
        }
        let mut owners = vec![7, 7];
        collector.finish().unwrap().owners_of(b"zlib", &mut owners);
        assert_eq!(owners, [7, 7, 3, 7]);
    }

    #[test]
    fn patterns_that_would_cost_too_much_are_refused() {
        for wrong in ["a".repeat(1025), "{".repeat(100), "[".into(), "{a".into(), "[z-a]".into(), "a}".into()]
        {
            assert!(compile(&wrong, Names::Words).is_err(), "{wrong}");
        }
        assert!(compile(&"{a,".repeat(5), Names::Words).is_err());
    }
}
