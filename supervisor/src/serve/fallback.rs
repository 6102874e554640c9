//! Packages whose store path cannot be had any more are built by their attribute, where that is configured. What comes
//! out lies at another path: the loader is given the file, and does not find it by itself.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::index::Choice;
use crate::store::{NixStore, StoreError, StoreFiles, StorePath};

type Built = Arc<OnceLock<Result<Choice, StoreError>>>;

/// What was built in place of what.
pub(super) struct Fallback {
    nix: Option<Arc<NixStore>>,
    built: Mutex<HashMap<StorePath, Built>>,
}

impl Fallback {
    /// Of a store that can build; none of one that cannot.
    pub(super) fn by(nix: Option<Arc<NixStore>>) -> Self {
        Self { nix: nix.filter(|nix| nix.has_fallback()), built: Mutex::default() }
    }

    /// Is there anything to be done about this error?
    pub(super) fn helps(&self, error: &StoreError) -> bool {
        self.nix.is_some() && matches!(error, StoreError::Refused(_))
    }

    /// Builds a package, once however many want something of it, and finds the same file in it. May take as long as a
    /// build. `roots` is where what is built is protected.
    pub(super) fn build(
        &self,
        choice: &Choice,
        roots: &Path,
        files: &StoreFiles,
    ) -> Result<Choice, StoreError> {
        let refused = |words: String| StoreError::Refused(words);
        let Some(nix) = &self.nix else { return Err(refused("no fallback is configured".into())) };
        let place = {
            let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
            built.entry(choice.object.clone()).or_default().clone()
        };
        let built = place.get_or_init(|| {
            let root = roots.join(crate::plan::roots::built(&choice.object));
            let object = nix.build(&choice.attribute, &choice.output, &root)?;
            let object = object.ok_or_else(|| refused("no fallback is configured".into()))?;
            Ok(Choice { object, ..choice.clone() })
        });
        let built = built.clone()?;
        let inside = choice.file.strip_prefix(choice.object.as_str()).unwrap_or(&choice.file);
        let file = Path::new(built.object.as_str()).join(inside);
        if files.open(&file).is_err() {
            return Err(refused(format!("{} was built and has no {}", built.object, inside.display())));
        }
        Ok(Choice { file, ..built })
    }
}
