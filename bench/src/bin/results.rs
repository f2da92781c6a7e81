//! Writes `bench/RESULTS.md`: what was measured, by the very code that is shipped, in one command.
//!
//! ```sh
//! cargo run --release -p hwmeter-bench --bin results
//! ```
//!
//! With arguments only those sections are made anew, and the others are kept as they stand: `coverage`, a bench by its
//! name (`spans`, `meter_cost`, `sampling`, `trace`, `report`, `link`, `serve`, `wasm`, `learner`, `training`, `testbed`),
//! `peers`, `gemm`, `engines` or `learners`.

use hwmeter_hw::board::Board;
use hwmeter_hw::synthetic::coverage::{Row, run_all};
use hwmeter_hw::synthetic::{SensorModel, Severity, Shape};
use hwmeter_hw::{Root, cpu};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;

/// Random spans per cell of the coverage table.
const SPANS: u32 = 4000;

/// Benches whose output goes in as it is, with what others claim of the same.
const BENCHES: [(&str, &str, &str); 11] = [
    (
        "Cost of a span",
        "spans",
        "joule-profiler states 11 µs per phase, for phases above 1 ms.",
    ),
    (
        "Cost of sampling",
        "meter_cost",
        "A bare loop sleeps to the same moments and reads the same files. Alumet states \"up to 10,000 Hz\" and no cost; \
         energymon 100 Hz at \"< 1 % CPU\" on an AGX Xavier; existing tools at 1 kHz slow a workload by 0.25 to 46.75 % \
         (arXiv 2604.26815). Late ticks depend on what else the machine does: the bare loop beside shows it.",
    ),
    (
        "Cost of a sweep",
        "sampling",
        "Six `pread`s on kept-open descriptors, and the sensor that makes three rails of them.",
    ),
    (
        "Traces",
        "trace",
        "Alumet's CSV output allocates per row (its issue 297).",
    ),
    (
        "A report",
        "report",
        "Asked for: a million decisions in under 10 s. The trace of five million rows beside them is read too.",
    ),
    (
        "The link emulator with nothing to emulate",
        "link",
        "Round trips on loopback, direct and through `hwmeter link --preset ideal` in turns; the emulator runs in the same process.",
    ),
    (
        "A server on loopback, its clients on the same machine",
        "serve",
        "Asked for: 10,000 of the smallest tasks a second, p99 under 5 ms at half of that, 1 MB within 1.5 times a plain copy \
         through a socket. Everything shares two cores: the server, its clients, and the plain echo beside it.",
    ),
    (
        "WebAssembly beside native code",
        "wasm",
        "The same source for both. Asked for: a cached task starts in under 100 µs and runs within 1.5 times of native.",
    ),
    (
        "Cost of a decision and of an update",
        "learner",
        "One task at a time, gamma 0.99, on one core. The floor is one pass that reads and writes weights, means and squares.",
    ),
    (
        "Training on the MEC",
        "training",
        "From an experience to weights that know it and are ready to decide with; devices, broker and trainer on one machine. \
         Asked for: dqn 4x256 p50 5 ms, p99 20 ms, ac 2x64 p50 2 ms at Mosquitto, the embedded broker within 1.5 times; \
         1,000 devices under 60 % of a core. The paper states 250 to 350 ms for its remote update. What 1,000 devices take \
         includes that their load generator uses the same two cores.",
    ),
    (
        "The virtual testbed",
        "testbed",
        "A Raspberry Pi that trains on itself in an ideal world, on one core; rows are made and not written. Asked for: 200,000 \
         decisions a second with `linucb`, a cost per device that does not grow with their number, and a DQN that spends \
         80 % of the time in its own update.",
    ),
];

/// The page that becomes, and the one that was.
struct Page {
    text: String,
    old: String,
    /// What is to be made anew; empty: everything.
    wanted: Vec<String>,
}

