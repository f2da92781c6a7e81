//! A process that is started again when it ends by itself.

use anyhow::Context;
use hwmeter::offload::child::OurChild;
use std::time::{Duration, Instant};

/// The wait before it is started again is twice as long every time, from here
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// to here.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// One that ran for so long had started well: the waiting begins anew.
const RAN_WELL: Duration = Duration::from_secs(60);

/// The process, while it runs and between.
pub struct Kept {
    name: String,
    child: Option<OurChild>,
    /// When it was started, or tried to be.
    began: Instant,
    wait: Duration,
    /// When it is to be started, if it does not run.
    due: Instant,
}

impl Kept {
    /// One that is to be started at the next look. `name` is for the log.
    pub fn new(name: impl Into<String>) -> Self {
        let now = Instant::now();
        Self {
            name: name.into(),
            child: None,
            began: now,
            wait: FIRST_WAIT,
            due: now,
        }
    }

    /// One that runs.
    pub fn running(name: impl Into<String>, child: OurChild) -> Self {
        Self {
            child: Some(child),
            ..Self::new(name)
        }
    }

    /// Starts it if it is time to.
    pub fn look(&mut self, start: impl FnOnce() -> anyhow::Result<OurChild>) {
        match &mut self.child {
            Some(child) => match child.try_wait().context("nobody can tell how it is") {
                Ok(None) => {}
                Ok(Some(status)) => self.ended(&format!("ended ({status})")),
                Err(why) => self.ended(&format!("is given up ({why:#})")),
            },
            None if Instant::now() < self.due => {}
            None => {
                self.began = Instant::now();
                match start() {
                    Ok(child) => self.child = Some(child),
                    Err(why) => self.ended(&format!("did not start ({why:#})")),
                }
            }
        }
    }

    /// A line that it has said.
    pub fn line(&self) -> Option<String> {
        self.child.as_ref()?.next_line()
    }

    /// Tells it to end, without waiting for it. It ends in any case when this is dropped.
    pub fn ask_to_end(&mut self) {
        if let Some(child) = &mut self.child {
            child.ask_to_end();
        }
    }

    fn ended(&mut self, how: &str) {
        self.child = None;
        if self.began.elapsed() > RAN_WELL {
            self.wait = FIRST_WAIT;
        }
        let wait = self.wait;
        self.due = Instant::now() + wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        tracing::warn!(
            "the {} {how}; it is started again in {} s",
            self.name,
            wait.as_secs_f64()
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn one_that_ends_again_and_again_is_started_ever_more_slowly() {
        let mut kept = Kept::new("test");
        let begin = Instant::now();
        let mut starts = Vec::new();
        while starts.len() < 3 {
            kept.look(|| {
                starts.push(begin.elapsed());
                // The second cannot even be started.
                let program = if starts.len() == 2 { "/nowhere" } else { "true" };
                Ok(OurChild::start(
                    "test",
                    &mut Command::new(program),
                    Duration::ZERO,
                )?)
            });
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(starts[0] < FIRST_WAIT, "{starts:?}");
        assert!(starts[1] >= FIRST_WAIT, "{starts:?}");
        assert!(starts[2] >= FIRST_WAIT * 3, "{starts:?}");
        assert!(kept.wait >= FIRST_WAIT * 4);
    }
}
