//! What the learners decide and cost, for `RESULTS.md`: the shipped program's own tables.

use std::io;
use std::process::Command;

/// The section with both tables.
pub fn section() -> io::Result<String> {
    let compare = table(&["--compare", "--seeds", "12", "--tasks", "500"])?;
    let bench = table(&["--bench"])?;
    Ok(format!(
        "## Learners\n\n\
         A simulated device in three regimes (all well, MEC 80 to 100 % busy, link congested), a third of the run each; the oracle \
         takes the placement with the best mean of 150 draws. `gap closed` is the share of the way from a uniform draw to the \
         oracle. An actor-critic with the published settings of the reference system's group closes 20 %.\n\n\
         ```text\n{compare}```\n\n\
         Cost on this machine, by repetition; joules hold the idle machine too.\n\n\
         ```text\n{bench}```\n\n"
    ))
}

fn table(args: &[&str]) -> io::Result<String> {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "-p", "hwmeter", "--", "learners"])
        .args(args)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect())
}