impl Page {
    /// Appends a section: made anew if it is wanted, else as it stood.
    fn section(
        &mut self,
        name: &str,
        title: &str,
        make: impl FnOnce() -> io::Result<String>,
    ) -> io::Result<()> {
        let heading = format!("## {title}\n");
        if self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == name) {
            eprintln!("{name} ...");
            let body = make()?;
            let _ = write!(self.text, "{heading}\n{}\n\n", body.trim_end());
        } else if let Some(at) = self.old.find(&heading) {
            let section = &self.old[at..];
            let end = section.find("\n## ").map_or(section.len(), |end| end + 1);
            let _ = write!(self.text, "{}\n\n", section[..end].trim_end());
        }
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let (root, file) = (
        Root::default(),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("RESULTS.md"),
    );
    let (processor, cores) = (Board::identify(&root).model, cpu::core_count(&root));
    let mut page = Page {
        text: format!(
            "# Results\n\nWritten by `cargo run --release -p hwmeter-bench --bin results`; not edited by hand.\n\n\
             Machine: {processor}, {cores} cores.\n\n"
        ),
        old: std::fs::read_to_string(&file).unwrap_or_default(),
        wanted: std::env::args().skip(1).collect(),
    };
    page.section("coverage", "Is the stated uncertainty true?", || Ok(coverage()))?;
    for (title, bench, claim) in BENCHES {
        page.section(bench, title, || {
            Ok(format!("{claim}\n\n```text\n{}```\n", output_of(bench)?))
        })?;
    }
    page.section("peers", "Updates beside PyTorch, tch and TensorFlow", || {
        peers("peers/compare", "one thread each")
    })?;
    page.section("gemm", "Matrix products beside NumPy", || {
        peers(
            "peers/gemm",
            "n = 2048, turn by turn. Asked for: our `openblas` within 3 % of NumPy's with the same library and threads, \
             `builtin` within 10 % of OpenBLAS",
        )
    })?;
    page.section("learners", "Learners", hwmeter_bench::learners::section)?;
    page.section("engines", "CPU or GPU", || Ok(hwmeter_bench::engines::section()))?;
    std::fs::write(file, page.text.trim_end().to_owned() + "\n")
}

/// The same in other frameworks, where these can be installed: the table that a script of `bench` prints.
fn peers(script: &str, how: &str) -> io::Result<String> {
    let name = script;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let output = Command::new(script).output()?;
    let table = if output.status.success() {
        String::from_utf8_lossy(&output.stdout).into_owned()
    } else {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        "Not measured: the comparison failed.\n".to_owned()
    };
    Ok(format!("`bench/{name}`, {how}.\n\n{table}"))
}

/// What a bench prints, without cargo's and Criterion's own words.
fn output_of(bench: &str) -> io::Result<String> {
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--quiet", "-p", "hwmeter-bench", "--bench", bench])
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    Ok(lines.map(|line| format!("{}\n", line.trim_end())).collect())
}

fn coverage() -> String {
    let mut page = String::from(
        "Power of known energy seen through simulated sensors, sampled by the shipped meter. Each cell: share of spans whose true energy \
         lies within the stated 95 % interval (two standard uncertainties); then the root mean square of the stated standard \
         uncertainty over that of the error (1 is perfect, more is cautious). Gain, offset, clock and phase of the sensor are \
         drawn anew within its specification for every span; spans are 0.3 to 100 sample intervals long, one in ten begins with \
         the meter itself.\n\n",
    );
    let rows = Row::all();
    table(&mut page, &rows, &Shape::ALL);
    page.push_str(
        "\nThe check has power: with a gain error three times as large as stated, the same table reads\n\n",
    );
    let broken = [SensorModel::Rapl, SensorModel::ModbusMean].map(|sensor| Row {
        severity: Severity {
            gain: 3.0,
            ..Severity::SPECIFIED
        },
        ..Row::on_time(sensor)
    });
    table(&mut page, &broken, &Shape::ALL);
    page.push_str(
        "\nThe first span of a meter, which has not seen yet how power varies (`hwmeter measure` lets it watch for ten samples \
         first); short first spans of sparse sensors fall below 93 %:\n\n",
    );
    table(&mut page, &Row::first_spans(), &Shape::ALL);
    page.push_str(
        "\nA load that repeats every 10 ms, exactly in step with a meter at 100 Hz, is what even sampling cannot see: an evenly \
         sampled INA3221 held the truth in 11 % of these spans. The meter samples at golden-ratio places within its period. \
         Lowest are the filtered chips, whose own conversions may be in step with the load:\n\n",
    );
    table(&mut page, &SensorModel::ALL.map(Row::on_time), &[Shape::InStep]);
    page
}

fn table(page: &mut String, rows: &[Row], shapes: &[Shape]) {
    page.push_str("| sensor |");
    shapes.iter().for_each(|shape| {
        let _ = write!(page, " {} |", shape.name());
    });
    page.push_str("\n|---|");
    shapes.iter().for_each(|_| page.push_str("---|"));
    page.push('\n');
    for row in rows {
        eprintln!("{} ...", row.name());
        let _ = write!(page, "| {} |", row.name());
        let cells: Vec<_> = shapes.iter().map(|&shape| row.with(shape)).collect();
        for outcome in run_all(&cells, SPANS) {
            let _ = write!(
                page,
                " {:.1} %, {:.1} |",
                100.0 * outcome.coverage,
                outcome.caution()
            );
        }
        page.push('\n');
    }
}
