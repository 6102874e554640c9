//! What became of a run, in a form that a failed assertion can show whole.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// No run of a test takes as long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A finished run.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub pid: u32,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (signal {:?})", self.status, self.status.signal())?;
        writeln!(f, "--- stdout\n{}", self.stdout)?;
        writeln!(f, "--- stderr\n{}", self.stderr)
    }
}

/// Runs a command to its end, and until nobody holds its output open.
pub fn run(command: &mut Command) -> Outcome {
    run_with(command, "")
}

/// The same with something on its standard input.
pub fn run_with(command: &mut Command, stdin: &str) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = child.id();
    if let Some(mut pipe) = child.stdin.take() {
        // A program that does not read its input may be gone before it is written.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap_or_else(|error| panic!("{error}")) {
            break status;
        }
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("{command:?} did not end within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let text = |thread: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
    };
    Outcome { pid, status, stdout: text(stdout), stderr: text(stderr) }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// A program that answers each line of its standard input with a line.
pub struct Conversation {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Conversation {
    pub fn with(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let answers = child.stdout.take().map(BufReader::new).unwrap_or_else(|| panic!("no pipe"));
        Self { child, answers }
    }

    /// The program's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says a line, and returns the answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap_or_else(|| panic!("no pipe"));
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("asking for {line}: {error}"));
    }

    pub fn hear(&mut self) -> String {
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer);
        read.unwrap_or_else(|error| panic!("waiting for an answer: {error}"));
        answer
    }

    /// Says a line again and again until the answer has this in it.
    pub fn ask_until(&mut self, line: &str, wanted: &str) {
        let started = Instant::now();
        loop {
            let answer = self.ask(line);
            if answer.contains(wanted) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "still {answer}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The end of its input is its end; whoever does not notice is not waited for.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
