//! Answers HTTP: a greeting, a health check, and an echo of whatever is posted.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

wasip2::http::proxy::export!(Hello);

struct Hello;

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        match (request.method(), path) {
            (Method::Post, _) => echo(&request, out),
            (Method::Get | Method::Head, "/") => text(out, 200, "Hello from Littoral\n"),
            (Method::Get | Method::Head, "/healthz") => text(out, 200, "ok\n"),
            (Method::Get | Method::Head, _) => {
                text(out, 404, "not found; try / or /healthz, or post something\n")
            }
            _ => text(out, 405, "only GET, HEAD and POST are answered here\n"),
        }
    }
}

/// Answers with a short text.
fn text(out: ResponseOutparam, status: u16, body: &str) {
    // An error means that the caller has gone: there is nobody left to tell.
    let _ = respond(out, status, "text/plain; charset=utf-8", |stream| {
        stream.blocking_write_and_flush(body.as_bytes())
    });
}

/// Answers with the request's own body, piece by piece: its size does not matter.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    // The host's buffer bounds each piece; this only asks for no more than is useful.
    const PIECE: u64 = 64 * 1024;

    let content_type = request.headers().get("content-type").into_iter().next();
    let content_type = content_type.and_then(|value| String::from_utf8(value).ok());
    let Ok(body) = request.consume() else { return text(out, 500, "the request's body is gone\n") };
    let _ = respond(out, 200, content_type.as_deref().unwrap_or("application/octet-stream"), |stream| {
        let input = body.stream().map_err(|()| StreamError::Closed)?;
        loop {
            match stream.blocking_splice(&input, PIECE) {
                Ok(_) => {}
                Err(StreamError::Closed) => return Ok(()),
                Err(failed) => return Err(failed),
            }
        }
    });
    IncomingBody::finish(body);
}

/// Sends a response whose body is what `write` puts on the stream.
fn respond(
    out: ResponseOutparam,
    status: u16,
    content_type: &str,
    write: impl FnOnce(&OutputStream) -> Result<(), StreamError>,
) -> Result<(), StreamError> {
    let headers = Fields::new();
    // A content type that the host does not accept is left out: the answer is worth more.
    let _ = headers.append("content-type", content_type.as_bytes());
    let _ = headers.append("x-littoral-example", b"hello");
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let body = response.body().map_err(|()| StreamError::Closed)?;
    ResponseOutparam::set(out, Ok(response));

    let stream = body.write().map_err(|()| StreamError::Closed)?;
    write(&stream)?;
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
    Ok(())
}
