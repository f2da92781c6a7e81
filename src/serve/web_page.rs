//! Keeps web pages out of a server without tokens.

use super::api_error::{ApiError, Code};
use hyper::Request;
use hyper::header::{HOST, ORIGIN};
use hyper::http::uri::Authority;
use std::net::IpAddr;

/// Every page in a browser on this machine can send requests to the server. Where no token keeps them out, this does: a
/// browser says which page a request comes from, and a page that had its own name lead here ("DNS rebinding") asks for
/// that name. An address cannot be made to lead elsewhere, so a link before the server may have any.
pub(super) fn check_no_web_page<B>(request: &Request<B>) -> Result<(), ApiError> {
    if request.headers().contains_key(ORIGIN) {
        let message = "web pages may not use a server without tokens: the request has an `Origin`";
        return Err(Code::CrossOrigin.error(message));
    }
    let field = request.headers().get(HOST).map(|host| host.as_bytes());
    let target = request.uri().authority().map(|asked| asked.as_str().as_bytes());
    if field.into_iter().chain(target).all(is_address_or_local) {
        return Ok(());
    }
    let message = "a server without tokens is asked for by its address or as localhost, not by another name";
    Err(Code::WrongHost.error(message))
}

fn is_address_or_local(authority: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(authority) else {
        return false;
    };
    let address = authority.host().trim_matches(['[', ']']);
    address.parse::<IpAddr>().is_ok() || address.eq_ignore_ascii_case("localhost")
}
