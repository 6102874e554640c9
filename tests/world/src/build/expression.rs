//! Writes the plan down as a Nix expression and has the real Nix build it, so that store paths, references and
//! signatures are Nix's own.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use anyhow::{Context, Result};

use super::fit::{FitTree, Spec};
use super::plan::{Plan, Tree};
use super::site::{Site, run};
use crate::{Package, Recipe};

/// What the builder of every store path does. Nix 2.8 kills a builder that has closed its output: the shell that is
/// left ends with a builtin.
const BUILDER: &str = "/nix/.fit fit || exit 1; true";

/// Builds all store paths; leaves `packages.json` and `system-path`.
pub(super) fn build(site: &Site, recipe: &Recipe, plan: &Plan) -> Result<()> {
    let nix = site.path("stage/nix");
    std::fs::create_dir_all(nix.join("store")).with_context(|| format!("creating {}", nix.display()))?;
    let file = site.path("stage/world.nix");
    std::fs::write(&file, expression(recipe, plan)?)
        .with_context(|| format!("writing {}", file.display()))?;

    let output = run(site
        .in_nix(&nix, "nix-instantiate")
        .args(["--eval", "--strict", "--json", "-A", "paths"])
        .arg(&file))
    .context("asking Nix for the store paths")?;
    let paths: BTreeMap<String, String> =
        serde_json::from_slice(&output.stdout).context("reading the store paths from nix-instantiate")?;

    site.say(&format!("building {} store paths", paths.len()));
    let mut build = site.in_nix(&nix, "nix-build");
    build.args(["--no-out-link", "-A", "packages"]).arg(&file);
    run(&mut build).context("building the store paths")?;

    let packages: Vec<Package> = plan
        .packages
        .iter()
        .map(|planned| Package { store_path: paths[&planned.id].clone(), ..planned.package.clone() })
        .collect();
    site.write("system-path", &paths["system"])?;
    site.write("packages.json", &serde_json::to_string_pretty(&packages).context("writing packages.json")?)
}

fn expression(_recipe: &Recipe, plan: &Plan) -> Result<String> {
    let mut text = String::from("let\n  build = name: spec: derivation {\n    inherit name spec;\n");
    writeln!(
        text,
        "    system = \"x86_64-linux\";\n    builder = \"/bin/bash\";\n    args = [ \"-c\" {} ];",
        quote(BUILDER)
    )?;
    writeln!(text, "    patchelf = \"/usr/bin/patchelf\";\n  }};\n  packages = rec {{")?;
    let trees = |trees: &[Tree]| -> Vec<FitTree> {
        let fit = |tree: &Tree| FitTree {
            path: format!("/nix/.unpacked/{}", tree.name).into(),
            promote: tree.promote.clone(),
            patch: tree.patch,
            fingerprint: plan.fingerprints.get(&tree.name).cloned().unwrap_or_default(),
        };
        trees.iter().map(fit).collect()
    };
    let placeholder = |position: &usize| format!("@{}@", plan.packages[*position].id);
    for planned in &plan.packages {
        let spec = Spec {
            trees: trees(&planned.trees),
            found: planned
                .found
                .iter()
                .map(|(soname, (other, folder))| {
                    (soname.clone(), format!("{}/{}", placeholder(other), folder.display()))
                })
                .collect(),
            roots: planned.needs.iter().map(placeholder).collect(),
            interpreter: planned
                .needs
                .contains(&plan.glibc)
                .then(|| format!("{}/lib/ld-linux-x86-64.so.2", placeholder(&plan.glibc))),
            only: Vec::new(),
            links: HashMap::new().into_iter().collect(),
        };
        define(&mut text, &planned.id, &planned.name, &spec, plan)?;
    }
    // Self-contained: its interpreter and all that its programs need lie inside it.
    let system = Spec {
        trees: trees(&plan.system),
        found: BTreeMap::new(),
        roots: Vec::new(),
        interpreter: None,
        only: vec!["bin".into(), "lib".into()],
        links: BTreeMap::from([("bin/sh".into(), "bash".into())]),
    };
    define(&mut text, "system", "sonde-world-system", &system, plan)?;
    text.push_str(
        "  };\nin {\n  inherit packages;\n  paths = builtins.mapAttrs (_: path: path.outPath) packages;\n}\n",
    );
    Ok(text)
}

fn define(text: &mut String, id: &str, name: &str, spec: &Spec, plan: &Plan) -> Result<()> {
    let mut spec = quote(&serde_json::to_string(spec).context("writing a builder's instructions")?);
    for planned in &plan.packages {
        let placeholder = format!("@{}@", planned.id);
        if spec.contains(&placeholder) {
            spec = spec.replace(&placeholder, &format!("${{{}}}", planned.id));
        }
    }
    writeln!(text, "    {id} = build {} {spec};", quote(name)).context("writing the expression")
}

/// A Nix string literal.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nix_strings_are_quoted() {
        assert_eq!(quote(r#"a "b" \ ${c}"#), r#""a \"b\" \\ \${c}""#);
    }
}
