//! What the rails of known boards feed, and which of them add up to the board.
//!
//! Sources: NVIDIA device trees and driver documentation; the maps are listed board by board in
//! [`total_rails`] and [`role_of`].

use crate::board::BoardKind;
use crate::sensor::{Rail, Role};

/// Rails that carry a whole module's supply. At most one of them exists on a board.
const TOTALS: [&str; 3] = ["POM_5V_IN", "VDD_IN", "VIN"];

/// What a rail feeds, from the name NVIDIA's device trees and `tegrastats` give it.
pub fn role_of(name: &str) -> Role {
    let upper = name.to_ascii_uppercase();
    match upper.as_str() {
        name if TOTALS.contains(&name) || name == "TOTAL" => Role::Total,
        "VDD_CPU_GPU_CV" | "VDD_CPU_CV" | "VDD_CPU_SOC_MSS" => Role::Cpu,
        "VDD_GPU_SOC" => Role::Gpu,
        "VDDRQ" | "VDDQ_VDD2_1V8AO" => Role::Memory,
        "VIN_SYS_5V0" | "SYS5V" | "VDD_MUX" | "VDD_4V0_WIFI" => Role::Io,
        name if name.contains("CPU") => Role::Cpu,
        name if name.contains("GPU") => Role::Gpu,
        name if name.contains("DDR") || name.contains("DRAM") => Role::Memory,
        name if name.contains("SOC") || name == "CV" => Role::Soc,
        name if name.contains("SYS_5V") || name.contains("_IO") || name.contains("3V3_SYS") => Role::Io,
        _ => Role::Other,
    }
}

/// Which rails add up to the board, as indices: never a sum that counts a part twice.
///
/// - Nano, TX1, TX2, Xavier NX, Orin NX, Orin Nano, Thor: the module's input rail alone.
/// - AGX Orin: `VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0`. Whether `VDDQ_VDD2_1V8AO` hangs below `VIN_SYS_5V0` is
///   stated nowhere, so it is not added.
/// - AGX Xavier: all six.
/// - anything else: all rails.
pub fn total_rails(board: BoardKind, rails: &[Rail]) -> Vec<usize> {
    let position = |wanted: &str| {
        rails
            .iter()
            .position(|rail| rail.name.eq_ignore_ascii_case(wanted))
    };
    if let Some(total) = TOTALS.iter().find_map(|name| position(name)) {
        return vec![total];
    }
    let agx_orin = ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"];
    let found: Vec<usize> = agx_orin.iter().filter_map(|name| position(name)).collect();
    if board == BoardKind::JetsonAgxOrin && !found.is_empty() || found.len() == agx_orin.len() {
        return found;
    }
    (0..rails.len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total_of(board: BoardKind, names: &[&str]) -> Vec<usize> {
        let rails: Vec<Rail> = names.iter().map(|n| Rail::new(*n, role_of(n))).collect();
        total_rails(board, &rails)
    }

    #[test]
    fn each_board_has_its_own_total() {
        use BoardKind::*;
        assert_eq!(
            total_of(JetsonNano, &["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"]),
            [0]
        );
        assert_eq!(
            total_of(
                JetsonAgxOrin,
                &["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]
            ),
            [0, 1, 2]
        );
        assert_eq!(
            total_of(JetsonThor, &["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VIN"]),
            [3]
        );
        assert_eq!(
            total_of(JetsonAgxXavier, &["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]),
            [0, 1, 2, 3, 4, 5]
        );
    }

    #[test]
    fn roles_follow_the_names() {
        for (name, role) in [
            ("POM_5V_IN", Role::Total),
            ("POM_5V_CPU", Role::Cpu),
            ("POM_5V_GPU", Role::Gpu),
            ("VDD_GPU_SOC", Role::Gpu),
            ("VDD_SOC", Role::Soc),
            ("VIN_SYS_5V0", Role::Io),
            ("VDD_SYS_DDR", Role::Memory),
            ("ch1", Role::Other),
        ] {
            assert_eq!(role_of(name), role, "{name}");
        }
    }
}
