//! Where a library comes from that a program finds by no means of its own: what the pipeline would do about its load.

use std::path::Path;

use super::{Looking, Previewer, Subject};
use crate::index::Choice;
use crate::plan::closure::Answer;
use crate::plan::folders;
use crate::plan::permission::{Judge, Refusal};
use crate::report::plan::{Library, Origin, Package};

/// How many names that resemble one that nobody has are told.
const MOST_NEAR: usize = 2;

impl Previewer<'_> {
    /// What was chosen for a need.
    pub(super) fn answered(&self, subject: &Subject, soname: &str, answer: &Answer) -> Library {
        match answer {
            Answer::Package(choice) => self.provided(soname, choice),
            Answer::Unfit(versions) => {
                let reason = || format!("no package has it with {}", versions.join(", "));
                let kept_back = self.kept_back(self.judge(subject), soname);
                kept_back.unwrap_or_else(|| missing(soname, Origin::Unfit, reason()))
            }
            _ => self.answer(subject, soname),
        }
    }

    /// What the index, the host and the policy have to say to a name.
    pub(super) fn answer(&self, subject: &Subject, soname: &str) -> Library {
        let judge = self.judge(subject);
        if soname.contains('/') {
            return self.answer_to_path(judge, soname);
        }
        if self.index.is_glibc(soname) {
            return self.glibcs(subject, soname);
        }
        let host = || self.host(judge, soname, &[soname.to_owned()]);
        if let Some(rule) = judge.and_then(|judge| judge.left_to_the_host(soname)) {
            let reason = format!("the policy leaves it to the host, which has it not: {rule}");
            return host().unwrap_or_else(|| missing(soname, Origin::Forbidden, reason));
        }
        if let Some(group) = self.index.exclusion_of(soname) {
            let reason = match self.index.is_driver(soname) {
                true => format!("{}; it is not in {}", group.reason, self.drivers),
                false => group.reason.clone(),
            };
            return host().unwrap_or_else(|| missing(soname, Origin::Excluded, reason));
        }
        let first = self.index.first_choices([soname], &Looking { index: self.index, judge });
        match first.of(soname) {
            Some(choice) => self.provided(soname, choice),
            None => self.kept_back(judge, soname).or_else(host).unwrap_or_else(|| self.absent(soname)),
        }
    }

    /// A package that has it, in the store or not.
    pub(super) fn provided(&self, soname: &str, choice: &Choice) -> Library {
        Library {
            path: Some(choice.file.display().to_string()),
            package: Some(Package::of(choice, self.index.is_there(&choice.object))),
            chosen: true,
            ..library(soname, Origin::Store)
        }
    }

    /// A member of the loader's glibc.
    pub(super) fn glibcs(&self, subject: &Subject, soname: &str) -> Library {
        let own = subject.interpreter().filter(|_| subject.is_of_the_store());
        if let Some(folder) = own.and_then(|own| Path::new(own).parent()) {
            let path = folder.join(soname).display().to_string();
            return Library { path: Some(path), ..library(soname, Origin::Glibc) };
        }
        match self.index.loader() {
            Some(loader) => Library {
                path: loader.file.parent().map(|folder| folder.join(soname).display().to_string()),
                // Of a library alone it is the business of whoever loads it.
                package: self
                    .loader(subject)
                    .map(|_| Package::of(&loader, self.index.is_there(&loader.object))),
                ..library(soname, Origin::Glibc)
            },
            None => {
                missing(soname, Origin::Absent, "the index has no glibc; import a full nix-index database")
            }
        }
    }

    /// A library that is asked for by a path which does not exist.
    fn answer_to_path(&self, judge: Option<Judge<'_>>, path: &str) -> Library {
        let absent = || missing(path, Origin::Absent, "there is no such file");
        let (Some(folder), Some(name)) = (Path::new(path).parent(), Path::new(path).file_name()) else {
            return absent();
        };
        let mut paths = folders::paths_in_packages(Path::new(path));
        if folders::is_usual(folder) {
            paths.push(name.to_string_lossy().into_owned());
        }
        if let Some(host) = self.host(judge, path, &paths) {
            return host;
        }
        let by_name = || self.index.choose(&name.to_string_lossy()).filter(|_| folders::is_usual(folder));
        match self.index.choose_by_path(&paths).or_else(by_name) {
            Some(choice) => match objection(judge, (path, &choice), self.index.is_there(&choice.object)) {
                Some(refusal) => forbidden(path, Some(&choice), &refusal),
                None => self.provided(path, &choice),
            },
            None => absent(),
        }
    }

    /// The rule against the first by rank, where the policy forbids that; none of those that it allows will do.
    fn kept_back(&self, judge: Option<Judge<'_>>, soname: &str) -> Option<Library> {
        let choice = self.index.choose(soname)?;
        let refusal = objection(judge, (soname, &choice), self.index.is_there(&choice.object))?;
        Some(forbidden(soname, Some(&choice), &refusal))
    }

    /// The host's own file of the longest of these paths.
    fn host(&self, judge: Option<Judge<'_>>, soname: &str, paths: &[String]) -> Option<Library> {
        let file = self.drivers.find(paths)?;
        let name = file.file_name()?.to_str()?;
        Some(match judge.and_then(|judge| judge.objection_to_host(name)) {
            Some(refusal) => forbidden(soname, None, &refusal),
            None => Library { path: Some(file.display().to_string()), ..library(soname, Origin::Host) },
        })
    }

    fn absent(&self, soname: &str) -> Library {
        let near = self.index.near_misses(soname, MOST_NEAR).into_iter().map(|near| near.soname);
        let near: Vec<String> = near.collect();
        let reason = match near.as_slice() {
            [] => "no package of the index has it".to_owned(),
            near => format!("no package of the index has it; there is {}", near.join(", ")),
        };
        missing(soname, Origin::Absent, reason)
    }
}

fn objection(judge: Option<Judge<'_>>, wanted: (&str, &Choice), realised: bool) -> Option<Refusal> {
    judge?.objection(wanted, realised, None)
}

/// One that the policy keeps back.
pub(super) fn forbidden(soname: &str, choice: Option<&Choice>, refusal: &Refusal) -> Library {
    let place = refusal.package.as_deref().unwrap_or("the host's driver folder");
    let reason = format!("it is in {place}, which the policy forbids: {}", refusal.rule);
    Library {
        package: choice.map(|choice| Package::of(choice, false)),
        ..missing(soname, Origin::Forbidden, reason)
    }
}

pub(super) fn missing(soname: &str, origin: Origin, reason: impl Into<String>) -> Library {
    Library { reason: Some(reason.into()), ..library(soname, origin) }
}

pub(super) fn library(soname: &str, origin: Origin) -> Library {
    Library {
        soname: soname.to_owned(),
        needed_by: None,
        origin,
        chosen: false,
        optional: false,
        path: None,
        package: None,
        reason: None,
    }
}
