//! The administrator at one node: accounts, everybody's queue, the ledger, and what is kept.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use cargomail_protocol::ledger::Head;
use cid::Cid;
use data_encoding::{BASE64, HEXLOWER};
use http::Method;
use uuid::Uuid;

use super::profile::Fingerprint;
use super::{Access, AppError, Session, Url};
use crate::api::{AccountView, CollectionView, LedgerPage, LegalHold, NewAccount, NewHold, Queued, Why};
use crate::https::Client;

/// The administrator's session at one node.
#[derive(Clone)]
pub struct Administration(Session);

impl Administration {
    /// With the token in the node's folder, at the address where its user face listens.
    #[must_use]
    pub fn at(client: &Client, listen: SocketAddr, fingerprint: [u8; 32], token: &str) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let access = Access {
            url: Url::new(ip.to_string(), listen.port()),
            fingerprint: Some(Fingerprint(fingerprint)),
            token: token.to_owned(),
        };
        Self(Session::open(client, &access))
    }

    /// All accounts.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn accounts(&self) -> Result<Vec<AccountView>, AppError> {
        self.0.look("/api/v1/admin/accounts").await
    }

    /// Makes an account, or gives an existing one another password, which ends its sessions, and another quota if one is named.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn set_account(&self, account: &NewAccount) -> Result<AccountView, AppError> {
        self.0
            .ask(Method::POST, "/api/v1/admin/accounts", Some(account))
            .await
    }

    /// How far everybody's messages are, newest first.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn queue(&self) -> Result<Vec<Queued>, AppError> {
        self.0.look("/api/v1/admin/queue").await
    }

    /// Begins a collection of what nobody refers to, or only of what would go.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn collect(&self, dry_run: bool) -> Result<CollectionView, AppError> {
        let path = format!("/api/v1/admin/collection?dry_run={dry_run}");
        self.0.ask(Method::POST, &path, None::<&()>).await
    }

    /// How the collection stands.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn collection(&self) -> Result<CollectionView, AppError> {
        self.0.look("/api/v1/admin/collection").await
    }

    /// What refers to a block, whose ever it is.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn why(&self, cid: &Cid) -> Result<Why, AppError> {
        self.0.look(&format!("/api/v1/admin/why/{cid}")).await
    }

    /// All legal holds, the oldest first.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn holds(&self) -> Result<Vec<LegalHold>, AppError> {
        self.0.look("/api/v1/admin/holds").await
    }

    /// Places a legal hold.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn place_hold(&self, hold: &NewHold) -> Result<LegalHold, AppError> {
        self.0.ask(Method::POST, "/api/v1/admin/holds", Some(hold)).await
    }

    /// Releases a legal hold.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn release_hold(&self, id: Uuid) -> Result<LegalHold, AppError> {
        let path = format!("/api/v1/admin/holds/{id}/release");
        self.0.ask(Method::POST, &path, None::<&()>).await
    }

    /// The octets of entries of the ledger from `first` on, and its head.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn ledger(&self, first: u64) -> Result<(Vec<Vec<u8>>, Head), AppError> {
        let path = format!("/api/v1/admin/ledger?first={first}");
        let page: LedgerPage = self.0.look(&path).await?;
        let decoded = page.entries.iter().map(|entry| BASE64.decode(entry.as_bytes()));
        let entries = decoded
            .collect::<Result<_, _>>()
            .map_err(|why| self.0.unusable(why))?;
        let hash = HEXLOWER.decode(page.head.hash.as_bytes()).ok();
        let hash = hash.and_then(|hash| hash.try_into().ok());
        let head = Head {
            entries: page.head.entries,
            hash: hash.ok_or_else(|| self.0.unusable("a head without a hash"))?,
        };
        Ok((entries, head))
    }
}
