//! One HTTP/1.1 connection that lives in its owner, without a task of its own: dropping it closes it at once.

use super::error::OffloadError;
use super::tls;
use super::url::Url;
use super::watched::{Sent, Watched};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Answers are small; a longer one is not from a server of ours.
const LARGEST_ANSWER: usize = 64 << 10;

/// TCP, or TLS over it.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Driver = http1::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes whenever it is polled; `None` once it has ended.
    driver: Option<Pin<Box<Driver>>>,
    sent: Arc<Sent>,
}

/// A complete answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub times: Times,
}

/// The parts of an exchange, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The request began.
    pub began: Instant,
    /// The kernel had taken its last byte.
    pub sent: Instant,
    /// The head of the answer was there.
    pub answered: Instant,
    /// All of it was.
    pub complete: Instant,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Failure {
    Connect(io::Error),
    Handshake(String),
    Http(hyper::Error),
    AnswerTooLarge(usize),
}

impl Failure {
    /// Whether the server closed the connection without a word, as it may with an idle one at any time.
    pub fn is_close_before_answer(&self) -> bool {
        let Self::Http(error) = self else { return false };
        let reset = std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .is_some_and(|e| {
                matches!(
                    e.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                )
            });
        error.is_closed() || error.is_canceled() || error.is_incomplete_message() || reset
    }

    /// The same as an error that names the server.
    pub fn at(self, url: &Url) -> OffloadError {
        let url = url.clone();
        match self {
            Self::Connect(cause) => OffloadError::Unreachable { url, cause },
            Self::Handshake(why) => OffloadError::Tls { url, why },
            Self::AnswerTooLarge(limit) => OffloadError::BadAnswer {
                url,
                what: format!("an answer of more than {limit} bytes"),
            },
            Self::Http(e) if e.is_parse() => OffloadError::BadAnswer {
                url,
                what: format!("no HTTP ({e}); if it speaks TLS, write https://"),
            },
            Self::Http(cause) => OffloadError::Closed { url, cause },
        }
    }
}

impl Connection {
    /// Connects, and shakes hands where the URL says `https`. What is written is noted in `sent`.
    pub async fn open(url: &Url, tls: Option<Arc<ClientConfig>>, sent: Arc<Sent>) -> Result<Self, Failure> {
        let stream = TcpStream::connect((url.host(), url.port()))
            .await
            .map_err(Failure::Connect)?;
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        let stream = Watched::new(stream, Arc::clone(&sent));
        let stream: Box<dyn Stream> = match tls {
            Some(config) => {
                let secured = tls::handshake(config, url, stream).await;
                Box::new(secured.map_err(Failure::Handshake)?)
            }
            None => Box::new(stream),
        };
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::Http)?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(driver)),
            sent,
        })
    }

    pub async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let Self { sender, driver, sent } = self;
        let exchange = async {
            let began = Instant::now();
            sender.ready().await.map_err(Failure::Http)?;
            let response = sender.send_request(request).await.map_err(Failure::Http)?;
            let answered = Instant::now();
            // A server may answer before it has taken all, and a connection writes nothing of its own afterwards.
            let sent = sent.last().clamp(began, answered);
            let (head, body) = response.into_parts();
            let body = read_body(body).await?;
            let complete = Instant::now();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
                times: Times {
                    began,
                    sent,
                    answered,
                    complete,
                },
            })
        };
        drive(driver, exchange).await
    }
}
async fn read_body(body: Incoming) -> Result<Bytes, Failure> {
    if body.size_hint().lower() > LARGEST_ANSWER as u64 {
        return Err(Failure::AnswerTooLarge(LARGEST_ANSWER));
    }
    match Limited::new(body, LARGEST_ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(Failure::AnswerTooLarge(LARGEST_ANSWER)),
        Err(e) => Err(match e.downcast::<hyper::Error>() {
            Ok(e) => Failure::Http(*e),
            Err(other) => Failure::Connect(io::Error::other(other)),
        }),
    }
}

/// Completes `work` while moving the connection's bytes.
async fn drive<T>(driver: &mut Option<Pin<Box<Driver>>>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        if let Some(driving) = driver
            && driving.as_mut().poll(cx).is_ready()
        {
            *driver = None;
        }
        // The driver may just have brought what the work waits for, or ended and so made it fail.
        work.as_mut().poll(cx)
    })
    .await
}
