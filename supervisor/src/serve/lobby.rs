//! Who has come to the door and has not said anything yet. A shim speaks at once; whoever does not costs a descriptor for
//! a while, and neither a thread nor anybody's turn.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFlags, PollTimeout};
use sonde_interp::handoff::{Answer, MAX_MESSAGE};
use tracing::debug;

use super::hello::say;
use crate::guest::remote::Thread;
use crate::sys::scm_rights::Socket;

/// A shim says hello at once; whoever takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// As many may be silent at once; for the next one the first has to go.
const MOST: usize = 128;

/// Those who wait, the first to come first.
pub(super) struct Lobby {
    waiting: Vec<Visitor>,
    /// A descriptor to give up, so that somebody can be turned away when there are no more. Who was turned away in this
    /// manner keeps it meanwhile: what they say to a socket that is closed already would hide from them what was said.
    spare: Option<OwnedFd>,
}

struct Visitor {
    socket: Socket,
    thread: Thread,
    since: Instant,
}

impl Lobby {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), spare: File::open("/dev/null").map(OwnedFd::from).ok() }
    }

    pub(super) fn enter(&mut self, socket: Socket, thread: Thread) {
        if self.waiting.len() >= MOST {
            self.send_away_the_first();
        }
        self.waiting.push(Visitor { socket, thread, since: Instant::now() });
    }

    /// The sockets of those who wait, in order.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.waiting.iter().map(|visitor| visitor.socket.as_fd())
    }

    /// When somebody has been silent for too long.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.waiting.first().map(|first| PATIENCE.saturating_sub(first.since.elapsed()))
    }

    /// The first who has spoken, by what poll(2) says of [`Lobby::sockets`]. Those who have left or were silent for too
    /// long are forgotten.
    pub(super) fn speaker(&mut self, events: &[PollFlags]) -> Option<(Socket, Thread)> {
        let mut events = events.iter().copied();
        let mut speaker = None;
        self.waiting = std::mem::take(&mut self.waiting)
            .into_iter()
            .filter_map(|visitor| {
                let events = events.next().unwrap_or(PollFlags::empty());
                let has_left = events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
                if speaker.is_none() && !has_left && events.contains(PollFlags::POLLIN) {
                    speaker = Some((visitor.socket, visitor.thread));
                    return None;
                }
                Some(visitor).filter(|visitor| !has_left && visitor.since.elapsed() < PATIENCE)
            })
            .collect();
        speaker
    }

    /// Somebody could not be let in. Makes room; where there is none to be made, turns away whoever is next: they start a
    /// supervisor of their own.
    pub(super) fn make_room(&mut self, accept: impl FnOnce() -> io::Result<Socket>) -> bool {
        if !self.waiting.is_empty() {
            self.send_away_the_first();
            return true;
        }
        if self.spare.take().is_none() {
            return false;
        }
        self.spare = accept().map(|socket| turn_away(socket).into()).ok();
        self.spare.is_some()
    }

    fn send_away_the_first(&mut self) {
        drop(turn_away(self.waiting.remove(0).socket));
    }
}

/// Tells somebody to start a supervisor of their own. What they have said is heard first: to close a socket over it would
/// be an error to them, in place of the answer.
pub(super) fn turn_away(socket: Socket) -> Socket {
    debug!("turned away: this supervisor has enough to do");
    if socket.is_ready(PollTimeout::ZERO) {
        let _ = socket.receive(&mut [0; MAX_MESSAGE]);
    }
    // Who does not hear it has gone.
    let _ = say(&socket, Answer::Private, &[]);
    socket
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lobby with so many silent visitors, and their ends of the sockets.
    fn with(count: usize) -> (Lobby, Vec<Socket>) {
        let mut lobby = Lobby::new();
        let visitor = |_| {
            let (ours, theirs) = Socket::pair().unwrap();
            lobby.enter(ours, Thread::new(std::process::id()).unwrap());
            theirs
        };
        let theirs = (0..count).map(visitor).collect();
        (lobby, theirs)
    }

    #[test]
    fn who_speaks_is_met_and_who_has_left_is_forgotten() {
        let (mut lobby, _theirs) = with(4);
        let (silent, speaks) = (PollFlags::empty(), PollFlags::POLLIN);
        let events = [silent, speaks | PollFlags::POLLHUP, speaks, speaks];
        assert!(lobby.speaker(&events).is_some());
        assert_eq!(lobby.sockets().count(), 2, "the silent one and the second who speaks");
        assert!(lobby.speaker(&[]).is_none());
        assert!(lobby.speaker(&[silent, speaks]).is_some());
        assert_eq!(lobby.sockets().count(), 1);
    }

    #[test]
    fn for_one_too_many_the_first_has_to_go_and_is_told_so() {
        let (lobby, theirs) = with(MOST + 1);
        assert_eq!(lobby.sockets().count(), MOST);
        let mut buffer = [0; 64];
        let (message, _) = theirs[0].receive(&mut buffer).unwrap();
        assert!(matches!(Answer::decode(message), Ok(Answer::Private)));
        assert!(!theirs[1].is_ready(PollTimeout::ZERO));
    }

    #[test]
    fn without_descriptors_the_silent_go_first_and_then_the_next_is_turned_away() {
        let (mut lobby, theirs) = with(1);
        assert!(lobby.make_room(|| panic!("there is somebody to send away")));
        assert!(theirs[0].is_ready(PollTimeout::ZERO));
        let (ours, next) = Socket::pair().unwrap();
        assert!(lobby.make_room(|| Ok(ours)));
        assert!(next.is_ready(PollTimeout::ZERO));
        next.send(b"hello", &[]).unwrap();
        let mut buffer = [0; 64];
        let (message, _) = next.receive(&mut buffer).unwrap();
        assert!(matches!(Answer::decode(message), Ok(Answer::Private)), "whenever it speaks");
        assert!(!lobby.make_room(|| Err(io::ErrorKind::OutOfMemory.into())));
    }
}
