//! What known cores do in a cycle.

use super::{Fields, field};
use std::collections::BTreeSet;

/// What one core does in a cycle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Core {
    pub name: String,
    /// Operations in 32 bits.
    pub single: u32,
    /// The same in 64 bits.
    pub double: u32,
}

/// The core that `/proc/cpuinfo` describes so; `None` for one that is not known here.
pub(super) fn core(fields: &Fields) -> Option<Core> {
    match field(fields, "CPU part") {
        Some(part) => arm(hex(field(fields, "CPU implementer")?)?, hex(part)?),
        None => x86(fields),
    }
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// Cores of Arm (implementer 0x41) by MIDR part: name, operations per cycle in 32 and in 64 bits.
///
/// One 128-bit FMLA per cycle makes 8 and 4, two 16 and 8, four 32 and 16. The vectors of the V1 are 256 bits wide.
const ARM_CORES: [(u32, &str, u32, u32); 18] = [
    (0xd05, "Cortex-A55", 8, 4),
    (0xd07, "Cortex-A57", 8, 4),
    (0xd08, "Cortex-A72", 8, 4),
    (0xd0b, "Cortex-A76", 16, 8),
    (0xd0e, "Cortex-A76AE", 16, 8),
    (0xd0d, "Cortex-A77", 16, 8),
    (0xd41, "Cortex-A78", 16, 8),
    (0xd42, "Cortex-A78AE", 16, 8),
    (0xd4b, "Cortex-A78C", 16, 8),
    (0xd47, "Cortex-A710", 16, 8),
    (0xd44, "Cortex-X1", 32, 16),
    (0xd4c, "Cortex-X1C", 32, 16),
    (0xd48, "Cortex-X2", 32, 16),
    (0xd0c, "Neoverse-N1", 16, 8),
    (0xd49, "Neoverse-N2", 16, 8),
    (0xd40, "Neoverse-V1", 32, 16),
    (0xd4f, "Neoverse-V2", 32, 16),
    (0xd83, "Neoverse-V3AE", 32, 16),
];

fn arm(implementer: u32, part: u32) -> Option<Core> {
    const ARM: u32 = 0x41;
    let known = ARM_CORES.iter().filter(|_| implementer == ARM);
    let (_, name, single, double) = known.into_iter().find(|core| core.0 == part)?;
    Some(Core {
        name: (*name).to_owned(),
        single: *single,
        double: *double,
    })
}

/// Bits of FMA that a core issues per cycle: 2 operations for each 32 or 64 of them.
fn x86(fields: &Fields) -> Option<Core> {
    let number = |name| field(fields, name)?.parse::<u32>().ok();
    let (family, model) = (number("cpu family")?, number("model")?);
    let flags: BTreeSet<&str> = field(fields, "flags")?.split_whitespace().collect();
    if !flags.contains("fma") {
        return None;
    }
    let has_512 = flags.contains("avx512f");
    let bits = match field(fields, "vendor_id")? {
        "AuthenticAMD" => amd_bits(family, model, has_512)?,
        "GenuineIntel" if family == 6 => intel_bits(model, has_512)?,
        _ => return None,
    };
    let width = if has_512 { "AVX-512" } else { "AVX2" };
    let vendor = field(fields, "vendor_id")?;
    let vendor = if vendor == "AuthenticAMD" { "AMD" } else { "Intel" };
    Some(Core {
        name: format!("{vendor} family {family} model {model} with {width}"),
        single: bits / 32 * 2,
        double: bits / 64 * 2,
    })
}

/// Zen to Zen 5; what came before had its pipes in pairs of cores.
fn amd_bits(family: u32, model: u32, has_512: bool) -> Option<u32> {
    match family {
        // Zen and Zen+ have 128-bit pipes, Zen 2 begins at model 0x30.
        0x17 if model < 0x30 => Some(2 * 128),
        // Zen 3, and Zen 4, which does 512 bits in two cycles.
        0x17 | 0x19 => Some(2 * 256),
        // Zen 5: halves of 512-bit pipes in the mobile parts (Strix Point, Krackan), whole ones in servers and desktops.
        0x1a if matches!(model, 0x20..=0x2f | 0x60..=0x6f) || !has_512 => Some(2 * 256),
        0x1a if matches!(model, 0x00..=0x1f | 0x40..=0x4f) => Some(2 * 512),
        _ => None,
    }
}

/// Haswell to Sapphire Rapids, by model of family 6.
fn intel_bits(model: u32, has_512: bool) -> Option<u32> {
    // Server cores whose second 512-bit pipe is there in all but a few of the smallest.
    const TWO_512: [u32; 6] = [0x55, 0x6a, 0x6c, 0x8f, 0xcf, 0xad];
    // Client cores with AVX-512: port 5 has no FMA.
    const ONE_512: [u32; 6] = [0x66, 0x7d, 0x7e, 0x8c, 0x8d, 0xa7];
    // Haswell, Broadwell, Skylake and its kin, and the client cores since that came without AVX-512.
    const TWO_256: [u32; 24] = [
        0x3c, 0x3f, 0x45, 0x46, 0x3d, 0x47, 0x4f, 0x56, 0x4e, 0x5e, 0x8e, 0x9e, 0xa5, 0xa6, 0x7d, 0x7e, 0x8c,
        0x8d, 0xa7, 0x55, 0x6a, 0x6c, 0x8f, 0xcf,
    ];
    match model {
        model if has_512 && TWO_512.contains(&model) => Some(2 * 512),
        model if has_512 && ONE_512.contains(&model) => Some(512),
        model if TWO_256.contains(&model) => Some(2 * 256),
        // Gracemont alone (N100 and its kin): two 128-bit pipes.
        0xbe => Some(2 * 128),
        // Alder Lake and later mix two kinds of cores in one model: not known from here.
        _ => None,
    }
}
