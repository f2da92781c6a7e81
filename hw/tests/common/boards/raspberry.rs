//! Raspberry Pis and the one board like them that has a model.

use super::{Tree, device_tree, machine};

fn raspberry_pi(model: &str, compatible: &[&str], revision: &str) -> Tree {
    let cpuinfo =
        format!("processor\t: 0\nCPU implementer\t: 0x41\nRevision\t: {revision}\nModel\t\t: {model}\n");
    device_tree(machine(&cpuinfo), model, compatible)
}

/// One of the 32-bit boards: their kernels name the core in `/proc/cpuinfo`.
fn raspberry_pi_32(model: &str, compatible: &[&str], revision: &str, core: &str) -> Tree {
    let cpuinfo =
        format!("processor\t: 0\nmodel name\t: {core}\nHardware\t: BCM2835\nRevision\t: {revision}\n");
    device_tree(machine(&cpuinfo), model, compatible)
}

const ARMV6: &str = "ARMv6-compatible processor rev 7 (v6l)";

pub fn pi1() -> Tree {
    raspberry_pi_32(
        "Raspberry Pi Model B Plus Rev 1.2",
        &["raspberrypi,model-b-plus", "brcm,bcm2835"],
        "900032",
        ARMV6,
    )
}

pub fn pi_zero() -> Tree {
    raspberry_pi_32(
        "Raspberry Pi Zero W Rev 1.1",
        &["raspberrypi,model-zero-w", "brcm,bcm2835"],
        "9000c1",
        ARMV6,
    )
}

pub fn pi2() -> Tree {
    raspberry_pi_32(
        "Raspberry Pi 2 Model B Rev 1.1",
        &["raspberrypi,2-model-b", "brcm,bcm2836"],
        "a01041",
        "ARMv7 Processor rev 5 (v7l)",
    )
}

pub fn pi_zero_2() -> Tree {
    raspberry_pi(
        "Raspberry Pi Zero 2 W Rev 1.0",
        &["raspberrypi,model-zero-2-w", "brcm,bcm2837"],
        "902120",
    )
}

pub fn pi400() -> Tree {
    raspberry_pi(
        "Raspberry Pi 400 Rev 1.0",
        &["raspberrypi,400", "brcm,bcm2711"],
        "c03130",
    )
}

pub fn tinker_board() -> Tree {
    let cpuinfo =
        "processor\t: 0\nmodel name\t: ARMv7 Processor rev 1 (v7l)\nHardware\t: Rockchip (Device Tree)\n";
    device_tree(
        machine(cpuinfo),
        "Rockchip RK3288 Asus Tinker Board S",
        &["asus,rk3288-tinker-s", "rockchip,rk3288"],
    )
}

pub fn pi3() -> Tree {
    raspberry_pi(
        "Raspberry Pi 3 Model B Plus Rev 1.3",
        &["raspberrypi,3-model-b-plus", "brcm,bcm2837"],
        "a020d3",
    )
}

pub fn pi4() -> Tree {
    raspberry_pi(
        "Raspberry Pi 4 Model B Rev 1.2",
        &["raspberrypi,4-model-b", "brcm,bcm2711"],
        "c03112",
    )
}

/// Without its mailbox: a device cannot be made up in a directory.
pub fn pi5() -> Tree {
    raspberry_pi(
        "Raspberry Pi 5 Model B Rev 1.0",
        &["raspberrypi,5-model-b", "brcm,bcm2712"],
        "c04170",
    )
}
