//! Table III of arXiv 2601.03976: what its authors measured on the same boards, in GFLOPS.

use hwmeter_hw::blas::bench::Precision;
use hwmeter_hw::board::BoardKind;

/// One thread, all threads, GPU.
type Row = [Option<f64>; 3];

/// A device of the paper.
#[derive(Debug, PartialEq)]
pub struct Paper {
    /// As the paper calls it.
    pub device: &'static str,
    sgemm: Row,
    dgemm: Row,
}

const AGX_ORIN: Paper = Paper {
    device: "AGX Orin",
    sgemm: [Some(24.03), Some(108.93), Some(435.61)],
    dgemm: [Some(12.36), Some(70.19), Some(14.66)],
};
const NANO: Paper = Paper {
    device: "J1010 (Nano)",
    sgemm: [Some(9.11), Some(29.50), Some(28.09)],
    dgemm: [Some(1.60), Some(6.10), Some(6.31)],
};
const RASPBERRY_PI_4: Paper = Paper {
    device: "Raspberry Pi 4",
    sgemm: [Some(8.54), Some(20.06), None],
    dgemm: [Some(4.56), Some(12.25), None],
};

impl Paper {
    /// The paper's figures for a board of this kind, where it has one.
    pub fn on(kind: BoardKind) -> Option<&'static Self> {
        match kind {
            BoardKind::JetsonAgxOrin => Some(&AGX_ORIN),
            BoardKind::JetsonNano => Some(&NANO),
            BoardKind::RaspberryPi4 => Some(&RASPBERRY_PI_4),
            _ => None,
        }
    }

    /// One thread, all threads, GPU.
    pub fn gflops(&self, precision: Precision) -> Row {
        match precision {
            Precision::Sgemm => self.sgemm,
            Precision::Dgemm => self.dgemm,
        }
    }
}
