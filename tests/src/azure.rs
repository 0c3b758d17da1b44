//! As much of Azure's blob storage as BuildKit's caches use, in memory, and of the cache of GitHub's workflows, which is built on it:
//! neither has a server that could be had here.
//!
//! It checks who asks: `SharedKey` as Azure's REST reference has it ("Authorize with Shared Key").

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::runtime::Runtime;

use crate::unique;

/// Before the calls of a workflow's cache.
const TWIRP: &str = "twirp/github.actions.results.api.v1.CacheService/";
/// The storage account.
pub const ACCOUNT: &str = "somebody";

/// A storage account with its containers.
#[derive(Debug)]
pub struct Azure {
    _runtime: Runtime,
    /// Where it listens.
    pub address: SocketAddr,
    /// What opens it, in base64.
    pub key: String,
    store: Arc<Store>,
}

#[derive(Debug, Default)]
struct Store {
    key: Vec<u8>,
    state: Mutex<Containers>,
}

#[derive(Debug, Default)]
struct Containers {
    names: Vec<String>,
    blobs: BTreeMap<String, Bytes>,
    /// Keys of a workflow's cache, the newest last.
    entries: Vec<String>,
    /// By blob and id, until their list comes.
    blocks: BTreeMap<(String, String), Bytes>,
}

