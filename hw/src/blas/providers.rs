//! Which engines can multiply here, and what would bring the others.

use super::builtin::Builtin;
use super::{Gemm, Provider, blis, cublas, openblas, verify};
use crate::error::{Error, Result};
use std::fmt;

/// The engines of this machine.
pub struct Providers {
    /// Verified against the naive product, in a fixed order: builtin, OpenBLAS, BLIS, cuBLAS.
    pub usable: Vec<Box<dyn Gemm>>,
    /// The others, in the same order.
    pub missing: Vec<Missing>,
}

/// An engine that is not there or not to be trusted.
#[derive(Debug)]
pub struct Missing {
    /// Which one.
    pub provider: Provider,
    /// Why; names the library, and what to install or do.
    pub error: Error,
    /// The package or part of JetPack that brings it; `None` for the engine that is part of this program.
    pub package: Option<&'static str>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.error.to_string();
        if told.to_ascii_lowercase().starts_with(self.provider.as_str()) {
            return f.write_str(&told);
        }
        write!(f, "{}: {told}", self.provider)
    }
}

/// Looks for every engine and verifies it. Takes a second or so, several where a GPU has to wake up.
///
/// Loads libraries, after a child process has tried each. Call it before threads of your own hold locks that a child
/// process might need, such as at the beginning of a program.
pub fn providers() -> Providers {
    from([
        (Provider::Builtin, || boxed(Ok(Builtin::new())).and_then(verified)),
        (Provider::OpenBlas, || boxed(openblas::load())),
        (Provider::Blis, || boxed(blis::load())),
        (Provider::Cublas, || boxed(cublas::load())),
    ])
}

type Engine = Box<dyn Gemm>;
type Load = fn() -> Result<Engine>;

fn boxed<G: Gemm + 'static>(loaded: Result<G>) -> Result<Engine> {
    Ok(Box::new(loaded?))
}

/// What is loaded at run time has been verified already.
fn verified(engine: Engine) -> Result<Engine> {
    verify(&*engine)?;
    Ok(engine)
}

fn from<const N: usize>(loads: [(Provider, Load); N]) -> Providers {
    let mut found = Providers {
        usable: Vec::new(),
        missing: Vec::new(),
    };
    for (provider, load) in loads {
        match load() {
            Ok(engine) => found.usable.push(engine),
            Err(error) => found.missing.push(Missing {
                provider,
                error,
                package: package(provider),
            }),
        }
    }
    found
}

fn package(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::Builtin => None,
        Provider::OpenBlas => Some(openblas::REMEDY),
        Provider::Blis => Some(blis::REMEDY),
        Provider::Cublas => Some(cublas::REMEDY),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_usable_or_missing_with_its_package() {
        let found = providers();
        assert_eq!(found.usable[0].provider(), Provider::Builtin);
        let mut seen: Vec<Provider> = found.usable.iter().map(|engine| engine.provider()).collect();
        for missing in &found.missing {
            let (told, package) = (missing.to_string(), missing.package.unwrap());
            let is_there = !told.contains("not installed");
            assert!(is_there || told.contains(package), "{told}");
            seen.push(missing.provider);
        }
        seen.sort();
        assert_eq!(
            seen,
            [
                Provider::Builtin,
                Provider::OpenBlas,
                Provider::Blis,
                Provider::Cublas
            ]
        );
    }

    #[test]
    fn what_is_told_begins_with_the_provider() {
        let missing = |what: &str| Missing {
            provider: Provider::Cublas,
            error: Error::unsupported(what, "no"),
            package: None,
        };
        assert_eq!(missing("CUDA").to_string(), "cublas: CUDA: no");
        assert_eq!(missing("cuBLAS (x.so)").to_string(), "cuBLAS (x.so): no");
    }

    #[test]
    fn one_that_cannot_be_loaded_leaves_the_others() {
        let found = from([
            (Provider::Blis, || {
                blis::load_from(&["libnoblis.so.4".to_owned()]).and_then(|x| boxed(Ok(x)))
            }),
            (Provider::Builtin, || boxed(Ok(Builtin::new()))),
        ]);
        assert_eq!((found.usable.len(), found.missing.len()), (1, 1));
        let told = found.missing[0].to_string();
        assert_eq!(
            told,
            "BLIS: not installed (no libnoblis.so.4); apt install libblis4-pthread"
        );
    }
}
