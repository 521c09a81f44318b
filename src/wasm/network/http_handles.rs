//! The handles of `wasi:http`: those of wasmtime-wasi-http, with everything that hangs on them on the account
//! of their guest before it is there.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};
use wasmtime_wasi_http::p2::bindings::http::{outgoing_handler, types};
use wasmtime_wasi_http::p2::{HeaderError, HeaderResult, HttpError, HttpResult};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpCtxView};

use super::http::{CHUNK_BYTES, body_error};
use crate::wasm::handles::Handles;
use crate::wasm::host_memory::{Held, HostMemoryExceeded};
use types::{
    ErrorCode, Fields, FutureIncomingResponse, FutureTrailers, IncomingBody, IncomingRequest,
    IncomingResponse, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions,
    ResponseOutparam, Scheme,
};

/// Bytes of one field besides its name and its value: its places in a map that has room for as many again.
const FIELD_BYTES: u64 = 256;

/// Bytes of the body that a guest writes: two chunks that nobody has sent yet, their queue, and trailers.
const BODY_BYTES: u64 = 2 * CHUNK_BYTES as u64 + TRAILERS_BYTES;

/// Bytes of trailers. Those of a response may come when the connection is not on the account any more.
const TRAILERS_BYTES: u64 = 64 << 10;

/// Bytes of a request that is sent, or was refused, besides its own: the task that sends it.
pub(super) const SENDING_BYTES: u64 = 16 << 10;

/// The type by which a linker finds the handles in the state of a guest.
struct Accounted;

impl HasData for Accounted {
    type Data<'a> = HttpHandles<'a>;
}

/// The handles of one guest together with wasmtime-wasi-http's state of them.
pub(super) struct HttpHandles<'a> {
    pub(super) http: WasiHttpCtxView<'a>,
    pub(super) handles: &'a mut Handles,
}

/// Adds the outgoing half of `wasi:http`.
pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> HttpHandles<'_>,
) -> wasmtime::Result<()> {
    outgoing_handler::add_to_linker::<T, Accounted>(linker, view)?;
    types::add_to_linker::<T, Accounted>(linker, &types::LinkOptions::default(), view)
}

/// The bytes of fields, about.
fn fields_bytes(fields: &HeaderMap) -> u64 {
    fields.iter().map(|(name, value)| field_bytes(name.as_str(), value.as_bytes())).sum()
}

fn field_bytes(name: &str, value: &[u8]) -> u64 {
    (name.len() + value.len()) as u64 + FIELD_BYTES
}

/// The bytes of everything that a guest has put into a request.
fn request_bytes(request: &OutgoingRequest) -> u64 {
    let OutgoingRequest { method, scheme, authority, path_with_query, headers, body: _ } = request;
    let texts = [authority, path_with_query].into_iter().flatten().map(|text| text.len() as u64);
    let scheme = scheme.as_ref().map_or(0, scheme_bytes);
    fields_bytes(headers) + method_bytes(method) + scheme + texts.sum::<u64>()
}

fn method_bytes(method: &Method) -> u64 {
    if let Method::Other(name) = method { name.len() as u64 } else { 0 }
}

fn scheme_bytes(scheme: &Scheme) -> u64 {
    if let Scheme::Other(name) = scheme { name.len() as u64 } else { 0 }
}

fn text_bytes(text: Option<&String>) -> u64 {
    text.map_or(0, |text| text.len() as u64)
}

/// A body that a guest writes, with its charge: it may outlive every handle of it.
struct HeldBody {
    body: WasiBody,
    _held: Held,
}

