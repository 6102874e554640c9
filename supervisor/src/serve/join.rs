//! How the first process of a tree comes under an engine: the shim is told what to do, says how that went, and is told
//! what to do then. `interp/src/handoff.rs` has the messages in their order.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use sonde_interp::handoff::{Answer, Engine as Kind, Listener, MAX_MESSAGE, Welcome};
use tracing::info;

use super::hello::{HelloError, refuse};
use super::tree::{Provision, Tree};
use crate::engine::choose::{Attempt, Attempts};
use crate::engine::{Engine, PtraceEngine, SeccompEngine, Stops};
use crate::guest::filter::{self, Told};
use crate::guest::remote::Thread;
use crate::sys::scm_rights::Socket;

/// The process that is to join, and what it joins.
pub(super) struct Newcomer<'a> {
    pub(super) socket: &'a Socket,
    pub(super) thread: Thread,
    pub(super) tree: &'a Tree,
    pub(super) provision: &'a Provision,
    /// May it get `no_new_privs`?
    pub(super) no_new_privs: bool,
}

impl Newcomer<'_> {
    /// Tries one engine after the other; `meanwhile` is done while the shim prepares the first.
    pub(super) fn join(
        &self,
        attempts: Attempts,
        meanwhile: impl FnOnce(),
    ) -> Result<Box<dyn Engine>, HelloError> {
        let mut meanwhile = Some(meanwhile);
        let mut refused = None;
        for Attempt { engine, why } in attempts {
            // The loader goes with the first welcome; it stays mapped.
            self.welcome(engine, meanwhile.is_some())?;
            if let Some(work) = meanwhile.take() {
                work();
            }
            let joined = match engine {
                Kind::Seccomp => self.by_notification(),
                Kind::Ptrace => self.by_tracing(),
            };
            match joined {
                Ok((engine, name)) => {
                    let words = format!(
                        "{name}: {}",
                        refused.map_or(why.to_string(), |error| format!("{why} ({error})"))
                    );
                    info!(engine = %words, "joined");
                    self.tree.witness.engine(&words);
                    return Ok(engine);
                }
                Err(HelloError::Filter(error)) => refused = Some(error),
                Err(error @ HelloError::Trace(_)) => return refuse(self.socket, error),
                Err(error) => return Err(error),
            }
        }
        refuse(self.socket, refused.map_or(HelloError::Kernel, HelloError::Filter))
    }

    fn by_notification(&self) -> Result<(Box<dyn Engine>, &'static str), HelloError> {
        let listener = receive_listener(self.socket)?.ok_or(HelloError::NoListener)?;
        Ok((Box::new(SeccompEngine::new(listener)), "seccomp"))
    }

    fn by_tracing(&self) -> Result<(Box<dyn Engine>, &'static str), HelloError> {
        receive_listener(self.socket)?;
        let looks = self.looks();
        let mut engine =
            PtraceEngine::seize(self.thread, self.tree.range.clone(), looks).map_err(HelloError::Trace)?;
        self.say(Answer::Proceed, false)?;
        engine.attend_until(self.socket.as_fd())?;
        match receive_listener(self.socket) {
            Ok(_) => {}
            Err(HelloError::Filter(error)) => {
                info!(%error, "no filter; every system call of the tree will stop");
                engine.stop_at_all_calls(self.thread)?;
            }
            Err(error) => return Err(error),
        }
        self.say(Answer::Proceed, false)?;
        let name = match engine.stops() {
            Stops::Filtered => "ptrace",
            Stops::All => "ptrace, at every system call",
        };
        Ok((Box::new(engine), name))
    }

    fn welcome(&self, engine: Kind, with_loader: bool) -> Result<(), HelloError> {
        let told = if engine == Kind::Seccomp { Told::Listener } else { Told::Tracer };
        let filter = filter::narrow(&self.tree.range, self.looks(), told);
        let welcome = Answer::Welcome(Welcome {
            loader_base: self.tree.range.start,
            engine,
            no_new_privs: self.no_new_privs,
            filter_flags: self.tree.features.filter_flags(),
            supervisor_pid: std::process::id(),
            filter: &filter,
        });
        self.say(welcome, with_loader)
    }

    /// Must a `stat` of the loader be answered? Of its cache, and of folders that lie elsewhere: glibc remembers which ones
    /// of a search path exist.
    fn looks(&self) -> bool {
        self.provision.loader.looks_at_cache || self.tree.files.are_elsewhere()
    }

    fn say(&self, answer: Answer<'_>, with_loader: bool) -> Result<(), HelloError> {
        let mut buffer = [0; MAX_MESSAGE];
        let length = answer.encode(&mut buffer)?;
        let loader = with_loader.then(|| self.provision.loader.file.as_fd());
        Ok(self.socket.send(&buffer[..length], loader)?)
    }
}

/// The shim's word about its filter.
pub(super) fn receive_listener(socket: &Socket) -> Result<Option<OwnedFd>, HelloError> {
    let mut buffer = [0; MAX_MESSAGE];
    let (message, descriptor) = socket.receive(&mut buffer)?;
    match Listener::decode(message)?.errno {
        0 => Ok(descriptor),
        errno => Err(HelloError::Filter(io::Error::from_raw_os_error(errno.cast_signed()))),
    }
}
