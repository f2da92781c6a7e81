//! Arguments of `hwmeter report`.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders that run-agent wrote, or folders of such folders
    #[arg(value_name = "RUN_DIR", required = true)]
    pub runs: Vec<PathBuf>,
    /// Where the page goes: a file, or a folder for report.html; the figures go to a folder of the same name beside it
    /// [default: report.html in RUN_DIR, or beside the first of several]
    #[arg(long, value_name = "FILE|DIR")]
    pub out: Option<PathBuf>,
    /// Replace the files of an earlier report
    #[arg(long)]
    pub force: bool,
    /// Print a summary; the page is written only with --out
    #[arg(long, conflicts_with = "json")]
    pub text: bool,
    /// Print the numbers as one JSON document; the page is written only with --out
    #[arg(long)]
    pub json: bool,
    /// Write event files for TensorBoard too, a folder per run below DIR
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}
