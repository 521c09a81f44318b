//! Handles without end: what is behind each is in the memory of the host.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest};
use wasip2::io::streams::OutputStream;

use crate::Network;
use crate::exports::demo::network::hoards::Guest;

/// About the longest that a URL may be.
const LONG: usize = 60_000;

impl Guest for Network {
    fn bodies(count: u32) -> u32 {
        keep(count, body)
    }

    fn methods(count: u32, bytes: u32) -> u32 {
        let method = Method::Other("X".repeat(bytes as usize));
        keep(count, || {
            let request = OutgoingRequest::new(Fields::new());
            request.set_method(&method).expect("a method");
            request
        })
    }

    fn addresses(count: u32) -> u32 {
        let (path, authority) = (long_path(), "a".repeat(LONG));
        keep(count, || {
            let request = OutgoingRequest::new(Fields::new());
            request.set_path_with_query(Some(&path)).expect("a path");
            request.set_authority(Some(&authority)).expect("an authority");
            request
        })
    }

    fn fields(count: u32) -> u32 {
        keep(count, fields)
    }

    fn headers(count: u32) -> u32 {
        keep(count, || OutgoingRequest::new(fields()).headers())
    }

    fn refused(count: u32) -> u32 {
        keep(count, refused)
    }

    fn make_and_drop(count: u32) {
        for _ in 0..count {
            drop(body());
            drop(refused());
            let fields = fields();
            fields.append("x", &[b'x'; 500]).expect("one more");
            fields.delete("x").expect("it may be changed");
            drop(OutgoingRequest::new(fields.clone()).headers());
        }
    }
}

/// Makes things and keeps them all.
fn keep<T>(count: u32, make: impl FnMut() -> T) -> u32 {
    let kept: Vec<T> = std::iter::repeat_with(make).take(count as usize).collect();
    kept.len() as u32
}

/// A body with as much in it as it takes, with its stream: that has to go first.
fn body() -> (OutputStream, OutgoingBody, OutgoingRequest) {
    let request = OutgoingRequest::new(Fields::new());
    let body = request.body().expect("a body");
    let stream = body.write().expect("a stream");
    while let room @ 1.. = stream.check_write().expect("it is open") {
        stream.write(&vec![b'x'; room as usize]).expect("there is room");
    }
    (stream, body, request)
}

fn fields() -> Fields {
    let fields = Fields::new();
    for number in 0..20 {
        fields.append(&format!("field-{number}"), &[b'x'; 600]).expect("a field");
    }
    fields
}

fn long_path() -> String {
    "/".repeat(LONG)
}

fn refused() -> FutureIncomingResponse {
    let request = OutgoingRequest::new(Fields::new());
    request.set_authority(Some("localhost")).expect("an authority");
    request.set_path_with_query(Some(&long_path()[..1_000])).expect("a path");
    outgoing_handler::handle(request, None).expect("the answer comes later")
}
