//! How long the report of a long run takes, and how much memory.
//!
//! The goal: a million decisions, with a trace of five million rows, in under 10 s. `--test` takes a hundredth.

use hwmeter::report::page::page;
use hwmeter::report::{Report, Run};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

/// The columns that a run has.
const HEADER: &str = "task,t_s,kernel,cycles,payload_bytes,deadline_s,device_free,mec_free,throughput_bps,placement,explored,\
    decide_s,transmit_s,execute_s,latency_s,success,reward,energy_j,energy_u_j,decide_j,execute_j,train_j,train_s,training_site,\
    train_send_s,train_server_s,train_receive_s,train_apply_s,coverage,kind,sensor,error";

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let tasks = if is_test { 10_000 } else { 1_000_000 };
    let dir = tempfile::tempdir().expect("a temporary directory");
    write_run(dir.path(), tasks).expect("space on the disk");
    let begin = Instant::now();
    let report = Report::of([Run::read(dir.path())]).expect("a run");
    let read = begin.elapsed();
    let (figures, left_out) = report.figures().expect("figures");
    let html = page(&report, &figures, &left_out, "now");
    let took = begin.elapsed();
    println!(
        "report: {tasks} decisions in {:.2} s (goal: 10 s), {:.2} s of it reading; {} figures, page of {} kB, {} in memory",
        took.as_secs_f64(),
        read.as_secs_f64(),
        figures.len(),
        html.len() / 1000,
        most_memory().unwrap_or_else(|| "unknown".to_owned()),
    );
}

/// Five samples per task, numbers with all their digits.
fn write_run(dir: &Path, tasks: u64) -> std::io::Result<()> {
    let mut decisions = BufWriter::new(File::create(dir.join("decisions.csv"))?);
    let mut energy = BufWriter::new(File::create(dir.join("energy.csv"))?);
    writeln!(decisions, "{HEADER}")?;
    writeln!(energy, "t_s,sensor,rail,power_w,energy_j")?;
    for i in 0..tasks {
        let place = ["local", "mec", "cloud"][(i * 7919 % 3) as usize];
        let share = (i * 7919 % 977) as f64 / 977.0;
        let (joules, latency_s) = (0.5 + share, 1.9 * share);
        writeln!(
            decisions,
            "{i},{i}.25,bitonic-sort,632982993,655111,1.923843,0.9677419354770569,0.5500000000121266,220627248.3248852,{place},\
             false,0.00003364,,{share},{latency_s},{},{},{joules},{},0.0001711854136173807,{joules},0.005840702135907705,\
             0.000814505,local,,,,,1.0,measured,ina3221-hwmon,",
            latency_s < 1.8,
            -joules,
            0.02 * joules,
        )?;
        for step in 0..5 {
            let t = i as f64 + f64::from(step) / 5.0;
            writeln!(energy, "{t},ina3221-hwmon,VDD_IN,{},{}", 4.0 + share, 4.0 * t)?;
        }
    }
    decisions.flush()?;
    energy.flush()
}

/// The most memory that this process has had.
fn most_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
