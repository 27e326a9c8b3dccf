//! What is counted, in the text format of Prometheus. Labels are words of this program, never of a peer.

use libp2p_metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Why {
    /// There are as many as there may be.
    Full,
    /// The peer has as many as one may have.
    Peer,
    /// The network has as many as one may have.
    Network,
    /// Too many are being set up.
    Pending,
    /// Too many in this minute.
    Pace,
    /// The address is none to connect to.
    Address,
}

/// What came of a dial-back that a peer asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum DialBack {
    /// The peer was told what came of it.
    Answered,
    /// The peer broke off.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: DialBack,
}

/// The counters and gauges of this program; copies count together.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    refused: Family<Refusal, Counter>,
    dials_refused: Family<Refusal, Counter>,
    dial_backs: Family<Outcome, Counter>,
    /// Connections that there are.
    pub(crate) connections: Gauge,
    /// Peers that have any.
    pub(crate) peers: Gauge,
    /// Peers that the table holds.
    pub(crate) table: Gauge,
    /// Peers with a reservation at the relay.
    pub(crate) reservations: Gauge,
    /// Circuits over the relay.
    pub(crate) circuits: Gauge,
    /// Memory of this process.
    pub(crate) resident: Gauge,
}

impl Counts {
    pub(crate) fn refuse(&self, why: Why) {
        self.refused.get_or_create(&Refusal { why }).inc();
    }

    pub(crate) fn refuse_dial(&self, why: Why) {
        self.dials_refused.get_or_create(&Refusal { why }).inc();
    }

    pub(crate) fn dialled_back(&self, outcome: DialBack) {
        self.dial_backs.get_or_create(&Outcome { outcome }).inc();
    }

    /// All of them under their names, and libp2p's own.
    pub(crate) fn registry(&self) -> (Registry, Metrics) {
        let mut registry = Registry::default();
        let libp2p = Metrics::new(&mut registry);
        let own = registry.sub_registry_with_prefix("cargomail_bootstrap");
        own.register("connections", "Connections", self.connections.clone());
        own.register("peers", "Connected peers", self.peers.clone());
        own.register("table_peers", "Peers in the table", self.table.clone());
        own.register(
            "relay_reservations",
            "Peers with a reservation",
            self.reservations.clone(),
        );
        own.register("relay_circuits", "Circuits", self.circuits.clone());
        own.register_with_unit(
            "resident",
            "Memory of the process",
            Unit::Bytes,
            self.resident.clone(),
        );
        own.register(
            "connections_refused",
            "Connections refused at the door",
            self.refused.clone(),
        );
        own.register("dials_refused", "Dials not made", self.dials_refused.clone());
        own.register(
            "dial_backs",
            "Dial-backs that peers asked for",
            self.dial_backs.clone(),
        );
        (registry, libp2p)
    }
}
