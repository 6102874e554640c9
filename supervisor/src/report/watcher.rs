//! Somebody who watches a tree that another process serves: events as datagrams, one each, with the file that one is
//! about beside it.
//!
//! Whoever watches may be slow, or stopped, and the program must not wait for that: an event for which the socket has no
//! room is dropped, and counted. The kernel's own limit of what may wait in a socket is the length of the queue.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;

use super::event::{Event, What};
use crate::sys::scm_rights::Socket;

/// The longest event in bytes; no more would fit into a socket (net.core.wmem_default, socket(7)).
pub(crate) const LONGEST: usize = 256 << 10;

/// How long the end of a tree waits for room, for whoever is slow to learn of it. No program waits then.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// The connection to whoever watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    socket: Socket,
    since: Instant,
    /// Events that were dropped, and not told of yet.
    lost: u64,
}

impl Watcher {
    /// Time begins now.
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, since: Instant::now(), lost: 0 }
    }

    /// Is there still somebody? A watcher says nothing, so that whatever can be read is the end.
    pub(super) fn is_there(&self) -> bool {
        !self.socket.is_ready(PollTimeout::ZERO)
    }

    /// Tells what was seen, or counts it.
    ///
    /// # Errors
    /// Nobody watches any more.
    pub(super) fn tell(&mut self, process: u32, what: What) -> io::Result<()> {
        if !(self.tell_lost()? && self.send(process, what)?) {
            self.lost += 1;
        }
        Ok(())
    }

    /// There is nothing more to tell.
    pub(super) fn end(&mut self) {
        let last = Instant::now() + LAST_PATIENCE;
        loop {
            let over = What::Over { status: None, signal: None };
            let told = self.tell_lost().and_then(|told| Ok(told && self.send(0, over)?));
            let left = last.saturating_duration_since(Instant::now());
            if !matches!(told, Ok(false)) || left.is_zero() {
                return;
            }
            self.socket.has_room(PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
        }
    }

    /// Tells how much was lost, if anything was; `false` if there is no room for that either.
    fn tell_lost(&mut self) -> io::Result<bool> {
        let told = self.lost == 0 || self.send(0, What::Lost(self.lost))?;
        if told {
            self.lost = 0;
        }
        Ok(told)
    }

    /// Sends an event; `false` if there is no room for it.
    fn send(&self, process: u32, what: What) -> io::Result<bool> {
        let event = Event { at: self.since.elapsed(), process, what };
        let Ok(text) = serde_json::to_vec(&event) else { return Ok(false) };
        let file = match &event.what {
            What::Process(beginning) => beginning.file.as_ref(),
            What::Opened(opened) => opened.file.as_ref(),
            _ => None,
        };
        let descriptors: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        match self.socket.send_now(&text, &descriptors) {
            Ok(()) => Ok(true),
            Err(error) if is_gone(&error) => Err(error),
            // No room, too long, or too many descriptors on their way.
            Err(_) => Ok(false),
        }
    }
}

/// Reads an event, with what came beside it; none if it cannot be understood, or its file did not arrive.
pub(crate) fn read(message: &[u8], descriptors: Vec<OwnedFd>) -> Option<Event> {
    let mut event: Event = serde_json::from_slice(message).ok()?;
    let file = descriptors.into_iter().next().map(Into::into);
    match &mut event.what {
        What::Process(beginning) => beginning.file = file,
        What::Opened(opened) => {
            opened.file = file;
            opened.file.as_ref()?;
        }
        _ => {}
    }
    Some(event)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN | libc::EBADF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::event::Reporter;

    fn hear(socket: &Socket) -> Option<Event> {
        let mut buffer = vec![0; LONGEST];
        let (message, descriptors) = socket.receive(&mut buffer).ok()?;
        read(message, descriptors)
    }

    #[test]
    fn who_is_slow_is_not_waited_for_and_learns_how_much_was_lost() {
        let (ours, theirs) = Socket::pair().unwrap();
        let reporter = Reporter::default();
        assert!(!reporter.is_heard());
        reporter.begin(Watcher::new(ours)).unwrap();
        let total = 5000;
        for count in 0..total {
            reporter.report(count, What::Tried(vec!["/lib/libz.so.1".into()]));
        }
        let mut told = 0;
        while theirs.is_ready(PollTimeout::ZERO) {
            assert!(matches!(hear(&theirs).unwrap().what, What::Tried(_)));
            told += 1;
        }
        assert!((10..total).contains(&told), "{told}");
        reporter.report(7, What::Consulted);
        assert!(matches!(hear(&theirs).unwrap().what, What::Lost(lost) if lost == u64::from(total - told)));
        assert!(matches!(hear(&theirs).unwrap(), Event { process: 7, what: What::Consulted, .. }));
        reporter.end();
        assert!(matches!(hear(&theirs).unwrap().what, What::Over { .. }));
        assert!(hear(&theirs).is_none() && !reporter.is_heard());
    }

    #[test]
    fn there_is_one_watcher_until_it_is_gone() {
        let (ours, theirs) = Socket::pair().unwrap();
        let (others, _other) = Socket::pair().unwrap();
        let reporter = Reporter::default();
        reporter.begin(Watcher::new(ours)).unwrap();
        let others = reporter.begin(Watcher::new(others)).unwrap_err();
        drop(theirs);
        reporter.begin(others).unwrap();
        assert!(reporter.is_heard());
        drop(_other);
        reporter.report(1, What::Consulted);
        assert!(!reporter.is_heard());
    }

    #[test]
    fn a_file_arrives_with_its_event_or_the_event_does_not() {
        let (ours, theirs) = Socket::pair().unwrap();
        let reporter = Reporter::default();
        reporter.begin(Watcher::new(ours)).unwrap();
        for file in [std::fs::File::open("/dev/null").ok(), None] {
            let beginning = crate::report::event::Beginning { file, ..Default::default() };
            reporter.report(1, What::Process(beginning));
        }
        let files = [(); 2].map(|()| match hear(&theirs).unwrap().what {
            What::Process(beginning) => beginning.file.is_some(),
            other => panic!("{other:?}"),
        });
        assert_eq!(files, [true, false]);
    }
}
