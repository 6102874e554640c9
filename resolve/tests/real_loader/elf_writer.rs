//! The smallest ELF files that a loader reads: no code, only what is needed and where to look for it.

/// `EM_X86_64`.
pub(crate) const X86_64: u16 = 62;
/// `EM_AARCH64`.
pub(crate) const AARCH64: u16 = 183;

const EHDR: usize = 64;
const PHDR: usize = 56;
const DYN: usize = 16;
const SYM: usize = 24;
const HASH: [u32; 4] = [1, 1, 0, 0];

const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
/// `DT_FLAGS_1` with `DF_1_NODEFLIB`.
const NO_DEFAULT_LIB: (u64, u64) = (0x6fff_fffb, 0x800);

/// A program or library for a machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elf<'a> {
    pub(crate) machine: u16,
    pub(crate) interp: Option<&'a str>,
    pub(crate) needed: Vec<&'a str>,
    pub(crate) rpath: Option<String>,
    pub(crate) runpath: Option<String>,
    /// The system's folders are not for it: what its cache does not have is not found.
    pub(crate) no_default_lib: bool,
}

impl Elf<'_> {
    /// The file: header, program headers, dynamic table, symbols, hash table, strings; one segment has all of it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut add = |text: &str| {
            let at = strings.len() as u64;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let interp = self.interp.map(|path| (add(path), path.len() as u64 + 1));
        let mut table: Vec<(u64, u64)> = self.needed.iter().map(|name| (DT_NEEDED, add(name))).collect();
        table.extend(self.rpath.iter().map(|path| (DT_RPATH, add(path))));
        table.extend(self.runpath.iter().map(|path| (DT_RUNPATH, add(path))));
        table.extend(self.no_default_lib.then_some(NO_DEFAULT_LIB));

        let headers = if interp.is_some() { 5 } else { 3 };
        let dynamic = EHDR + headers * PHDR;
        let symbols = dynamic + (table.len() + 6) * DYN;
        let hash = symbols + SYM;
        let text = hash + size_of_val(&HASH);
        let end = (text + strings.len()) as u64;
        table.extend([
            (DT_HASH, hash as u64),
            (DT_STRTAB, text as u64),
            (DT_SYMTAB, symbols as u64),
            (DT_STRSZ, strings.len() as u64),
            (DT_SYMENT, SYM as u64),
            (0, 0),
        ]);

        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let mut put = |values: &[(u64, usize)]| {
            values.iter().for_each(|(value, size)| file.extend(&value.to_le_bytes()[..*size]));
        };
        // ET_DYN, machine, version, entry, program headers, no sections, flags, sizes and counts.
        put(&[(3, 2), (self.machine.into(), 2), (1, 4), (0, 8), (EHDR as u64, 8), (0, 8), (0, 4)]);
        put(&[(EHDR as u64, 2), (PHDR as u64, 2), (headers as u64, 2), (0, 2), (0, 2), (0, 2)]);
        // Type, flags, offset, two addresses, two sizes, alignment.
        let mut segment = |kind, flags, at: u64, size: u64, alignment| {
            put(&[(kind, 4), (flags, 4), (at, 8), (at, 8), (at, 8), (size, 8), (size, 8), (alignment, 8)]);
        };
        if let Some((at, size)) = interp {
            segment(6, 4, EHDR as u64, (headers * PHDR) as u64, 8); // PT_PHDR
            segment(3, 4, text as u64 + at, size, 1); // PT_INTERP
        }
        segment(1, 6, 0, end, 4096); // PT_LOAD; the loader writes to the dynamic table
        segment(2, 6, dynamic as u64, (table.len() * DYN) as u64, 8); // PT_DYNAMIC
        segment(0x6474_e551, 6, 0, 0, 16); // PT_GNU_STACK
        table.iter().for_each(|(tag, value)| put(&[(*tag, 8), (*value, 8)]));
        file.extend([0; SYM]);
        HASH.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(strings);
        file
    }
}
