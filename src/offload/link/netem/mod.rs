//! The kernel's own emulator, netem, for what a TCP proxy cannot do: packets lost, corrupted, sent twice, out of order.
//!
//! It shapes what *leaves* an interface. `tc`'s tables make its delays: pareto's is cut off after four deviations, which
//! leaves 0.82 of the deviation asked for.
//! It is put in the place of the interface's default queue by `tc` of iproute2, and
//! the kernel brings that queue back by itself once netem is deleted. An interface that somebody has given a queue of
//! its own is left alone: that one could not be put back exactly.

mod error;
mod tc;

pub use error::NetemError;

use super::conditions::{Conditions, FASTEST_BPS, SLOWEST_BPS};
use hwmeter_hw::Root;
use tc::{Qdisc, Tc};

/// Our queue's handle, "hw" in hexadecimal: by it we know that it is ours.
const HANDLE: &str = "6877:";

/// What happens to packets besides delay and loss, each the share of the packets that it happens to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effects {
    /// One bit is flipped.
    pub corrupt: f64,
    /// It is sent twice.
    pub duplicate: f64,
    /// It is sent at once and so overtakes those before it.
    pub reorder: f64,
}

/// An interface slowed down until this is dropped.
#[derive(Debug)]
pub struct Netem {
    tc: Tc,
    interface: String,
    before: Vec<Qdisc>,
    is_active: bool,
}

impl Netem {
    /// Slows down what leaves `interface`. Without `force`, neither `lo` nor the interface of a default route, which
    /// whoever asks may be connected by.
    pub fn start(
        interface: &str,
        conditions: &Conditions,
        effects: &Effects,
        force: bool,
        root: &Root,
    ) -> Result<Self, NetemError> {
        let wish = wish(conditions, effects)?;
        if !force {
            spare_lifelines(interface, root)?;
        }
        let tc = Tc::find()?;
        let before = tc.queues(interface)?;
        if let Some(foreign) = before.iter().find(|qdisc| !qdisc.is_default()) {
            return Err(NetemError::Occupied {
                interface: interface.to_owned(),
                kind: foreign.kind.clone(),
                handle: foreign.handle.clone(),
            });
        }
        // `add` and not `replace`: where somebody else was faster, it fails.
        let mut arguments = vec![
            "qdisc", "add", "dev", interface, "root", "handle", HANDLE, "netem",
        ];
        arguments.extend(wish.iter().map(String::as_str));
        tc.run(interface, conditions.jitter_shape.name(), &arguments)?;
        Ok(Self {
            tc,
            interface: interface.to_owned(),
            before,
            is_active: true,
        })
    }

    /// What undoes it if this process cannot.
    pub fn undo_command(&self) -> String {
        format!("tc qdisc del dev {} root", self.interface)
    }

    /// Puts back what was there, and makes sure of it.
    pub fn stop(mut self) -> Result<(), NetemError> {
        self.restore()
    }

    fn restore(&mut self) -> Result<(), NetemError> {
        self.is_active = false;
        let not_restored = |why: String| NetemError::NotRestored {
            interface: self.interface.clone(),
            why,
        };
        let now = match self.tc.queues(&self.interface) {
            Ok(now) => now,
            // It has gone and taken its queue with it.
            Err(NetemError::NoInterface(_)) => return Ok(()),
            Err(error) => return Err(not_restored(error.to_string())),
        };
        // Somebody else may have deleted ours, and put their own there.
        if !now.iter().any(|qdisc| qdisc.handle == HANDLE) {
            tracing::warn!(
                "the queue of {} was changed by somebody else meanwhile",
                self.interface
            );
            return Ok(());
        }
        let arguments = ["qdisc", "del", "dev", &self.interface, "root"];
        self.tc
            .run(&self.interface, "", &arguments)
            .map_err(|error| not_restored(error.to_string()))?;
        let now = self.tc.queues(&self.interface)?;
        if now == self.before {
            return Ok(());
        }
        let names = |qdiscs: &[Qdisc]| {
            qdiscs
                .iter()
                .map(|q| q.kind.clone())
                .collect::<Vec<_>>()
                .join(", ")
        };
        Err(not_restored(format!(
            "its queue was {} and is {} now",
            names(&self.before),
            names(&now)
        )))
    }
}

