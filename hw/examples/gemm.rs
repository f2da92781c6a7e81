//! Every engine of this machine where it matters, and the memory beside it.
//!
//! ```sh
//! cargo run --release -p hwmeter-hw --example gemm                        # the table
//! cargo run --release -p hwmeter-hw --example gemm -- openblas 2048 2     # one engine, size and number of threads, by tabs
//! ```

use hwmeter_hw::blas::bench::{Precision, time};
use hwmeter_hw::blas::plan::{Machine, plan};
use hwmeter_hw::blas::rows::{self, GemmRow, Setup};
use hwmeter_hw::blas::sizes::Bounds;
use hwmeter_hw::blas::{Gemm, Providers, all_threads, providers};
use hwmeter_hw::triad::{self, Options};
use hwmeter_hw::{Error, Result, Root, cpu};
use std::time::Duration;

const BUDGET: Duration = Duration::from_millis(500);
/// What the largest product may take, and the speed it is guessed by.
const SECONDS: f64 = 2.0;
const GFLOPS: f64 = 50.0;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => table(&providers()),
        [provider, n, threads] => one(&providers(), provider, n, threads),
        _ => Err(Error::unsupported(
            format!("{arguments:?}"),
            "give nothing, or PROVIDER N THREADS",
        )),
    }
}

/// One line for each precision: provider, engine, precision, n, threads, best and median GFLOPS.
fn one(found: &Providers, provider: &str, n: &str, threads: &str) -> Result<()> {
    let wrong = |what: &str| Error::unsupported(format!("{what:?}"), "it must be a number");
    let (n, threads) = (
        n.parse().map_err(|_| wrong(n))?,
        threads.parse().map_err(|_| wrong(threads))?,
    );
    for missing in found
        .missing
        .iter()
        .filter(|missing| missing.provider.as_str() == provider)
    {
        eprintln!("{missing}");
    }
    for engine in engines(found, provider) {
        for precision in [Precision::Sgemm, Precision::Dgemm] {
            let timing = time(engine, precision, n, threads, 4 * BUDGET)?;
            let (best, median) = (timing.best_gflops, timing.median_gflops);
            println!(
                "{provider}\t{}\t{precision}\t{n}\t{threads}\t{best:.3}\t{median:.3}",
                timing.engine
            );
        }
    }
    Ok(())
}

fn engines<'a>(found: &'a Providers, provider: &str) -> Vec<&'a dyn Gemm> {
    let engines = found.usable.iter().map(|engine| &**engine);
    engines
        .filter(|engine| engine.provider().as_str() == provider)
        .collect()
}

fn table(found: &Providers) -> Result<()> {
    let root = Root::default();
    let memory = cpu::memory(&root)?.available_bytes;
    let machine = Machine::read(&root, Bounds::new(memory, GFLOPS, SECONDS));
    println!("{:?}\n{:?}", machine.caches, machine.clusters);
    for engine in &found.usable {
        let (cases, notes) = plan(&**engine, &machine);
        println!("{}", engine.name());
        for case in &cases {
            let setup = Setup {
                root: &root,
                meter: None,
                budget: BUDGET,
            };
            print(&rows::time(&**engine, case, &machine, setup)?);
        }
        notes.iter().for_each(|note| println!("{note}"));
    }
    for missing in &found.missing {
        println!("not timed: {missing}");
    }
    let mut threads = vec![1, all_threads()];
    threads.dedup();
    for threads in threads {
        let options = Options::new(threads, &machine.caches, memory, 4 * BUDGET);
        println!("{:?}", triad::measure(&options, &machine.caches)?);
    }
    Ok(())
}

fn print(row: &GemmRow) {
    let threads = row.threads.map_or("-".to_owned(), |threads| threads.to_string());
    let fit = row.fit.map_or("-".to_owned(), |fit| fit.to_string());
    let share = row
        .peak_share
        .map_or("-".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    println!(
        "  {}  {threads:>3} threads  n {:>5} {fit:<6}  {:>8.2} GFLOPS (median {:.2}, spread {:.1} %)  of peak {share}  {:?}",
        row.op,
        row.n,
        row.gflops,
        row.gflops_median,
        100.0 * row.gflops_spread,
        row.conditions
    );
}
