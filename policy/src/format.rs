//! The format as one table: which keys there are, what may stand behind each, and what it means. The parser checks
//! against it, suggestions come from it, and so does `docs/policy.schema.json`.

/// A table of the format.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    /// For people, and for editors that show the schema's descriptions.
    pub(crate) meaning: &'static str,
}

/// What may stand behind a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// The number of the format.
    Version,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// Some of a few words.
    Words(&'static [&'static str]),
    /// Any text.
    Text,
    /// Any texts.
    Texts,
    /// A text or a list of texts.
    Patterns,
    /// Bytes: a number, or a text with a unit.
    Size,
    /// A number that is not negative.
    Count,
    Switch,
    /// A table.
    Table(&'static Shape),
    /// A list of tables.
    Tables(&'static Shape),
}

/// The version of the format that this is.
pub(crate) const VERSION: u64 = 1;

pub(crate) const ALLOW_OR_DENY: &[&str] = &["allow", "deny"];
pub(crate) const SONAME_RULES: &[&str] = &["allow", "deny", "host-only"];
pub(crate) const DLOPEN: &[&str] = &["provide", "realised-only", "deny"];
pub(crate) const ENGINES: &[&str] = &["seccomp", "ptrace"];

const fn key(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key { name, kind, required: false, meaning }
}

const fn required(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key { name, kind, required: true, meaning }
}

const REASON: Key = key("reason", Kind::Text, "why, in your words: it is shown with every refusal");
const DLOPEN_KEY: Key = key(
    "dlopen",
    Kind::Word(DLOPEN),
    "what is provided to a program that asks at run time: anything, what is in the store already, or nothing",
);
const LIMITS_KEY: Key = key("limits", Kind::Table(&LIMITS), "how much may be fetched");
const PACKAGE_KEY: Key = key("package", Kind::Tables(&PACKAGE), "rules about packages");
const SONAME_KEY: Key = key("soname", Kind::Tables(&SONAME), "rules about names of libraries");

/// The whole file.
pub(crate) static ROOT: Shape = Shape {
    name: "a policy",
    keys: &[
        required("version", Kind::Version, "the version of the format; this is 1"),
        required("default", Kind::Word(ALLOW_OR_DENY), "what happens to that which no rule names"),
        DLOPEN_KEY,
        key("engines", Kind::Words(ENGINES), "the engines that may be used; all, if it is left out"),
        LIMITS_KEY,
        key("store", Kind::Table(&STORE), "what may fill the embedded store"),
        key("fallback", Kind::Table(&FALLBACK), "what may be done when no index has a library"),
        PACKAGE_KEY,
        SONAME_KEY,
        key("program", Kind::Tables(&PROGRAM), "sections that hold for some programs only"),
    ],
};

static PACKAGE: Shape = Shape {
    name: "a package rule",
    keys: &[
        required("rule", Kind::Word(ALLOW_OR_DENY), "may these packages be provided?"),
        key("attribute", Kind::Patterns, "globs of attributes in nixpkgs, such as `cudaPackages*.*`"),
        key("name", Kind::Patterns, "globs of package names without the version, such as `openssl`"),
        key("version", Kind::Text, "a range of versions, such as `>=1.1, <3`"),
        key("store-path", Kind::Patterns, "globs of store paths, such as `/nix/store/*-openssl-1.1.1*`"),
        key("index", Kind::Patterns, "globs of names of indexes, as `sonde index info` lists them"),
        key("soname", Kind::Patterns, "globs of libraries: for these only"),
        key("except", Kind::Patterns, "globs of attributes that the rule does not hold for"),
        REASON,
    ],
};

static SONAME: Shape = Shape {
    name: "a soname rule",
    keys: &[
        required("name", Kind::Patterns, "globs of names of libraries, such as `libssl.so.*`"),
        key(
            "rule",
            Kind::Word(SONAME_RULES),
            "provide it, provide it not, or leave it to the host's driver folders alone",
        ),
        key("pin", Kind::Text, "the attribute of the one package that may provide it, such as `openssl_1_1`"),
        REASON,
    ],
};

static PROGRAM: Shape = Shape {
    name: "a program section",
    keys: &[
        key("path", Kind::Patterns, "globs of paths of programs; `**` stands for any folders"),
        key("build-id", Kind::Patterns, "build ids in hexadecimal digits, as `file PROGRAM` shows them"),
        key("default", Kind::Word(ALLOW_OR_DENY), "what happens to that which no rule of the section names"),
        DLOPEN_KEY,
        LIMITS_KEY,
        PACKAGE_KEY,
        SONAME_KEY,
        REASON,
    ],
};

static LIMITS: Shape = Shape {
    name: "limits",
    keys: &[
        key("download-per-start", Kind::Size, "the most that is downloaded for one start of a program"),
        key("download-total", Kind::Size, "the most that is downloaded at all"),
        key("candidates", Kind::Count, "how many packages are got for one library, to choose among them"),
        key("offline", Kind::Switch, "nothing is downloaded: only what is in the store is provided"),
    ],
};

static STORE: Shape = Shape {
    name: "store",
    keys: &[
        key("caches", Kind::Texts, "the binary caches that may be used; all, if it is left out"),
        key("keys", Kind::Texts, "the public keys that may be trusted, whole; all, if it is left out"),
    ],
};

static FALLBACK: Shape = Shape {
    name: "fallback",
    keys: &[key("build", Kind::Switch, "a package that no cache has may be built")],
};

impl Shape {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}