impl HeldBody {
    fn of(body: WasiBody, held: Held) -> WasiBody {
        Self { body, _held: held }.boxed_unsync()
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl HttpHandles<'_> {
    fn hold(&self, bytes: u64) -> Result<Held, HostMemoryExceeded> {
        self.handles.account.hold(bytes)
    }

    /// Changes fields by a call that may add so many bytes to them.
    fn change_fields(
        &mut self,
        fields: &Resource<Fields>,
        more: u64,
        change: impl FnOnce(&mut WasiHttpCtxView<'_>) -> HeaderResult<()>,
    ) -> HeaderResult<()> {
        let handle = fields.rep();
        self.handles.grow(handle, more).map_err(HeaderError::trap)?;
        let changed = change(&mut self.http);
        let found = self.http.table.get(&Resource::<Fields>::new_borrow(handle))?;
        self.handles.settle(handle, fields_bytes(found)).map_err(HeaderError::trap)?;
        changed
    }

    /// Changes a request by a call that may add so many bytes to it.
    fn change_request<R>(
        &mut self,
        request: &Resource<OutgoingRequest>,
        more: u64,
        change: impl FnOnce(&mut WasiHttpCtxView<'_>) -> wasmtime::Result<R>,
    ) -> wasmtime::Result<R> {
        let handle = request.rep();
        self.handles.grow(handle, more)?;
        let changed = change(&mut self.http)?;
        let found = self.http.table.get(&Resource::<OutgoingRequest>::new_borrow(handle))?;
        self.handles.settle(handle, request_bytes(found))?;
        Ok(changed)
    }

    /// Makes a handle of fields by a call. They may be shared with another one, and outlive it.
    fn share_fields(
        &mut self,
        bytes: u64,
        make: impl FnOnce(&mut WasiHttpCtxView<'_>) -> wasmtime::Result<Resource<Fields>>,
    ) -> wasmtime::Result<Resource<Fields>> {
        let held = self.hold(bytes)?;
        let fields = make(&mut self.http)?;
        self.handles.hang(fields.rep(), held);
        Ok(fields)
    }

    /// Lets what hangs on a handle hang on the one that a call makes of it.
    fn turn_into<T>(&mut self, from: u32, into: &Resource<T>) {
        if let Some(held) = self.handles.take(from) {
            self.handles.hang(into.rep(), held);
        }
    }
}

/// Passes calls on to wasmtime-wasi-http as they are.
macro_rules! pass_on {
    ($interface:ident: $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        fn $name(&mut self, $($argument: $type),*) -> $result {
            types::$interface::$name(&mut self.http, $($argument),*)
        }
    )*};
}

/// Drops handles on which nothing hangs but what wasmtime-wasi-http has there, and the account with it.
macro_rules! drop_handle {
    ($interface:ident, $type:ty) => {
        fn drop(&mut self, resource: Resource<$type>) -> wasmtime::Result<()> {
            let handle = resource.rep();
            types::$interface::drop(&mut self.http, resource)?;
            self.handles.take(handle);
            Ok(())
        }
    };
}

impl types::Host for HttpHandles<'_> {
    pass_on! { Host:
        fn convert_error_code(error: HttpError) -> wasmtime::Result<ErrorCode>;
        fn convert_header_error(error: HeaderError) -> wasmtime::Result<types::HeaderError>;
    }

    fn http_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        // wasmtime's own does not know the errors of bodies.
        let error = self.http.table.get(&error)?;
        let code = error.downcast_ref::<ErrorCode>().cloned();
        Ok(code.or_else(|| error.downcast_ref().and_then(body_error)))
    }
}

impl types::HostFields for HttpHandles<'_> {
    pass_on! { HostFields:
        fn new() -> wasmtime::Result<Resource<Fields>>;
        fn get(fields: Resource<Fields>, name: String) -> wasmtime::Result<Vec<Vec<u8>>>;
        fn has(fields: Resource<Fields>, name: String) -> wasmtime::Result<bool>;
        fn entries(fields: Resource<Fields>) -> wasmtime::Result<Vec<(String, Vec<u8>)>>;
    }

    fn from_list(&mut self, entries: Vec<(String, Vec<u8>)>) -> HeaderResult<Resource<Fields>> {
        let bytes = entries.iter().map(|(name, value)| field_bytes(name, value)).sum();
        let held = self.hold(bytes).map_err(HeaderError::trap)?;
        let fields = types::HostFields::from_list(&mut self.http, entries)?;
        self.handles.hang(fields.rep(), held);
        Ok(fields)
    }

    fn set(&mut self, fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>) -> HeaderResult<()> {
        let more = values.iter().map(|value| field_bytes(&name, value)).sum();
        let this = Resource::new_borrow(fields.rep());
        self.change_fields(&fields, more, |http| types::HostFields::set(http, this, name, values))
    }

