//! Requests, sent and never sent, and what hangs on them.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::{InputStream, OutputStream};

use crate::exports::demo::adversary::programs::Operand::{Choice, Count, Size, Time, Times};
use crate::machine::{room_for, text};
use crate::{Entry, entry};

const MILLISECOND: u64 = 1_000_000;

pub const TABLE: &[Entry] = &[
    entry("fields", &[Times, Count, Size], |machine, numbers| {
        let fields = fields(numbers[0], numbers[1]);
        machine.keep(fields);
    }),
    entry("fields-of-list", &[Times, Count, Size], |machine, numbers| {
        let value = text(numbers[1]).into_bytes();
        let list = vec![("name".to_owned(), value.clone()); room_for(numbers[0], value.len())];
        if let Ok(fields) = Fields::from_list(&list) {
            machine.keep(fields);
        }
    }),
    entry("fields-clone", &[Times, Choice], |machine, numbers| {
        if let Some(fields) = machine.find::<Fields>(numbers[0]) {
            let clone = fields.clone();
            machine.keep(clone);
        }
    }),
    entry("fields-entries", &[Times, Choice], |machine, numbers| {
        machine.find::<Fields>(numbers[0]).map(Fields::entries);
    }),
    entry("request", &[Times, Size, Size, Size], |machine, numbers| {
        let request = OutgoingRequest::new(Fields::new());
        let _ = request.set_method(&Method::Other(text(numbers[0])));
        let _ = request.set_path_with_query(Some(&text(numbers[1])));
        let _ = request.set_authority(Some(&text(numbers[2])));
        let _ = request.set_scheme(Some(&Scheme::Other(text(numbers[2]))));
        machine.keep(request);
    }),
    entry("headers", &[Times, Count, Size], |machine, numbers| {
        machine.keep(OutgoingRequest::new(fields(numbers[0], numbers[1])).headers());
    }),
    entry("body", &[Times, Size], |machine, numbers| {
        let request = OutgoingRequest::new(Fields::new());
        let Ok(body) = request.body() else { return };
        let Ok(stream) = body.write() else { return };
        fill(&stream, numbers[0]);
        machine.keep(request);
        machine.keep(body);
        machine.keep(stream);
    }),
    entry("body-finish", &[Times, Count, Size], |machine, numbers| {
        let request = OutgoingRequest::new(Fields::new());
        if let Ok(body) = request.body() {
            machine.keep(request);
            let _ = OutgoingBody::finish(body, Some(fields(numbers[0], numbers[1])));
        }
    }),
    entry("send", &[Times, Choice, Choice, Size, Time], |machine, numbers| {
        let &[method, address, size, patience] = numbers else { return };
        let request = OutgoingRequest::new(Fields::new());
        let methods =
            [Method::Get, Method::Post, Method::Head, Method::Connect, Method::Other("X".to_owned())];
        let _ = request.set_method(&methods[method as usize % methods.len()]);
        let _ = request.set_scheme(Some(&Scheme::Http));
        let _ = request.set_authority(Some(&authority(address)));
        let _ =
            request.set_path_with_query(Some(["/", "/slow", "/large", "/half"][address as usize / 8 % 4]));
        let body = request.body().ok();
        let options = RequestOptions::new();
        let patience = (patience > 0).then(|| patience.saturating_mul(MILLISECOND));
        let _ = options.set_connect_timeout(patience);
        let _ = options.set_first_byte_timeout(patience);
        let _ = options.set_between_bytes_timeout(patience);
        if let Ok(future) = outgoing_handler::handle(request, Some(options)) {
            if let Some(body) = body {
                if let Ok(stream) = body.write() {
                    fill(&stream, size);
                }
                let _ = OutgoingBody::finish(body, None);
            }
            machine.keep(future);
        }
    }),
    entry("answer", &[Times, Choice], |machine, numbers| {
        let Some(future) = machine.find::<FutureIncomingResponse>(numbers[0]) else { return };
        if let Some(Ok(Ok(response))) = future.get() {
            machine.keep(response);
        }
    }),
    entry("answer-wait", &[Choice], |machine, numbers| {
        let Some(future) = machine.find::<FutureIncomingResponse>(numbers[0]) else { return };
        future.subscribe().block();
    }),
    entry("answer-body", &[Times, Choice], |machine, numbers| {
        let Some(response) = machine.find::<IncomingResponse>(numbers[0]) else { return };
        let (headers, Ok(body)) = (response.headers(), response.consume()) else { return };
        let Ok(stream) = body.stream() else { return };
        machine.keep(headers);
        machine.keep::<IncomingBody>(body);
        machine.keep::<InputStream>(stream);
    }),
];

/// An address that the harness grants, or one that nobody does.
fn authority(choice: u64) -> String {
    // The port is a grant's; the environment says which.
    let granted = std::env::var("SERVER").unwrap_or_default();
    match choice % 8 {
        0..4 => granted,
        4 => "localhost".to_owned(),
        5 => "10.255.255.1:1".to_owned(),
        6 => text(60_000),
        _ => String::new(),
    }
}

fn fields(count: u64, size: u64) -> Fields {
    let (fields, value) = (Fields::new(), text(size).into_bytes());
    for number in 0..count {
        if fields.append(&format!("field-{number}"), &value).is_err() {
            break;
        }
    }
    fields
}

/// Writes so many bytes, as long as there is room at once.
fn fill(stream: &OutputStream, size: u64) {
    let mut left = size;
    while left > 0 {
        let Ok(room @ 1..) = stream.check_write() else { return };
        let bytes = text(room.min(left));
        if stream.write(bytes.as_bytes()).is_err() {
            return;
        }
        left -= bytes.len() as u64;
    }
}
