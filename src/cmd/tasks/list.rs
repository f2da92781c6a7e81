//! `hwmeter tasks list`: the kernels.

use crate::cli::ListArgs;
use crate::ui::{self, table};
use hwmeter::task::CostModel;
use hwmeter_hw::Root;
use hwmeter_hw::clock_rate::clock_hz;
use serde_json::{Value, json};

/// Measures a round of every kernel and prints them all.
pub fn run(args: &ListArgs, root: &Root) -> anyhow::Result<()> {
    let clock = clock_hz(root);
    let cost = CostModel::calibrate(clock.hz);
    if args.json {
        let kernels: Vec<Value> = (cost.rounds().iter())
            .map(|round| {
                json!({
                    "kernel": round.kernel,
                    "about": round.kernel.about(),
                    "source": round.kernel.source(),
                    "cycles_per_round": round.cycles,
                    "seconds_per_round": round.cycles / clock.hz,
                    "reference_cycles": round.kernel.reference_cycles(),
                })
            })
            .collect();
        ui::outln!("{:#}", json!({ "clock_rate": clock, "kernels": kernels }));
        return Ok(());
    }
    let mut text = table(&["KERNEL", "A ROUND HERE", "CYCLES", "REFERENCE", "WHAT", "SOURCE"]);
    for round in cost.rounds() {
        text.add_row([
            round.kernel.name().to_owned(),
            ui::seconds(round.cycles / clock.hz),
            format!("{:.0}", round.cycles),
            round.kernel.reference_cycles().to_string(),
            round.kernel.about().to_owned(),
            round.kernel.source().to_owned(),
        ]);
    }
    ui::outln!("{}", text.trim_fmt());
    Ok(())
}
