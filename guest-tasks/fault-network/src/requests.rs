//! Requests, by the bare interface: no library decides what is tried.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::Network;
use crate::exports::demo::network::requests::{Answer, Guest, Patience};

const CHUNK: usize = 4096;
const MILLISECOND: u64 = 1_000_000;

impl Guest for Network {
    fn get(url: String) -> Result<Answer, String> {
        read(&finish(start("GET", &url, None)?)?)
    }

    fn get_or_abort(url: String) -> Answer {
        Self::get(url).unwrap_or_else(|_| std::process::abort())
    }

    fn send(method: String, url: String, body: String) -> Result<Answer, String> {
        let request = request(&method, &url)?;
        let out = request.body().map_err(|()| "no body")?;
        let future = outgoing_handler::handle(request, None).map_err(text)?;
        // Whoever refuses a request drops its body: what is said then is why.
        let _ = write(out, body.as_bytes(), 1);
        read(&finish(future)?)
    }

    fn get_within(url: String, patience: Patience) -> Result<Answer, String> {
        read(&finish(start("GET", &url, Some(&patience))?)?)
    }

    fn follow(url: String) -> Result<Answer, String> {
        let mut url = url;
        loop {
            let response = finish(start("GET", &url, None)?)?;
            let location = response.headers().get("location").pop();
            match location {
                Some(location) => url = String::from_utf8_lossy(&location).into_owned(),
                None => return read(&response),
            }
        }
    }

    fn upload(url: String, bytes: u64) -> Result<Answer, String> {
        let request = request("POST", &url)?;
        let out = request.body().map_err(|()| "no body")?;
        let future = outgoing_handler::handle(request, None).map_err(text)?;
        let _ = write(out, &[b'x'; CHUNK], bytes.div_ceil(CHUNK as u64));
        read(&finish(future)?)
    }

    fn at_once(url: String, count: u32) -> u32 {
        let started: Vec<_> = (0..count).filter_map(|_| start("GET", &url, None).ok()).collect();
        // All are kept until the last was answered.
        let responses: Vec<_> = started.into_iter().filter_map(|future| finish(future).ok()).collect();
        responses.len() as u32
    }
}

fn request(method: &str, url: &str) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(|()| "a bad method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "a bad scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "a bad authority")?;
    request.set_path_with_query((!path.is_empty()).then_some(path)).map_err(|()| "a bad path")?;
    Ok(request)
}

fn start(method: &str, url: &str, patience: Option<&Patience>) -> Result<FutureIncomingResponse, String> {
    let options = patience.map(|patience| {
        let options = RequestOptions::new();
        let duration = |ms: u32| (ms > 0).then_some(u64::from(ms) * MILLISECOND);
        let _ = options.set_connect_timeout(duration(patience.connect));
        let _ = options.set_first_byte_timeout(duration(patience.first_byte));
        let _ = options.set_between_bytes_timeout(duration(patience.between_bytes));
        options
    });
    outgoing_handler::handle(request(method, url)?, options).map_err(text)
}

fn finish(future: FutureIncomingResponse) -> Result<IncomingResponse, String> {
    future.subscribe().block();
    let answer = future.get().ok_or("nothing came")?.map_err(|()| "taken twice")?;
    answer.map_err(text)
}

/// Writes a body that is so many times these bytes.
fn write(body: OutgoingBody, bytes: &[u8], times: u64) -> Result<(), String> {
    let stream = body.write().map_err(|()| "no stream")?;
    for _ in 0..times {
        stream.blocking_write_and_flush(bytes).map_err(|error| error.to_string())?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(text)
}

fn read(response: &IncomingResponse) -> Result<Answer, String> {
    let body = response.consume().map_err(|()| "no body")?;
    let stream = body.stream().map_err(|()| "no stream")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK as u64) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(wasip2::http::types::http_error_code(&error).map_or("an error".to_owned(), text));
            }
        }
    }
    Ok(Answer { status: response.status(), body: String::from_utf8_lossy(&bytes).into_owned() })
}

fn text(error: ErrorCode) -> String {
    format!("{error:?}")
}
