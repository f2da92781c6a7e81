//! `hwmeter`: parse, run, print the error chain, exit code.

mod cmd;

use clap::{Parser, Subcommand};
use hwmeter_hw::Root;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Look for /sys, /proc and device-tree below DIR instead of /
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(cmd::serve::ServeArgs),
    Link(cmd::link::LinkArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let result = match &cli.command {
        Command::Serve(args) => cmd::serve::run(args, &Root::new(cli.root)),
        Command::Link(args) => cmd::link::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("hwmeter: {e:#}");
            ExitCode::FAILURE
        }
    }
}
