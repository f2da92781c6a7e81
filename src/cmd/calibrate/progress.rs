//! What is running and how long it will take, on stderr: a line before each step, and on a terminal a bar.

use super::effort::{self, Effort};
use crate::cli::StepName;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The bar counts milliseconds of the plan.
pub struct Progress {
    bar: ProgressBar,
    is_silent: bool,
    steps: Vec<(StepName, Duration)>,
    /// Of the plan, before the step that runs.
    done: Duration,
    running: Duration,
}

impl Progress {
    /// `is_silent` is `--quiet`.
    pub fn new(steps: &[StepName], effort: Effort, is_silent: bool) -> Self {
        let steps: Vec<_> = steps.iter().map(|&step| (step, effort.budget(step))).collect();
        let planned: Duration = steps.iter().map(|(_, budget)| *budget).sum();
        let bar = if is_silent {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(planned.as_millis() as u64)
        };
        let template = "{bar:24} {msg}  {left}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("left", left(planned)));
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        let progress = Self {
            bar,
            is_silent,
            steps,
            done: Duration::ZERO,
            running: Duration::ZERO,
        };
        progress.say(&format!(
            "{} steps, about {}",
            progress.steps.len(),
            rough(planned)
        ));
        progress
    }

    /// A step begins; says how long it may take.
    pub fn begin(&mut self, step: StepName) {
        let planned = self.steps.iter().find(|(other, _)| *other == step);
        self.running = planned.map_or(Duration::ZERO, |(_, budget)| *budget);
        self.bar.set_message(effort::describe(step));
        self.say(&format!(
            "{}, up to {}",
            effort::describe(step),
            rough(self.running)
        ));
    }

    /// What of the step is running, and the share of it that is done.
    pub fn at(&self, what: &str, share: f64) {
        self.bar.set_message(what.to_owned());
        let position = self.done + self.running.mul_f64(share.clamp(0.0, 1.0));
        self.bar.set_position(position.as_millis() as u64);
    }

    /// The step is over, whenever that is.
    pub fn end(&mut self) {
        self.done += std::mem::take(&mut self.running);
        self.bar.set_position(self.done.as_millis() as u64);
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        if !self.is_silent {
            self.bar.suspend(|| anstream::eprintln!("calibrate: {line}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The rest of the plan, counted down between two positions too.
fn left(planned: Duration) -> impl Fn(&ProgressState, &mut dyn Write) + Clone + Send + Sync + 'static {
    let last = std::sync::Arc::new(std::sync::Mutex::new((0, Instant::now())));
    move |state, out| {
        let Ok(mut last) = last.lock() else { return };
        if last.0 != state.pos() {
            *last = (state.pos(), Instant::now());
        }
        let rest = planned.saturating_sub(Duration::from_millis(state.pos()));
        let rest = rest.saturating_sub(last.1.elapsed());
        let _ = write!(out, "{} left", rough(rest));
    }
}

/// Whole seconds, or minutes.
fn rough(time: Duration) -> String {
    match time.as_secs_f64().ceil() as u64 {
        seconds if seconds < 100 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}
