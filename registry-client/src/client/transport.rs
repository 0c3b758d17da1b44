//! One HTTP exchange with a registry, the token exchange included, tried again where that may help; every answer bounded in
//! time and size.

use std::collections::HashSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};

use super::challenge::Challenge;
use super::reach::Reach;
use super::retry::{Patience, retry_after};
use crate::auth::Auth;
use crate::ca::CaFile;
use crate::digest::Digest;
use crate::error::RegistryError;
use crate::reference::RegistryHost;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request to the last byte of the answer; for metadata only, blobs are bounded by their size.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
const TOKEN_LIMIT: usize = 1 << 20;
const ERROR_LIMIT: usize = 64 << 10;
const MAX_MESSAGE: usize = 300;
const MAX_REDIRECTS: usize = 5;
/// What token servers know us as.
const CLIENT_ID: &str = "slipway";

/// The HTTP client and what it must know of hosts.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    plain_http: HashSet<RegistryHost>,
    /// What requests are limited to, if they are.
    reach: Option<Reach>,
    trusted: Vec<CaFile>,
    patience: Patience,
}

/// One call to a registry.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    /// What it does, for errors: a verb that is followed by the target.
    pub(super) operation: &'static str,
    pub(super) method: Method,
    /// What it is about, for errors.
    pub(super) target: String,
    pub(super) host: &'a RegistryHost,
    /// What follows `/v2/`.
    pub(super) path: String,
    pub(super) accept: Option<&'static str>,
    /// The token scope that it needs; several are separated by spaces.
    pub(super) scope: String,
    pub(super) auth: &'a Auth,
    /// Media type and bytes.
    pub(super) body: Option<(&'a str, Bytes)>,
}

/// A successful answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
}

/// What goes into the `Authorization` header.
enum Credential<'a> {
    Basic(&'a str, &'a SecretString),
    Bearer(SecretString),
}

// === impl Transport ===

impl Transport {
    /// `named`: the only hosts that may be where they like, all others have to be public.
    pub(super) fn new(
        plain_http: HashSet<RegistryHost>,
        named: Option<HashSet<RegistryHost>>,
        trusted: Vec<CaFile>,
        patience: Patience,
    ) -> Result<Self, RegistryError> {
        let reach = named.map(|hosts| Reach::new(hosts, |host| is_plain(&plain_http, host)));
        // Blobs are often served from elsewhere, so redirects are followed, but never from TLS to plain text.
        let limit = reach.clone();
        let redirects = reqwest::redirect::Policy::custom(move |attempt| {
            let downgraded = attempt.previous().last().is_some_and(|from| from.scheme() == "https")
                && attempt.url().scheme() != "https";
            if downgraded || attempt.previous().len() > MAX_REDIRECTS {
                return attempt.stop();
            }
            match limit.as_ref().map_or(Ok(()), |reach| reach.check(attempt.url())) {
                Ok(()) => attempt.follow(),
                Err(refused) => attempt.error(refused),
            }
        });
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_certs_merge(trusted.iter().flat_map(CaFile::certificates).cloned())
            .redirect(redirects);
        if let Some(reach) = &reach {
            // A proxy would resolve names by itself, and reach more than the public.
            http = http.no_proxy().dns_resolver(reach.clone());
        }
        let http = http.build().map_err(|source| RegistryError::Setup { source })?;
        Ok(Self { http, plain_http, reach, trusted, patience })
    }

    /// Whether this registry is talked to without TLS.
    pub(super) fn is_plain(&self, host: &RegistryHost) -> bool {
        is_plain(&self.plain_http, host)
    }

    /// Whose certificates are trusted beside the system's.
    pub(super) fn trusted(&self) -> &[CaFile] {
        &self.trusted
    }

