//! Bytes both ways, once nothing is judged any more.

use std::sync::Arc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sandlock_service::Place;
use tokio::io::copy_bidirectional;

use crate::activity::UnderWay;

/// Joins both ends of an upgrade, when both have agreed. It takes the place of the connection that it comes from.
pub(crate) fn join(program: OnUpgrade, upstream: Upgraded, under_way: UnderWay, place: Arc<Place>) {
    tokio::spawn(async move {
        if let Ok(program) = program.await {
            let (mut program, mut upstream) = (TokioIo::new(program), TokioIo::new(upstream));
            let _ = copy_bidirectional(&mut program, &mut upstream).await;
        }
        drop((under_way, place));
    });
}
