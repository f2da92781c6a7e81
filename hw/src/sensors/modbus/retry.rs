//! When to try again: 0.5 s after a failure, doubling to 10 s.

use crate::clock::Moment;
use crate::error::{Error, Result};
use std::io;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// The pause after a failure.
#[derive(Debug, Default)]
pub struct Retry {
    pause: Option<Pause>,
}

#[derive(Debug)]
struct Pause {
    length: Duration,
    until: Moment,
    cause: String,
}

impl Retry {
    /// An error, of kind `Busy`, while it is too early to try again.
    pub fn check(&self, id: &str, now: Moment) -> Result<()> {
        match &self.pause {
            Some(pause) if now < pause.until => {
                let text = format!(
                    "next try in {:.1} s, after: {}",
                    (pause.until - now).0,
                    pause.cause
                );
                Err(Error::os(
                    format!("reading {id}"),
                    io::Error::new(io::ErrorKind::WouldBlock, text),
                ))
            }
            _ => Ok(()),
        }
    }

    /// A try has failed.
    pub fn failed(&mut self, now: Moment, error: &Error) {
        let length = self
            .pause
            .as_ref()
            .map_or(FIRST, |pause| LONGEST.min(pause.length * 2));
        self.pause = Some(Pause {
            length,
            until: now.after(length),
            cause: error.to_string(),
        });
    }

    /// A try has succeeded.
    pub fn succeeded(&mut self) {
        self.pause = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn pauses_double_to_ten_seconds_and_success_ends_them() {
        let mut retry = Retry::default();
        let mut now = Moment(0);
        let cause = Error::unsupported("x", "refused");
        for expected_ms in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            retry.failed(now, &cause);
            let last_moment = now.after(Duration::from_millis(expected_ms - 1));
            let error = retry.check("modbus:x", last_moment).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy);
            assert!(error.to_string().contains("refused"), "{error}");
            now = now.after(Duration::from_millis(expected_ms));
            assert!(retry.check("modbus:x", now).is_ok());
        }
        retry.succeeded();
        retry.failed(now, &cause);
        assert!(retry.check("modbus:x", now.after(FIRST)).is_ok());
    }
}