    /// Sends, requires success, reads the body; all of it again where that may help.
    pub(super) async fn fetch(&self, call: &Call<'_>, limit: usize) -> Result<Answer, RegistryError> {
        let once = || async {
            let response = self.send_once(call).await?;
            let headers = response.headers().clone();
            let bytes = read_bounded(response, limit).await.map_err(|error| error.of(call, limit))?;
            Ok(Answer { headers, bytes })
        };
        self.patience.again(&call.method, once).await
    }

    /// Sends and requires success, again where that may help; the body is left to the caller.
    pub(super) async fn send_checked(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        self.patience.again(&call.method, || self.send_once(call)).await
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        let response = self.send(call).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(call.refused(response).await)
    }

    /// The credentials that `oci-client` needs for these scopes: its own token exchange reads answers without bound.
    pub(super) async fn authorize(&self, call: &Call<'_>) -> Result<Auth, RegistryError> {
        if let Auth::Bearer(_) = call.auth {
            return Ok(call.auth.clone());
        }
        self.patience.again(&call.method, || self.authorize_once(call)).await
    }

    async fn authorize_once(&self, call: &Call<'_>) -> Result<Auth, RegistryError> {
        let response = self.attempt(call, None).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(Auth::Anonymous);
        }
        Ok(match self.answer_challenge(call, response.headers()).await? {
            Some(Credential::Bearer(token)) => Auth::Bearer(token),
            Some(Credential::Basic(..)) => call.auth.clone(),
            None => Auth::Anonymous,
        })
    }

    async fn send(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        let known = match call.auth {
            Auth::Bearer(token) => Some(Credential::Bearer(token.clone())),
            _ => None,
        };
        let answered = known.is_some();
        let response = self.attempt(call, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED || answered {
            return Ok(response);
        }
        match self.answer_challenge(call, response.headers()).await? {
            Some(credential) => self.attempt(call, Some(&credential)).await,
            None => Ok(response),
        }
    }

    async fn attempt(&self, call: &Call<'_>, credential: Option<&Credential<'_>>) -> Result<Response, RegistryError> {
        let scheme = if self.is_plain(call.host) { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}", call.host.api_host(), call.path);
        let url = Url::parse(&url).map_err(|error| call.protocol(format!("its address: {error}")))?;
        self.check_reach(call, &url)?;
        let mut request = self.http.request(call.method.clone(), url).timeout(CALL_TIMEOUT);
        if let Some(accept) = call.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some((media_type, bytes)) = &call.body {
            request = request.header(CONTENT_TYPE, *media_type).body(bytes.clone());
        }
        request = match credential {
            Some(Credential::Basic(user, password)) => request.basic_auth(user, Some(password.expose_secret())),
            Some(Credential::Bearer(token)) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        request.send().await.map_err(|source| call.failed(source))
    }

    fn check_reach(&self, call: &Call<'_>, url: &Url) -> Result<(), RegistryError> {
        let refused = |refused: super::reach::NotPublic| RegistryError::NotPublic {
            operation: call.operation,
            target: call.target.clone(),
            problem: refused.to_string(),
        };
        self.reach.as_ref().map_or(Ok(()), |reach| reach.check(url).map_err(refused))
    }

    /// What answers a 401: `None` when there is no challenge that these credentials could answer.
    async fn answer_challenge<'a>(
        &self,
        call: &Call<'a>,
        headers: &HeaderMap,
    ) -> Result<Option<Credential<'a>>, RegistryError> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        match (Challenge::first_known(values), call.auth) {
            (Some(Challenge::Bearer { realm, service }), _) => {
                self.exchange_token(call, &realm, service.as_deref()).await.map(Credential::Bearer).map(Some)
            }
            (Some(Challenge::Basic), Auth::Basic { username, password }) => {
                Ok(Some(Credential::Basic(username, password)))
            }
            _ => Ok(None),
        }
    }

    async fn exchange_token(
        &self,
        call: &Call<'_>,
        realm: &str,
        service: Option<&str>,
    ) -> Result<SecretString, RegistryError> {
        #[derive(serde::Deserialize)]
        struct TokenAnswer {
            token: Option<SecretString>,
            access_token: Option<SecretString>,
        }
        let mut url =
            Url::parse(realm).map_err(|error| call.protocol(format!("its token server's address: {error}")))?;
        // A registry that is reached over TLS must not make us send credentials in plain text.
        if url.scheme() != "https" && !(url.scheme() == "http" && self.is_plain(call.host)) {
            return Err(call.protocol("its token server is not reached over TLS".to_owned()));
        }
        self.check_reach(call, &url)?;
        let request = if let Auth::Identity(token) = call.auth {
            let mut form = vec![("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("scope", &call.scope)];
            form.extend(service.map(|service| ("service", service)));
            form.push(("refresh_token", token.expose_secret()));
            self.http.post(url).form(&form)
        } else {
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in call.scope.split(' ').filter(|scope| !scope.is_empty()) {
                    query.append_pair("scope", scope);
                }
            }
            let request = self.http.get(url);
            match call.auth {
                Auth::Basic { username, password } => request.basic_auth(username, Some(password.expose_secret())),
                _ => request,
            }
        };
        let response = request.timeout(CALL_TIMEOUT).send().await.map_err(|source| call.failed(source))?;
        if !response.status().is_success() {
            return Err(call.refused(response).await);
        }
        let bytes = read_bounded(response, TOKEN_LIMIT).await.map_err(|error| error.of(call, TOKEN_LIMIT))?;
        // The parse error would quote the token.
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|_| call.protocol("its token server's answer is malformed".to_owned()))?;
        answer
            .token
            .or(answer.access_token)
            .ok_or_else(|| call.protocol("its token server's answer has no token".to_owned()))
    }
}

