//! Disks that are full, wherever that shows, and disks that cannot be written to.

use super::*;

/// A store on a disk of its own; what cannot be unmounted any more is left to the next start of the machine.
struct Disk {
    fresh: Fresh,
    folder: PathBuf,
}

impl Disk {
    /// `None`, with a word about it, where nothing can be mounted.
    fn new(server: &Server) -> Option<Self> {
        let fresh = Fresh::new(&[server.url()]);
        let folder = fresh.base.path().join("store");
        fs::create_dir(&folder).unwrap();
        let disk = Self { fresh, folder };
        if disk.mount("size=64k") {
            return Some(disk);
        }
        // Not through println!, which a test that succeeds keeps to itself.
        let _ =
            writeln!(std::io::stderr(), "skipped: no tmpfs can be mounted here, so no disk is full (1 test)");
        None
    }

    fn mount(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "sonde-test"]).arg(&self.folder);
        mount.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Without the store that was on it; a disk that is mounted anew takes longer than all the rest of a test.
    fn empty(&self) {
        for entry in fs::read_dir(&self.folder).unwrap().flatten() {
            remove::remove(&entry.path()).unwrap();
        }
    }

    fn unmount(&self) {
        let _ = Command::new("umount").arg(&self.folder).status();
    }

    fn remount(&self, options: &str) {
        assert!(self.mount(&format!("remount,{options}")), "{options}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

#[test]
fn a_full_disk_is_named_wherever_it_is_noticed_and_room_mends_it() {
    let server = Server::start();
    let packages = [Package::new("app", &["zlib"]), Package::new("zlib", &[])];
    packages.iter().for_each(|package| package.publish(&server));
    let Some(disk) = Disk::new(&server) else { return };
    // Too few bytes, too few files: at each count something else comes to nothing.
    let bytes = (1..30).map(|pages| format!("size={}k,nr_inodes=1000", 4 * pages));
    let files = (2..40).map(|files| format!("size=1m,nr_inodes={files}"));
    let mut seen = std::collections::BTreeSet::new();
    for little in bytes.chain(files) {
        disk.empty();
        disk.remount(&little);
        match disk.fresh.realise(&["app"]) {
            Ok(()) => {}
            Err(error) => {
                assert!(error.contains("No space left"), "{little}: {error}");
                assert!(error.contains("make room, as with `sonde store gc`"), "{little}: {error}");
                seen.insert(error.split(' ').next().unwrap().to_owned());
                let valid = disk.fresh.store.verify(false).unwrap_or_default();
                assert!(valid.iter().all(|(_, condition)| matches!(condition, Condition::Sound)), "{little}");
                disk.remount("size=1m,nr_inodes=1000");
                disk.fresh.realise(&["app"]).unwrap_or_else(|error| panic!("{little}: {error}"));
            }
        }
        assert!(disk.fresh.store.has(&path("app")) && disk.fresh.store.has(&path("zlib")), "{little}");
    }
    assert!(seen.len() > 2, "it was always noticed in the same place: {seen:?}");
}

#[test]
fn a_disk_that_cannot_be_written_to_any_more_is_named() {
    let server = Server::start();
    ["app", "zlib"].iter().for_each(|name| Package::new(name, &[]).publish(&server));
    let Some(disk) = Disk::new(&server) else { return };
    disk.remount("size=1m");
    disk.fresh.realise(&["zlib"]).unwrap();
    disk.remount("ro");
    let error = disk.fresh.realise(&["app"]).unwrap_err();
    assert!(error.contains("Read-only file system") && error.contains("XDG_DATA_HOME"), "{error}");
    assert!(disk.fresh.store.has(&path("zlib")) && !disk.fresh.store.has(&path("app")));
    disk.remount("rw");
    disk.fresh.realise(&["app"]).unwrap();
}
