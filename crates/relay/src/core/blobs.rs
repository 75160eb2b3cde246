//! Blobs: uploads in pieces under a secret of the uploader's, immutable once complete, readable by who knows the id.
//!
//! What always holds: the length is announced with the first piece and never exceeded; who goes on with an upload knows its secret,
//! of which the relay keeps the hash only; each piece is paid for, by its number and its bytes, and an empty one is not written.

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use store::{Expect, Store, StoreError};
use wire::{BlobId, Code, Error, UnixMillis};

use super::rates::{Quota, kibibytes, limited};
use super::{BlobState, BlobWrite, Peer, Relay, keys, not_readable_yet, refusal};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Blobs that one sweep visits at most.
const SWEPT: usize = 64;

/// What is kept beside a blob.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    secret: [u8; 32],
    total: u64,
    created: UnixMillis,
}

impl<S: Store> Relay<S> {
    pub(super) async fn write_blob(&self, now: UnixMillis, peer: Peer, write: BlobWrite) -> Result<BlobState, Error> {
        let BlobWrite { id, secret, offset, total, bytes } = write;
        if total > self.config.limits.blob_bytes {
            let limit = self.config.limits.blob_bytes;
            return Err(Error::new(Code::TooLarge, format!("a blob may have at most {limit} bytes here; split it")));
        }
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= total);
        let end = end.ok_or_else(|| Error::new(Code::Malformed, "more bytes than were announced; begin a new blob"))?;
        self.spend_piece(now, peer, bytes.len())?;
        let announced = Announced { secret: Sha256::digest(secret.0).into(), total, created: now };
        self.announce(now, peer, id, offset, &announced).await?;
        if bytes.is_empty() && total > 0 {
            // It only asks how far the upload has come: a sync would be work for nothing.
            let state = self.blob_state(id).await?;
            return match state.length == offset {
                _ if state.complete => Err(complete()),
                true => Ok(state),
                false => Err(elsewhere(state.length)),
            };
        }
        match self.store.put_blob(id.0, offset, bytes, end == total).await {
            Ok(length) => Ok(BlobState { length, total, complete: length == total }),
            Err(StoreError::Exists) => match self.store.blob(id.0).await.map_err(refusal)? {
                Some((_, true)) => Err(complete()),
                // Its last piece is on its way to the disk: whoever took it for complete would tell others of it.
                _ => Err(not_readable_yet()),
            },
            Err(StoreError::Conflict { current }) => Err(elsewhere(current)),
            Err(error) => Err(refusal(error)),
        }
    }

    /// Pays for one write, which costs a sync however short it is.
    fn spend_piece(&self, now: UnixMillis, peer: Peer, bytes: usize) -> Result<(), Error> {
        let rates = &self.config.rates;
        let by_size = Quota::bytes(rates.blob_bytes_per_range, DAY_MS);
        self.blob_writes
            .spend(peer.range, rates.blob_writes_per_range, now)
            .and_then(|()| self.blob_bytes.spend_many(peer.range, kibibytes(bytes), by_size, now))
            .map_err(|wait| limited("files from this network", wait))
    }

    /// Checks a piece against what was announced, or announces it with the first piece.
    async fn announce(
        &self,
        now: UnixMillis,
        peer: Peer,
        id: BlobId,
        offset: u64,
        announced: &Announced,
    ) -> Result<(), Error> {
        let mut before = self.announced(id).await?;
        if before.is_none() {
            if offset != 0 {
                return Err(no_blob());
            }
            self.errands.spend(now, &self.config.rates, peer.range, None)?;
            match self.store.put_record(&keys::blob(id), Expect::Absent, announced.to_bytes()).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {
                    // What was first can't be read yet, and may be this very upload.
                    let first = self.announced(id).await?;
                    before = Some(first.ok_or_else(not_readable_yet)?);
                }
                Err(error) => return Err(refusal(error)),
            }
        }
        let before = before.ok_or_else(no_blob)?;
        // Hashes are compared, so the time taken tells nothing about the secret.
        if before.secret != announced.secret {
            return Err(Error::new(
                Code::BadProof,
                "this is not the secret that the upload was begun with; begin a new blob",
            ));
        }
        if before.total != announced.total {
            return Err(Error::new(Code::Malformed, "another length was announced for this blob; begin a new one"));
        }
        Ok(())
    }

    async fn announced(&self, id: BlobId) -> Result<Option<Announced>, Error> {
        let record = self.store.record(&keys::blob(id)).await.map_err(refusal)?;
        Ok(record.and_then(|record| Announced::read(&record.value)))
    }

    pub(super) async fn blob_state(&self, id: BlobId) -> Result<BlobState, Error> {
        let announced = self.announced(id).await?.ok_or_else(no_blob)?;
        let (length, complete) = self.store.blob(id.0).await.map_err(refusal)?.unwrap_or((0, false));
        Ok(BlobState { length, total: announced.total, complete })
    }

    pub(super) async fn read_blob(&self, id: BlobId, offset: u64, max: usize) -> Result<Bytes, Error> {
        self.store.get_blob(id.0, offset, max).await.map_err(|error| match error {
            StoreError::NotFound => no_blob(),
            other => refusal(other),
        })
    }

    /// Removes what is older than retention among the blobs behind `after`; answers with where to go on.
    pub(super) async fn sweep_blobs(&self, now: UnixMillis, after: Option<Bytes>) -> Result<Option<Bytes>, Error> {
        let keep_from = now.0.saturating_sub(self.config.limits.commit_retention_ms);
        let found = self.store.scan(keys::BLOBS, after.as_deref(), SWEPT).await.map_err(refusal)?;
        let last = if found.len() == SWEPT { found.last().map(|(key, _)| key.clone()) } else { None };
        for (key, record) in found {
            let Ok(id) = BlobId::try_from(&key[keys::BLOBS.len()..]) else { continue };
            if Announced::read(&record.value).is_some_and(|blob| blob.created.0 < keep_from) {
                self.store.remove_blob(id.0).await.map_err(refusal)?;
                self.store.remove_record(&key).await.map_err(refusal)?;
            }
        }
        Ok(last)
    }
}

fn complete() -> Error {
    Error::new(Code::AlreadyExists, "the blob is complete and never changes again")
}

fn elsewhere(length: u64) -> Error {
    let detail = "this piece does not begin where the blob ends so far; go on from the length given";
    Error::new(Code::Conflict, detail).current(length)
}

fn no_blob() -> Error {
    Error::new(Code::NotFound, "there is no such blob here, or it is not complete; it may have expired")
}

impl Announced {
    fn to_bytes(&self) -> Bytes {
        let mut value = BytesMut::with_capacity(48);
        value.put_slice(&self.secret);
        value.put_u64(self.total);
        value.put_u64(self.created.0);
        value.freeze()
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (secret, rest) = value.split_first_chunk::<32>()?;
        let (total, created) = rest.split_first_chunk::<8>()?;
        Some(Self {
            secret: *secret,
            total: u64::from_be_bytes(*total),
            created: UnixMillis(u64::from_be_bytes(created.try_into().ok()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_read_back() {
        let announced = Announced { secret: [3; 32], total: 1 << 40, created: UnixMillis(7) };
        assert_eq!(Announced::read(&announced.to_bytes()), Some(announced));
        assert_eq!(Announced::read(&[0; 47]), None);
        assert_eq!(Announced::read(&[0; 49]), None);
    }
}
