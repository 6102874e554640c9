//! What a binary cache says of a store path (Nix manual, "Binary Cache Protocol"): where its archive is, how large, its
//! hash, what it refers to, and who vouches for that.

use std::fmt::Write;

use super::hash::Sha;
use super::signature::{PublicKey, Verdict, judge};
use crate::store::StorePath;

/// No real one is near it, in bytes.
pub(super) const LARGEST: u64 = 1 << 20;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Xz,
    Zstd,
    Bzip2,
}

/// A parsed `.narinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Narinfo {
    pub(super) path: StorePath,
    pub(super) url: String,
    pub(super) compression: Compression,
    /// Of the archive as it is transferred; not signed.
    pub(super) file_hash: Option<Sha>,
    pub(super) file_size: Option<u64>,
    pub(super) nar_hash: Sha,
    pub(super) nar_size: u64,
    /// What it refers to, itself included where it does.
    pub(super) references: Vec<StorePath>,
    signatures: Vec<String>,
}

impl Narinfo {
    /// Reads it; the error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut fields = Fields::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("`{}` is no field", short(line)))?;
            let value = value.trim();
            match name {
                "StorePath" => once(&mut fields.path, name, store_path(value))?,
                "URL" => once(&mut fields.url, name, (!value.is_empty()).then(|| value.to_owned()))?,
                "Compression" => once(&mut fields.compression, name, compression(value))?,
                "FileHash" => once(&mut fields.file_hash, name, Sha::parse(value))?,
                "FileSize" => once(&mut fields.file_size, name, value.parse().ok())?,
                "NarHash" => once(&mut fields.nar_hash, name, Sha::parse(value))?,
                "NarSize" => once(&mut fields.nar_size, name, value.parse().ok())?,
                "References" => once(&mut fields.references, name, references(value))?,
                "Sig" => fields.signatures.push(value.to_owned()),
                _ => {} // Deriver, CA, System, and what newer caches add
            }
        }
        let missing = |name: &str| format!("it has no {name}");
        Ok(Self {
            path: fields.path.ok_or_else(|| missing("StorePath"))?,
            url: fields.url.ok_or_else(|| missing("URL"))?,
            compression: fields.compression.unwrap_or(Compression::Bzip2), // Nix's default
            file_hash: fields.file_hash,
            file_size: fields.file_size,
            nar_hash: fields.nar_hash.ok_or_else(|| missing("NarHash"))?,
            nar_size: fields.nar_size.filter(|size| *size > 0).ok_or_else(|| missing("NarSize"))?,
            references: fields.references.unwrap_or_default(),
            signatures: fields.signatures,
        })
    }

    /// What is signed: everything by which the content can be told from another.
    fn fingerprint(&self) -> String {
        let mut references: Vec<&str> = self.references.iter().map(StorePath::as_str).collect();
        references.sort_unstable();
        references.dedup();
        format!("1;{};{};{};{}", self.path, self.nar_hash, self.nar_size, references.join(","))
    }

    /// Does a trusted key vouch for it?
    pub(super) fn judge(&self, keys: &[PublicKey]) -> Verdict {
        judge(&self.signatures, &self.fingerprint(), keys)
    }

    /// As text again.
    pub(super) fn to_text(&self) -> String {
        let compression = match self.compression {
            Compression::None => "none",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
        };
        let mut text = format!("StorePath: {}\nURL: {}\nCompression: {compression}\n", self.path, self.url);
        let references: Vec<&str> = self.references.iter().map(StorePath::base_name).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "NarHash: {}\nNarSize: {}", self.nar_hash, self.nar_size);
        let _ = writeln!(text, "References: {}", references.join(" "));
        for signature in &self.signatures {
            let _ = writeln!(text, "Sig: {signature}");
        }
        text
    }
}

#[derive(Default)]
struct Fields {
    path: Option<StorePath>,
    url: Option<String>,
    compression: Option<Compression>,
    file_hash: Option<Sha>,
    file_size: Option<u64>,
    nar_hash: Option<Sha>,
    nar_size: Option<u64>,
    references: Option<Vec<StorePath>>,
    signatures: Vec<String>,
}

fn once<T>(slot: &mut Option<T>, name: &str, value: Option<T>) -> Result<(), String> {
    let value = value.ok_or_else(|| format!("its {name} cannot be understood"))?;
    if slot.replace(value).is_some() { Err(format!("it has two of {name}")) } else { Ok(()) }
}

fn store_path(text: &str) -> Option<StorePath> {
    StorePath::new(text)
}

fn compression(text: &str) -> Option<Compression> {
    Some(match text {
        "none" => Compression::None,
        "xz" => Compression::Xz,
        "zstd" => Compression::Zstd,
        "bzip2" => Compression::Bzip2,
        _ => return None,
    })
}

fn references(text: &str) -> Option<Vec<StorePath>> {
    text.split_ascii_whitespace().map(|base| StorePath::new(&format!("/nix/store/{base}"))).collect()
}

