//! The options of a run as they were typed: they stand in `run.json`, and a run that takes it up has them too.

use crate::cli::{Cli, Command, RunAgentArgs};
use anyhow::Context as _;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches};
use hwmeter::run_dir::RunDir;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// Options by name, with the values as typed; a switch has none.
pub type Given = BTreeMap<String, Vec<String>>;

/// What is of one command line and not of the run, and what a resumed run takes from its checkpoint and its task set.
const NOT_INHERITED: [&str; 8] = [
    "out",
    "json",
    "resume",
    "learner",
    "learner-config",
    "set",
    "seed",
    "tasks",
];

/// Notes what was typed; with `--resume DIR`, whatever was not is as the run in DIR had it.
pub fn inherit(command: &mut Command) -> anyhow::Result<()> {
    let args = match command {
        Command::RunAgent(args) => &mut **args,
        Command::Evaluate(args) => &mut args.run,
        _ => return Ok(()),
    };
    args.given = given(std::env::args_os());
    if let Some(dir) = &args.resume {
        let context = || format!("cannot resume {}", dir.display());
        let earlier = earlier(dir).with_context(context)?;
        *args = parse(over_earlier(args.given.clone(), earlier)).with_context(context)?;
    }
    Ok(())
}

/// The options of `run-agent` that stand on a command line.
fn given(line: impl IntoIterator<Item = OsString>) -> Given {
    let Ok(matches) = Cli::command().try_get_matches_from(line) else {
        return Given::new();
    };
    let Some((_, matches)) = matches.subcommand() else {
        return Given::new();
    };
    let all = of_run_agent();
    let typed = all
        .get_arguments()
        .filter(|arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine));
    let values = |arg: &clap::Arg| match arg.get_action() {
        ArgAction::SetTrue => Vec::new(),
        _ => {
            let raw = matches.get_raw(arg.get_id().as_str()).unwrap_or_default();
            raw.map(|value| value.to_string_lossy().into_owned()).collect()
        }
    };
    typed
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), values(arg))))
        .collect()
}

/// The options of the run in `dir`.
fn earlier(dir: &Path) -> anyhow::Result<Given> {
    let dir = RunDir::open(dir);
    let options = dir.read_manifest()?.get("options").cloned();
    serde_json::from_value(options.unwrap_or_default()).with_context(|| {
        format!(
            "{} lacks the options of its run; was it edited?",
            dir.manifest().display()
        )
    })
}

fn over_earlier(now: Given, earlier: Given) -> Given {
    let mut all = earlier;
    all.retain(|name, _| !NOT_INHERITED.contains(&&**name));
    all.extend(now);
    all
}

fn parse(given: Given) -> Result<RunAgentArgs, clap::Error> {
    let one = |(name, values): (&String, &Vec<String>)| match values.as_slice() {
        [] => vec![format!("--{name}")],
        some => some.iter().map(|value| format!("--{name}={value}")).collect(),
    };
    let line = std::iter::once("run-agent".to_owned()).chain(given.iter().flat_map(one));
    let mut args = RunAgentArgs::from_arg_matches(&of_run_agent().try_get_matches_from(line)?)?;
    args.given = given;
    Ok(args)
}

fn of_run_agent() -> clap::Command {
    RunAgentArgs::augment_args(clap::Command::new("run-agent"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::Switch;

    fn line(text: &str) -> Given {
        given(text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_is_typed_is_noted_and_defaults_are_not() {
        let given = line("hwmeter run-agent --penalty 20 --set dqn.rate=1 --set=ac.gamma=0 --json");
        let expected = [
            ("json", vec![]),
            ("penalty", vec!["20"]),
            ("set", vec!["dqn.rate=1", "ac.gamma=0"]),
        ];
        let expected = expected.map(|(name, values)| {
            (
                name.to_owned(),
                values.into_iter().map(str::to_owned).collect::<Vec<_>>(),
            )
        });
        assert_eq!(given, Given::from(expected));
    }

    #[test]
    fn a_resumed_run_has_the_options_of_the_first_unless_told_otherwise() {
        let first = line(
            "hwmeter run-agent --learner ac --seed 3 --out a --json --penalty 20 --audit 0.5 --device-speed 0.5 \
             --reset-on-divergence --mec http://1.1.1.1:1 --cloud http://1.1.1.1:2 --gpu on",
        );
        let second = over_earlier(line("hwmeter run-agent --resume a --audit 1 --out b"), first);
        let third = over_earlier(line("hwmeter run-agent --resume b --gpu off"), second);
        let args = parse(third).unwrap();
        assert_eq!((args.penalty, args.audit), (Some(20.0), 1.0));
        assert_eq!((args.engine.gpu, args.reset_on_divergence), (Switch::Off, true));
        assert!(args.mec.is_some() && args.cloud.is_some() && args.device_speed.is_some());
        assert_eq!((args.learner, args.seed, args.json), (None, None, false));
        assert_eq!((args.resume, args.out), (Some("b".into()), None));
    }
}