// === impl Call ===

impl Call<'_> {
    pub(super) fn protocol(&self, problem: String) -> RegistryError {
        RegistryError::Protocol { operation: self.operation, target: self.target.clone(), problem }
    }

    pub(super) fn mismatch(&self, expected: Digest, actual: Digest) -> RegistryError {
        RegistryError::DigestMismatch { operation: self.operation, target: self.target.clone(), expected, actual }
    }

    fn failed(&self, source: reqwest::Error) -> RegistryError {
        let (operation, target) = (self.operation, self.target.clone());
        if source.is_timeout() && !source.is_connect() {
            return RegistryError::Timeout { operation, target, seconds: CALL_TIMEOUT.as_secs() };
        }
        RegistryError::Request { operation, target, attempts: 1, source }
    }

    async fn refused(&self, response: Response) -> RegistryError {
        let (operation, target) = (self.operation, self.target.clone());
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let message = error_message(response).await;
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { operation, target },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied { operation, target, message },
            _ => RegistryError::Status { operation, target, status, message, retry_after, attempts: 1 },
        }
    }
}

fn is_plain(plain_http: &HashSet<RegistryHost>, host: &RegistryHost) -> bool {
    host.is_loopback() || plain_http.contains(host)
}

enum ReadError {
    TooLarge,
    Broken(reqwest::Error),
}

impl ReadError {
    fn of(self, call: &Call<'_>, limit: usize) -> RegistryError {
        match self {
            Self::Broken(source) => call.failed(source),
            Self::TooLarge => RegistryError::TooLarge { operation: call.operation, target: call.target.clone(), limit },
        }
    }
}

async fn read_bounded(mut response: Response, limit: usize) -> Result<Bytes, ReadError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(ReadError::Broken)? {
        if body.len() + chunk.len() > limit {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The registry's own words: the messages of its error document, or the start of its text.
async fn error_message(response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        message: String,
    }
    let bytes = read_bounded(response, ERROR_LIMIT).await.unwrap_or_default();
    let text = match serde_json::from_slice::<Errors>(&bytes) {
        Ok(document) => document.errors.into_iter().map(|item| item.message).collect::<Vec<_>>().join("; "),
        Err(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
    };
    text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}
