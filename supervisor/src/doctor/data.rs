//! What programs want besides libraries, by the libraries that they are linked against: fonts, certificates, drivers,
//! sockets of services. Sonde provides libraries only; the rest is NixOS's to configure.

use std::env;
use std::path::Path;

use sonde_resolve::bundle::Bundle;

use super::finding::Finding;

/// How one sees that something is there.
enum Sign {
    /// A file, folder or socket exists.
    Path(&'static str),
    /// A variable has a value.
    Variable(&'static str),
    /// Something exists in `$XDG_RUNTIME_DIR`.
    Runtime(&'static str),
}

/// One kind of data.
struct Wanted {
    /// Beginnings of sonames; who is linked against one of them wants it.
    sonames: &'static [&'static str],
    what: &'static str,
    /// Any of them is enough.
    signs: &'static [Sign],
    remedy: &'static str,
}

use Sign::{Path as File, Runtime, Variable};

const WANTED: &[Wanted] = &[
    Wanted {
        sonames: &["libfontconfig.so.", "libpangoft2-1.0.so.", "libpangocairo-1.0.so."],
        what: "fonts, by fontconfig",
        signs: &[File("/etc/fonts/fonts.conf"), Variable("FONTCONFIG_FILE")],
        remedy: "set `fonts.fontconfig.enable = true;`, and fonts in `fonts.packages`",
    },
    Wanted {
        sonames: &["libssl.so.", "libcurl.so.", "libcurl-gnutls.so.", "libgnutls.so.", "libnss3.so"],
        what: "certificates of authorities",
        signs: &[
            File("/etc/ssl/certs/ca-certificates.crt"),
            File("/etc/ssl/certs/ca-bundle.crt"),
            Variable("SSL_CERT_FILE"),
        ],
        remedy: "set `security.pki.installCACerts = true;`, or SSL_CERT_FILE to a file of certificates",
    },
    Wanted {
        sonames: &[
            "libGL.so.",
            "libEGL.so.",
            "libGLX.so.",
            "libOpenGL.so.",
            "libGLESv2.so.",
            "libgbm.so.",
            "libvulkan.so.",
        ],
        what: "graphics drivers",
        signs: &[File("/run/opengl-driver/lib")],
        remedy: "set `hardware.graphics.enable = true;`",
    },
    Wanted {
        sonames: &["libOpenCL.so."],
        what: "OpenCL drivers",
        signs: &[
            File("/run/opengl-driver/etc/OpenCL/vendors"),
            File("/etc/OpenCL/vendors"),
            Variable("OCL_ICD_VENDORS"),
        ],
        remedy: "name the hardware's in `hardware.graphics.extraPackages`, such as `rocmPackages.clr.icd`",
    },
    Wanted {
        sonames: &["libX11.so.", "libxcb.so.", "libwayland-client.so."],
        what: "a display",
        signs: &[Variable("DISPLAY"), Variable("WAYLAND_DISPLAY")],
        remedy: "start it in a graphical session",
    },
    Wanted {
        sonames: &["libdbus-1.so."],
        what: "the system's message bus",
        signs: &[File("/run/dbus/system_bus_socket"), Variable("DBUS_SYSTEM_BUS_ADDRESS")],
        remedy: "set `services.dbus.enable = true;`",
    },
    Wanted {
        sonames: &["libpulse.so."],
        what: "a sound server",
        signs: &[Runtime("pulse/native"), Variable("PULSE_SERVER")],
        remedy: "set `services.pipewire.enable = true;` and `services.pipewire.pulse.enable = true;`",
    },
    Wanted {
        sonames: &["libcups.so."],
        what: "a print server",
        signs: &[File("/run/cups/cups.sock"), Variable("CUPS_SERVER")],
        remedy: "set `services.printing.enable = true;`",
    },
    Wanted {
        sonames: &["libpcsclite.so."],
        what: "a smart-card server",
        signs: &[File("/run/pcscd/pcscd.comm")],
        remedy: "set `services.pcscd.enable = true;`",
    },
    Wanted {
        sonames: &["libfuse.so.", "libfuse3.so."],
        what: "a setuid fusermount, which needs `no-new-privs = false` in the [engine] section as well",
        signs: &[File("/run/wrappers/bin/fusermount"), File("/run/wrappers/bin/fusermount3")],
        remedy: "set `programs.fuse.enable = true;`",
    },
];

/// Looks for what a program and the libraries that came with it want.
pub(super) fn examine(bundle: &Bundle) -> Vec<Finding> {
    let sonames: Vec<&str> =
        bundle.wants.iter().flat_map(|want| want.sonames.iter().map(String::as_str)).collect();
    WANTED.iter().filter_map(|wanted| wanted.look(&sonames, Sign::is_there)).collect()
}

impl Wanted {
    fn look(&self, sonames: &[&str], is_there: impl Fn(&Sign) -> bool) -> Option<Finding> {
        const ID: &str = "program.data";
        let begins = |soname: &&&str| self.sonames.iter().any(|beginning| soname.starts_with(beginning));
        let soname = sonames.iter().find(begins)?;
        let wants = format!("{soname} wants {}", self.what);
        Some(if self.signs.iter().any(is_there) {
            Finding::ok(ID, format!("{wants}: there"))
        } else {
            Finding::warning(ID, format!("{wants}: not found"), self.remedy)
        })
    }
}

impl Sign {
    fn is_there(&self) -> bool {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        match self {
            Self::Path(path) => Path::new(path).exists(),
            Self::Variable(name) => variable(name).is_some(),
            Self::Runtime(path) => {
                variable("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join(path).exists())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn what_is_wanted_is_known_by_the_libraries() {
        let look = |soname: &str, there: bool| {
            let found = WANTED.iter().filter_map(|wanted| wanted.look(&[soname], |_| there));
            found.collect::<Vec<_>>()
        };
        for (soname, option) in [
            ("libfontconfig.so.1", "fonts.fontconfig.enable"),
            ("libssl.so.1.1", "security.pki"),
            ("libGL.so.1", "hardware.graphics.enable"),
        ] {
            let [missing] = look(soname, false).try_into().unwrap();
            assert!(missing.level == Level::Warning && missing.remedy.unwrap().contains(option), "{soname}");
            assert_eq!(look(soname, true)[0].level, Level::Ok);
        }
        assert!(look("libz.so.1", false).is_empty());
    }
}