impl Drop for Netem {
    fn drop(&mut self) {
        if self.is_active
            && let Err(error) = self.restore()
        {
            tracing::error!("{error}");
        }
    }
}

/// The arguments of netem.
fn wish(conditions: &Conditions, effects: &Effects) -> Result<Vec<String>, NetemError> {
    let Conditions {
        latency_s,
        jitter_s,
        jitter_shape,
        rate_bps,
        loss,
        loss_burst,
    } = *conditions;
    if effects.reorder > 0.0 && latency_s == 0.0 {
        return Err(NetemError::Wish(
            "--reorder needs --latency: a packet overtakes others by not being delayed",
        ));
    }
    let micros = |s: f64| format!("{:.3}us", 1e6 * s);
    let percent = |share: f64| format!("{:.6}%", 100.0 * share);
    let mut wish = vec!["limit".to_owned(), limit(conditions).to_string()];
    let mut add = |words: &[String]| wish.extend_from_slice(words);
    if latency_s > 0.0 {
        add(&["delay".into(), micros(latency_s)]);
    }
    if jitter_s > 0.0 {
        add(&[
            micros(jitter_s),
            "distribution".into(),
            jitter_shape.name().into(),
        ]);
    }
    if loss > 0.0 && loss_burst > 1.0 {
        let (enter, leave) = conditions.gilbert();
        add(&["loss".into(), "gemodel".into(), percent(enter), percent(leave)]);
    } else if loss > 0.0 {
        add(&["loss".into(), "random".into(), percent(loss)]);
    }
    for (name, share) in [
        ("corrupt", effects.corrupt),
        ("duplicate", effects.duplicate),
        ("reorder", effects.reorder),
    ] {
        if share > 0.0 {
            add(&[name.into(), percent(share)]);
        }
    }
    if rate_bps < FASTEST_BPS {
        add(&["rate".into(), format!("{:.0}bit", rate_bps.max(SLOWEST_BPS))]);
    }
    if wish.len() == 2 {
        return Err(NetemError::Wish(
            "nothing to do: give at least one of --latency, --rate, --loss, --corrupt, --duplicate, --preset",
        ));
    }
    Ok(wish)
}

/// Packets that wait or are under way: those of the delay and of 100 ms more. Of netem's own 1000, a fast link would lose.
fn limit(conditions: &Conditions) -> u64 {
    const PACKET_BITS: f64 = 12_000.0;
    const FASTEST_ASSUMED_BPS: f64 = 1e10;
    let rate_bps = conditions.rate_bps.min(FASTEST_ASSUMED_BPS);
    let held_s = conditions.latency_s + 4.0 * conditions.jitter_s + 0.1;
    (rate_bps * held_s / PACKET_BITS).clamp(1000.0, 100_000.0) as u64
}

/// An error if `interface` is `lo` or has a default route.
fn spare_lifelines(interface: &str, root: &Root) -> Result<(), NetemError> {
    if interface == "lo" {
        let why = "lo carries what programs of this machine say to each other, hwmeter's own included";
        return Err(NetemError::Lifeline(why.to_owned()));
    }
    // What cannot be read has no routes: a machine without IPv6, say.
    let v4 = root.read_text("/proc/net/route").unwrap_or_default();
    let v6 = root.read_text("/proc/net/ipv6_route").unwrap_or_default();
    if default_interfaces(&v4, &v6).any(|name| name == interface) {
        let why = format!("{interface} has a default route, and this machine may be reached by it");
        return Err(NetemError::Lifeline(why));
    }
    Ok(())
}

/// The interfaces of default routes, from `/proc/net/route` and `/proc/net/ipv6_route`.
fn default_interfaces<'a>(v4: &'a str, v6: &'a str) -> impl Iterator<Item = &'a str> {
    let v4 = v4.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        is_default.then_some(*fields.first()?)
    });
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = fields.first()?.bytes().all(|b| b == b'0') && fields.get(1) == Some(&"00");
        is_default.then_some(*fields.get(9)?)
    });
    v4.chain(v6)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
