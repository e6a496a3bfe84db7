//! `fwd trace`: the words become a frame, the tracer runs it through a second instance of the loaded programs, and
//! what they answered becomes words again.

mod frame;
mod place;
mod stages;
mod tell;

use super::{failure::of_datapath, world::World};
use crate::{
    api::{
        error::{ApiError, Code},
        text::PacketText,
        trace::{Trace, TraceQuery},
    },
    datapath::{Injected, Tracer},
    observe::View,
};
use frame::Heads;
use place::Place;
use tell::Teller;

/// What would become of a packet.
///
/// # Errors
/// It is not understood, it cannot come in there, or the kernel refuses.
pub fn trace(world: &World, view: &View<'_>, tracer: &Tracer, query: &TraceQuery) -> Result<Trace, ApiError> {
    let packet: PacketText = query.packet.parse().map_err(|error: crate::api::text::TextError| {
        ApiError::new(Code::BadArguments, format!("The packet is not understood: {}.", error.message))
            .hint(error.hint)
    })?;
    let place = Place::of(world, view, &query.port, &packet)?;
    let frame = match packet {
        PacketText::Frame(frame) => frame,
        PacketText::Ip(ip) => {
            // The key needs no MACs.
            let key =
                Heads::of(&frame::encode(&ip, Default::default())).map(|heads| heads.key(place.row.zone));
            let key = key.ok_or_else(|| ApiError::new(Code::BadArguments, "The packet cannot be made."))?;
            frame::encode(&ip, place.macs((world, tracer), &ip, &key)?)
        }
    };
    let heads = Heads::of(&frame);
    let injected = Injected {
        port: place.id,
        ifindex: place.row.ifindex,
        point: place.point(),
        frame: &frame,
        key: heads.map(|heads| heads.key(place.row.zone)),
        last_port: view.names.ports().map(|(id, _)| id).max().unwrap_or_default().max(place.id),
    };
    let traced = tracer.trace(&injected).map_err(|e| of_datapath(&e))?;
    Ok(Teller { world, view, place, heads, frame: &frame, traced: &traced }.tell())
}
