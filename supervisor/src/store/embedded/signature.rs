//! Who may vouch for a store path: public keys and signatures as Nix writes them (`NAME:BASE64`, ed25519).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

/// A key of `trusted-public-keys`.
#[derive(Clone)]
pub(crate) struct PublicKey {
    name: String,
    key: VerifyingKey,
}

/// What the signatures of a path are worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A trusted key signed exactly this.
    Trusted,
    /// There is no signature.
    Unsigned,
    /// None is by a key that is trusted; their names.
    Unknown(Vec<String>),
    /// One claims to be by this trusted key, and is not, or is of something else.
    Wrong(String),
}

impl PublicKey {
    /// Reads `NAME:BASE64`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, key) = text.split_once(':')?;
        let key: [u8; 32] = STANDARD.decode(key).ok()?.try_into().ok()?;
        let key = VerifyingKey::from_bytes(&key).ok()?;
        (!name.is_empty()).then(|| Self { name: name.to_owned(), key })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// As Nix does: one good signature by one trusted key is enough, whatever else is there.
pub(super) fn judge(signatures: &[String], fingerprint: &str, keys: &[PublicKey]) -> Verdict {
    let mut wrong = None;
    let mut names = Vec::new();
    for text in signatures {
        let (name, signature) = text.split_once(':').unwrap_or((text, ""));
        for trusted in keys.iter().filter(|key| key.name == name) {
            let signature = STANDARD.decode(signature).ok();
            let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
            // Strict, as libsodium is: no key of small order, one form of each signature.
            let good = |signature| trusted.key.verify_strict(fingerprint.as_bytes(), &signature).is_ok();
            if signature.is_some_and(good) {
                return Verdict::Trusted;
            }
            wrong = Some(name.to_owned());
        }
        names.push(name.to_owned());
    }
    match wrong {
        Some(name) => Verdict::Wrong(name),
        None if names.is_empty() => Verdict::Unsigned,
        None => Verdict::Unknown(names),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Signer;
    use super::*;

    fn key(signer: &Signer) -> PublicKey {
        PublicKey::parse(&signer.public()).unwrap()
    }

    #[test]
    fn one_good_signature_of_one_trusted_key_is_enough() {
        let (ours, other) = (Signer::new("ours-1", 1), Signer::new("other-1", 2));
        let keys = [key(&ours)];
        let (good, foreign) = (ours.sign("text"), other.sign("text"));
        assert_eq!(judge(&[foreign.clone(), good.clone()], "text", &keys), Verdict::Trusted);
        assert_eq!(judge(std::slice::from_ref(&good), "texT", &keys), Verdict::Wrong("ours-1".into()));
        assert_eq!(judge(&[foreign], "text", &keys), Verdict::Unknown(vec!["other-1".into()]));
        assert_eq!(judge(&[], "text", &keys), Verdict::Unsigned);
        assert_eq!(judge(&[good], "text", &[]), Verdict::Unknown(vec!["ours-1".into()]));
    }

    #[test]
    fn a_key_of_the_same_name_does_not_vouch_for_another() {
        let (ours, impostor) = (Signer::new("ours-1", 1), Signer::new("ours-1", 2));
        assert_eq!(judge(&[impostor.sign("t")], "t", &[key(&ours)]), Verdict::Wrong("ours-1".into()));
        // Two keys may share a name while one replaces the other.
        let both = [key(&ours), key(&impostor)];
        assert_eq!(judge(&[impostor.sign("t")], "t", &both), Verdict::Trusted);
    }

    #[test]
    fn garbage_is_neither_key_nor_signature() {
        for text in [
            "",
            ":",
            "name",
            "name:",
            "name:!!!",
            "name:AAAA",
            ":6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",
        ] {
            assert!(PublicKey::parse(text).is_none(), "{text}");
        }
        let ours = Signer::new("ours-1", 1);
        for text in ["ours-1", "ours-1:", "ours-1:AAAA", "ours-1:!!"] {
            assert_eq!(judge(&[text.into()], "t", &[key(&ours)]), Verdict::Wrong("ours-1".into()), "{text}");
        }
    }
}
