//! The root's small files, and the folders that a state starts from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use walkdir::WalkDir;

use super::site::Site;

const ETC: &[(&str, &str)] = &[
    (
        "passwd",
        "root:x:0:0:System administrator:/root:/run/current-system/sw/bin/bash\nalice:x:1000:100:Alice:/home/alice:/run/current-system/sw/bin/bash\nnobody:x:65534:65534:Unprivileged account:/var/empty:/run/current-system/sw/bin/bash\n",
    ),
    ("group", "root:x:0:\nusers:x:100:alice\nnogroup:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.0.2 sonde-world\n"),
    ("hostname", "sonde-world\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
    (
        "os-release",
        "ID=nixos\nNAME=NixOS\nPRETTY_NAME=\"NixOS (Sonde's test world)\"\nVERSION_CODENAME=sonde\n",
    ),
    ("shells", "/run/current-system/sw/bin/bash\n/bin/sh\n"),
];

pub(super) fn build(site: &Site) -> Result<()> {
    site.once("root", |folder| {
        for name in ["etc/nix", "etc/ssl/certs", "home/alice", "root", "tmp", "run/user/0", "run/user/1000"] {
            fs::create_dir_all(folder.join(name)).with_context(|| format!("creating {name}"))?;
        }
        write_etc(&folder.join("etc"))?;
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))
        };
        let key = "# the cache's key comes with --cache-url";
        write(
            "etc/nix/nix.conf",
            &crate::enter::nix_conf("", "").replace("trusted-public-keys = \n", &format!("{key}\n")),
        )?;
        write("etc/ssl/certs/ca-certificates.crt", &certificates(site)?)?;
        std::os::unix::fs::symlink("ca-certificates.crt", folder.join("etc/ssl/certs/ca-bundle.crt"))
            .context("linking ca-bundle.crt")
    })
}

/// The files that both roots have in /etc.
pub(super) fn write_etc(etc: &Path) -> Result<()> {
    fs::create_dir_all(etc).with_context(|| format!("creating {}", etc.display()))?;
    for (name, text) in ETC {
        let path = etc.join(name);
        // Not written through: the file may be a link into an unpacked package.
        let _ = fs::remove_file(&path);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn certificates(site: &Site) -> Result<String> {
    let folder = site.path("stage/unpacked/ca-certificates/usr/share/ca-certificates");
    let mut bundle = String::new();
    for entry in WalkDir::new(&folder).sort_by_file_name() {
        let entry = entry.with_context(|| format!("walking {}", folder.display()))?;
        if entry.path().extension().is_some_and(|extension| extension == "crt") {
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("reading {}", entry.path().display()))?;
            bundle.push_str(text.trim_end());
            bundle.push('\n');
        }
    }
    Ok(bundle)
}
