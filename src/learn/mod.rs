//! Learners: act on a state, learn from a transition.

/// Where a task runs. The discriminants are the action numbers of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// On the device itself.
    Local = 0,
    /// On the MEC server at the edge.
    Mec = 1,
    /// On the cloud server.
    Cloud = 2,
}

/// What the agent observes before it decides: the paper's five values, in physical units.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// Free share of the device's CPU, 0 to 1.
    pub device_free: f64,
    /// Free share of the MEC server's CPU, 0 to 1.
    pub mec_free: f64,
    /// Throughput of the link in bits per second.
    pub throughput_bps: f64,
    /// Computing size of the task in CPU cycles.
    pub cycles: f64,
    /// Latency limit of the task in seconds.
    pub deadline_s: f64,
}
