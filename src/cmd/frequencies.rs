//! `--governor`, `--cpu-min-khz` and `--cpu-max-khz`: how the CPU is clocked while a command of ours runs. It is put
//! back when the command ends, by a panic too, and at the first signal that asks us to end.

use super::stop_signal::is_ignored;
use crate::cli::{Command, FrequencyArgs};
use anyhow::Context as _;
use hwmeter_hw::Root;
use hwmeter_hw::cpufreq::{self, Frequencies, Settings};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// Sets what this command asks for; dropping the result puts it back. `None` where nothing is asked for.
pub fn set(command: &Command, root: &Root) -> anyhow::Result<Option<Frequencies>> {
    // The first two end by themselves at a signal, with a result; nothing else would end the third.
    let (args, ends_by_itself) = match command {
        Command::Measure(args) => (&args.frequencies, true),
        Command::RunAgent(args) => (&args.frequencies, true),
        Command::Evaluate(args) => (&args.run.frequencies, true),
        Command::Calibrate(args) if args.command.is_none() => (&args.run.frequencies, false),
        _ => return Ok(None),
    };
    let settings = settings(args);
    // Load steps of a calibration change them too.
    if settings != Settings::default() || matches!(command, Command::Calibrate(_)) {
        restore_at_signals(ends_by_itself)?;
    }
    if settings == Settings::default() {
        return Ok(None);
    }
    let held = Frequencies::set(root, &settings).context("cannot change how the CPU is clocked")?;
    Ok(Some(held))
}

fn settings(args: &FrequencyArgs) -> Settings {
    Settings {
        governor: args.governor.clone(),
        min_khz: args.cpu_min_khz,
        max_khz: args.cpu_max_khz,
    }
}

fn restore_at_signals(ends_by_itself: bool) -> anyhow::Result<()> {
    // Under nohup, SIGHUP stays ignored.
    let watched = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
    let watched = watched.into_iter().filter(|&signal| !is_ignored(signal));
    let mut signals = Signals::new(watched).context("cannot watch for signals")?;
    let watch = move || {
        for signal in signals.forever() {
            if let Err(error) = cpufreq::restore_all() {
                tracing::warn!("the CPU's frequency settings are not as they were: {error}");
            }
            if !ends_by_itself {
                // It does not return for these four, and if it did, the next signal would come here again.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    };
    std::thread::Builder::new()
        .name("hwmeter-restore".to_owned())
        .spawn(watch)
        .context("cannot start the thread that watches for signals")?;
    Ok(())
}
