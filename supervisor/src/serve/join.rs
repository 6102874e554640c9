//! How the first process of a tree comes under an engine: the shim is told what to do, says how that went, and is told
//! what to do then. `interp/src/handoff.rs` has the messages in their order.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sonde_interp::handoff::{Answer, Engine as Kind, Listener, MAX_MESSAGE, Welcome};
use sonde_interp::site::Sites;
use tracing::info;

use super::hello::{HelloError, refuse, say};
use super::keeper::Line;
use super::provision::Provision;
use super::shared::Shared;
use super::tree::Tree;
use crate::engine::choose::{Attempt, Attempts};
use crate::engine::{Engine, InlineEngine, PtraceEngine, SeccompEngine, Stops};
use crate::guest::filter::{Scope, Told};
use crate::guest::remote::Thread;
use crate::sys::ledger::Ledger;
use crate::sys::scm_rights::Socket;

/// The process that is to join, and what it joins.
pub(super) struct Newcomer<'a> {
    pub(super) shared: &'a Shared,
    pub(super) socket: &'a Socket,
    pub(super) thread: Thread,
    pub(super) tree: &'a Tree,
    pub(super) program: &'a Path,
    pub(super) provision: &'a Provision,
    /// May it get `no_new_privs`?
    pub(super) no_new_privs: bool,
    pub(super) line: &'a Line,
    /// It has its own loader, in the store.
    pub(super) built_by_nix: bool,
}

impl Newcomer<'_> {
    /// Tries one engine after the other.
    pub(super) fn join(&self, attempts: Attempts) -> Result<Box<dyn Engine>, HelloError> {
        let mut refused = None;
        for Attempt { engine, why } in attempts {
            let joined = match engine {
                Kind::Seccomp => self.by_notification(),
                Kind::Ptrace => self.by_tracing(),
                Kind::Inline => self.by_a_changed_loader(),
            };
            match joined {
                Ok((engine, name)) => {
                    let words = format!(
                        "{name}: {}",
                        refused.map_or(why.to_string(), |(_, error)| format!("{why} ({error})"))
                    );
                    info!(engine = %words, "joined");
                    self.tree.witness.engine(&words);
                    return Ok(engine);
                }
                Err(HelloError::Filter(error)) => refused = Some((engine, error)),
                Err(error @ HelloError::Trace(_)) => return refuse(self.socket, error),
                Err(error) => return Err(error),
            }
        }
        let error = match refused {
            None => HelloError::Kernel,
            Some((Kind::Inline, error)) => HelloError::Change(error),
            Some((_, error)) => HelloError::Filter(error),
        };
        refuse(self.socket, error)
    }

    fn by_notification(&self) -> Result<(Box<dyn Engine>, &'static str), HelloError> {
        let ledger = Ledger::new(self.shared.limits.traps)?;
        // From the welcome on the tree may outlive this process.
        let (custody, keeper) = self.line.prepare(&ledger, &self.tree.record());
        self.welcome(Kind::Seccomp, keeper.as_ref(), None)?;
        self.meanwhile();
        let listener = receive_listener(self.socket)?.ok_or(HelloError::NoListener)?;
        self.tree.give_into(custody);
        Ok((Box::new(SeccompEngine::new(listener, ledger)), "seccomp"))
    }

    fn by_a_changed_loader(&self) -> Result<(Box<dyn Engine>, &'static str), HelloError> {
        let provisions = &self.tree.provisions;
        let served = if self.provision.loader.looks_at_cache {
            // It must be there when the loader looks.
            Some(provisions.place_cache(self.program, self.provision).map_err(HelloError::Filter)?)
        } else {
            provisions.prepare_cache(self.program, self.provision)
        };
        // The first question may come as soon as the shim has its welcome.
        let engine = InlineEngine::new(&self.shared.callers, self.thread, None)?;
        self.welcome(Kind::Inline, None, served.as_deref())?;
        self.tree.late_index.release();
        receive_listener(self.socket)?;
        Ok((Box::new(engine), "inline"))
    }

    fn by_tracing(&self) -> Result<(Box<dyn Engine>, &'static str), HelloError> {
        self.welcome(Kind::Ptrace, None, None)?;
        self.meanwhile();
        receive_listener(self.socket)?;
        let mut engine = PtraceEngine::seize(self.thread, self.scope()).map_err(HelloError::Trace)?;
        say(self.socket, Answer::Proceed, &[])?;
        engine.attend_until(self.socket.as_fd())?;
        match receive_listener(self.socket) {
            Ok(_) => {}
            Err(HelloError::Filter(error)) => {
                info!(%error, "no filter; every system call of the tree will stop");
                engine.stop_at_all_calls(self.thread)?;
            }
            Err(error) => return Err(error),
        }
        say(self.socket, Answer::Proceed, &[])?;
        let name = match engine.stops() {
            Stops::Filtered => "ptrace",
            Stops::All => "ptrace, at every system call",
        };
        Ok((Box::new(engine), name))
    }

    /// The loader goes with each welcome; a shim that has mapped it already closes it. `served` is the cache that the loader
    /// of the engine inline opens by itself.
    fn welcome(
        &self,
        engine: Kind,
        keeper: Option<&Socket>,
        served: Option<&Path>,
    ) -> Result<(), HelloError> {
        let told = if engine == Kind::Seccomp { Told::Listener } else { Told::Tracer };
        let inline = engine == Kind::Inline;
        let filter = if inline { Vec::new() } else { self.scope().filter(told) };
        let cache = self.provision.loader.cache_path.as_deref().zip(served);
        let cache =
            cache.map_or([&[][..]; 2], |(from, to)| [from, to].map(|path| path.as_os_str().as_bytes()));
        let sites = if inline { self.provision.loader.sites() } else { Sites::default() };
        let welcome = Answer::Welcome(Welcome {
            loader_base: self.tree.range.start,
            engine,
            no_new_privs: self.no_new_privs,
            filter_flags: self.tree.features.filter_flags(),
            supervisor_pid: self.tree.reader,
            filter: &filter,
            cache,
            sites,
            door: self.shared.door.as_deref().unwrap_or_default(),
        });
        let loader = self.provision.loader.file.as_fd();
        let descriptors: Vec<_> = std::iter::once(loader).chain(keeper.map(Socket::as_fd)).collect();
        say(self.socket, welcome, &descriptors)
    }

    /// What the program need not wait for, done while its shim maps the loader.
    fn meanwhile(&self) {
        self.tree.provisions.prepare_cache(self.program, self.provision);
        self.tree.late_index.release();
    }

    /// What the engine is to trap.
    fn scope(&self) -> Scope {
        Scope {
            loader: self.tree.range.clone(),
            // Of its cache, and of folders that lie elsewhere: glibc remembers which ones of a search path exist.
            looks: self.provision.loader.looks_at_cache || self.tree.files.are_elsewhere(),
            // Whatever a program that was built by Nix starts, the kernel starts under a loader that has been nowhere yet.
            wide: self.built_by_nix,
        }
    }
}

/// The shim's word about its filter.
pub(super) fn receive_listener(socket: &Socket) -> Result<Option<OwnedFd>, HelloError> {
    let mut buffer = [0; MAX_MESSAGE];
    let (message, descriptors) = socket.receive(&mut buffer)?;
    match Listener::decode(message)?.errno {
        0 => Ok(descriptors.into_iter().next()),
        errno => Err(HelloError::Filter(io::Error::from_raw_os_error(errno.cast_signed()))),
    }
}
