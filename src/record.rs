//! What a run writes: the one place with column order.

use crate::learn::{Cost, Placement, State, Transition};
use crate::task::{Content, Task};
use serde::{Deserialize, Serialize};

/// One row of `energy.csv`: one rail at one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EnergySample<'a> {
    /// Monotonic seconds since the run began.
    pub t_s: f64,
    /// The sensor's id.
    pub sensor: &'a str,
    /// The rail's name.
    pub rail: &'a str,
    /// Power at the sample in watts; for counters the mean since the sample before. Empty where the rail had no value.
    pub power_w: Option<f64>,
    /// Energy since the first sample in joules.
    pub energy_j: f64,
}

/// One row of `decisions.csv`: one task. Unknown cells are empty, never 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionRecord {
    /// Number of the task, from 0.
    pub task: u64,
    /// When it arrived, in monotonic seconds since the run began.
    pub t_s: f64,
    /// What it computes: a kernel that fills its cycles, or steps, such as `sha256:12 fft:3`.
    pub kernel: Content,
    /// Its computing size in CPU cycles.
    pub cycles: u64,
    /// Bytes that cross the wire if it is offloaded.
    pub payload_bytes: u64,
    /// Its latency limit in seconds.
    pub deadline_s: f64,
    /// Observed: free share of the device's CPU.
    pub device_free: f64,
    /// Observed: free share of the MEC's CPU.
    pub mec_free: Option<f64>,
    /// Observed: throughput in bits per second.
    pub throughput_bps: Option<f64>,
    /// Where it ran.
    pub placement: Placement,
    /// Whether the placement was tried rather than believed best.
    pub explored: bool,
    /// The learner's own time to decide.
    pub decide_s: f64,
    /// Sending and receiving.
    pub transmit_s: Option<f64>,
    /// The kernel's own time, here or on the server.
    pub execute_s: Option<f64>,
    /// From arrival to result (or to giving up).
    pub latency_s: f64,
    /// Whether a right result came within the deadline.
    pub success: bool,
    /// What the learner was told; empty if the energy never resolved.
    pub reward: Option<f64>,
    /// The device's energy from arrival to result.
    pub energy_j: Option<f64>,
    /// Standard uncertainty of `energy_j`.
    pub energy_u_j: Option<f64>,
    /// Of it, while deciding.
    pub decide_j: Option<f64>,
    /// Of it, while executing (or sending and waiting).
    pub execute_j: Option<f64>,
    /// Energy of the learner's update after this task, not part of `energy_j`.
    pub train_j: Option<f64>,
    /// Time of that update.
    pub train_s: Option<f64>,
    /// Where it was trained; empty if the learner learned nothing from it.
    pub training_site: Option<&'static str>,
    /// Remote training: sending the experience.
    pub train_send_s: Option<f64>,
    /// Remote training: the server's update.
    pub train_server_s: Option<f64>,
    /// Remote training: receiving the weights.
    pub train_receive_s: Option<f64>,
    /// Remote training: putting them to use.
    pub train_apply_s: Option<f64>,
    /// Share of the task's span that is backed by samples.
    pub coverage: f64,
    /// Measured, modelled or simulated.
    pub kind: &'static str,
    /// The sensor's id.
    pub sensor: String,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

impl DecisionRecord {
    /// The row of a task of which no more is known than what was observed when it came.
    pub fn begun(task: &Task, state: &State, mec_free: Option<f64>, throughput_bps: Option<f64>) -> Self {
        Self {
            task: task.id,
            t_s: 0.0,
            kernel: task.content.clone(),
            cycles: task.cycles,
            payload_bytes: task.payload_bytes,
            deadline_s: task.deadline_s,
            device_free: state.device_free,
            mec_free,
            throughput_bps,
            placement: Placement::Local,
            explored: false,
            decide_s: 0.0,
            transmit_s: None,
            execute_s: None,
            latency_s: 0.0,
            success: false,
            reward: None,
            energy_j: None,
            energy_u_j: None,
            decide_j: None,
            execute_j: None,
            train_j: None,
            train_s: None,
            training_site: None,
            train_send_s: None,
            train_server_s: None,
            train_receive_s: None,
            train_apply_s: None,
            coverage: 0.0,
            kind: "",
            sensor: String::new(),
            error: None,
        }
    }
}

