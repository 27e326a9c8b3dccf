//! A user's session at one node: each request of [`crate::api`] as a function.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use cargomail_protocol::address::{Address, Domain};
use cargomail_protocol::limits;
use cargomail_protocol::routing::Preferences;
use cid::Cid;
use data_encoding::HEXLOWER;
use futures::StreamExt;
use http::{Method, Request, Response, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::profile::Fingerprint;
use super::{Access, AppError, Url, Watch};
use crate::api::{
    AskedDomains, Deleted, DeletedMessage, DomainsView, HeldView, Login, Me, Message, MessagesUsage,
    NewMessage, NewShare, Posted, Queued, Retrieval, ShareView, UsageView, Why,
};
use crate::https::{Client, Server, read};

/// The longest answer other than messages and resources: a list of everything that a user has shared.
const ANSWER: usize = 64 * 1024 * 1024;
/// An answer that says no.
const REFUSAL: usize = 16 * 1024;
/// What is read of a file at a time.
const CHUNK: usize = 256 * 1024;

/// A user at one node. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(super) client: Client,
    pub(super) server: Server,
    pub(super) url: String,
    token: String,
}

impl Session {
    /// The session of an access.
    #[must_use]
    pub fn open(client: &Client, access: &Access) -> Self {
        Self {
            client: client.clone(),
            server: access.server(),
            url: access.url.to_string(),
            token: access.token.clone(),
        }
    }

