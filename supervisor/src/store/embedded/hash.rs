//! SHA-256 as Nix writes it, and readers that hash and count what passes through them.

use std::fmt;
use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Nix's base 32: no `e`, `o`, `t`, `u` (libutil/base-nix-32.cc).
const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
/// Characters of 32 bytes in that base.
const BASE32_LENGTH: usize = 52;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sha(pub(super) [u8; 32]);

impl Sha {
    /// Reads all the forms that Nix reads: `sha256:` and base 32, base 16 or base 64, and `sha256-` and base 64.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(sri) = text.strip_prefix("sha256-") {
            return Self::from_base64(sri);
        }
        let digits = text.strip_prefix("sha256:")?;
        match digits.len() {
            BASE32_LENGTH => Self::from_base32(digits.as_bytes()),
            64 => Self::from_base16(digits.as_bytes()),
            _ => Self::from_base64(digits),
        }
    }

    /// The digits count from the last to the first, five bits each.
    fn from_base32(digits: &[u8]) -> Option<Self> {
        let mut bytes = [0_u8; 32];
        for (position, digit) in digits.iter().rev().enumerate() {
            let value = u16::try_from(ALPHABET.iter().position(|known| known == digit)?).ok()?;
            let (byte, shift) = (position * 5 / 8, position * 5 % 8);
            let [low, high] = (value << shift).to_le_bytes();
            bytes[byte] |= low;
            match bytes.get_mut(byte + 1) {
                Some(next) => *next |= high,
                None if high != 0 => return None,
                None => {}
            }
        }
        Some(Self(bytes))
    }

    fn from_base16(digits: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? * 16 + low?).ok()?;
        }
        Some(Self(bytes))
    }

    fn from_base64(digits: &str) -> Option<Self> {
        Some(Self(STANDARD.decode(digits).ok()?.try_into().ok()?))
    }
}

/// As it stands in a fingerprint: `sha256:` and base 32.
impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        for position in (0..BASE32_LENGTH).rev() {
            let (byte, shift) = (position * 5 / 8, position * 5 % 8);
            let high = self.0.get(byte + 1).copied().unwrap_or(0);
            let value = (u16::from_le_bytes([self.0[byte], high]) >> shift) & 31;
            write!(f, "{}", char::from(ALPHABET[usize::from(value)]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Passes on what it reads, hashes and counts it, and fails as soon as there is more than was announced.
pub(super) struct Measured<R> {
    inner: R,
    digest: Sha256,
    count: u64,
    announced: Option<u64>,
    fault: Option<io::Error>,
}

impl<R: Read> Measured<R> {
    pub(super) fn new(inner: R, announced: Option<u64>) -> Self {
        Self { inner, digest: Sha256::new(), count: 0, announced, fault: None }
    }

    /// Bytes so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn sha(&self) -> Sha {
        Sha(self.digest.clone().finalize().into())
    }

    /// More came than was announced.
    pub(super) fn is_oversize(&self) -> bool {
        self.announced.is_some_and(|announced| self.count > announced)
    }

    /// What the source failed with, if it did: whoever reads from here may have put it into words of its own.
    pub(super) fn take_fault(&mut self) -> Option<io::Error> {
        self.fault.take()
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.inner.read(buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.fault = Some(error);
                return Err(told);
            }
        };
        self.count += read as u64;
        if self.is_oversize() {
            return Err(io::Error::other("more bytes than announced"));
        }
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the empty string, by `nix-hash --type sha256 --base32`.
    const EMPTY: &str = "sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";

    #[test]
    fn every_form_that_nix_writes_is_one_hash() {
        let empty = Sha(Sha256::digest(b"").into());
        assert_eq!(empty.to_string(), EMPTY);
        for form in [
            EMPTY,
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ] {
            assert_eq!(Sha::parse(form), Some(empty), "{form}");
        }
    }

    #[test]
    fn what_is_no_sha256_is_refused() {
        let overflow = format!("sha256:{}", "z".repeat(52));
        let letters = EMPTY.replace('m', "e");
        for form in
            ["", "sha256:", "sha256:00", "sha1:0", "md5:x", &letters, &overflow, "sha256-!", &EMPTY[7..]]
        {
            assert_eq!(Sha::parse(form), None, "{form}");
        }
    }

    #[test]
    fn more_than_announced_is_an_error_and_less_is_counted() {
        let mut reader = Measured::new(&b"hello"[..], Some(4));
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
        assert!(reader.is_oversize());
        let mut reader = Measured::new(&b""[..], Some(4));
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), 0);
        assert_eq!(reader.sha().to_string(), EMPTY);
    }
}