    fn append(&mut self, fields: Resource<Fields>, name: String, value: Vec<u8>) -> HeaderResult<()> {
        let (more, this) = (field_bytes(&name, &value), Resource::new_borrow(fields.rep()));
        self.change_fields(&fields, more, |http| types::HostFields::append(http, this, name, value))
    }

    fn delete(&mut self, fields: Resource<Fields>, name: String) -> HeaderResult<()> {
        let this = Resource::new_borrow(fields.rep());
        self.change_fields(&fields, 0, |http| types::HostFields::delete(http, this, name))
    }

    fn clone(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Resource<Fields>> {
        let bytes = fields_bytes(self.http.table.get(&fields)?);
        self.share_fields(bytes, |http| types::HostFields::clone(http, fields))
    }

    drop_handle!(HostFields, Fields);
}

impl types::HostOutgoingRequest for HttpHandles<'_> {
    pass_on! { HostOutgoingRequest:
        fn method(request: Resource<OutgoingRequest>) -> wasmtime::Result<Method>;
        fn path_with_query(request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<String>>;
        fn scheme(request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<Scheme>>;
        fn authority(request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<String>>;
    }

    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<Resource<OutgoingRequest>> {
        let from = headers.rep();
        let request = types::HostOutgoingRequest::new(&mut self.http, headers)?;
        self.turn_into(from, &request);
        Ok(request)
    }

    fn body(
        &mut self,
        request: Resource<OutgoingRequest>,
    ) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        let held = self.hold(BODY_BYTES)?;
        let handle = request.rep();
        let body = types::HostOutgoingRequest::body(&mut self.http, request)?;
        if body.is_ok() {
            let request = self.http.table.get_mut(&Resource::<OutgoingRequest>::new_borrow(handle))?;
            request.body = request.body.take().map(|body| HeldBody::of(body, held));
        }
        Ok(body)
    }

    fn set_method(
        &mut self,
        request: Resource<OutgoingRequest>,
        method: Method,
    ) -> wasmtime::Result<Result<(), ()>> {
        let (more, this) = (method_bytes(&method), Resource::new_borrow(request.rep()));
        self.change_request(&request, more, |http| types::HostOutgoingRequest::set_method(http, this, method))
    }

    fn set_path_with_query(
        &mut self,
        request: Resource<OutgoingRequest>,
        path: Option<String>,
    ) -> wasmtime::Result<Result<(), ()>> {
        let (more, this) = (text_bytes(path.as_ref()), Resource::new_borrow(request.rep()));
        self.change_request(&request, more, |http| {
            types::HostOutgoingRequest::set_path_with_query(http, this, path)
        })
    }

    fn set_scheme(
        &mut self,
        request: Resource<OutgoingRequest>,
        scheme: Option<Scheme>,
    ) -> wasmtime::Result<Result<(), ()>> {
        let more = scheme.as_ref().map_or(0, scheme_bytes);
        let this = Resource::new_borrow(request.rep());
        self.change_request(&request, more, |http| types::HostOutgoingRequest::set_scheme(http, this, scheme))
    }

    fn set_authority(
        &mut self,
        request: Resource<OutgoingRequest>,
        authority: Option<String>,
    ) -> wasmtime::Result<Result<(), ()>> {
        let (more, this) = (text_bytes(authority.as_ref()), Resource::new_borrow(request.rep()));
        self.change_request(&request, more, |http| {
            types::HostOutgoingRequest::set_authority(http, this, authority)
        })
    }

    fn headers(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Resource<Fields>> {
        let bytes = fields_bytes(&self.http.table.get(&request)?.headers);
        self.share_fields(bytes, |http| types::HostOutgoingRequest::headers(http, request))
    }

    drop_handle!(HostOutgoingRequest, OutgoingRequest);
}

impl outgoing_handler::Host for HttpHandles<'_> {
    fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> HttpResult<Resource<FutureIncomingResponse>> {
        self.handles.grow(request.rep(), SENDING_BYTES).map_err(HttpError::trap)?;
        // The request is no handle any more, sent or not.
        let held = self.handles.take(request.rep());
        let response = outgoing_handler::Host::handle(&mut self.http, request, options)?;
        if let Some(held) = held {
            self.handles.hang(response.rep(), held);
        }
        Ok(response)
    }
}

impl types::HostFutureIncomingResponse for HttpHandles<'_> {
    pass_on! { HostFutureIncomingResponse:
        fn subscribe(response: Resource<FutureIncomingResponse>) -> wasmtime::Result<Resource<DynPollable>>;
    }

    fn get(
        &mut self,
        future: Resource<FutureIncomingResponse>,
    ) -> wasmtime::Result<Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>> {
        let handle = future.rep();
        let got = types::HostFutureIncomingResponse::get(&mut self.http, future)?;
        if got.is_some() {
            self.handles.take(handle);
        }
        if let Some(Ok(Ok(response))) = &got {
            // The size of a head is bounded where it is read.
            let bytes = fields_bytes(&self.http.table.get(response)?.headers);
            let held = self.hold(bytes)?;
            self.handles.hang(response.rep(), held);
        }
        Ok(got)
    }

    drop_handle!(HostFutureIncomingResponse, FutureIncomingResponse);
}

impl types::HostIncomingResponse for HttpHandles<'_> {
    pass_on! { HostIncomingResponse:
        fn status(response: Resource<IncomingResponse>) -> wasmtime::Result<types::StatusCode>;
        fn consume(
            response: Resource<IncomingResponse>
        ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>>;
    }

    fn headers(&mut self, response: Resource<IncomingResponse>) -> wasmtime::Result<Resource<Fields>> {
        let bytes = fields_bytes(&self.http.table.get(&response)?.headers);
        self.share_fields(bytes, |http| types::HostIncomingResponse::headers(http, response))
    }

    drop_handle!(HostIncomingResponse, IncomingResponse);
}

impl types::HostFutureTrailers for HttpHandles<'_> {
    pass_on! { HostFutureTrailers:
        fn subscribe(trailers: Resource<FutureTrailers>) -> wasmtime::Result<Resource<DynPollable>>;
    }

