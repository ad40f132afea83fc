//! What is counted, for Prometheus. One recorder a process, whoever asks for it first.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use utoipa_axum::routes;

use super::{Part, Route};

/// Seconds; fine where verifying and issuing are expected to be.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts counting, unless this process counts already: several nodes in one process, as in tests, share the counters.
#[expect(clippy::expect_used, reason = "the buckets stand above and are some")]
pub fn install() {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS);
    let recorder = builder.expect("there are buckets").build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_ok() {
        // Nobody else sets it: only the first recorder is taken.
        let _ = RECORDER.set(handle);
    }
}

/// Folds what histograms hold; to be called every few seconds.
pub fn upkeep() {
    if let Some(handle) = RECORDER.get() {
        handle.run_upkeep();
    }
}

/// The answers to one operation, counted. What counts is looked up once, which costs more than the counting.
pub(super) struct Answers {
    /// A method and a path's template, both of them ours: there are no more series than operations.
    operation: Arc<str>,
    durations: OnceLock<Histogram>,
    by_status: RwLock<Vec<(StatusCode, Counter)>>,
}

impl Answers {
    /// Nothing was answered yet: there is no series of what never is.
    pub(super) fn of(operation: Arc<str>) -> Answers {
        Answers { operation, durations: OnceLock::new(), by_status: RwLock::default() }
    }

    /// One more was answered.
    pub(super) fn count(&self, status: StatusCode, took: Duration) {
        self.durations.get_or_init(|| self.histogram()).record(took);
        let by_status = self.by_status.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = by_status.iter().find(|(each, _)| *each == status) {
            counter.increment(1);
            return;
        }
        drop(by_status);
        // Of two who come here at once both get the same counter.
        let counter = self.counter(status);
        counter.increment(1);
        self.by_status.write().unwrap_or_else(PoisonError::into_inner).push((status, counter));
    }

    fn histogram(&self) -> Histogram {
        metrics::histogram!("credence_http_request_duration_seconds", "route" => self.operation.to_string())
    }

    fn counter(&self, status: StatusCode) -> Counter {
        metrics::counter!("credence_http_requests_total", "route" => self.operation.to_string(), "status" => status.as_str().to_owned())
    }
}

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(Part::Everywhere, routes!(show))]
}

/// Counters and histograms in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "Operations", operation_id = "metrics",
    responses((status = 200, description = "Counters and histograms", body = String, content_type = "text/plain")))]
async fn show() -> Response {
    let text = RECORDER.get().map(PrometheusHandle::render).unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
