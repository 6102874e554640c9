//! An archive of a binary cache, unpacked into a folder in memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|archive: &[u8]| {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    sonde::fuzzing::nar(archive, folder.path());
});