    fn get(
        &mut self,
        trailers: Resource<FutureTrailers>,
    ) -> wasmtime::Result<Option<Result<Result<Option<Resource<Fields>>, ErrorCode>, ()>>> {
        let handle = trailers.rep();
        let got = types::HostFutureTrailers::get(&mut self.http, trailers)?;
        if got.is_some() {
            self.handles.take(handle);
        }
        if let Some(Ok(Ok(Some(fields)))) = &got {
            let bytes = fields_bytes(self.http.table.get(fields)?);
            let held = self.hold(bytes)?;
            self.handles.hang(fields.rep(), held);
        }
        Ok(got)
    }

    drop_handle!(HostFutureTrailers, FutureTrailers);
}

impl types::HostOutgoingResponse for HttpHandles<'_> {
    pass_on! { HostOutgoingResponse:
        fn status_code(response: Resource<OutgoingResponse>) -> wasmtime::Result<types::StatusCode>;
        fn set_status_code(
            response: Resource<OutgoingResponse>, status: types::StatusCode
        ) -> wasmtime::Result<Result<(), ()>>;
    }

    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<Resource<OutgoingResponse>> {
        let from = headers.rep();
        let response = types::HostOutgoingResponse::new(&mut self.http, headers)?;
        self.turn_into(from, &response);
        Ok(response)
    }

    fn body(
        &mut self,
        response: Resource<OutgoingResponse>,
    ) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        let held = self.hold(BODY_BYTES)?;
        let handle = response.rep();
        let body = types::HostOutgoingResponse::body(&mut self.http, response)?;
        if body.is_ok() {
            let response = self.http.table.get_mut(&Resource::<OutgoingResponse>::new_borrow(handle))?;
            response.body = response.body.take().map(|body| HeldBody::of(body, held));
        }
        Ok(body)
    }

    fn headers(&mut self, response: Resource<OutgoingResponse>) -> wasmtime::Result<Resource<Fields>> {
        let bytes = fields_bytes(&self.http.table.get(&response)?.headers);
        self.share_fields(bytes, |http| types::HostOutgoingResponse::headers(http, response))
    }

    drop_handle!(HostOutgoingResponse, OutgoingResponse);
}

