//! What is counted, for Prometheus. One recorder a process, whoever asks for it first.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
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

/// A request was answered. Its route is a template, so that there are no more series than routes.
pub(super) fn answered(route: &str, status: StatusCode, took: Duration) {
    let route = route.to_owned();
    metrics::counter!("credence_http_requests_total", "route" => route.clone(), "status" => status.as_str().to_owned()).increment(1);
    metrics::histogram!("credence_http_request_duration_seconds", "route" => route).record(took);
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
