//! `KEY=VALUE&KEY=VALUE`: the parameters of a URL, each taken once, none ignored. Errors are sentences for the user.

use super::url::Address;
use std::str::FromStr;

/// The parameters not yet understood.
pub struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// Splits `KEY=VALUE&KEY=VALUE`.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
            if pairs.iter().any(|&(known, _)| known == key) {
                return Err(format!("{key} stands there twice"));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// The text of a parameter, which then counts as understood.
    pub fn take(&mut self, key: &str) -> Option<&'a str> {
        let i = self.0.iter().position(|&(known, _)| known == key)?;
        Some(self.0.remove(i).1)
    }

    /// A number within a range.
    pub fn number<T>(&mut self, key: &str, range: std::ops::RangeInclusive<T>) -> Result<Option<T>, String>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) if range.contains(&value) => Ok(Some(value)),
            _ => Err(format!(
                "{key}={text}: a number from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }

    /// A number that is neither infinite nor NaN.
    pub fn finite(&mut self, key: &str) -> Result<Option<f64>, String> {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) if f64::is_finite(value) => Ok(Some(value)),
            _ => Err(format!("{key}={text}: a number")),
        }
    }

    /// A number above zero.
    pub fn positive(&mut self, key: &str) -> Result<Option<f64>, String> {
        match self.finite(key)? {
            Some(value) if value <= 0.0 => Err(format!("{key}={value}: a number above 0")),
            value => Ok(value),
        }
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        match choices.iter().find(|(name, _)| *name == text) {
            Some(&(_, value)) => Ok(Some(value)),
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                Err(format!("{key}={text}: one of {}", names.join(", ")))
            }
        }
    }

    /// Whatever is left is a mistake: a misspelt parameter must not silently do nothing.
    pub fn finish(self, address: &Address) -> Result<(), String> {
        let Some(&(key, _)) = self.0.first() else {
            return Ok(());
        };
        Err(match (key, address) {
            ("baud" | "parity" | "stop", Address::Tcp { .. }) => {
                format!("{key} belongs to a serial line (rtu://)")
            }
            ("register" | "function" | "type" | "scale", _) => format!("{key} belongs to meter=custom"),
            _ => format!(
                "there is no parameter {key}; known are meter, unit, rails, baud, parity, stop, timeout, update, \
                 max, class, words, and with meter=custom register, function, type, scale"
            ),
        })
    }
}
