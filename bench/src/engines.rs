//! The paper's question for `RESULTS.md`: is the GPU of any use for updates of this size, in time or in joules?

use serde_json::Value;
use std::fmt::Write as _;
use std::process::Command;

/// Engines as the table calls them, and the arguments that choose them.
const ENGINES: [(&str, &[&str]); 3] = [
    ("native", &["--engine", "native"]),
    ("torch (cpu)", &["--engine", "torch"]),
    ("torch (cuda)", &["--engine", "torch", "--gpu", "on"]),
];

/// The networks of the paper.
const LEARNERS: [&str; 6] = [
    "--learner",
    "ac",
    "--learner",
    "dqn",
    "--set",
    "ac.hidden=[256,256]",
];

/// The section with its table.
pub fn section() -> String {
    let mut page = String::from(
        "## CPU or GPU\n\n\
         One update at batch size 1, and its joules by repetition as the default sensor sees them: on a Jetson those of the \
         module, its GPU included; the sensors of a PC's processor do not see its card. To fill the table in, use a \
         machine with a CUDA device, a libtorch with CUDA, and \
         `cargo run --release -p hwmeter-bench --features torch --bin results`.\n\n\
         | learner | engine | update, median | p99 | joules per update | kind |\n|---|---|---|---|---|---|\n",
    );
    for (engine, arguments) in ENGINES {
        match measure(arguments) {
            Ok(rows) => rows.iter().for_each(|row| page.push_str(&cells(row))),
            Err(reason) => {
                let _ = writeln!(page, "| ac, dqn | {engine} | not measured: {reason} | | | |");
            }
        }
    }
    page.push('\n');
    page
}

/// The rows of the shipped program, or why it has none.
fn measure(arguments: &[&str]) -> Result<Vec<Value>, String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--release", "--quiet", "-p", "hwmeter"]);
    if cfg!(feature = "torch") {
        cargo.args(["--features", "torch"]);
    }
    cargo.args(["--", "learners", "--bench", "--json"]);
    let output = cargo.args(LEARNERS).args(arguments).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).map_err(|error| error.to_string());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.trim().replace('\n', " "))
}

fn cells(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or("?").to_owned();
    let micro = |key: &str| row[key].as_f64().map(|value| 1e6 * value);
    let time = |key: &str| micro(key).map_or("unknown".to_owned(), |us| format!("{us:.1} µs"));
    let joules = match (micro("update_j"), micro("update_u_j")) {
        (Some(j), Some(u)) => format!("{j:.0} µJ ± {:.0} µJ (k=2)", 2.0 * u),
        _ => "unknown".to_owned(),
    };
    format!(
        "| {} {} | {} | {} | {} | {joules} | {} |\n",
        text("name"),
        text("variant"),
        text("engine"),
        time("update_median_s"),
        time("update_p99_s"),
        text("kind"),
    )
}
