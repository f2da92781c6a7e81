//! `hwmeter`: parse, run, print the error chain, exit code.

mod cli;
mod cmd;
mod ui;

use clap::Parser;
use cli::{Cli, Command, Global};
use hwmeter_hw::Root;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli.global);
    ui::set_color(cli.global.color);
    let root = Root::new(&cli.global.root);
    match run(&cli.command, &root) {
        Ok(code) => code,
        Err(error) => {
            let prefix = ui::paint(ui::BAD, "error:");
            anstream::eprintln!("{prefix} {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, root: &Root) -> anyhow::Result<ExitCode> {
    match command {
        Command::Probe(args) => cmd::probe::run(args, root),
        Command::Measure(args) => cmd::measure::run(args, root),
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
