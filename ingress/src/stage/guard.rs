//! What must be put right when a request is refused, wherever that happens: its record says so, and the keys that it has
//! claimed are free again. Knows nothing of why.

use super::limit_headers::LimitHeaders;
use super::record::Record;
use super::repeat::ClaimedKeys;
use crate::http::reply;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::state::Shared;
use axum::response::Response;
use penstock_schemas::envelope::Dialect;
use penstock_schemas::name::RequestId;

/// The record and the claims of one request, until its answer takes the record with it.
pub(crate) struct RequestGuard {
    id: RequestId,
    dialect: Dialect,
    record: Option<Record>,
    claims: ClaimedKeys,
    limits: LimitHeaders,
}

impl RequestGuard {
    /// Begins the record.
    pub(crate) fn begin(request: &Request, ingress: &Shared) -> Self {
        let record = Some(Record::begin(request, ingress));
        let (claims, limits) = (ClaimedKeys::default(), LimitHeaders::default());
        Self { id: request.id, dialect: request.asked.dialect, record, claims, limits }
    }

    /// The keys that stand for the request from now on.
    pub(crate) fn claims(&mut self, claims: ClaimedKeys) {
        self.claims = claims;
    }

    /// The record.
    pub(crate) fn record(&mut self) -> &mut Record {
        self.record.as_mut().expect("the record is here until the answer has it")
    }

    /// The record, for an answer that takes it with it to its last byte.
    pub(crate) fn hand_over(&mut self) -> Record {
        let record = self.record.take().expect("the record is handed over once");
        self.limits = record.limits().clone();
        record
    }

    /// The response, or the refusal as one.
    pub(crate) async fn finish(mut self, answered: Result<Response, Refusal>, ingress: &Shared) -> Response {
        if let Some(record) = &mut self.record {
            self.limits = record.limits().clone();
        }
        let mut response = match answered {
            Ok(response) => response,
            Err(refusal) => {
                if let Some(record) = &mut self.record {
                    record.refused(&refusal);
                }
                self.claims.release(ingress).await;
                reply::refuse(self.dialect, &refusal, self.id)
            }
        };
        self.limits.write(&mut response, self.dialect);
        response
    }
}
