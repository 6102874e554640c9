//! What a start costs when nothing was ever realised: Sonde's, against realising the same packages by hand.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::harness::{Engine, fixture};
use crate::measure::words::spread;
use crate::measure::{Table, figures, interleave, time, times};
use crate::starts::PROGRAMS;
use crate::ways::{Libraries, Subject, timer};

/// It is mostly Nix's work, so few tell enough.
const STARTED: [&str; 2] = ["hello", "curl"];
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy)]
enum Way {
    /// `nix-store --realise` of each package that the program's libraries are in, one after the other.
    OneByOne,
    /// The same with all of them on one command line.
    AtOnce,
    /// The program, through `/lib64`.
    Sonde(Engine),
}

const WAYS: [Way; 6] = [
    Way::OneByOne,
    Way::AtOnce,
    Way::Sonde(Engine::Auto),
    Way::Sonde(Engine::Inline),
    Way::Sonde(Engine::Seccomp),
    Way::Sonde(Engine::Ptrace),
];

impl Way {
    fn title(self) -> String {
        match self {
            Self::OneByOne => "`nix-store --realise`, one after the other".into(),
            Self::AtOnce => "`nix-store --realise`, all at once".into(),
            Self::Sonde(engine) => format!("Sonde, {}, and the program has run", engine.short()),
        }
    }
}

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    bench.page.heading("Starts from nothing");
    let (who, effort) = (bench.who, bench.effort);
    let mut rows: Vec<Vec<String>> = WAYS.iter().map(|way| vec![way.title()]).collect();
    let mut heading = vec!["start of".to_owned()];
    for (name, arguments) in PROGRAMS.iter().filter(|(name, _)| STARTED.contains(name)) {
        let subject = Subject::of_world(name, arguments)?;
        let packages = Libraries::of(&subject, who)?.packages();
        let samples = interleave(effort.rounds(ROUNDS), effort.patience(PATIENCE), &WAYS, |&way| {
            let (_state, root) = fixture().cold(who);
            let each = r#"for path; do nix-store --realise "$path" || exit; done"#;
            let mut command: Command;
            match way {
                Way::Sonde(engine) => {
                    command = fixture().under(engine, root).command(timer());
                    command.args(["0", "1"]).args(&subject.argv);
                }
                Way::OneByOne => {
                    command = root.command(timer());
                    command.args(["0", "1", "/bin/sh", "-c", each, "sh"]).args(&packages);
                }
                Way::AtOnce => {
                    command = root.command(timer());
                    let program = "/run/current-system/sw/bin/nix-store";
                    command.args(["0", "1", program, "--realise"]).args(&packages);
                }
            }
            figures(&mut command)
        })?;
        heading.extend([subject.shown.clone(), String::new()]);
        for (row, sample) in rows.iter_mut().zip(&samples) {
            row.push(time(sample.median()));
            row.push(format!("{} {}", times(sample.ratio(&samples[0])), spread(sample)));
        }
    }
    let mut table = Table::new(1, heading);
    rows.into_iter().for_each(|row| table.row(row));
    bench.page.table(&table);
    bench.page.say(
        "In a store where nothing was ever realised; the signed cache is on loopback, so fetching costs no waiting for a \
         network. × is to realising one package after the other, which only fetches.",
    );
    Ok(())
}