impl types::HostOutgoingBody for HttpHandles<'_> {
    pass_on! { HostOutgoingBody:
        fn write(body: Resource<OutgoingBody>) -> wasmtime::Result<Result<Resource<DynOutputStream>, ()>>;
        fn drop(body: Resource<OutgoingBody>) -> wasmtime::Result<()>;
    }

    fn finish(&mut self, body: Resource<OutgoingBody>, trailers: Option<Resource<Fields>>) -> HttpResult<()> {
        let fields = trailers.as_ref().map(Resource::rep);
        types::HostOutgoingBody::finish(&mut self.http, body, trailers)?;
        if let Some(fields) = fields {
            self.handles.take(fields);
        }
        Ok(())
    }
}

impl types::HostIncomingBody for HttpHandles<'_> {
    pass_on! { HostIncomingBody:
        fn stream(body: Resource<IncomingBody>) -> wasmtime::Result<Result<Resource<DynInputStream>, ()>>;
        fn drop(body: Resource<IncomingBody>) -> wasmtime::Result<()>;
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> wasmtime::Result<Resource<FutureTrailers>> {
        let held = self.hold(TRAILERS_BYTES)?;
        let trailers = types::HostIncomingBody::finish(&mut self.http, body)?;
        self.handles.hang(trailers.rep(), held);
        Ok(trailers)
    }
}

// Nothing hangs on these, or nobody has one: requests come in nowhere.

impl types::HostRequestOptions for HttpHandles<'_> {
    pass_on! { HostRequestOptions:
        fn new() -> wasmtime::Result<Resource<RequestOptions>>;
        fn connect_timeout(
            options: Resource<RequestOptions>
        ) -> wasmtime::Result<Option<types::Duration>>;
        fn set_connect_timeout(
            options: Resource<RequestOptions>, duration: Option<types::Duration>
        ) -> wasmtime::Result<Result<(), ()>>;
        fn first_byte_timeout(
            options: Resource<RequestOptions>
        ) -> wasmtime::Result<Option<types::Duration>>;
        fn set_first_byte_timeout(
            options: Resource<RequestOptions>, duration: Option<types::Duration>
        ) -> wasmtime::Result<Result<(), ()>>;
        fn between_bytes_timeout(
            options: Resource<RequestOptions>
        ) -> wasmtime::Result<Option<types::Duration>>;
        fn set_between_bytes_timeout(
            options: Resource<RequestOptions>, duration: Option<types::Duration>
        ) -> wasmtime::Result<Result<(), ()>>;
        fn drop(options: Resource<RequestOptions>) -> wasmtime::Result<()>;
    }
}

impl types::HostIncomingRequest for HttpHandles<'_> {
    pass_on! { HostIncomingRequest:
        fn method(request: Resource<IncomingRequest>) -> wasmtime::Result<Method>;
        fn path_with_query(request: Resource<IncomingRequest>) -> wasmtime::Result<Option<String>>;
        fn scheme(request: Resource<IncomingRequest>) -> wasmtime::Result<Option<Scheme>>;
        fn authority(request: Resource<IncomingRequest>) -> wasmtime::Result<Option<String>>;
        fn headers(request: Resource<IncomingRequest>) -> wasmtime::Result<Resource<Fields>>;
        fn consume(
            request: Resource<IncomingRequest>
        ) -> wasmtime::Result<Result<Resource<IncomingBody>, ()>>;
        fn drop(request: Resource<IncomingRequest>) -> wasmtime::Result<()>;
    }
}

impl types::HostResponseOutparam for HttpHandles<'_> {
    pass_on! { HostResponseOutparam:
        fn set(
            place: Resource<ResponseOutparam>, response: Result<Resource<OutgoingResponse>, ErrorCode>
        ) -> wasmtime::Result<()>;
        fn send_informational(
            place: Resource<ResponseOutparam>, status: u16, headers: Resource<Fields>
        ) -> HttpResult<()>;
        fn drop(place: Resource<ResponseOutparam>) -> wasmtime::Result<()>;
    }
}
