//! Drivers that a program asks for by path, where its distribution has them: the host's own file is returned, under the
//! same policy as a package's. Those that are searched for by name are in the served cache.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use sonde_policy::{Decision, Package, Request, Source};
use tracing::warn;

use super::tree::Tree;
use crate::guest::notification::Notification;
use crate::plan::drivers;
use crate::report::event::How;

/// What a policy knows the host's drivers as, for want of a package: NixOS's link to them is called so.
const ATTRIBUTE: &str = "opengl-driver";

impl Tree {
    /// Answers an open of `asked` with a file of the host's drivers.
    pub(super) fn give_driver(&self, notification: Notification, asked: &Path, file: &Path, since: Instant) {
        let soname = asked.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let thread = notification.thread();
        let package = drivers::package(file);
        let decision = self.policy.decide(&Request {
            program: self.program.as_os_str().as_bytes(),
            soname: soname.as_bytes(),
            package: Package { attribute: ATTRIBUTE, output: "out", store_path: &package },
            source: Source::Runtime,
        });
        if let Decision::Refuse { rule } = decision {
            self.witness.driver(&soname, file, thread, How::Forbidden(rule.to_string()), since);
            return notification.not_there();
        }
        match drivers::open(file) {
            Ok(driver) => {
                self.witness.driver(&soname, file, thread, How::Redirected, since);
                notification.return_descriptor(driver.as_fd());
            }
            Err(error) => {
                warn!(file = %file.display(), %error, "a driver of the host cannot be opened");
                notification.let_through();
            }
        }
    }
}
