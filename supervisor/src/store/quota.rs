//! How much may be downloaded by the policy: for one start, and in total.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sonde_policy::{Limits, Stated};

use super::{Tally, size};

/// What is left for one start of a program, for one library of a program that runs, or for one command.
pub(crate) struct Quota {
    tally: Tally,
    /// Bytes that were allowed so far.
    spent: Mutex<u64>,
}

impl Quota {
    pub(crate) fn new(tally: Tally) -> Self {
        Self { tally, spent: Mutex::default() }
    }

    /// Takes so many bytes, if the limits allow it; what they have against it, as a rule of the policy, can be lifted.
    ///
    /// # Errors
    /// The rule that forbids it, and the way out.
    pub(crate) fn take(
        &self,
        bytes: u64,
        limits: &Limits,
        lift: impl Fn(Arc<str>) -> Result<(), Arc<str>>,
    ) -> Result<(), Arc<str>> {
        if bytes == 0 {
            return Ok(());
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = spent.saturating_add(bytes);
        if let Some(most) = limits.download_per_start.as_ref().filter(|most| sum > most.value) {
            lift(most.rule.clone())?;
        }
        if let Some(most) = &limits.download_total
            && let Err(refusal) = self.take_of_all(bytes, most)
        {
            lift(refusal)?;
            // What is downloaded all the same is counted, too, where it can be.
            let _ = self.tally.add(bytes, u64::MAX);
        }
        *spent = sum;
        Ok(())
    }

    fn take_of_all(&self, bytes: u64, most: &Stated<u64>) -> Result<(), Arc<str>> {
        let refusal = |reason: &dyn fmt::Display| format!("{}; {reason}", most.rule).into();
        match self.tally.add(bytes, most.value) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let limit = size(most.value);
                Err(refusal(&format_args!(
                    "{}, and a limit of more than {limit} lets it as well",
                    self.tally
                )))
            }
            Err(error) => Err(refusal(&format_args!("what was downloaded is not known: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn quota() -> (tempfile::TempDir, Quota) {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { state: folder.path().to_owned(), ..Settings::from_environment() };
        (folder, Quota::new(Tally::of(&settings)))
    }

    fn limits(start: Option<u64>, total: Option<u64>) -> Limits {
        let stated = |value| Stated { value, rule: format!("p.toml:4: most = {value}").into() };
        Limits {
            download_per_start: start.map(stated),
            download_total: total.map(stated),
            ..Limits::default()
        }
    }

    #[test]
    fn both_limits_hold_and_what_one_refuses_the_other_does_not_count() {
        let (_folder, quota) = quota();
        let limits = limits(Some(10), Some(15));
        assert_eq!(quota.take(11, &limits, Err).unwrap_err().as_ref(), "p.toml:4: most = 10");
        assert_eq!(quota.take(6, &limits, Err), Ok(()));
        assert!(quota.take(5, &limits, Err).is_err(), "together they are more than one start may");
        let next = Quota::new(quota.tally.clone());
        let refused = next.take(10, &limits, Err).unwrap_err();
        assert!(refused.starts_with("p.toml:4: most = 15; 6 B were downloaded in 1 day; `rm /"), "{refused}");
        assert!(
            refused.contains("downloaded` begins a new count, and a limit of more than 15 B"),
            "{refused}"
        );
        assert_eq!(next.take(9, &limits, Err), Ok(()));
        assert_eq!(next.take(0, &limits, Err), Ok(()), "nothing is never too much");
    }

    #[test]
    fn what_is_lifted_is_counted_and_without_a_limit_nothing_is() {
        let (_folder, quota) = quota();
        assert_eq!(quota.take(7, &limits(Some(9), None), Err), Ok(()));
        assert_eq!(quota.tally.count().unwrap(), None);
        assert_eq!(quota.take(7, &limits(None, Some(5)), |_| Ok(())), Ok(()));
        assert_eq!(quota.tally.count().unwrap().unwrap().bytes, 7);
    }

    #[test]
    fn a_count_that_cannot_be_read_permits_nothing() {
        let (folder, quota) = quota();
        std::fs::write(folder.path().join("downloaded"), "7").unwrap();
        let refused = quota.take(1, &limits(None, Some(5)), Err).unwrap_err();
        assert!(refused.starts_with("p.toml:4: most = 5; what was downloaded is not known: /"), "{refused}");
    }
}
