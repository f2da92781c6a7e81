//! One made-up tree per kind of board, with the nodes that its kernel shows.

mod jetson;
mod raspberry;

pub use jetson::*;
pub use raspberry::*;

use super::tree::Tree;

/// A machine with a load, whatever it is.
fn machine(cpuinfo: &str) -> Tree {
    Tree::new()
        .with("/proc/cpuinfo", cpuinfo)
        .with(
            "/proc/stat",
            "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0 0 0\n",
        )
        .with(
            "/proc/meminfo",
            "MemTotal: 4000000 kB\nMemFree: 1000000 kB\nMemAvailable: 2000000 kB\n",
        )
        .with("/sys/devices/system/cpu/online", "0-3\n")
}

fn device_tree(tree: Tree, model: &str, compatible: &[&str]) -> Tree {
    tree.with("/proc/device-tree/model", format!("{model}\0")).with(
        "/proc/device-tree/compatible",
        format!("{}\0", compatible.join("\0")),
    )
}

/// Some ARM server or board that nobody has told us about.
pub fn generic_arm() -> Tree {
    device_tree(
        machine("processor\t: 0\nCPU implementer\t: 0x41\n"),
        "Acme Box",
        &["acme,box", "acme,soc9"],
    )
}

/// A desktop processor with RAPL.
pub fn x86_rapl() -> Tree {
    let mut tree = plain_vm();
    for (zone, name, energy) in [
        ("intel-rapl:0", "package-0", "1000000\n"),
        ("intel-rapl:0/intel-rapl:0:0", "core", "400000\n"),
        ("intel-rapl:0/intel-rapl:0:1", "uncore", "100000\n"),
        ("intel-rapl:0/intel-rapl:0:2", "dram", "300000\n"),
        ("intel-rapl-mmio:0", "package-0", "1000000\n"),
    ] {
        tree = tree.with_all(
            &format!("/sys/class/powercap/{zone}"),
            &[
                ("name", name),
                ("energy_uj", energy),
                ("max_energy_range_uj", "262143328850\n"),
            ],
        );
    }
    tree
}

/// A virtual machine: a load and nothing that measures.
pub fn plain_vm() -> Tree {
    machine(
        "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Some CPU\nflags\t\t: fpu tsc hypervisor\n",
    )
}
