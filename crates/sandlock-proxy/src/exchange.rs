//! One request and its answer.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::{Request, Response, StatusCode, Version};
use sandlock_policy::{Denied, Malformed};
use sandlock_service::Place;
use tokio::sync::Mutex;

use crate::activity::Activity;
use crate::auth::Added;
use crate::body::AnswerBody;
use crate::judge::{Known, Refusal, judge};
use crate::origin::Origin;
use crate::run::Run;
use crate::upstream::{Failure, Protocols, Sender, Spoken};
use crate::vetted::Gate;
use crate::vetter::MALFORMED;
use crate::{Happened, answer, forward, tunnel};

/// A program's connection, whose requests are answered.
pub(crate) struct Exchanges {
    pub(crate) run: Arc<Run>,
    pub(crate) origin: Origin,
    pub(crate) spoken: Spoken,
    /// What its requests are sent on. It is of this connection alone.
    pub(crate) sender: Mutex<Option<Sender>>,
    pub(crate) activity: Arc<Activity>,
    /// Of HTTP/1.1.
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) place: Arc<Place>,
}

impl Exchanges {
    /// Answers a request, one way or another.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        let Ok(place) = Arc::clone(&self.run.requests).try_acquire_owned() else {
            return answer::busy();
        };
        let under_way = self.activity.request(place);
        let version = request.version();
        if request.method().as_str() == MALFORMED {
            let why = self.gate.as_ref().and_then(|gate| gate.malformed());
            return self.refuse(Refusal::Malformed(why.unwrap_or(Malformed::BadMethod)), version).await;
        }
        let (mut head, body) = request.into_parts();
        let protocol = if self.gate.is_some() { forward::upgrade(&head) } else { None };
        let mut held = protocol.is_some().then(|| Held(self.gate.as_deref()));
        let on_upgrade = protocol.is_some().then(|| head.extensions.remove()).flatten();
        let (allowed, known) = match judge(&self.run.rules, &*self.run.names, &self.origin, &head) {
            Ok(judged) => judged,
            Err(refusal) => return self.refuse(refusal, version).await,
        };
        let host = || allowed.get().host.to_string();
        let added = match known {
            Known::Same => self.run.auths.add(&allowed, &self.origin),
            Known::Nothing | Known::Other => Ok(Added::default()),
        };
        let added = match added {
            Ok(added) => added,
            Err(error) => return self.failed(StatusCode::BAD_GATEWAY, host(), error.to_string()).await,
        };
        let Some(request) = forward::request(&allowed, head, protocol, &added, body) else {
            return self.refuse(Refusal::Malformed(Malformed::BadRequestLine), version).await;
        };
        match self.send(request).await {
            Ok(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let (Some(on_upgrade), Ok(upstream)) = (on_upgrade, hyper::upgrade::on(&mut response).await)
                else {
                    return answer::upstream_failed(
                        StatusCode::BAD_GATEWAY,
                        "an upgrade that nobody asked for",
                    );
                };
                if let Some(held) = held.take() {
                    held.upgraded();
                }
                tunnel::join(on_upgrade, upstream, under_way, Arc::clone(&self.place));
                switched(response)
            }
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                forward::strip(&mut head.headers);
                head.version = if version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
                head.extensions.clear();
                Response::from_parts(head, AnswerBody::Streamed(body, under_way))
            }
            Err(failure) => self.failed(failure.status(), host(), failure.to_string()).await,
        }
    }

    async fn failed(&self, status: StatusCode, host: String, why: String) -> Response<AnswerBody> {
        let answer = answer::upstream_failed(status, &why);
        self.run.tell(Happened::UpstreamFailed { host, why }).await;
        answer
    }

    async fn refuse(&self, refusal: Refusal, version: Version) -> Response<AnswerBody> {
        match refusal {
            Refusal::Malformed(why) => {
                let destination = self.origin.destination();
                self.run.tell_refused(Denied::HttpMalformed { destination, why }).await;
                answer::malformed(why, version)
            }
            Refusal::Misdirected => {
                let (destination, why) = (self.origin.destination(), Malformed::HostDisagrees);
                self.run.tell_refused(Denied::HttpMalformed { destination, why }).await;
                answer::misdirected()
            }
            Refusal::Denied(denied) => {
                let answer = answer::denied(&denied);
                self.run.tell_refused(denied).await;
                answer
            }
        }
    }

    /// Sends a request, on a new connection if there is none, or none any more.
    async fn send(&self, request: Request<Incoming>) -> Result<Response<Incoming>, Failure> {
        let mut request = request;
        let mut again = true;
        loop {
            let mut sender = self.sender().await?;
            let sent = sender.send(request).await;
            if let Sender::Http1(_) = sender {
                *self.sender.lock().await = Some(sender);
            }
            match sent {
                Ok(response) => return Ok(response),
                // The upstream ended the connection before it took anything.
                Err((_, Some(unsent))) if again => request = *unsent,
                Err((failure, _)) => return Err(failure),
            }
            again = false;
            *self.sender.lock().await = None;
        }
    }

    async fn sender(&self) -> Result<Sender, Failure> {
        let mut kept = self.sender.lock().await;
        if let Some(mut sender) = kept.take()
            && sender.is_ready().await
        {
            *kept = sender.another();
            return Ok(sender);
        }
        let (sender, _) = self.run.upstreams.connect(&self.origin, Protocols::only(self.spoken)).await?;
        *kept = sender.another();
        Ok(sender)
    }
}

/// The answer to a request for an upgrade. What follows it goes through as it is.
fn switched(response: Response<Incoming>) -> Response<AnswerBody> {
    let (mut head, _) = response.into_parts();
    let protocol = head.headers.get(UPGRADE).cloned();
    forward::strip(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
    }
    head.version = Version::HTTP_11;
    head.extensions.clear();
    Response::from_parts(head, AnswerBody::Own(None))
}

/// A request for an upgrade, behind which nothing is read until it is answered: not upgraded, unless it says so.
struct Held<'a>(Option<&'a Gate>);

impl Held<'_> {
    fn upgraded(mut self) {
        if let Some(gate) = self.0.take() {
            gate.answered(true);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.answered(false);
        }
    }
}
