//! A plan in forms that others read: Nix expressions, and what `ldconfig -p` prints.

use std::fmt::Write;

use sonde_resolve::ldcache;

use super::plan::{Library, Origin, Package, Plans};

/// Words that mean something else in a Nix expression (Nix manual, "Identifiers"); `or` only in places.
const KEYWORDS: [&str; 10] = ["assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"];

/// A NixOS module.
pub(crate) fn nix_ld(plans: &Plans) -> String {
    format!(
        "# configuration.nix: imports = [ ./this-file.nix ];\n{}{{ pkgs, ... }}:\n{{\n  programs.nix-ld.enable = true;\n  \
         programs.nix-ld.libraries = {};\n}}\n",
        missing(plans),
        list(plans, "  ")
    )
}

/// What a derivation that patches the program needs.
pub(crate) fn nix_inputs(plans: &Plans) -> String {
    format!(
        "# pkgs.stdenv.mkDerivation ((import ./this-file.nix {{ inherit pkgs; }}) // {{ … }})\n{}{{ pkgs ? import <nixpkgs> {{ }} \
         }}:\n{{\n  nativeBuildInputs = [ pkgs.autoPatchelfHook ];\n  buildInputs = {};\n}}\n",
        missing(plans),
        list(plans, "  ")
    )
}

/// A shell for a machine that has nix-ld.
pub(crate) fn nix_shell(plans: &Plans) -> String {
    format!(
        "# shell.nix\n{}{{ pkgs ? import <nixpkgs> {{ }} }}:\npkgs.mkShell {{\n  NIX_LD = pkgs.lib.fileContents \
         \"${{pkgs.stdenv.cc}}/nix-support/dynamic-linker\";\n  NIX_LD_LIBRARY_PATH = pkgs.lib.makeLibraryPath {};\n}}\n",
        missing(plans),
        list(plans, "  ")
    )
}

/// The entries that the program's served cache is asked for, in the order of a cache.
pub(crate) fn ldconfig(plans: &Plans) -> String {
    let mut entries: Vec<(&str, &str)> = Vec::new();
    for library in libraries(plans) {
        let served = library.chosen || matches!(library.origin, Origin::Glibc | Origin::Host);
        let Some(path) = library.path.as_deref().filter(|_| served && library.origin.is_satisfied()) else {
            continue;
        };
        if !entries.iter().any(|(soname, _)| *soname == library.soname) {
            entries.push((&library.soname, path));
        }
    }
    entries.sort_by(|(one, _), (other, _)| ldcache::compare(other, one));
    let mut text = format!("{} libs found in cache `/etc/ld.so.cache'\n", entries.len());
    for (soname, path) in entries {
        let _ = writeln!(text, "\t{soname} (libc6,x86-64) => {path}");
    }
    text
}

fn libraries(plans: &Plans) -> impl Iterator<Item = &Library> {
    plans.files.iter().flat_map(|file| &file.libraries)
}

/// The packages that the index chose, by attribute; what these refer to comes along.
fn list(plans: &Plans, indent: &str) -> String {
    let chosen = libraries(plans).filter(|library| library.chosen && library.origin == Origin::Store);
    let mut packages: Vec<String> =
        chosen.filter_map(|library| attribute(library.package.as_ref()?)).collect();
    packages.sort_unstable();
    packages.dedup();
    let lines: String = packages.iter().map(|package| format!("{indent}  {package}\n")).collect();
    if lines.is_empty() { "[ ]".to_owned() } else { format!("[\n{lines}{indent}]") }
}

/// `pkgs.curl`, `pkgs.nghttp2.lib`, `pkgs."7zz"`; nothing for a package without an attribute.
fn attribute(package: &Package) -> Option<String> {
    if package.attribute.is_empty() {
        return None;
    }
    let output = Some(package.output.as_str()).filter(|output| *output != "out");
    let names = package.attribute.split('.').chain(output).map(name);
    Some(names.fold("pkgs".to_owned(), |path, name| path + "." + &name))
}

/// An attribute's name, quoted where it must be.
fn name(name: &str) -> String {
    let begins = |first: char| first.is_ascii_alphabetic() || first == '_';
    let goes_on = |next: char| next.is_ascii_alphanumeric() || "_'-".contains(next);
    if name.starts_with(begins) && name.chars().all(goes_on) && !KEYWORDS.contains(&name) {
        return name.to_owned();
    }
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${");
    format!("\"{escaped}\"")
}

/// Comments about what no package of the list has.
fn missing(plans: &Plans) -> String {
    let mut text = String::new();
    for one in plans.missed() {
        let _ = writeln!(text, "# missing: {}: {}", one_line(one.soname), one_line(one.reason));
    }
    let unnamed = libraries(plans).filter(|library| library.chosen && library.origin == Origin::Store);
    for library in unnamed {
        let package = library.package.as_ref().filter(|package| package.attribute.is_empty());
        if let Some(package) = package {
            let _ = writeln!(text, "# without an attribute: {}", package.store_path);
        }
    }
    text
}

/// Names in ELF files may hold anything, and a comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|next| if next.is_control() { '?' } else { next }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StorePath;

    fn package(attribute: &str, output: &str) -> Package {
        Package {
            attribute: attribute.into(),
            output: output.into(),
            store_path: StorePath::new("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x").unwrap(),
            realised: true,
        }
    }

    #[test]
    fn attributes_are_quoted_where_they_must_be() {
        for (path, output, expected) in [
            ("zlib", "out", "pkgs.zlib"),
            ("nghttp2", "lib", "pkgs.nghttp2.lib"),
            ("python311Packages.numpy", "out", "pkgs.python311Packages.numpy"),
            ("7zz", "out", "pkgs.\"7zz\""),
            ("gtk+", "dev", "pkgs.\"gtk+\".dev"),
            ("haskellPackages.rec", "out", "pkgs.haskellPackages.\"rec\""),
            ("a\"b\\${c}", "out", "pkgs.\"a\\\"b\\\\\\${c}\""),
        ] {
            assert_eq!(attribute(&package(path, output)).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(attribute(&package("", "out")), None);
    }

    #[test]
    fn a_name_cannot_end_its_comment() {
        assert_eq!(one_line("libx.so\n}; evil\r"), "libx.so?}; evil?");
    }
}