/// One row of `transitions.csv`: one experience, in the order in which the learner took them. Every number is written
/// so that it is read back exactly.
///
/// The rows of a fresh run are all that its learner has learned from. A resumed run's go on where `start.safetensors`,
/// in the same folder, stands: its first `update` is above 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransitionRecord {
    /// Which update it is: 1 is a fresh learner's first.
    pub update: u64,
    /// Observed before: free share of the device's CPU.
    pub device_free: f64,
    /// Observed before: free share of the MEC's CPU.
    pub mec_free: f64,
    /// Observed before: throughput in bits per second.
    pub throughput_bps: f64,
    /// Computing size of the task in CPU cycles.
    pub cycles: f64,
    /// Its latency limit in seconds.
    pub deadline_s: f64,
    /// Where it ran.
    pub placement: Placement,
    /// What the learner was told, in joules.
    pub reward: f64,
    /// Observed next: free share of the device's CPU.
    pub next_device_free: f64,
    /// Observed next: free share of the MEC's CPU.
    pub next_mec_free: f64,
    /// Observed next: throughput in bits per second.
    pub next_throughput_bps: f64,
    /// Computing size of the next task in CPU cycles.
    pub next_cycles: f64,
    /// Its latency limit in seconds.
    pub next_deadline_s: f64,
    /// The device's energy from arrival to result in joules.
    pub energy_j: f64,
    /// Seconds from arrival to result, or to giving up.
    pub latency_s: f64,
    /// Whether the deadline was met. It stands last, so that a row cut short is no row.
    pub in_time: bool,
}

impl TransitionRecord {
    /// The row of an experience.
    pub fn of(update: u64, transition: &Transition, cost: &Cost) -> Self {
        let (state, next) = (&transition.state, &transition.next_state);
        Self {
            update,
            device_free: state.device_free,
            mec_free: state.mec_free,
            throughput_bps: state.throughput_bps,
            cycles: state.cycles,
            deadline_s: state.deadline_s,
            placement: transition.placement,
            reward: transition.reward,
            next_device_free: next.device_free,
            next_mec_free: next.mec_free,
            next_throughput_bps: next.throughput_bps,
            next_cycles: next.cycles,
            next_deadline_s: next.deadline_s,
            energy_j: cost.energy_j,
            latency_s: cost.latency_s,
            in_time: cost.in_time,
        }
    }

    /// The experience of a row.
    pub fn taken(&self) -> (Transition, Cost) {
        let state = State {
            device_free: self.device_free,
            mec_free: self.mec_free,
            throughput_bps: self.throughput_bps,
            cycles: self.cycles,
            deadline_s: self.deadline_s,
        };
        let next_state = State {
            device_free: self.next_device_free,
            mec_free: self.next_mec_free,
            throughput_bps: self.next_throughput_bps,
            cycles: self.next_cycles,
            deadline_s: self.next_deadline_s,
        };
        let transition = Transition {
            state,
            placement: self.placement,
            reward: self.reward,
            next_state,
        };
        let cost = Cost {
            energy_j: self.energy_j,
            latency_s: self.latency_s,
            in_time: self.in_time,
        };
        (transition, cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns of the design, in its order.
    const COLUMNS: &str = "task,t_s,kernel,cycles,payload_bytes,deadline_s,device_free,mec_free,throughput_bps,\
        placement,explored,decide_s,transmit_s,execute_s,latency_s,success,reward,energy_j,energy_u_j,decide_j,\
        execute_j,train_j,train_s,training_site,train_send_s,train_server_s,train_receive_s,train_apply_s,coverage,\
        kind,sensor,error";

    #[test]
    fn columns_stand_in_the_order_of_the_contract_and_unknown_cells_are_empty() {
        let record = DecisionRecord {
            task: 3,
            t_s: 1.5,
            kernel: Content::Fill(crate::task::Kernel::Sha256),
            cycles: 1000,
            payload_bytes: 10,
            deadline_s: 0.5,
            device_free: 0.9,
            mec_free: None,
            throughput_bps: None,
            placement: Placement::Mec,
            explored: false,
            decide_s: 1e-6,
            transmit_s: None,
            execute_s: None,
            latency_s: 0.5,
            success: false,
            reward: None,
            energy_j: None,
            energy_u_j: None,
            decide_j: None,
            execute_j: None,
            train_j: None,
            train_s: None,
            training_site: None,
            train_send_s: None,
            train_server_s: None,
            train_receive_s: None,
            train_apply_s: None,
            coverage: 0.0,
            kind: "measured",
            sensor: "ina3221-iio".into(),
            error: Some("the MEC is gone".into()),
        };
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.serialize(record).unwrap();
        let text = String::from_utf8(csv.into_inner().unwrap()).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(COLUMNS));
        assert_eq!(
            lines.next(),
            Some(
                "3,1.5,sha256,1000,10,0.5,0.9,,,mec,false,1e-6,,,0.5,false,,,,,,,,,,,,,0.0,measured,ina3221-iio,the MEC is gone"
            )
        );
    }
}
