//! A module's name: the SHA-256 of its bytes.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The SHA-256 of a module's bytes, shown as 64 hexadecimal digits, as `sha256sum` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId([u8; 32]);

impl ModuleId {
    /// That of these bytes.
    pub fn of(module: &[u8]) -> Self {
        Self(Sha256::digest(module).into())
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something that names no module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256: expected 64 hexadecimal digits, as `sha256sum` shows them")]
pub struct InvalidId(String);

impl FromStr for ModuleId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse(text).ok_or_else(|| InvalidId(text.chars().take(80).collect()))
    }
}

fn parse(text: &str) -> Option<ModuleId> {
    let digits = text.as_bytes();
    let mut id = [0; 32];
    if digits.len() != 2 * id.len() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(ModuleId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_sha256sum_says() {
        // FIPS 180-4's example "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(ModuleId::of(b"abc").to_string(), abc);
        assert_eq!(abc.parse(), Ok(ModuleId::of(b"abc")));
        assert_eq!(abc.to_uppercase().parse(), Ok(ModuleId::of(b"abc")));
        for bad in [
            "",
            &abc[1..],
            &format!("{abc}0"),
            &abc.replace('f', "g"),
            &"é".repeat(32),
        ] {
            assert!(bad.parse::<ModuleId>().is_err(), "{bad}");
        }
    }
}
