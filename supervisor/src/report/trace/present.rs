//! What a process has in memory when somebody begins to watch it → the order in which its loader came to it, as far as
//! that can be told: first what it was started with, in the loader's own order, then what it has opened since.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

use sonde_resolve::elf::ElfFacts;

use super::image::{Image, Object};

/// A library in memory.
pub(super) struct Present {
    pub(super) path: PathBuf,
    pub(super) facts: Rc<ElfFacts>,
}

/// Adds libraries to the image of a program that has none yet. They come in about the order in which they were loaded,
/// of which only that of libraries that nobody is linked against counts.
pub(super) fn arrange(image: &mut Image, present: Vec<Present>) {
    let mut rest: VecDeque<Present> = present.into();
    let is_preloaded = |image: &Image, one: &Present| image.preloads(&one.path, &one.name()).is_some();
    for at in (0..rest.len()).rev() {
        if rest.get(at).is_some_and(|one| is_preloaded(image, one))
            && let Some(one) = rest.remove(at)
        {
            let soname = one.name();
            image.objects.insert(1.min(image.objects.len()), one.into_object(soname, None, false));
        }
    }
    let (mut next, mut is_late) = (0, false);
    loop {
        // The loader goes through what it has, and loads what each is linked against (_dl_map_object_deps, elf/dl-deps.c).
        while let Some(needed) = image.objects.get(next).map(|object| object.facts.needed.clone()) {
            for name in needed.iter().filter(|name| !image.has(name)).collect::<Vec<_>>() {
                let found = rest.iter().position(|one| one.is(name)).and_then(|at| rest.remove(at));
                image.objects.extend(found.map(|one| one.into_object(name.clone(), Some(next), is_late)));
            }
            next += 1;
        }
        let Some(one) = rest.pop_front() else { return };
        let soname = one.name();
        is_late = true;
        image.objects.push(one.into_object(soname, None, is_late));
    }
}

impl Present {
    fn name(&self) -> String {
        if let Some(soname) = &self.facts.soname {
            return soname.clone();
        }
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn is(&self, name: &str) -> bool {
        self.facts.soname.as_deref() == Some(name) || self.path.file_name().is_some_and(|file| file == name)
    }

    fn into_object(self, soname: String, loaded_by: Option<usize>, is_late: bool) -> Object {
        Object { path: self.path, soname, facts: self.facts, loaded_by, is_late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn library(path: &str, needed: &[&str]) -> Present {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let facts = ElfFacts {
            needed: needed.iter().map(|&name| name.to_owned()).collect(),
            soname: None,
            ..ElfFacts::parse(&own).unwrap()
        };
        Present { path: path.into(), facts: Rc::new(facts) }
    }

    #[test]
    fn what_was_there_from_the_start_comes_in_the_loaders_order_and_then_what_was_opened() {
        let mut image = Image { preload: Some("/opt/libpre.so".into()), ..Image::default() };
        image.objects.push(library("/opt/p", &["liba.so", "libb.so"]).into_object(
            String::new(),
            None,
            false,
        ));
        let present = [
            ("/l/plugin.so", &["libd.so"][..]),
            ("/l/libd.so", &[]),
            ("/l/libc.so", &[]),
            ("/l/libb.so", &["libc.so"]),
            ("/opt/libpre.so", &["libc.so"]),
            ("/l/liba.so", &["libc.so"]),
        ];
        arrange(&mut image, present.map(|(path, needed)| library(path, needed)).into());
        let order: Vec<(&Path, Option<usize>, bool)> =
            image.objects[1..].iter().map(|one| (&*one.path, one.loaded_by, one.is_late)).collect();
        assert_eq!(
            order,
            [
                (Path::new("/opt/libpre.so"), None, false),
                (Path::new("/l/liba.so"), Some(0), false),
                (Path::new("/l/libb.so"), Some(0), false),
                (Path::new("/l/libc.so"), Some(1), false),
                (Path::new("/l/plugin.so"), None, true),
                (Path::new("/l/libd.so"), Some(5), true),
            ]
        );
    }
}
