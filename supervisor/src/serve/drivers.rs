//! Drivers that a program asks for by path, where its distribution has them: the host's own file is returned, under the
//! same policy as a package's. Those that are searched for by name are in the served cache.

use std::os::fd::AsFd;
use std::path::Path;

use tracing::warn;

use super::sightings::Asked;
use super::tree::Tree;
use crate::guest::notification::Notification;
use crate::plan::drivers;

impl Tree {
    /// Answers an open with a file of the host's drivers.
    pub(super) fn give_driver(&self, notification: Notification, asked: Asked<'_>, file: &Path) {
        let (thread, since) = (asked.thread, asked.since);
        let soname = asked.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(refusal) = self.objection_to_host(&soname, thread) {
            self.forbid(&soname, thread, since, &refusal);
            return notification.not_there();
        }
        match drivers::open(file) {
            Ok(driver) => {
                let sightings = &self.witness.sightings;
                sightings.tell(sightings.redirected(asked, &driver, file));
                notification.return_descriptor(driver.as_fd());
            }
            Err(error) => {
                warn!(file = %file.display(), %error, "a driver of the host cannot be opened");
                notification.let_through();
            }
        }
    }
}
