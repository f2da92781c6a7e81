//! The routes and their handlers.

use super::api_error::ApiError;
use super::cpu_load::CpuLoad;
use super::executor::{Executor, Ticket, Unfinished};
use super::receive::{Received, declared_too_large, discard, receive};
use super::{Role, ServeConfig, WALL_LIMIT};
use crate::offload::wire::{
    HEALTH_PATH, Health, LOAD_PATH, Load, PAYLOAD_TYPE, TASKS_PATH, TaskQuery, TaskResult, payload_hash,
};
use crate::task;
use axum::extract::{Query, Request, State};
use axum::http::header::{CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use std::sync::Arc;
use std::time::Instant;
use tokio::time::timeout_at;

/// What every handler can reach.
pub(super) struct App {
    pub config: ServeConfig,
    pub executor: Executor,
    /// The MEC has one, the cloud none.
    pub cpu_load: Option<CpuLoad>,
}

/// All routes; everything else is a JSON error too.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(TASKS_PATH, post(run_task))
        .route(LOAD_PATH, get(load))
        .route(HEALTH_PATH, get(health))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn run_task(State(app): State<Arc<App>>, request: Request) -> Result<Json<TaskResult>, ApiError> {
    let arrived = Instant::now();
    let admitted = admit(&app, &request);
    let (query, ticket) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            discard_body_of(request);
            return Err(refusal);
        }
    };
    let deadline = query.deadline.map(|left| arrived + left);
    let received = receive_in_time(&app, request, arrived, deadline).await?;
    let payload_hash = payload_hash(&received.payload);

    let (work, speed, payload) = (query.work, app.config.speed, received.payload);
    let done = ticket
        .run(deadline, move |stop| task::run(&work, &payload, speed, stop))
        .await
        .map_err(unfinished)?;
    Ok(Json(TaskResult {
        checksum: done.value,
        payload_hash,
        receive_s: received.took.as_secs_f64(),
        receive_bytes: received.later_bytes,
        queue_s: done.queued.as_secs_f64(),
        execute_s: done.ran.as_secs_f64(),
    }))
}

/// Everything that can be refused before the body is read.
fn admit(app: &App, request: &Request) -> Result<(TaskQuery, Ticket), ApiError> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
        .map_err(|e| ApiError::bad_parameter(e.to_string()))?;
    let query = TaskQuery::from_pairs(&pairs).map_err(ApiError::bad_parameter)?;
    check_type(request.headers())?;
    if declared_too_large(request.body(), app.config.max_payload) {
        return Err(ApiError::too_large(app.config.max_payload));
    }
    let ticket = app.executor.admit().ok_or_else(ApiError::queue_full)?;
    Ok((query, ticket))
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(CONTENT_TYPE) {
        None => Ok(()),
        Some(found) if found.as_bytes().eq_ignore_ascii_case(PAYLOAD_TYPE.as_bytes()) => Ok(()),
        Some(found) => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_type",
            format!("the body is {found:?}, send the payload as {PAYLOAD_TYPE}"),
        )),
    }
}

/// A sender that is too slow for the deadline, or for any task, does not hold its place any longer.
async fn receive_in_time(
    app: &App,
    request: Request,
    arrived: Instant,
    deadline: Option<Instant>,
) -> Result<Received, ApiError> {
    let until = deadline.unwrap_or(arrived + WALL_LIMIT).min(arrived + WALL_LIMIT);
    let receiving = receive(request.into_body(), app.config.max_payload);
    match timeout_at(until.into(), receiving).await {
        Ok(outcome) => outcome,
        Err(_) if Some(until) == deadline => Err(ApiError::deadline(
            StatusCode::REQUEST_TIMEOUT,
            "its payload was arriving",
        )),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            format!("the payload did not arrive within {} s", WALL_LIMIT.as_secs()),
        )),
    }
}

fn unfinished(why: Unfinished) -> ApiError {
    match why {
        Unfinished::DeadlineWaiting => ApiError::deadline(
            StatusCode::GATEWAY_TIMEOUT,
            "it waited for a worker; it was not run",
        ),
        Unfinished::DeadlineRunning => {
            ApiError::deadline(StatusCode::GATEWAY_TIMEOUT, "it ran; it was stopped")
        }
        Unfinished::WallLimit => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "wall_limit",
            format!(
                "the task was stopped after the {} s any task may run",
                WALL_LIMIT.as_secs()
            ),
        ),
        Unfinished::Ending => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "the server is stopping",
        )
        .retry_after(5),
        Unfinished::Crashed => {
            tracing::error!("a task crashed");
            let message = "the task crashed; the server's log says where";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "task_crashed", message)
        }
    }
}

async fn load(State(app): State<Arc<App>>) -> Result<Json<Load>, ApiError> {
    let Some(cpu_load) = &app.cpu_load else {
        let message =
            "a cloud server tells no load: it is assumed to have free resources always; ask the MEC";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "no_load", message));
    };
    let cpu_use = cpu_load
        .get()
        .map_err(|why| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "load_unknown", why).retry_after(1))?;
    let counts = app.executor.counts();
    Ok(Json(Load {
        cpu_use,
        free: 1.0 - cpu_use,
        queue: counts.waiting,
        running: counts.running,
        workers: counts.workers,
    }))
}

async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        role: app.config.role.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

async fn not_found(State(app): State<Arc<App>>, request: Request) -> ApiError {
    let load = if app.config.role == Role::Mec {
        ", GET /v1/load"
    } else {
        ""
    };
    let message = format!(
        "no {}; there are POST {TASKS_PATH}{load}, GET {HEALTH_PATH}",
        request.uri().path()
    );
    discard_body_of(request);
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!(
        "{} does not take {}; the `Allow` header says what it takes",
        request.uri().path(),
        request.method()
    );
    discard_body_of(request);
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

fn discard_body_of(request: Request) {
    // A client that waits for `100 Continue` has not begun to send, and reading would make it begin.
    if !request.headers().contains_key(EXPECT) {
        discard(request.into_body());
    }
}