impl Azure {
    /// It listens.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start() -> Self {
        let secret = unique("azure-sesame");
        let store = Arc::new(Store { key: secret.clone().into_bytes(), state: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("listen");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(answer).with_state(store.clone());
        runtime
            .spawn(async move { axum::serve(listener, app.layer(axum::extract::DefaultBodyLimit::disable())).await });
        Self { _runtime: runtime, address, key: STANDARD.encode(secret), store }
    }

    /// What opens it, as Azure's own command has it.
    pub fn env(&self) -> [(&str, &str); 1] {
        [("AZURE_STORAGE_KEY", &self.key)]
    }

    /// As a cache's option has it.
    pub fn cache(&self) -> String {
        let address = self.address;
        format!("type=azblob,account_url=http://{address},account_name={ACCOUNT},container=caches,name=app")
    }

    /// What a workflow's runner has in its environment.
    pub fn workflow(&self) -> [(&'static str, String); 2] {
        let url = format!("http://{}/", self.address);
        [("ACTIONS_RUNTIME_TOKEN", self.store.token()), ("ACTIONS_RESULTS_URL", url)]
    }

    /// Blobs that it has.
    pub fn objects(&self) -> usize {
        self.store.state().blobs.len()
    }
}

impl Store {
    fn state(&self) -> std::sync::MutexGuard<'_, Containers> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether who asks has the key.
    fn knows(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let length = Some(header("content-length")).filter(|length| *length != "0").unwrap_or_default();
        let standard = [
            method.as_str(),
            header("content-encoding"),
            header("content-language"),
            length,
            header("content-md5"),
            header("content-type"),
            // `x-ms-date` takes its place.
            "",
            header("if-modified-since"),
            header("if-match"),
            header("if-none-match"),
            header("if-unmodified-since"),
            header("range"),
        ];
        let own: BTreeMap<&str, &str> = headers
            .keys()
            .map(axum::http::HeaderName::as_str)
            .filter(|name| name.starts_with("x-ms-"))
            .map(|name| (name, header(name)))
            .collect();
        let own: Vec<_> = own.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let mut asked: BTreeMap<String, String> = BTreeMap::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            asked.insert(name.to_lowercase(), unescaped(value));
        }
        let asked: Vec<_> = asked.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
        let (own, asked) = (own.concat(), asked.concat());
        let text = format!("{}\n{own}/{ACCOUNT}{}{asked}", standard.join("\n"), uri.path());
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length");
        mac.update(text.as_bytes());
        header("authorization") == format!("SharedKey {ACCOUNT}:{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The cache of GitHub's workflows (`github.actions.results.api.v1.CacheService`), as much as BuildKit uses of it: entries are
/// blobs, read and written by signed URLs.
impl Store {
    fn workflow(&self, call: &str, headers: &HeaderMap, body: &[u8]) -> Response {
        let token = format!("Bearer {}", self.token());
        if headers.get("authorization").is_none_or(|given| given.as_bytes() != token.as_bytes()) {
            return failed(StatusCode::UNAUTHORIZED, "Unauthenticated");
        }
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let key = asked["key"].as_str().unwrap_or_default().to_owned();
        let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let url = |key: &str| {
            let path = format!("workflows/{}", hex::encode(key));
            format!("http://{host}/{path}?sig={}", self.signature(&path))
        };
        let mut state = self.state();
        let answer = match call {
            "CreateCacheEntry" if state.entries.contains(&key) => json!({"ok": false}),
            "CreateCacheEntry" => json!({"ok": true, "signed_upload_url": url(&key)}),
            "FinalizeCacheEntryUpload" => {
                state.entries.push(key);
                json!({"ok": true, "entry_id": "1"})
            }
            "GetCacheEntryDownloadURL" => {
                let found = state.entries.iter().find(|known| **known == key);
                // The newest one that begins so.
                match found.or_else(|| state.entries.iter().rfind(|known| known.starts_with(&key))) {
                    Some(found) => json!({"ok": true, "signed_download_url": url(found), "matched_key": found}),
                    None => json!({"ok": false}),
                }
            }
            _ => return failed(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        };
        axum::Json(answer).into_response()
    }

    /// A token as a workflow has it: what it opens is written in it, and nobody here looks at its signature.
    fn token(&self) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let scopes = json!([{"Scope": "refs/heads/main", "Permission": 3}]).to_string();
        let claims = json!({"ac": scopes, "nbf": 1_000_000_000, "exp": 4_000_000_000_u64});
        format!(
            "{}.{}.{}",
            part(json!({"alg": "HS256", "typ": "JWT"})),
            part(claims),
            URL_SAFE_NO_PAD.encode(&self.key)
        )
    }

    fn signature(&self, path: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length");
        mac.update(path.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = (byte == b'%').then(|| [rest.next(), rest.next()]);
        let escaped = hex.and_then(|hex| String::from_utf8(vec![hex[0]?, hex[1]?]).ok());
        bytes.push(escaped.and_then(|hex| u8::from_str_radix(&hex, 16).ok()).unwrap_or(byte));
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Every answer of Azure's has an id.
async fn answer(
    store: State<Arc<Store>>,
    method: Method,
    uri: Uri,
    query: Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut response = answer_without_id(store, method, &uri, query, &headers, body);
    response.headers_mut().insert("x-ms-request-id", HeaderValue::from_static("1"));
    response
}

fn answer_without_id(
    State(store): State<Arc<Store>>,
    method: Method,
    uri: &Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let path = unescaped(uri.path().trim_start_matches('/'));
    if let Some(call) = path.strip_prefix(TWIRP) {
        return store.workflow(call, headers, &body);
    }
    let signed = query.get("sig").is_some_and(|signature| *signature == store.signature(&path));
    if !signed && !store.knows(&method, uri, headers) {
        return failed(StatusCode::FORBIDDEN, "AuthenticationFailed");
    }
    let mut state = store.state();
    let kind = query.get("comp").map(String::as_str);
    if query.get("restype").is_some_and(|kind| kind == "container") {
        return match method {
            Method::PUT => {
                state.names.push(path);
                StatusCode::CREATED.into_response()
            }
            _ if state.names.contains(&path) => StatusCode::OK.into_response(),
            _ => failed(StatusCode::NOT_FOUND, "ContainerNotFound"),
        };
    }
    match (method, kind) {
        (Method::PUT, Some("block")) => {
            let id = query.get("blockid").cloned().unwrap_or_default();
            state.blocks.insert((path, id), body);
            StatusCode::CREATED.into_response()
        }
        (Method::PUT, Some("blocklist")) => {
            // `<BlockList><Latest>ID</Latest>…`
            let list = String::from_utf8_lossy(&body).into_owned();
            let ids = list.split('<').filter_map(|tag| tag.split_once('>')).filter(|(tag, _)| !tag.starts_with('/'));
            let ids = ids.map(|(_, id)| id.trim()).filter(|id| !id.is_empty());
            let mut content = Vec::new();
            for id in ids {
                content.extend(state.blocks.remove(&(path.clone(), id.to_owned())).unwrap_or_default());
            }
            state.blobs.insert(path, content.into());
            StatusCode::CREATED.into_response()
        }
        (Method::PUT, None) => {
            state.blobs.insert(path, body);
            StatusCode::CREATED.into_response()
        }
        (Method::GET | Method::HEAD, None) => match state.blobs.get(&path) {
            Some(content) => part(content, headers),
            None => failed(StatusCode::NOT_FOUND, "BlobNotFound"),
        },
        _ => failed(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
    }
}

/// All of it, or the range that was asked for.
fn part(content: &Bytes, headers: &HeaderMap) -> Response {
    let range = ["x-ms-range", "range"].iter().find_map(|name| headers.get(*name)?.to_str().ok());
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else { return content.clone().into_response() };
    let first = first.parse::<usize>().unwrap_or_default().min(content.len());
    let end = last.parse::<usize>().map_or(content.len(), |last| (last + 1).min(content.len()));
    let mut response = (StatusCode::PARTIAL_CONTENT, content.slice(first..end.max(first))).into_response();
    let said = format!("bytes {first}-{}/{}", end.saturating_sub(1), content.len());
    response.headers_mut().insert("content-range", HeaderValue::from_str(&said).expect("a header"));
    response
}

fn failed(status: StatusCode, code: &str) -> Response {
    let mut response = status.into_response();
    response.headers_mut().insert("x-ms-error-code", HeaderValue::from_str(code).expect("a header"));
    response
}
