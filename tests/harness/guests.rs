//! Awkward programs in C, compiled here as on any distribution: nothing of Nix is in them.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::Fixture;

static COMPILER: Mutex<()> = Mutex::new(());

impl Fixture {
    /// Compiles `tests/guests/NAME.c`, unless that was done; returns its path inside the root.
    pub fn guest(&self, name: &str) -> String {
        self.compile(name, name, &["-pthread", "-ldl"])
    }

    /// Compiles `tests/guests/SOURCE.c` as `name`, with these options behind the source.
    pub fn compile(&self, source: &str, name: &str, options: &[&str]) -> String {
        let _one_at_a_time = COMPILER.lock().unwrap_or_else(PoisonError::into_inner);
        let target = self.guests().join(name);
        if !target.exists() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../tests/guests")
                .join(source)
                .with_extension("c");
            cc(&source, &target, options);
        }
        format!("/guests/{name}")
    }

    /// Builds a library with next to nothing in it.
    pub fn library(&self, target: &Path, soname: &str) {
        let source =
            tempfile::Builder::new().suffix(".c").tempfile().unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(source.path(), "int provided(void) { return 0; }\n")
            .unwrap_or_else(|error| panic!("{error}"));
        cc(source.path(), target, &["-shared", "-fPIC", &format!("-Wl,-soname,{soname}")]);
    }

    /// Builds a library that is linked against and then not shipped, and a program that needs it.
    pub fn guest_that_needs(&self, soname: &str) -> String {
        let name = format!("needs-{soname}");
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        self.library(&folder.path().join("libshort.so"), soname);
        let search = format!("-L{}", folder.path().display());
        self.compile("end", &name, &[&search, "-Wl,--no-as-needed", "-lshort"])
    }
}

fn cc(source: &Path, target: &Path, options: &[&str]) {
    let status = Command::new("cc").arg("-O1").arg(source).arg("-o").arg(target).args(options).status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("cc {}: {other:?}", source.display()),
    }
}
