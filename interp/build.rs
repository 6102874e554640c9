//! How the shim is linked: static-pie without libc or start files, and what is compiled into it.

fn main() {
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static-pie",
        "-Wl,-z,relro",
        "-Wl,-z,noexecstack",
        "-Wl,--hash-style=gnu",
        "-Wl,--build-id",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    for (variable, default) in [
        ("SONDE_DEFAULT_SUPERVISOR", "/run/current-system/sw/bin/sonde"),
        ("SONDE_DEFAULT_LOADER", "/run/current-system/sw/share/nix-ld/lib/ld.so"),
    ] {
        println!("cargo:rerun-if-env-changed={variable}");
        let value = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        println!("cargo:rustc-env={variable}={value}");
    }
}
