//! One HTTP/1.1 connection that lives in its owner, without a task of its own: dropping it closes it at once.

use super::url::Url;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use tokio::net::TcpStream;

/// Answers are small; a longer one is not from a server of ours.
const LARGEST_ANSWER: usize = 64 << 10;

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// An open connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes whenever it is polled; `None` once it has ended.
    driver: Option<Pin<Box<Driver>>>,
}

/// A complete answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Failure {
    Connect(io::Error),
    Http(hyper::Error),
    AnswerTooLarge(usize),
}

impl Connection {
    pub async fn open(url: &Url) -> Result<Self, Failure> {
        let stream = TcpStream::connect((url.host(), url.port()))
            .await
            .map_err(Failure::Connect)?;
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Failure::Http)?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(driver)),
        })
    }

    pub async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let Self { sender, driver } = self;
        let exchange = async {
            sender.ready().await.map_err(Failure::Http)?;
            let response = sender.send_request(request).await.map_err(Failure::Http)?;
            read_answer(response).await
        };
        drive(driver, exchange).await
    }
}

async fn read_answer(response: Response<Incoming>) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    if body.size_hint().lower() > LARGEST_ANSWER as u64 {
        return Err(Failure::AnswerTooLarge(LARGEST_ANSWER));
    }
    let body = match Limited::new(body, LARGEST_ANSWER).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<LengthLimitError>() => return Err(Failure::AnswerTooLarge(LARGEST_ANSWER)),
        Err(e) => {
            return Err(match e.downcast::<hyper::Error>() {
                Ok(e) => Failure::Http(*e),
                Err(other) => Failure::Connect(io::Error::other(other)),
            });
        }
    };
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
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
