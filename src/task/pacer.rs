//! Stand-in until the tasks are merged.
/// Share of the machine's speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(f64);
impl Speed {
    /// Full speed.
    pub const FULL: Self = Self(1.0);
    /// A speed of more than 0 to 1.
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share <= 1.0).then_some(Self(share))
    }
}
