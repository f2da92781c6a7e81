//! Connections: accepted, given a place, wrapped in TLS, and spoken HTTP/1.1 with.

use super::connections::{Connections, Place};
use super::counted_io::CountedIo;
use super::metrics::Lost;
use super::routes::{self, App, LARGEST_HEADER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

/// Idle connections are looked for so often within the time they may be idle.
const SWEEPS: u32 = 16;
/// How long to wait for files to become free.
const OUT_OF_FILES: Duration = Duration::from_millis(20);
/// Our own limit answers with a sentence; what is beyond this one the HTTP library refuses without.
const HARD_HEADER_LIMIT: usize = 4 * LARGEST_HEADER;
/// A payload is read in pieces of at most this: large enough to be cheap, small enough to stay in the cache.
const READ_BYTES: usize = 256 << 10;
/// For whom there is no place.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
connection: close\r\ncontent-length: 94\r\n\r\n\
{\"code\":\"too_many_connections\",\"message\":\"all connections of this server are busy; try later\"}";

/// What every connection shares.
#[derive(Clone)]
pub(super) struct Shared {
    pub app: Arc<App>,
    pub connections: Arc<Connections>,
    pub tls: Option<TlsAcceptor>,
    /// Becomes true when connections are to end after their present request.
    pub ending: watch::Receiver<bool>,
}

/// Accepts connections for ever.
pub(super) async fn accept(listener: TcpListener, shared: Shared) {
    let mut sweep = tokio::time::interval(shared.connections.idle_limit / SWEEPS);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => begin(&shared, stream),
                Err(e) => {
                    let closed = shared.connections.make_room();
                    tracing::warn!("cannot accept a connection: {e}; closed the {closed} that were idle for longest");
                    tokio::time::sleep(OUT_OF_FILES).await;
                }
            },
            _ = sweep.tick() => shared.connections.close_idle(),
        }
    }
}

fn begin(shared: &Shared, stream: TcpStream) {
    let metrics = &shared.app.metrics;
    metrics.accepted.inc();
    let Some(place) = shared.connections.enter() else {
        metrics.lost(Lost::Refused);
        if shared.tls.is_none() {
            // Not by the runtime, which does not know yet that it can be written to. What the socket does not take
            // at once is not worth waiting for.
            let _ = stream.into_std().and_then(|mut stream| stream.write(FULL));
        }
        return;
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        tokio::select! {
            ended = serve(&shared, stream, &place) => if let Err(why) = ended {
                shared.app.metrics.lost(why);
            },
            () = place.closed() => {}
        }
    });
}

async fn serve(shared: &Shared, stream: TcpStream, place: &Place) -> Result<(), Lost> {
    // Nagle's algorithm would hold back small answers for up to 40 ms.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("TCP_NODELAY: {e}");
    }
    // A connection on which nothing ever comes costs no buffers, and not the memory that the rest of this takes.
    // (`readable` would say at once that something has come.)
    unless_ending(shared, stream.peek(&mut [0]), Lost::Broken).await?;
    let metrics = &shared.app.metrics;
    let stream = CountedIo {
        inner: stream,
        received: metrics.received.clone(),
        sent: metrics.sent.clone(),
    };
    match &shared.tls {
        None => Box::pin(speak_http(shared, stream, place)).await,
        Some(tls) => Box::pin(speak_tls(shared, tls, stream, place)).await,
    }
}

async fn speak_tls<T>(shared: &Shared, tls: &TlsAcceptor, stream: T, place: &Place) -> Result<(), Lost>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let stream = unless_ending(shared, tls.accept(stream), Lost::Tls).await?;
    speak_http(shared, stream, place).await
}

/// What comes before the first request is not waited for when the server ends.
async fn unless_ending<T>(
    shared: &Shared,
    work: impl Future<Output = io::Result<T>>,
    otherwise: Lost,
) -> Result<T, Lost> {
    tokio::select! {
        done = work => done.map_err(|e| {
            tracing::debug!("a connection failed: {e}");
            otherwise
        }),
        () = is_true(shared.ending.clone()) => Err(Lost::Ending),
    }
}

async fn speak_http<T>(shared: &Shared, stream: T, place: &Place) -> Result<(), Lost>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| async {
        let _busy = place.busy();
        Ok::<_, Infallible>(routes::answer(&shared.app, request).await)
    });
    let connection = http1::Builder::new()
        .max_header_size(HARD_HEADER_LIMIT)
        .max_buf_size(READ_BYTES)
        // Slow and idle connections are found by `Connections`, without a timer for each.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_true(shared.ending.clone()) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(|e| {
        tracing::debug!("a connection ended: {e}");
        if e.is_parse() { Lost::BadHttp } else { Lost::Broken }
    })
}

async fn is_true(mut flag: watch::Receiver<bool>) {
    // An error means that the sender is gone, which happens only when the server ends anyway.
    let _ = flag.wait_for(|&set| set).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn the_answer_for_whom_there_is_no_place_is_whole() {
        let text = std::str::from_utf8(super::FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        assert!(serde_json::from_str::<crate::offload::wire::ErrorBody>(body).is_ok());
    }
}
