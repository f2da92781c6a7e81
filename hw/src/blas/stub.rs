//! Libraries of our own for tests: built with the C compiler, they note their calls and misbehave on request.

use crate::error::Result;
use std::path::PathBuf;
use std::process::Command;

/// A built stub; it goes with its directory when dropped.
pub(super) struct Stub {
    dir: tempfile::TempDir,
}

impl Stub {
    /// A CBLAS library that passes for `flavour` (`openblas` or `blis`); `how` is how it misbehaves, empty for well.
    pub fn build(flavour: &str, how: &str) -> Option<Self> {
        let stub = Self::empty();
        stub.compile(
            "libstub.so",
            include_str!("stubs/cblas.c"),
            &[&flavour.to_uppercase(), how],
        )
        .then_some(stub)
    }

    pub fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Compiles `source` to a library with these macros set, linked with these files (absolute paths). False, with a note,
    /// where there is no C compiler.
    pub fn compile(&self, name: &str, source: &str, with: &[&str]) -> bool {
        let file = self.path("stub.c");
        std::fs::write(&file, source).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"])
            .args([self.path(name), file]);
        cc.arg(format!("-DCALLS=\"{}\"", self.path("calls").display()));
        for with in with.iter().filter(|with| !with.is_empty()) {
            match with.starts_with('/') {
                true => cc.arg(with),
                false => cc.arg(format!("-D{with}")),
            };
        }
        match cc.output() {
            Ok(output) => {
                let told = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{told}");
                true
            }
            Err(_) => {
                skipped("cc", "gcc");
                false
            }
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn candidates(&self) -> Vec<String> {
        vec![self.path("libstub.so").to_str().unwrap().to_owned()]
    }

    /// How the library was called last, or all calls of one that notes them all.
    pub fn last_call(&self) -> String {
        std::fs::read_to_string(self.path("calls")).unwrap()
    }
}

/// A library that is installed and right; none, with a note, where it is not installed.
pub(super) fn installed<T>(loaded: Result<T>, package: &str) -> Option<T> {
    match loaded {
        Ok(engine) => Some(engine),
        Err(error) if error.to_string().contains("not installed") => {
            skipped(package, package);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn skipped(what: &str, package: &str) {
    let is_required = std::env::var("HWMETER_TEST_REQUIRE").is_ok_and(|what| what == "all");
    assert!(!is_required, "needs {what} (apt install {package})");
    eprintln!("skipped: needs {what} (apt install {package})");
}
