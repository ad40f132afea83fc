//! The interface, described: the OpenAPI document, pages to read it, and a page for every problem.
//!
//! The document is made from the table of routes and the code's own types. `docs/openapi.json` is its committed copy.

use std::sync::{Arc, LazyLock};

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi as Document, OpenApiBuilder, PathItem};
use utoipa_axum::routes;

use super::headers::Path;
use super::problem::{self, FieldError, Kind, Problem};
use super::{Part, Route};
use crate::wire::credential::ExistingBody;

/// A failure (RFC 9457), as `application/problem+json`.
// These are the members that `Problem::body` writes.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
struct ProblemBody {
    /// `/problems/<name>`
    #[serde(rename = "type")]
    kind: String,
    /// For people.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What this one is about.
    detail: String,
    /// The request's `X-Request-Id`.
    request_id: String,
    /// With `validation-failed`: what is wrong with each field.
    errors: Option<Vec<FieldError>>,
    /// With `already-issued`: the credential that there is.
    existing: Option<ExistingBody>,
}

#[derive(OpenApi)]
#[openapi(components(schemas(ProblemBody, FieldError, ExistingBody)))]
struct Shared;

/// The OpenAPI document of everything that any role serves.
#[must_use]
pub fn document() -> Document {
    let about = InfoBuilder::new()
        .title("Credence")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("An event-sourced credential ledger. Failures are `application/problem+json`; every type of problem has a page under `/problems`."))
        .license(Some(utoipa::openapi::License::new("MIT OR Apache-2.0")))
        .build();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key")).build();
    let components = ComponentsBuilder::new().security_scheme("api_key", SecurityScheme::Http(bearer)).build();
    let mut document = OpenApiBuilder::new().info(about).components(Some(components)).build();
    document.merge(Shared::openapi());
    for route in super::table() {
        let (schemas, mut paths, _) = route.handlers;
        // A parameter that takes the rest of the path is the router's; OpenAPI has none.
        paths.paths = paths.paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
        if route.part != Part::Everywhere && route.tell.is_none() {
            paths.paths.values_mut().for_each(limited);
        }
        let mut part = OpenApiBuilder::new().paths(paths).build();
        part.components = Some(ComponentsBuilder::new().schemas_from_iter(schemas).build());
        document.merge(part);
    }
    // `merge` takes over what its argument says of itself.
    document
}

/// Says of every operation of a path that it is limited. A dialect says so itself.
fn limited(item: &mut PathItem) {
    let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
    for operation in operations.into_iter().flatten() {
        operation.responses.responses.extend(problem::responses(&[Kind::RATE_LIMITED]));
    }
}

/// The document as it is served and committed.
#[must_use]
pub fn json() -> &'static str {
    static JSON: LazyLock<String> = LazyLock::new(|| {
        // Sorted by serde_json's maps, so that the committed copy changes only where something changed.
        let value = serde_json::to_value(document()).unwrap_or_default();
        format!("{value:#}\n")
    });
    &JSON
}

pub(super) fn routes() -> Vec<Route> {
    let everywhere = [routes!(openapi), routes!(docs), routes!(docs_file), routes!(problems), routes!(problem)];
    everywhere.into_iter().map(|handlers| Route::new(Part::Everywhere, handlers)).collect()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "Documentation", responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], json()).into_response()
}

/// Pages to read this document and try it.
#[utoipa::path(get, path = "/docs", tag = "Documentation", responses((status = 303, description = "To the pages")))]
async fn docs() -> Redirect {
    Redirect::to("/docs/index.html")
}

/// A file of these pages.
#[utoipa::path(get, path = "/docs/{file}", tag = "Documentation", params(("file" = String, Path, description = "Its name")),
    responses((status = 200, description = "The file", content_type = "text/html"), (status = 404, description = "not-found", body = inline(ProblemBody))))]
async fn docs_file(Path(file): Path<String>) -> Result<Response, Problem> {
    static CONFIG: LazyLock<Arc<utoipa_swagger_ui::Config<'static>>> =
        LazyLock::new(|| Arc::new(utoipa_swagger_ui::Config::from("/openapi.json")));
    let found = utoipa_swagger_ui::serve(&file, CONFIG.clone()).map_err(|error| Problem::internal(&error.to_string()))?;
    let found = found.ok_or_else(|| Problem::new(Kind::NOT_FOUND))?;
    // Everything comes from here; Swagger UI sets styles by script and shows its icons as data.
    let policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
    let headers = [(CONTENT_TYPE, found.content_type.as_str()), (CONTENT_SECURITY_POLICY, policy), (CACHE_CONTROL, "max-age=3600")];
    Ok((headers, found.bytes.into_owned()).into_response())
}

/// Every problem there is.
#[utoipa::path(get, path = "/problems", tag = "Documentation", responses((status = 200, description = "A page", content_type = "text/html")))]
async fn problems() -> Response {
    let lines = Kind::ALL.iter().map(|kind| {
        let (name, title, status) = (kind.name, kind.title, kind.status.as_u16());
        format!("<tr><td>{status}</td><td><a href=\"/problems/{name}\">{name}</a></td><td>{title}</td></tr>")
    });
    page("Problems", &format!("<table>{}</table>", lines.collect::<String>()))
}

/// What a problem means, and what to do.
#[utoipa::path(get, path = "/problems/{name}", tag = "Documentation", params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "A page", content_type = "text/html"), (status = 404, description = "not-found", body = inline(ProblemBody))))]
async fn problem(Path(name): Path<String>) -> Result<Response, Problem> {
    let kind = Kind::ALL.iter().find(|kind| kind.name == name).ok_or_else(|| Problem::new(Kind::NOT_FOUND))?;
    let (name, status) = (kind.name, kind.status);
    Ok(page(
        kind.title,
        &format!("<p><code>/problems/{name}</code>, status {status}</p><p>{}</p><p><a href=\"/problems\">All problems</a></p>", kind.help),
    ))
}

/// A page of texts from this program, in which nothing needs to be escaped.
fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Credence</title></head><body><h1>{title}</h1>{body}</body></html>"
    );
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "max-age=3600")], html).into_response()
}
