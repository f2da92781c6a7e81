//! `hwmeter mark NAME`: inside a measured command, a new phase begins.

use crate::cli::MarkArgs;
use anyhow::Context;
use hwmeter::marks::{Mark, VARIABLE};
use hwmeter_hw::clock::Moment;
use std::path::Path;

/// Tells the measurement around this process that a phase began at `began`.
pub fn run(args: &MarkArgs, began: Moment) -> anyhow::Result<()> {
    let pipe = std::env::var_os(VARIABLE).with_context(|| {
        format!(
            "nothing is being measured here ({VARIABLE} is not set); `hwmeter mark` works inside a command that \
             `hwmeter measure -- COMMAND` runs"
        )
    })?;
    let mark = Mark {
        name: args.name.clone(),
        at: Some(began),
    };
    mark.send(Path::new(&pipe))
}
