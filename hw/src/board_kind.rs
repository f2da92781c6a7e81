//! The kinds of board, and their names.

use serde::{Serialize, Serializer};

/// The kinds of board that differ in sensors, rails or models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it
pub enum BoardKind {
    RaspberryPi1,
    RaspberryPi2,
    RaspberryPi3,
    RaspberryPi4,
    RaspberryPi400,
    RaspberryPi5,
    RaspberryPiZero,
    RaspberryPiZero2,
    JetsonTx1,
    JetsonTx2,
    JetsonTx2Nx,
    JetsonNano,
    JetsonXavierNx,
    JetsonAgxXavier,
    JetsonOrinNano,
    JetsonOrinNx,
    JetsonAgxOrin,
    JetsonThor,
    AsusTinkerBoard,
    GenericX86,
    GenericArm,
    Generic,
}

impl BoardKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::RaspberryPi1,
        Self::RaspberryPi2,
        Self::RaspberryPi3,
        Self::RaspberryPi4,
        Self::RaspberryPi400,
        Self::RaspberryPi5,
        Self::RaspberryPiZero,
        Self::RaspberryPiZero2,
        Self::JetsonTx1,
        Self::JetsonTx2,
        Self::JetsonTx2Nx,
        Self::JetsonNano,
        Self::JetsonXavierNx,
        Self::JetsonAgxXavier,
        Self::JetsonOrinNano,
        Self::JetsonOrinNx,
        Self::JetsonAgxOrin,
        Self::JetsonThor,
        Self::AsusTinkerBoard,
        Self::GenericX86,
        Self::GenericArm,
        Self::Generic,
    ];

    /// The name used in `probe --json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RaspberryPi1 => "raspberry-pi-1",
            Self::RaspberryPi2 => "raspberry-pi-2",
            Self::RaspberryPi3 => "raspberry-pi-3",
            Self::RaspberryPi4 => "raspberry-pi-4",
            Self::RaspberryPi400 => "raspberry-pi-400",
            Self::RaspberryPi5 => "raspberry-pi-5",
            Self::RaspberryPiZero => "raspberry-pi-zero",
            Self::RaspberryPiZero2 => "raspberry-pi-zero-2",
            Self::JetsonTx1 => "jetson-tx1",
            Self::JetsonTx2 => "jetson-tx2",
            Self::JetsonTx2Nx => "jetson-tx2-nx",
            Self::JetsonNano => "jetson-nano",
            Self::JetsonXavierNx => "jetson-xavier-nx",
            Self::JetsonAgxXavier => "jetson-agx-xavier",
            Self::JetsonOrinNano => "jetson-orin-nano",
            Self::JetsonOrinNx => "jetson-orin-nx",
            Self::JetsonAgxOrin => "jetson-agx-orin",
            Self::JetsonThor => "jetson-thor",
            Self::AsusTinkerBoard => "asus-tinker-board",
            Self::GenericX86 => "generic-x86",
            Self::GenericArm => "generic-arm",
            Self::Generic => "generic",
        }
    }

    /// Any NVIDIA Jetson.
    pub fn is_jetson(self) -> bool {
        self.name().starts_with("jetson")
    }

    /// Any Raspberry Pi.
    pub fn is_raspberry_pi(self) -> bool {
        self.name().starts_with("raspberry-pi")
    }
}

impl Serialize for BoardKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
