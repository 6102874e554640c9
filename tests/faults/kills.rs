//! Everything that programs are served by is killed, at moments drawn at random. The seed is printed; `SONDE_TEST_SEED` sets
//! it.

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sonde_world::serve::CacheServer;
use sonde_world::{Program, RootBuilder};

use crate::harness::{Engine, Who, fixture, proves};
use crate::supervisors::{Supervisors, kill};

/// Numbers that look random (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("SONDE_TEST_SEED").ok().map_or(now, |seed| seed.parse().unwrap());
        println!("SONDE_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn start(program: &Program, root: &RootBuilder) -> Child {
    let root = program.env.iter().fold(root.clone(), |root, (name, value)| root.env(name, value));
    let mut command = root.command(&program.executable);
    command.args(&program.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// How it ended, and whether it proves that it ran, or else says what it lacks.
fn end(program: &Program, child: Child) -> (bool, String) {
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let words = format!("{}: {}\n{stdout}\n{stderr}", program.name, output.status);
    (proves(program, &stdout), words)
}

#[test]
fn killing_workers_and_keepers_under_load_ends_no_program_and_loses_no_start() {
    let mut dice = Dice::new();
    let root = fixture().under(Engine::Seccomp, fixture().root(Who::Alice));
    let names = ["ffmpeg", "numpy", "curl", "git"];
    let programs: Vec<&Program> = names.iter().map(|name| fixture().world.program(name).unwrap()).collect();
    for round in 0..12 {
        let children: Vec<(&Program, Child)> =
            programs.iter().map(|program| (*program, start(program, &root))).collect();
        thread::sleep(Duration::from_millis(dice.below(250)));
        for (_, child) in &children {
            let Supervisors { keepers, workers } = Supervisors::beside(child.id());
            // One of the two: of both at once nobody is left who could answer (docs/threat-model.md).
            kill(if dice.below(2) == 0 { &keepers } else { &workers });
        }
        for (program, child) in children {
            let (proven, words) = end(program, child);
            assert!(proven, "round {round}: {words}");
        }
    }
}

#[test]
fn killing_the_daemon_or_the_cache_costs_the_starts_of_that_moment_and_no_later_one() {
    let mut dice = Dice::new();
    let fixture = fixture();
    let program = fixture.world.program("curl").unwrap();
    for round in 0..6 {
        let (state, _) = fixture.cold(Who::Alice);
        let mut cache = Some(CacheServer::start(&fixture.world.cache(), 0).unwrap());
        let url = cache.as_ref().unwrap().url();
        let root = RootBuilder::new(&fixture.world).state(state.path()).cache_url(&url).user(true);
        let root = root.sonde(fixture.sonde()).interp(fixture.shim()).shim(fixture.shim());
        let root = root.bind(fixture.guests(), "/guests");
        let mut daemon = Some(root.start_daemon().unwrap());
        let children: Vec<Child> = (0..4).map(|_| start(program, &root)).collect();
        thread::sleep(Duration::from_millis(dice.below(400)));
        let daemon_dies = dice.below(2) == 0;
        if daemon_dies {
            drop(daemon.take());
        } else {
            drop(cache.take());
        }
        for child in children {
            let (proven, words) = end(program, child);
            let told = words.contains("sonde: ") && words.contains("exit status: 127");
            assert!(proven || told, "round {round}: {words}");
        }
        // Both are back, and nothing has to be mended.
        let port = url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
        let _cache = cache.unwrap_or_else(|| CacheServer::start(&fixture.world.cache(), port).unwrap());
        let _daemon = daemon.unwrap_or_else(|| root.start_daemon().unwrap());
        let (proven, words) = end(program, start(program, &root));
        assert!(proven, "round {round}, afterwards: {words}");
    }
}
