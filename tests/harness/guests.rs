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
        let source = text(".c", "int provided(void) { return 0; }\n");
        cc(source.path(), target, &["-shared", "-fPIC", &format!("-Wl,-soname,{soname}")]);
    }

    /// Builds a program that is linked against a soname and needs this symbol version of it.
    pub fn guest_that_needs_version(&self, soname: &str, version: &str) -> String {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let script = text(".map", &format!("{version} {{ global: provided; local: *; }};\n"));
        let source = text(".c", "int provided(void) { return 0; }\n");
        let options = [
            "-shared",
            "-fPIC",
            &format!("-Wl,-soname,{soname}"),
            &format!("-Wl,--version-script,{}", script.path().display()),
        ];
        cc(source.path(), &folder.path().join("libversioned.so"), &options);
        let program = text(".c", "int provided(void);\nint main(void) { return provided(); }\n");
        let name = format!("needs-{soname}-{version}");
        let search = format!("-L{}", folder.path().display());
        cc(program.path(), &self.guests().join(&name), &[&search, "-lversioned"]);
        format!("/guests/{name}")
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

/// A file that holds a text, for as long as the value is kept.
fn text(suffix: &str, text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(suffix).tempfile();
    let file = file.unwrap_or_else(|error| panic!("{error}"));
    std::fs::write(file.path(), text).unwrap_or_else(|error| panic!("{error}"));
    file
}

/// Whoever looks at the target finds it whole or not at all.
pub fn cc(source: &Path, target: &Path, options: &[&str]) {
    let folder =
        tempfile::tempdir_in(target.parent().unwrap_or(target)).unwrap_or_else(|error| panic!("{error}"));
    let new = folder.path().join("new");
    let status = Command::new("cc").arg("-O1").arg(source).arg("-o").arg(&new).args(options).status();
    match status {
        Ok(status) if status.success() => {
            std::fs::rename(&new, target).unwrap_or_else(|error| panic!("{error}"))
        }
        other => panic!("cc {}: {other:?}", source.display()),
    }
}