    /// Begins a session at the node there.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn log_in(
        client: &Client,
        url: &Url,
        fingerprint: Option<Fingerprint>,
        address: &Address,
        password: &str,
    ) -> Result<Access, AppError> {
        let mut access = Access {
            url: url.clone(),
            fingerprint,
            token: String::new(),
        };
        let login = Login {
            address: address.clone(),
            password: password.to_owned(),
        };
        let begun: crate::api::Session = Self::open(client, &access)
            .ask(Method::POST, "/api/v1/sessions", Some(&login))
            .await?;
        access.token = begun.token;
        Ok(access)
    }

    /// Ends this session at the node.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn log_out(&self) -> Result<(), AppError> {
        let request = self.request(Method::DELETE, "/api/v1/sessions");
        self.send(request.body(Body::empty())).await.map(drop)
    }

    /// Who the user is here, and what this node is.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn me(&self) -> Result<Me, AppError> {
        self.look("/api/v1/me").await
    }

    /// Posts a resource of `size` octets as it is read; its hash is computed here too and compared.
    ///
    /// # Errors
    /// [`AppError`]; [`AppError::Answer`] when the node stored something else than was sent.
    pub async fn post(
        &self,
        from: impl AsyncRead + Send + 'static,
        size: u64,
        watch: &Arc<dyn Watch>,
    ) -> Result<Posted, AppError> {
        let sent = Arc::new(Mutex::new((Sha256::new(), 0_u64)));
        let (counting, watching) = (sent.clone(), watch.clone());
        let stream = ReaderStream::with_capacity(from, CHUNK).map(move |chunk: io::Result<Bytes>| {
            chunk.inspect(|octets| {
                let mut sent = counting.lock().unwrap_or_else(PoisonError::into_inner);
                sent.0.update(octets);
                sent.1 += octets.len() as u64;
                watching.moved(octets.len() as u64);
            })
        });
        let request = self
            .request(Method::POST, "/api/v1/resources")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, size)
            .body(Body::from_stream(stream));
        let posted: Posted = self.answer(request).await?;
        let (hash, octets) = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if posted.sha256 != HEXLOWER.encode(&hash.finalize()) || posted.size != octets || octets != size {
            return Err(self.unusable("it stored something else than was sent; did the file change?"));
        }
        Ok(posted)
    }

    /// The octets of a resource as they come, from `first` on, at most `count`; none is all.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn resource(&self, cid: &Cid, count: Option<u64>) -> Result<Body, AppError> {
        let mut request = self.request(Method::GET, &format!("/api/v1/resources/{cid}"));
        if let Some(last) = count.map(|count| count.saturating_sub(1)) {
            request = request.header(header::RANGE, format!("bytes=0-{last}"));
        }
        Ok(self.send(request.body(Body::empty())).await?.into_body())
    }

    /// What the user holds here, in the order of the CIDs, behind `after`: one page, and nothing when there is no more.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn holdings(&self, after: Option<&str>) -> Result<Vec<HeldView>, AppError> {
        let mut path = "/api/v1/resources".to_owned();
        if let Some(after) = after {
            path.push_str(&format!("?after={}", name(after)?));
        }
        self.look(&path).await
    }

    /// Deletes a resource that the user holds; with force, what they share of it is taken back first.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn delete(&self, cid: &Cid, force: bool) -> Result<Deleted, AppError> {
        let path = format!("/api/v1/resources/{cid}?force={force}");
        self.ask(Method::DELETE, &path, None::<&()>).await
    }

    /// What of the user's own refers to a resource.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn why(&self, cid: &Cid) -> Result<Why, AppError> {
        self.look(&format!("/api/v1/resources/{cid}/why")).await
    }

    /// What of the user's quota is used.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn usage(&self) -> Result<UsageView, AppError> {
        self.look("/api/v1/usage").await
    }

    /// Shares resources.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn share(&self, share: &NewShare) -> Result<ShareView, AppError> {
        self.ask(Method::POST, "/api/v1/shares", Some(share)).await
    }

    /// What the user shared, newest first.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn shares(&self) -> Result<Vec<ShareView>, AppError> {
        self.look("/api/v1/shares").await
    }

    /// Takes a share back.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn revoke(&self, share: Uuid) -> Result<ShareView, AppError> {
        let path = format!("/api/v1/shares/{share}/revoke");
        self.ask(Method::POST, &path, None::<&()>).await
    }

    /// What is on its way to the user, or has arrived, newest first.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn retrievals(&self) -> Result<Vec<Retrieval>, AppError> {
        self.look("/api/v1/retrievals").await
    }

    /// What is on its way to the user, or has arrived, of one message, newest first.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn retrievals_of(&self, message_id: &str) -> Result<Vec<Retrieval>, AppError> {
        let message_id = percent_encoded(message_id);
        self.look(&format!("/api/v1/retrievals?message_id={message_id}"))
            .await
    }

    /// Ends a retrieval: nothing more of it is fetched.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn cancel_retrieval(&self, job: &str) -> Result<Retrieval, AppError> {
        let path = format!("/api/v1/retrievals/{}", name(job)?);
        self.ask(Method::DELETE, &path, None::<&()>).await
    }

    /// Which of these domains have Cargomail.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn domains(&self, domains: Vec<Domain>) -> Result<DomainsView, AppError> {
        let asked = AskedDomains { domains };
        self.ask(Method::POST, "/api/v1/domains", Some(&asked)).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn send_message(&self, message: &NewMessage) -> Result<Vec<Queued>, AppError> {
        self.ask(Method::POST, "/api/v1/messages", Some(message)).await
    }

    /// Messages of a folder, newest first, at most `limit`, older than the one named `after`.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn list(
        &self,
        folder: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Message>, AppError> {
        let mut path = format!("/api/v1/messages?folder={}&limit={limit}", name(folder)?);
        if let Some(after) = after {
            path.push_str(&format!("&after={}", name(after)?));
        }
        self.look(&path).await
    }

    /// A message as it stands in the User Mailbox.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn message(&self, id: &str) -> Result<Bytes, AppError> {
        let request = self.request(Method::GET, &format!("/api/v1/messages/{}", name(id)?));
        let response = self.send(request.body(Body::empty())).await?;
        self.collect(response, limits::MESSAGE).await
    }

    /// Deletes a message; the resources that it names stay.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn delete_message(&self, id: &str) -> Result<DeletedMessage, AppError> {
        let path = format!("/api/v1/messages/{}", name(id)?);
        self.ask(Method::DELETE, &path, None::<&()>).await
    }

    /// How full the User Mailbox is.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn messages_usage(&self) -> Result<MessagesUsage, AppError> {
        self.look("/api/v1/usage/messages").await
    }

    /// What the user wishes.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn preferences(&self) -> Result<Preferences, AppError> {
        self.look("/api/v1/preferences").await
    }

    /// Wishes something else.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn set_preferences(&self, preferences: &Preferences) -> Result<Preferences, AppError> {
        self.ask(Method::PUT, "/api/v1/preferences", Some(preferences))
            .await
    }

    /// How far the user's messages are, newest first.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn queue(&self) -> Result<Vec<Queued>, AppError> {
        self.look("/api/v1/queue").await
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        match self.token.as_str() {
            "" => request,
            token => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        }
    }

    pub(super) async fn look<T: DeserializeOwned>(&self, path: &str) -> Result<T, AppError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, AppError> {
        let request = self.request(method, path);
        let request = match body {
            None => request.body(Body::empty()),
            Some(body) => {
                let json = serde_json::to_vec(body).map_err(|why| self.unusable(why))?;
                request
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Body::from(json))
            }
        };
        self.answer(request).await
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: Result<Request<Body>, http::Error>,
    ) -> Result<T, AppError> {
        let response = self.send(request).await?;
        let octets = self.collect(response, ANSWER).await?;
        serde_json::from_slice(&octets).map_err(|why| self.unusable(why))
    }

    async fn send(&self, request: Result<Request<Body>, http::Error>) -> Result<Response<Body>, AppError> {
        let request = request.map_err(|why| self.unusable(why))?;
        let response = self.client.send(&self.server, request).await;
        let response = response.map_err(|why| AppError::Https {
            url: self.url.clone(),
            why: Box::new(why),
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let said = self.collect(response, REFUSAL).await.unwrap_or_default();
        let said: Option<serde_json::Value> = serde_json::from_slice(&said).ok();
        let text = said.as_ref().and_then(|said| said.get("error")?.as_str());
        Err(AppError::Said {
            url: self.url.clone(),
            status: status.as_u16(),
            text: text.map_or_else(|| status.to_string(), str::to_owned),
        })
    }

    async fn collect(&self, response: Response<Body>, limit: usize) -> Result<Bytes, AppError> {
        read(response.into_body(), limit)
            .await
            .map_err(|why| AppError::Https {
                url: self.url.clone(),
                why: Box::new(why),
            })
    }

    pub(super) fn unusable(&self, why: impl ToString) -> AppError {
        AppError::Answer {
            url: self.url.clone(),
            why: why.to_string(),
        }
    }
}

/// A text as it may stand in a URI (RFC 3986 §2.1): each octet that is not unreserved is encoded.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A name that a node gave, as it may stand in a path.
fn name(text: &str) -> Result<&str, AppError> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    if text.is_empty() || text.len() > 200 || text.starts_with('.') || !text.bytes().all(letter) {
        return Err(AppError::Name(text.chars().take(80).collect()));
    }
    Ok(text)
}
