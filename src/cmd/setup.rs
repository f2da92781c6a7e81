//! `hwmeter setup`: access to power nodes without root, for a group.

use crate::cli::SetupArgs;
use crate::ui::{self, paint};
use anyhow::Context as _;
use hwmeter_hw::Root;
use hwmeter_hw::access::{self, Step};
use std::process::{Command, ExitCode};

/// Shows, installs or removes.
pub fn run(args: &SetupArgs, root: &Root) -> anyhow::Result<ExitCode> {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).ok();
    let user = user.filter(|user| user != "root");
    if args.print {
        print_plan(user.as_deref());
        return Ok(ExitCode::SUCCESS);
    }
    if args.remove {
        let removed =
            access::remove(root).context("cannot remove; run as root: sudo hwmeter setup --remove")?;
        if removed.files.is_empty() {
            ui::outln!("nothing was installed");
            return Ok(ExitCode::SUCCESS);
        }
        for file in &removed.files {
            ui::outln!("removed {}", file.display());
        }
        return carry_out(&removed.steps, root);
    }
    let steps = access::install(root, user.as_deref())
        .context("cannot install; run as root: sudo hwmeter setup (--print shows what it would do)")?;
    for file in access::FILES {
        ui::outln!("installed {}: {}", root.path(file.path).display(), file.purpose);
    }
    carry_out(&steps, root)
}

fn print_plan(user: Option<&str>) {
    let plan = access::plan(user);
    for file in plan.files {
        ui::outln!(
            "{}\n{}",
            paint(ui::BOLD, format!("# {}: {}", file.path, file.purpose)),
            file.content
        );
    }
    ui::outln!("{}", paint(ui::BOLD, "# then, as root"));
    for step in &plan.steps {
        ui::outln!("{}    # {}", step.command.join(" "), step.purpose);
    }
}

/// Runs the commands on the running system; below a prefix they are only shown.
fn carry_out(steps: &[Step], root: &Root) -> anyhow::Result<ExitCode> {
    let mut failures = 0;
    for step in steps {
        let line = step.command.join(" ");
        if !root.is_real() {
            ui::outln!("to do there: {line}    # {}", step.purpose);
            continue;
        }
        let Some((program, arguments)) = step.command.split_first() else {
            continue;
        };
        match Command::new(program).args(arguments).status() {
            Ok(status) if status.success() => ui::outln!("done: {line}    # {}", step.purpose),
            Ok(status) => {
                failures += 1;
                anstream::eprintln!("{} {line}: {status}; run it by hand", paint(ui::WARN, "failed:"));
            }
            Err(error) => {
                failures += 1;
                anstream::eprintln!("{} {line}: {error}; run it by hand", paint(ui::WARN, "failed:"));
            }
        }
    }
    if failures > 0 {
        anyhow::bail!(
            "{failures} of {} commands failed; the files are in place",
            steps.len()
        );
    }
    if root.is_real() {
        ui::outln!("Log in again for the group to take effect, then look at `hwmeter probe`.");
    }
    Ok(ExitCode::SUCCESS)
}
