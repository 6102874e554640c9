//! Lines on a terminal: one for each download, and a total with speed and the time that is left. It is the terminal of a
//! program that has not begun to draw, so nothing appears for a fetch that is over at once, and nothing stays.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Download, Numbers, Request};
use crate::store::StorePath;

/// A shorter fetch shows nothing: what flickers is worse than what waits.
const UNSEEN: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(100);
const HERTZ: u8 = 20;

/// Draws until it is over; then nothing is left.
pub(super) fn draw(numbers: &Numbers, terminal: File) {
    let Ok(reader) = terminal.try_clone() else { return };
    if !numbers.wait(UNSEEN) {
        return;
    }
    let term = Term::read_write_pair(reader, Patient(terminal));
    let mut bars = Bars::new(ProgressDrawTarget::term(term, HERTZ));
    loop {
        match numbers.request() {
            Some(request) => bars.show(&request),
            None => bars.clear(),
        }
        if !numbers.wait(TICK) {
            return bars.clear();
        }
    }
}

/// A terminal that is stopped (^S) is not waited for: whoever waits for the download would wait for the terminal.
#[derive(Debug)]
struct Patient(File);

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut descriptors = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut descriptors, PollTimeout::ZERO) {
            Ok(0) => Ok(bytes.len()),
            _ => self.0.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsRawFd for Patient {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What is on the screen.
struct Bars {
    all: MultiProgress,
    downloads: HashMap<StorePath, ProgressBar>,
    total: Option<(ProgressBar, Option<u64>)>,
}

impl Bars {
    fn new(target: ProgressDrawTarget) -> Self {
        Self { all: MultiProgress::with_draw_target(target), downloads: HashMap::new(), total: None }
    }

    fn show(&mut self, request: &Request) {
        let gone = |path: &StorePath| !request.running.iter().any(|download| download.path == *path);
        let all = &self.all;
        self.downloads.retain(|path, bar| {
            if gone(path) {
                all.remove(bar);
            }
            !gone(path)
        });
        // The total comes first, and is there before what stands below it.
        if self.total.as_ref().is_none_or(|(_, bytes)| *bytes != request.bytes) {
            if let Some((old, _)) = self.total.take() {
                self.all.remove(&old);
            }
            let total = self.all.insert(0, total_bar(request.bytes));
            self.total = Some((total, request.bytes));
        }
        if let Some((total, _)) = &self.total {
            let plural = if request.paths == 1 { "" } else { "s" };
            total.set_message(format!("{} store path{plural}", request.paths));
            total.set_position(request.position());
            total.tick();
        }
        for download in &request.running {
            let bar = self.downloads.entry(download.path.clone());
            bar.or_insert_with(|| self.all.add(download_bar(download))).set_position(download.received);
        }
    }

    fn clear(&mut self) {
        let bars = self.downloads.drain().map(|(_, bar)| bar);
        for bar in bars.chain(self.total.take().map(|(bar, _)| bar)) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        // A terminal that is gone needs no clearing.
        let _ = self.all.clear();
    }
}

fn total_bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "sonde: fetching {msg} {bar:20} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        ),
        None => (ProgressBar::new_spinner(), "sonde: getting {msg} {spinner} {elapsed}"),
    };
    styled(bar.with_elapsed(UNSEEN), template)
}

fn download_bar(download: &Download) -> ProgressBar {
    let (bar, template) = match download.bytes {
        Some(bytes) => {
            (ProgressBar::new(bytes), "  {prefix:30!} {bar:20} {binary_bytes}/{binary_total_bytes}")
        }
        None => (ProgressBar::no_length(), "  {prefix:30!} {binary_bytes}"),
    };
    // Behind the hash and its hyphen.
    let name = download.path.base_name().get(33..).unwrap_or_default().to_owned();
    styled(bar, template).with_prefix(name)
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Observed, Progress};
    use super::*;
    use std::io::Read;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    /// A terminal, and what has been written to it. 24 lines of 100 characters.
    fn terminal() -> (File, Arc<Mutex<String>>) {
        let size = nix::pty::Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&size), None).unwrap();
        let (mut master, seen) = (File::from(pty.master), Arc::new(Mutex::new(String::new())));
        let screen = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = master.read(&mut buffer) {
                screen.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        (File::from(pty.slave), seen)
    }

    fn path(name: &str) -> StorePath {
        StorePath::new(&format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}")).unwrap()
    }

    fn appears(seen: &Mutex<String>, text: &str) {
        let begun = Instant::now();
        while !seen.lock().unwrap().contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(30), "no `{text}` in {:?}", seen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn downloads_and_their_total_are_drawn_and_erased() {
        let (terminal, seen) = terminal();
        let kept = terminal.try_clone().unwrap();
        let observed = Observed::by(move |numbers| draw(numbers, terminal));
        observed.begin(3, None);
        appears(&seen, "sonde: getting 3 store paths");
        observed.begin(2, Some(3 << 20));
        observed.started(&path("zlib-1.3.1"), Some(2 << 20));
        observed.received(&path("zlib-1.3.1"), 1 << 20);
        appears(&seen, "sonde: fetching 2 store paths");
        appears(&seen, "zlib-1.3.1");
        appears(&seen, "1.00 MiB/2.00 MiB");
        appears(&seen, "1.00 MiB/3.00 MiB");
        observed.finished(&path("zlib-1.3.1"), 2 << 20);
        appears(&seen, "2.00 MiB/3.00 MiB");
        observed.end();
        drop(observed);
        // What is written next stands where the first line stood.
        (&kept).write_all(b"the program's own").unwrap();
        appears(&seen, "the program's own");
        let seen = seen.lock().unwrap();
        let (before, _) = seen.rsplit_once("the program's own").unwrap();
        assert!(before.ends_with("\r\x1b[2K") || before.ends_with("\x1b[2K\r"), "{before:?}");
    }

    #[test]
    fn what_is_over_at_once_is_not_seen() {
        let (terminal, seen) = terminal();
        let mut kept = terminal.try_clone().unwrap();
        let observed = Observed::by(move |numbers| draw(numbers, terminal));
        observed.begin(1, Some(1));
        observed.end();
        drop(observed);
        kept.write_all(b"end").unwrap();
        appears(&seen, "end");
        assert_eq!(*seen.lock().unwrap(), "end");
    }

    #[test]
    fn a_terminal_that_takes_nothing_holds_up_nobody() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let terminal = File::from(pty.slave);
        nix::sys::termios::tcflow(&terminal, nix::sys::termios::FlowArg::TCOOFF).unwrap();
        let observed = Observed::by(move |numbers| draw(numbers, terminal));
        observed.begin(1, None);
        // Long enough for lines; that this ends is the test.
        std::thread::sleep(UNSEEN + 3 * TICK);
        drop(observed);
    }
}
