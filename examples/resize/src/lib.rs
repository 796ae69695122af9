//! Resizes pictures over HTTP: POST a PNG or JPEG to `?w=320` (and `&h=200`), get a PNG.

mod picture;

use std::io::{Error, ErrorKind, Read, Result, Write};

use picture::{Refusal, Size};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

wasip2::http::proxy::export!(Resize);

/// The largest encoded picture in bytes: what a phone's camera writes, and small beside the memory limit.
const MAX_BODY: usize = 8 << 20;

struct Resize;

impl Guest for Resize {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        // An error here means that the caller has gone: there is nobody left to tell.
        let _ = match answer(&request) {
            Ok(png) => respond(out, 200, "image/png", &png),
            Err(Refusal { status, message }) => {
                respond(out, status, "text/plain; charset=utf-8", format!("{message}\n").as_bytes())
            }
        };
    }
}

fn answer(request: &IncomingRequest) -> std::result::Result<Vec<u8>, Refusal> {
    if !matches!(request.method(), Method::Post) {
        return Err(Refusal::new(
            405,
            "post a PNG or JPEG, as in curl --data-binary @photo.jpg '…/resize?w=320'",
        ));
    }
    let target = request.path_with_query().unwrap_or_default();
    let size = Size::from_query(target.split_once('?').map_or("", |(_, query)| query))?;
    let body = read_body(request)
        .map_err(|error| Refusal::new(400, format!("could not read the request's body: {error}")))?;
    if body.len() > MAX_BODY {
        return Err(Refusal::new(413, format!("the body is larger than {} MiB", MAX_BODY >> 20)));
    }
    picture::resize(&body, &size)
}

/// Reads the body, and at most one byte more than is allowed.
fn read_body(request: &IncomingRequest) -> Result<Vec<u8>> {
    let body = request.consume().map_err(|()| gone())?;
    let mut bytes = Vec::new();
    body.stream().map_err(|()| gone())?.take(MAX_BODY as u64 + 1).read_to_end(&mut bytes)?;
    IncomingBody::finish(body);
    Ok(bytes)
}

fn respond(out: ResponseOutparam, status: u16, content_type: &str, content: &[u8]) -> Result<()> {
    let headers = Fields::new();
    // The host refuses only what is no header, which these are.
    let _ = headers.append("content-type", content_type.as_bytes());
    let _ = headers.append("content-length", content.len().to_string().as_bytes());
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let body = response.body().map_err(|()| gone())?;
    ResponseOutparam::set(out, Ok(response));

    let mut stream = body.write().map_err(|()| gone())?;
    stream.write_all(content)?;
    Write::flush(&mut stream)?;
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}

fn gone() -> Error {
    Error::new(ErrorKind::BrokenPipe, "the stream is gone")
}
