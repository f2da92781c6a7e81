//! `hwmeter`: parse, run, print the error chain, exit code.

mod cli;
mod cmd;
mod ui;

use clap::Parser;
use cli::{Cli, Command, Global, Switch};
use hwmeter_hw::Root;
use hwmeter_hw::clock::{Clock, Moment, MonotonicClock};
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    // A mark tells this moment: the closest to the one at which its caller decided to make it.
    let began = MonotonicClock.now();
    let mut cli = Cli::parse();
    if let Err(error) = cmd::run_agent::options::inherit(&mut cli.command) {
        ui::print_error(&error);
        return ExitCode::FAILURE;
    }
    if let Command::Serve(args) = &mut cli.command {
        args.training.calibration.clone_from(&cli.global.calibration);
    }
    hide_gpu(&cli.command);
    start_log(&cli.global);
    ui::set_color(cli.global.color);
    let root = Root::new(&cli.global.root);
    match run(&cli, &root, began) {
        Ok(code) => match ui::stdout_failure() {
            None => code,
            Some(failure) => {
                let error = anyhow::anyhow!("the result could not be written to stdout: {failure}");
                ui::print_error(&error);
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            ui::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, root: &Root, began: Moment) -> anyhow::Result<ExitCode> {
    let named = cli.global.calibration.as_deref();
    let calibration = || {
        let calibration = cmd::calibration(named, root)?;
        cmd::warn_of_other(&calibration, root);
        anyhow::Ok(calibration)
    };
    let _put_back_at_the_end = cmd::frequencies::set(&cli.command, root)?;
    match &cli.command {
        Command::Probe(args) => cmd::probe::run(args, root, &calibration()?),
        Command::Measure(args) => cmd::measure::run(args, root, &calibration()?),
        Command::Mark(args) => cmd::mark::run(args, began).map(|()| ExitCode::SUCCESS),
        Command::Integrate(args) => cmd::integrate::run(args).map(|()| ExitCode::SUCCESS),
        Command::Calibrate(args) => cmd::calibrate::run(args, named, root, cli.global.quiet),
        Command::RunAgent(args) => cmd::run_agent::run(args, root, &calibration()?),
        Command::Learners(args) => {
            cmd::learners::run(args, root, &calibration()?).map(|()| ExitCode::SUCCESS)
        }
        Command::Evaluate(args) => cmd::evaluate::run(args, root, &calibration()?),
        Command::Serve(args) => cmd::serve::run(args, root).map(|()| ExitCode::SUCCESS),
        Command::Tasks(command) => cmd::tasks::run(command, cli.global.quiet, root, calibration),
        Command::Setup(args) => cmd::setup::run(args, root),
        Command::Link(args) => cmd::link::run(args, root).map(|()| ExitCode::SUCCESS),
        Command::Load(args) => cmd::load::run(args).map(|()| ExitCode::SUCCESS),
        Command::Trainer(command) => cmd::trainer::run(command),
        Command::Report(args) => cmd::report::run(args).map(|()| ExitCode::SUCCESS),
        Command::Simulate(args) => cmd::simulate::run(args).map(|()| ExitCode::SUCCESS),
    }
}

/// `--gpu off` holds for this process and for all it starts.
fn hide_gpu(command: &Command) {
    let gpu = match command {
        Command::RunAgent(args) => args.engine.gpu,
        Command::Evaluate(args) => args.run.engine.gpu,
        Command::Learners(args) => args.engine.gpu,
        _ => return,
    };
    if gpu == Switch::Off {
        // SAFETY: nothing has started a thread yet.
        unsafe { hwmeter_hw::gpu::hide_from_this_process() };
    }
}

/// Logs go to stderr: warnings by default, more with -v, errors only with -q.
fn start_log(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let is_colored = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(is_colored)
        .with_target(false)
        .without_time()
        .init();
}
