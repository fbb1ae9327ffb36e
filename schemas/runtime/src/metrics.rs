//! The registry of this process's metrics, and their text form for Prometheus. Labels are bounded: never ids or prompts, and
//! no name that only a caller knows.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};
use std::sync::{Arc, Mutex, PoisonError};

/// All metrics of this process.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::default())))
    }
}

/// Upper ends of the buckets for times that a person or a provider causes, in seconds: those that OpenTelemetry's conventions
/// advise for `gen_ai.client.operation.duration`, with one below and two above for models that think.
pub const SECONDS: [f64; 17] =
    [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 600.0];

/// What a model is called in a label that the catalogue and the configuration do not know.
pub const OTHER: &str = "other";

impl Metrics {
    /// Adds a metric with `penstock_` in front of its name, and gives it back. Counters get `_total` behind it by
    /// themselves.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.register_as(&format!("penstock_{name}"), help, metric)
    }

    /// The same with the name as it is, for those of OpenTelemetry's conventions.
    pub fn register_as<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, metric.clone());
        metric
    }

    /// All metrics as Prometheus (OpenMetrics) text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).expect("writing to a String cannot fail");
        text
    }
}
