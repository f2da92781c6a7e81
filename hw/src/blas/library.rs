//! Libraries looked up at run time: finding one, and saying plainly why one cannot be used.

use crate::error::{Error, Result};
use libloading::Library;
use std::error::Error as _;
use std::ffi::{CStr, c_char};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Names or paths to try in order, and what brings the library where none is there.
pub(super) struct Wanted<'a> {
    /// What people call it.
    pub name: &'static str,
    /// Names for the loader's own search path, or absolute paths.
    pub candidates: &'a [String],
    /// What to install.
    pub remedy: &'a str,
}

impl Wanted<'_> {
    /// The first candidate that can be loaded, and which it was.
    ///
    /// # Safety
    /// The initialisers of every candidate must be safe to run.
    pub unsafe fn open(&self) -> Result<(Library, String)> {
        let mut problems = Vec::new();
        for candidate in self.candidates {
            // SAFETY: promised by the caller.
            match unsafe { Library::new(candidate) } {
                Ok(library) => return Ok((library, candidate.clone())),
                Err(problem) => problems.push((candidate, problem)),
            }
        }
        Err(self.unusable(&problems))
    }

    /// A file that is there but cannot be loaded is the problem to tell; else that there is none.
    fn unusable(&self, problems: &[(&String, libloading::Error)]) -> Error {
        for (path, problem) in problems {
            if let Some(flaw) = flaw(Path::new(path)) {
                return self.refused(path, flaw);
            }
            // The loader begins with the file it misses: another one is a library that this one needs.
            let told = reason(problem);
            let is_absent = told.starts_with(path.as_str()) && told.contains("No such file or directory");
            if !is_absent {
                return self.refused(path, told);
            }
        }
        let names: Vec<&str> = problems
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !name.contains('/'))
            .collect();
        let looked_for = if names.is_empty() {
            problems.iter().map(|(name, _)| name.as_str()).collect()
        } else {
            names
        };
        let why = format!("not installed (no {}); {}", looked_for.join(", "), self.remedy);
        Error::unsupported(self.name, why)
    }

    /// The library at `path` is of no use.
    pub fn refused(&self, path: &str, why: impl std::fmt::Display) -> Error {
        Error::unsupported(
            format!("{} ({path})", self.name),
            format!("{why}; {}", self.remedy),
        )
    }

    /// It lacks a function.
    pub fn incomplete(&self, path: &str, missing: &libloading::Error) -> Error {
        self.refused(path, reason(missing))
    }
}

/// What the loader said; the error's own text only names the call.
fn reason(error: &libloading::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// What is wrong with a file by its ELF header. The loader itself says "No such file" of a library that is there but for
/// another architecture.
fn flaw(path: &Path) -> Option<String> {
    let mut header = [0; 20];
    let mut file = File::open(path).ok()?;
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"\x7fELF") {
        return Some("it is no library (no ELF header): the file is broken".to_owned());
    }
    let mut own = [0; 20];
    File::open("/proc/self/exe")
        .and_then(|mut file| file.read_exact(&mut own))
        .ok()?;
    (architecture(&header) != architecture(&own)).then(|| {
        format!(
            "it is built for {}, this program for {}",
            name_of(architecture(&header)),
            name_of(architecture(&own))
        )
    })
}

/// `e_machine` and `EI_CLASS` of an ELF header, byte order by `EI_DATA`.
fn architecture(header: &[u8; 20]) -> (u16, u8) {
    let machine = [header[18], header[19]];
    let is_big_endian = header[5] == 2;
    let machine = if is_big_endian {
        u16::from_be_bytes(machine)
    } else {
        u16::from_le_bytes(machine)
    };
    (machine, header[4])
}

/// The machine numbers of the ELF specification that Linux boards and workstations have.
fn name_of((machine, class): (u16, u8)) -> String {
    match (machine, class) {
        (3, _) => "i386".to_owned(),
        (40, _) => "arm (32 bits)".to_owned(),
        (62, 1) => "x32".to_owned(),
        (62, _) => "x86-64".to_owned(),
        (183, _) => "aarch64".to_owned(),
        (243, _) => "riscv".to_owned(),
        _ => format!("another machine (ELF number {machine})"),
    }
}

/// A function of the library that returns text.
pub(super) type GetText = unsafe extern "C" fn() -> *const c_char;

/// The text at `text`, `unknown` for null.
///
/// # Safety
/// `text` must be null or a string that ends in NUL and stays unchanged while it is read.
pub(super) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return "unknown".to_owned();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .trim()
        .to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::blas::stub::Stub;

    fn open(candidates: &[String]) -> Result<(Library, String)> {
        let wanted = Wanted {
            name: "FastBLAS",
            candidates,
            remedy: "apt install libfast0",
        };
        // SAFETY: the candidates of these tests are no libraries.
        unsafe { wanted.open() }
    }

    fn message(candidates: &[&str]) -> String {
        let candidates: Vec<String> = candidates.iter().map(ToString::to_string).collect();
        open(&candidates).unwrap_err().to_string()
    }

    #[test]
    fn a_missing_library_says_what_to_install() {
        let told = message(&["libnosuchblas.so.0", "/nowhere/libnosuchblas.so.0"]);
        assert_eq!(
            told,
            "FastBLAS: not installed (no libnosuchblas.so.0); apt install libfast0"
        );
    }

    #[test]
    fn a_library_that_another_one_needs_is_named() {
        let stub = Stub::empty();
        let path = |name: &str| stub.path(name).to_str().unwrap().to_owned();
        let needed = stub.compile("libneeded.so", "int needed(void) { return 1; }", &[]);
        let source = "int needed(void); int needy(void) { return needed(); }";
        if !needed || !stub.compile("libneedy.so", source, &[&path("libneeded.so")]) {
            return;
        }
        std::fs::remove_file(path("libneeded.so")).unwrap();
        let told = message(&[&path("libneedy.so")]);
        assert!(told.contains("libneedy.so): "), "{told}");
        assert!(
            told.contains("libneeded.so: cannot open") && told.contains("libfast0"),
            "{told}"
        );
    }

    #[test]
    fn broken_files_and_other_architectures_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let cut = file("cut.so", b"\x7fELF\x02");
        let text = file("text.so", b"INPUT(-lopenblas) and so on, longer than a header");
        for path in [&cut, &text] {
            let told = message(&["libnosuchblas.so.0", path]);
            assert!(told.contains(path.as_str()) && told.contains("broken"), "{told}");
        }
        // Our own program's header with another machine in it.
        let mut foreign = std::fs::read("/proc/self/exe").unwrap()[..4096].to_vec();
        let (number, name) = if cfg!(target_arch = "aarch64") {
            (62u16, "built for x86-64, this program for aarch64")
        } else {
            (183u16, "built for aarch64, this program for")
        };
        foreign[18..20].copy_from_slice(&number.to_le_bytes());
        let foreign = file("foreign.so", &foreign);
        let told = message(&[&foreign]);
        assert!(told.contains(name) && told.contains("libfast0"), "{told}");
        // The right header, and nothing behind it: the loader's own words.
        let own = std::fs::read("/proc/self/exe").unwrap()[..64].to_vec();
        let own = file("own.so", &own);
        assert!(message(&[&own]).contains("own.so"));
    }
}