fn short(line: &str) -> String {
    line.chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of cache.nixos.org.
    const HELLO: &str = "\
StorePath: /nix/store/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin
URL: nar/05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56.nar.xz
Compression: xz
FileHash: sha256:05ra3y72i3qjri7xskf9qj8kb29r6naqy1sqpbs3azi3xcigmj56
FileSize: 68852
NarHash: sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0
NarSize: 196040
References: 0jqd0rlxzra1rs38rdxl43yh6rxchgc6-curl-7.82.0 6w8g7njm4mck5dmjxws0z1xnrxvl81xa-glibc-2.34-115 \
j5jxw3iy7bbz4a57fh9g2xm2gxmyal8h-zlib-1.2.12 yxvjs9drzsphm9pcf42a4byzj1kb9m7k-openssl-1.1.1n
Deriver: 5rwxzi7pal3qhpsyfc16gzkh939q1np6-curl-7.82.0.drv
Sig: cache.nixos.org-1:TsTTb3WGTZKphvYdBHXwo6weVILmTytUjLB+vcX89fOjjRicCHmKA4RCPMVLkj6TMJ4GMX3HPVWRdD1hkeKZBQ==
";
    const KEY: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

    fn parsed() -> Narinfo {
        Narinfo::parse(HELLO).unwrap()
    }

    #[test]
    fn the_fields_of_a_real_one_are_read() {
        let info = parsed();
        assert_eq!(info.compression, Compression::Xz);
        assert_eq!((info.nar_size, info.file_size, info.references.len()), (196_040, Some(68_852), 4));
        assert!(info.fingerprint().starts_with(
            "1;/nix/store/syd87l2rxw8cbsxmxl853h0r6pdwhwjr-curl-7.82.0-bin;\
             sha256:1b4sb93wp679q4zx9k1ignby1yna3z7c4c2ri3wphylbc2dwsys0;196040;\
             /nix/store/0jqd0rlxzra1rs38rdxl43yh6rxchgc6-curl-7.82.0,"
        ));
    }

    #[test]
    fn a_real_signature_holds_and_does_not_hold_for_anything_else() {
        let keys = [PublicKey::parse(KEY).unwrap()];
        assert_eq!(parsed().judge(&keys), Verdict::Trusted);
        let wrong = Verdict::Wrong("cache.nixos.org-1".into());
        for (from, to) in [
            ("NarSize: 196040", "NarSize: 196041"),
            ("NarHash: sha256:1b4", "NarHash: sha256:0b4"),
            ("-zlib-1.2.12", "-zlib-1.2.13"),
            ("curl-7.82.0-bin", "curl-7.82.1-bin"),
            ("TsTTb3", "TsTTb4"),
        ] {
            assert_eq!(Narinfo::parse(&HELLO.replace(from, to)).unwrap().judge(&keys), wrong, "{from}");
        }
        // What is not signed can change: the same content elsewhere.
        let moved = HELLO.replace("URL: nar/", "URL: other/");
        assert_eq!(Narinfo::parse(&moved).unwrap().judge(&keys), Verdict::Trusted);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let kept = Narinfo { file_hash: None, file_size: None, ..parsed() };
        assert_eq!(Narinfo::parse(&kept.to_text()).unwrap(), kept);
    }

    #[test]
    fn what_is_missing_twice_or_nonsense_is_named() {
        for (from, to, names) in [
            ("StorePath: /nix", "StorePath: /mnt", "its StorePath cannot be understood"),
            ("URL: nar/", "Url: nar/", "no URL"),
            ("NarSize: 196040", "NarSize: -1", "its NarSize"),
            ("NarSize: 196040", "NarSize: 0", "no NarSize"),
            ("NarHash: sha256:", "NarHash: sha256:zz", "its NarHash"),
            ("Compression: xz", "Compression: br", "its Compression"),
            ("References: 0", "References: ../", "its References"),
            ("Deriver", "NarSize: 1\nDeriver", "two of NarSize"),
            ("Deriver: ", "<html>\n", "`<html>` is no field"),
        ] {
            let error = Narinfo::parse(&HELLO.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(names), "{from}: {error}");
        }
    }

    #[test]
    fn no_cut_and_no_changed_byte_makes_it_panic_or_trusted() {
        let keys = [PublicKey::parse(KEY).unwrap()];
        for end in 0..HELLO.len() {
            // Only the last line break can be missing.
            let trusted =
                Narinfo::parse(&HELLO[..end]).is_ok_and(|info| info.judge(&keys) == Verdict::Trusted);
            assert_eq!(trusted, end + 1 == HELLO.len(), "cut at {end}");
        }
        for at in 0..HELLO.len() {
            let mut bytes = HELLO.as_bytes().to_vec();
            bytes[at] ^= 1;
            let _ = Narinfo::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
