//! The policy's files, one by one, where libraries are at hand, and limits. Other sections of `config.toml` are looked at by those who use them.

use sonde_policy::{Problem, Severity};

use super::finding::Finding;
use crate::plan::drivers::Drivers;
use crate::plan::libraries::Libraries;
use crate::rules::{RulesError, in_force};
use crate::serve::limits::Limits;
use crate::settings::Settings;

/// Reads all of that.
pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = policies(settings);
    if let Err(error) = Libraries::load(settings).map(drop).and_then(|()| Drivers::load(settings).map(drop)) {
        let remedy = "correct the [libraries] or [drivers] section; docs/coming-from-nix-ld.md has their keys. Until then nothing is provided";
        findings.push(Finding::error("configuration.libraries", error.to_string(), remedy));
    }
    if let Err(error) = Limits::load(settings) {
        let remedy =
            "correct the [limits] section; docs/threat-model.md has its keys. Until then nothing is provided";
        findings.push(Finding::error("configuration.limits", error.to_string(), remedy));
    }
    findings
}

/// Reads each file of the policy that is in force.
fn policies(settings: &Settings) -> Vec<Finding> {
    const ID: &str = "configuration.policy";
    let mut findings = Vec::new();
    for read in in_force(settings) {
        let path = read.path.display();
        match read.outcome {
            None => {}
            Some(Ok((policy, warnings))) => {
                let warnings = warnings.iter().filter(|problem| problem.severity == Severity::Warning);
                let warnings: Vec<String> = warnings.map(Problem::summary).collect();
                findings.push(match warnings.first() {
                    Some(first) => {
                        Finding::warning(ID, first, format!("`sonde policy check {path}` shows all"))
                    }
                    None => Finding::ok(ID, format!("{path}: sound; {} rules", policy.extent().rules)),
                });
            }
            Some(Err(error)) => {
                let remedy = match error {
                    RulesError::Mistakes(_) => {
                        format!("`sonde policy check {path}` shows all; until then nothing is provided")
                    }
                    RulesError::File(_) => "put that right; until then nothing is provided".to_owned(),
                };
                findings.push(Finding::error(ID, error.to_string(), remedy));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ID, "no policy: every package may be provided"));
    }
    findings
}
